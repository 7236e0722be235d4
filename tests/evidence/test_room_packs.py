"""What rooms put into packs, end to end: readings with the blocks that the log vouches for, people, stock."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from coldgrid.cli.verify import verify_pack_file
from coldgrid.evidence import verify
from coldgrid.evidence.archive import open_zip, pack_zip
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.packs import PackRequest, pack_now
from coldgrid.evidence.parts import PackSubject, preparations
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.telemetry.losses import asset_of
from tests.conftest import Kernel
from tests.evidence.conftest import TOWER
from tests.stock import world
from tests.telemetry.cold_room import AIR, AIR_2, cold_room, feed, micros, steady
from tests.telemetry.losing import lose

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


def test_a_pack_says_what_of_its_time_is_lost_and_is_none_the_less_sound(
    kernel: Kernel, notary: Notary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_warm_hour(kernel)
    feed(kernel, steady(165, 10, -12.0))
    lose(kernel.decider, "ATL1", AIR_2, micros(130), 20)
    lose(kernel.decider, "ATL1", AIR_2, micros(-60 * 24), 20)  # the day before is not in the pack
    pack = packed(kernel, notary, INCIDENT)
    report = verify.verify_pack(pack, [TOWER.key])
    assert report.ok
    [gap] = report.gaps
    told = f"Readings of {AIR_2} are lost, 2026-03-01 10:10 to 2026-03-01 10:29 UTC: 20 of them"
    assert str(gap) == told
    files = open_zip(pack).files
    page = files["report.html"].decode()
    assert f"Gap: {told}." in page
    assert '<rect class="gap"' in page
    assert "Readings of ATL1-FRZ1 that are lost" in page
    assert gap.entry_id in {one["entry"] for one in entries_of(files)}
    (tmp_path / "pack.zip").write_bytes(pack)
    assert verify_pack_file(tmp_path / "pack.zip") == 0
    assert told in " ".join(capsys.readouterr().out.split())


def entries_of(files: dict[str, bytes]) -> list[dict[str, str]]:
    found = []
    for path, body in files.items():
        if path.startswith("entries/"):
            for line in body.splitlines():
                one = msgspec.json.decode(line)
                found.append({"entry": f"{one['origin']}/{one['epoch']}/{one['seq']}", "type": one["type"]})
    return found


def test_the_pack_of_a_loss_names_all_that_is_lost_of_its_site(kernel: Kernel, notary: Notary) -> None:
    a_warm_hour(kernel)
    lose(kernel.decider, "ATL1", AIR_2, micros(-30), 20)
    lose(kernel.decider, "ATL1", AIR, micros(-60 * 24), 20)
    opening = OpenIncident(
        site_id="ATL1",
        incident_id="incident-2",
        asset_id=asset_of("ATL1"),
        severity=Severity.OPERATOR_ACTIONABLE,
        title="Sealed readings of ATL1 are lost",
    )
    kernel.do(opening)
    pack = packed(kernel, notary, PackSubject("incident", "incident-2"))
    report = verify.verify_pack(pack, [TOWER.key])
    assert report.ok
    assert [gap.title for gap in report.gaps] == [f"Readings of {one} are lost" for one in (AIR, AIR_2)]
