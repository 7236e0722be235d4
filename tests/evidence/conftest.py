"""A notary for tests, a log with something in it, and a toy room that contributes to packs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.evidence.packs import PackRequest, make_pack
from coldgrid.evidence.parts import (
    PackFile,
    PackLimit,
    PackMoment,
    PackSeries,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    register_contributor,
)
from coldgrid.kernel import decider
from coldgrid.kernel.reading import Reader
from tests.conftest import T0, Kernel
from tests.kernel.rooms import Bump

TOWER = Signer("coldgrid.example/tower", bytes(range(32)))
NODE = Signer("coldgrid.example/node/ATL1", bytes(range(1, 33)))
SUBJECT = PackSubject("incident", "toy-incident", "ATL1")
START_S = T0.timestamp()
# The toys' sites are defined nowhere, also where other tests of this process brought the network's room in.
pytest.MonkeyPatch().setattr(decider, "origin_checks", [])


def bump(kernel: Kernel, times: int = 1, site_id: str = "ATL1", name: str = "apples") -> None:
    for _ in range(times):
        kernel.do(Bump(site_id=site_id, name=name, by=0))


def _contribute(db: Reader, subject: PackSubject) -> Sequence[Part]:
    if not subject.id.startswith("toy"):
        return []
    minutes = range(0, 240, 2)
    at_s = [START_S + minute * 60 for minute in minutes]
    air = [None if 80 < minute < 96 else -21 + minute / 20 for minute in minutes]
    product = [-20.5 + minute / 60 for minute in minutes]
    return [
        PackStreams(streams=["toy/apples", "toy/person"], entry_ids=["DFW1/1/1", "ATL1/9/9"]),
        PackSeries("ATL1-FRZ1-T1", "°C", "air", at_s, air, note="calibrated 2026-01-10"),
        PackSeries(
            "ATL1-FRZ1 ice cream",
            "°C",
            "product",
            at_s,
            product,
            low=[one - 0.8 for one in product],
            high=[one + 0.8 for one in product],
        ),
        PackLimit(
            "ICE-VAN-1L single excursion", "product specification 7, <table> 2", high_c=-18.0, minutes=30
        ),
        PackTable(
            "Units",
            ["SSCC", "Verdict", "Disposition"],
            [["003", "assess", None], ["004", "within", "release"]],
        ),
        PackMoment(T0 + timedelta(minutes=50), "Technician called", "doors shut", "info", "ana"),
        PackFile("certificates/T1.txt", b"as found +0.1 K\n", "Calibration certificate"),
    ]


register_contributor("toybox", _contribute)


@pytest.fixture
def notary() -> Notary:
    return Notary(TOWER, "coldgrid.example")


def fill(kernel: Kernel) -> None:
    """Facts at two sites and in the network, one of them about a person."""
    bump(kernel, 4)
    bump(kernel, 2, "DFW1", "pears")
    kernel.do(
        Bump(site_id="ATL1", name="person", by=1, note="Ana Bell, 12 Peach St", person="customer-1"), at=7
    )


def packed(kernel: Kernel, notary: Notary, disclose: Sequence[str] = ()) -> bytes:
    make_checkpoints(kernel.decider, notary)
    request = PackRequest(SUBJECT, "ana", kernel.host.instant, disclose)
    return make_pack(kernel.reader(), notary, request)
