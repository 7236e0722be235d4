"""No command opens the log of a site that does not exist, whichever room it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.events import Command, tag_of
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handlers
from coldgrid.kernel.rejections import InternalFault, Rejected
from coldgrid.network.sites import SiteNotFound
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.tower.rooms import load_rooms
from tests.conftest import KERNELS, Kernel
from tests.network.master import put_in_force, site
from tests.system import bodies
from tests.system.served import seed

load_rooms()
STRAY = "ATL9"


@pytest.fixture(scope="module", params=list(KERNELS))
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    with KERNELS[request.param]() as made:
        seed(made)
        yield made


def about_sites() -> list[type[Command]]:
    """The product's commands that a site's log takes."""
    return [
        type_
        for type_, handler in handlers.items()
        if handler.owner is not Owner.NETWORK and not tag_of(type_).startswith("toy.")
    ]


def misdirected(type_: type[Command]) -> Command | None:
    """A command of this kind about a site that does not exist; None where it names no origin."""
    body: dict[str, Any] = bodies.fitting(type_)
    named = [name for name in ("site_id", "origin") if name in body]
    if not named:
        return None
    return msgspec.convert(body | dict.fromkeys(named, STRAY), type_)


@pytest.mark.parametrize("type_", about_sites(), ids=tag_of)
def test_a_command_about_an_unknown_site_is_refused_and_leaves_no_trace(
    kernel: Kernel, type_: type[Command]
) -> None:
    command = misdirected(type_)
    if command is None:
        return
    before = kernel.decider.position
    with pytest.raises(Rejected) as refused:
        kernel.do(command, "ana", {"system", "admin"})
    assert not isinstance(refused.value, InternalFault), refused.value
    assert STRAY not in kernel.decider.heads
    assert kernel.decider.position == before


def incident(site_id: str) -> OpenIncident:
    return OpenIncident(
        site_id=site_id,
        incident_id=f"i-{site_id}",
        severity=Severity.OPERATOR_ACTIONABLE,
        title="Too warm",
    )


def test_the_refusal_names_the_sites_that_were_probably_meant(kernel: Kernel) -> None:
    with pytest.raises(SiteNotFound) as refused:
        kernel.do(incident("atl-1"))
    assert refused.value.facts["close"] == ["ATL1"]
    assert "ATL1" in str(refused.value)


def test_a_caller_is_not_told_of_sites_that_are_none_of_his(kernel: Kernel) -> None:
    caller = Principal("far", frozenset({"admin"}), frozenset({"ATL9", "CLT1"}))
    with pytest.raises(SiteNotFound) as refused:
        kernel.decider.do(incident(STRAY), caller)
    assert "ATL1" not in str(refused.value)


def test_a_site_may_be_used_as_soon_as_it_is_defined_and_after_a_restart(kernel: Kernel) -> None:
    put_in_force(kernel, site("SAV1"), change_id="change-sav1")
    kernel.do(incident("SAV1"))
    put_in_force(kernel, site("SAV2"), change_id="change-sav2")
    kernel.restart()
    kernel.do(incident("SAV2"))
    assert {"SAV1", "SAV2"} <= set(kernel.decider.heads)
