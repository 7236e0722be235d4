"""What customers were told stands in the pack of the incident behind it, and who they are does not."""

from __future__ import annotations

import io
import zipfile

import pytest

from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.packs import PackRequest, make_pack
from coldgrid.evidence.parts import PackMoment, PackStreams, PackSubject, PackTable
from coldgrid.evidence.verify import verify_pack
from coldgrid.network_flows import telling
from coldgrid.network_flows.pack import contribute
from coldgrid.orchestration.incidents import OpenIncident, Severity
from tests.conftest import Kernel
from tests.network_flows.test_flows import decide, deliver
from tests.orders.world import FREEZER, PALLET, SECOND, SITE, order, stocked
from tests.stock.world import hold, receive, sscc

SUBJECT = PackSubject("incident", "i1", SITE)
NOTARY = Notary(Signer("coldgrid.example/tower", bytes(range(32))), "coldgrid.example")


def trouble(kernel: Kernel) -> None:
    """A freezer's incident, by which an order arrives later and another one's goods are lost."""
    opened = OpenIncident(
        site_id=SITE,
        incident_id="i1",
        severity=Severity.OPERATOR_ACTIONABLE,
        title="The freezer is too warm",
        zone_id=FREEZER,
    )
    kernel.do(opened, at=10)


@pytest.mark.parametrize("far", [0, 100])
def test_who_was_told_what_and_when_is_in_the_pack(kernel: Kernel, far: int) -> None:
    stocked(kernel, far=far)
    kernel.do(order())
    trouble(kernel)
    kernel.do(hold("h1", PALLET), at=20)
    if not far:
        decide(kernel, telling.TELL)
    deliver(kernel)
    parts = contribute(kernel.reader(), SUBJECT)
    (streams,) = [part.streams for part in parts if isinstance(part, PackStreams)]
    assert [stream.partition("/")[0] for stream in streams] == ["notice", "effect"]
    (table,) = [part for part in parts if isinstance(part, PackTable)]
    ((order_id, what, drafted, outcome, at, approval, _),) = table.rows
    assert (order_id, what, outcome) == ("web-1", "delay" if far else "loss", "delivered")
    assert bool(approval) is not bool(far)
    assert drafted <= at
    (moment,) = [part for part in parts if isinstance(part, PackMoment)]
    assert moment.title == f"Customer of web-1: {what} delivered"


def test_the_pack_verifies_and_names_no_customer_in_clear(kernel: Kernel) -> None:
    stocked(kernel)
    kernel.do(order())
    trouble(kernel)
    kernel.do(hold("h1", PALLET), at=20)
    deliver(kernel)
    make_checkpoints(kernel.decider, NOTARY)
    pack = make_pack(kernel.reader(), NOTARY, PackRequest(SUBJECT, "ana", kernel.host.instant, ()))
    with zipfile.ZipFile(io.BytesIO(pack)) as files:
        everything = b"".join(files.read(name) for name in files.namelist())
    assert b"What customers were told" in everything
    assert b"web-1" in everything
    assert b"Ann Example" not in everything
    assert b"ann@example.com" not in everything
    assert verify_pack(pack).findings == []


def test_what_another_cause_did_is_not_in_it(kernel: Kernel) -> None:
    trouble_elsewhere = sscc(7)
    stocked(kernel)
    trouble(kernel)
    kernel.do(receive(trouble_elsewhere, 5), at=15)
    kernel.do(order())
    assert contribute(kernel.reader(), SUBJECT) == []
    assert contribute(kernel.reader(), PackSubject("unit", SECOND)) == []
