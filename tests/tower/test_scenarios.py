"""The nights in scenarios/: what each report must say, one log for one seed, and the pack's proof."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldgrid.evidence.verify import verify_pack
from coldgrid.kernel.rejections import Invalid
from coldgrid.tower.scenario.play import play_file
from coldgrid.tower.scenario.report import Report
from coldgrid.tower.world.plan import load_plan

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PROMISED_KEYS = [
    "log_hash",
    "detected_after_s",
    "paused_after_s",
    "held_after_s",
    "resourced_after_s",
    "notified_after_s",
    "escalated_after_s",
    "customers_notified_after_s",
    "units_held",
    "units_shipped_exposed",
    "orders_resourced",
    "orders_unsourceable",
    "oversold",
    "held_shipped",
    "approvals",
    "evidence_verified",
    "pack",
]
SHORT = """
name: short
title: A short night
seed: 5
starts_at: 2026-03-07T05:30:00Z
minutes: 40
warm_up_min: 60
sites: [ATL1, CLT1]
orders_per_hour: 60
ship_after_min: 10
faults:
  - {kind: compressor, zone_id: ATL1-FRZ1, at_min: 5, constant_min: 60}
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("night")
    return play_file(SCENARIOS / "freezer-2am.yaml", pack=folder / "pack.zip")


@pytest.mark.timeout(300)
class TestTheFreezerAtTwo:
    def test_the_night_meets_every_expectation_of_its_plan(self, night: Report) -> None:
        assert night.unmet == []
        assert night.ok

    def test_the_report_has_every_promised_figure(self, night: Report) -> None:
        told = msgspec.to_builtins(night)
        assert [key for key in PROMISED_KEYS if key not in told] == []

    def test_the_steps_come_in_the_order_of_the_real_night(self, night: Report) -> None:
        assert night.detected_after_s is not None
        assert night.held_after_s is not None
        assert night.detected_after_s == night.paused_after_s == night.notified_after_s
        assert night.detected_after_s < (night.escalated_after_s or 0) < night.held_after_s
        assert night.held_after_s <= (night.resourced_after_s or 0) <= (night.customers_notified_after_s or 0)

    def test_nothing_was_oversold_and_no_held_unit_was_shipped(self, night: Report) -> None:
        assert (night.oversold, night.held_shipped) == (0, 0)

    def test_its_pack_verifies_offline_and_names_a_file_that_was_altered(self, night: Report) -> None:
        assert night.evidence_verified
        data = Path(night.pack).read_bytes()
        assert verify_pack(data).ok
        with zipfile.ZipFile(night.pack) as pack:
            name = next(info.filename for info in pack.infolist() if info.filename.endswith(".jsonl"))
        altered = _rezipped(night.pack, name)
        report = verify_pack(altered)
        assert not report.ok
        assert any(finding.file == name for finding in report.findings)


def _rezipped(path: str, name: str) -> bytes:
    """The pack with one byte of one file changed, zipped anew as an attacker would."""
    out = BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            body = old.read(info)
            new.writestr(info, bytes([body[0] ^ 1]) + body[1:] if info.filename == name else body)
    return out.getvalue()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", ["defrost", "door-closed-again", "dead-probe", "compressor-slow-drift", "power-cut"]
)
def test_a_night_that_is_no_failure_meets_its_plan_and_says_why(name: str, tmp_path: Path) -> None:
    report = play_file(SCENARIOS / f"{name}.yaml", pack=tmp_path / "pack.zip")
    assert report.unmet == []
    assert report.why, "the report must say why"
    assert (report.oversold, report.held_shipped) == (0, 0)


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_log_and_another_seed_another(tmp_path: Path) -> None:
    plan = tmp_path / "short.yaml"
    plan.write_text(SHORT)
    hashes = [play_file(plan, seed=seed, pack=tmp_path / "p.zip").log_hash for seed in (5, 5, 6)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.timeout(300)
def test_the_command_prints_json_alone_on_stdout(tmp_path: Path) -> None:
    plan = tmp_path / "short.yaml"
    plan.write_text(SHORT)
    command = [sys.executable, "-m", "coldgrid.cli", "scenario", "run", str(plan), "--json"]
    done = subprocess.run(
        [*command, "--pack", str(tmp_path / "p.zip")], capture_output=True, text=True, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["plan"] == "short"
    assert told["detected_after_s"] is not None


def test_a_wrong_plan_is_refused_with_every_problem(tmp_path: Path) -> None:
    plan = tmp_path / "wrong.yaml"
    plan.write_text("name: x\nseed: many\nminutes: 0\nfaults: [{kind: meteor}]\nfoo: 1\n")
    with pytest.raises(Invalid) as caught:
        load_plan(plan)
    fields = {problem.field for problem in caught.value.problems}
    assert {"title", "seed", "starts_at", "minutes", "foo"} <= fields
    with pytest.raises(Invalid, match="there is no"):
        load_plan(tmp_path / "absent.yaml")
