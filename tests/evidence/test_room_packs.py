"""What rooms put into packs, end to end: readings with the blocks that the log vouches for, people, stock."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.evidence import verify
from coldgrid.evidence.archive import open_zip, pack_zip
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.packs import PackRequest, pack_now
from coldgrid.evidence.parts import PackSubject, preparations
from coldgrid.orchestration.incidents import OpenIncident, Severity
from tests.conftest import Kernel
from tests.evidence.conftest import TOWER
from tests.stock import world
from tests.telemetry.cold_room import AIR, AIR_2, cold_room, feed, steady

INCIDENT = PackSubject("incident", "incident-1")


def packed(kernel: Kernel, notary: Notary, subject: PackSubject) -> bytes:
    return pack_now(kernel.decider, notary, PackRequest(subject, "ana", kernel.host.instant))


def a_warm_hour(kernel: Kernel) -> None:
    cold_room(kernel)
    for start, value in ((0, -21.5), (60, -12.0)):
        feed(kernel, [*steady(start, 60, value), *steady(start, 60, value + 1, AIR_2)])
    opening = OpenIncident(
        site_id="ATL1",
        incident_id="incident-1",
        zone_id="ATL1-FRZ1",
        severity=Severity.EXCURSION_RISK,
        title="Freezer 1 is warm",
    )
    kernel.do(opening)


def test_readings_are_sealed_for_a_pack_and_the_log_vouches_for_their_bytes(
    kernel: Kernel, notary: Notary
) -> None:
    a_warm_hour(kernel)
    pack = packed(kernel, notary, INCIDENT)
    report = verify.verify_pack(pack, [TOWER.key])
    assert report.findings == []
    files = open_zip(pack).files
    manifest = msgspec.json.decode(files["manifest.json"])
    attested = {one["path"]: one.get("attested_by") for one in manifest["files"]}
    blocks = [path for path in files if path.startswith("telemetry/blocks/")]
    assert {path.split("/")[2].split(".")[0] for path in blocks} == {AIR, AIR_2}
    assert all(attested[path].startswith("ATL1/1/") for path in blocks)
    assert len(files[f"telemetry/{AIR}.csv"].splitlines()) == 121
    assert any(path.startswith("telemetry/Sensors-of-ATL1-FRZ1") for path in files)
    assert f"{AIR} · air".encode() in files["report.html"]


def test_readings_exchanged_by_whoever_holds_the_key_do_not_match_the_log(
    kernel: Kernel, notary: Notary
) -> None:
    """Another day's block, with a manifest made to agree and signed: the entry still names the true hash."""
    a_warm_hour(kernel)
    pack = packed(kernel, notary, INCIDENT)
    files = open_zip(pack).files
    path = next(name for name in files if name.startswith("telemetry/blocks/"))
    report = verify.verify_pack(pack_zip(files | {path: files[path] + b"x"}), [TOWER.key])
    found = [finding.problem for finding in report.findings if finding.file == path]
    assert any("is not what entry" in problem for problem in found)


def test_an_incidents_pack_tells_its_timeline_once(kernel: Kernel, notary: Notary) -> None:
    a_warm_hour(kernel)
    page = open_zip(packed(kernel, notary, INCIDENT)).files["report.html"].decode()
    assert "incident-1" in page
    opened = page.count("orchestration.incident_opened")
    assert opened == 1  # in the list of entries; the timeline has the room's own words


@pytest.mark.parametrize("kind", ["unit", "lot"])
def test_a_units_and_a_lots_history_is_proven(kernel: Kernel, notary: Notary, kind: str) -> None:
    world.open_world(kernel)
    kernel.do(world.receive())
    kernel.do(world.hold("h1", world.PALLET))
    subject = PackSubject("unit", world.PALLET) if kind == "unit" else PackSubject("lot", world.LOT)
    pack = packed(kernel, notary, subject)
    assert verify.verify_pack(pack, [TOWER.key]).findings == []
    files = open_zip(pack).files
    assert any(path.startswith("stock/") for path in files)
    assert world.PALLET.encode() in files["entries/ATL1-1.jsonl"]


def test_what_is_not_known_adds_nothing(kernel: Kernel) -> None:
    for subject in (PackSubject("incident", "none"), PackSubject("unit", "none"), PackSubject("lot", "none")):
        assert preparations(kernel.reader(), subject) == []
