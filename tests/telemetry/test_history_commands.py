"""`coldgrid history …` as a person types it: what it prints, and what it ends with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from coldgrid.kernel.database import open_database
from tests import starting
from tests.conftest import Kernel
from tests.telemetry.cold_room import AIR
from tests.telemetry.test_history import DAY
from tests.telemetry.test_seal import a_day


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("commands")
    kernel = Kernel(open_database(str(made / "log.db")))
    a_day(kernel)
    kernel.close()
    return made


def run(folder: Path, *words: str, history: str = "history") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    own = {"COLDGRID_DATABASE": str(folder / "log.db"), "COLDGRID_HISTORY": history and str(folder / history)}
    return starting.run(["history", *words], clean | own)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Path:
    done = run(folder, "export")
    assert done.returncode == 0, done.stderr
    assert "1 files written, 0 blocks wait" in done.stderr
    again = run(folder, "export")
    assert "0 files written" in again.stderr
    return folder


def test_a_query_prints_rows_and_with_json_objects(exported: Path) -> None:
    sql = "SELECT sensor_id, count(*) AS n, max(measured_at) AS last FROM readings GROUP BY 1 ORDER BY 1"
    first = run(exported, "query", sql).stdout.splitlines()[0]
    assert first == f"{AIR}\t960\t{DAY}T23:59:00+00:00"
    assert run(exported, "query", sql, "--from", "2026-03-02").stdout.splitlines() == []
    assert "is no day" in run(exported, "query", sql, "--to", "soon").stderr
    found = json.loads(run(exported, "query", sql, "--json").stdout.splitlines()[0])
    assert found == {"sensor_id": AIR, "n": 960, "last": f"{DAY}T23:59:00+00:00"}


def test_a_query_that_is_none_ends_with_what_is_wrong(exported: Path) -> None:
    for sql, why in (
        ("DROP VIEW readings", "one SELECT statement"),
        ("SELECT nothing FROM readings", "nothing"),
    ):
        done = run(exported, "query", sql)
        assert (done.returncode, done.stdout) == (1, "")
        assert why in done.stderr


def test_a_file_is_proven_or_what_is_wrong_with_it_is_named(exported: Path) -> None:
    path = exported / f"history/readings/date={DAY}/site=ATL1/0000.parquet"
    done = run(exported, "verify", str(path))
    assert (done.returncode, "2 of 2 blocks proven by the log" in done.stdout) == (0, True)
    told = json.loads(run(exported, "verify", str(path), "--json").stdout)
    assert (told["ok"], told["proven"]) == (True, 2)
    for other in (exported / "log.db", exported / "nothing.parquet"):
        done = run(exported, "verify", str(other))
        assert done.returncode == 1
        assert "no Parquet file can be read here" in done.stderr


def test_compacting_says_what_it_did_and_without_a_log_that_it_cannot(exported: Path) -> None:
    done = run(exported, "compact")
    assert (done.returncode, "0 site days brought together, 0 files removed" in done.stderr) == (0, True)
    told = json.loads(run(exported, "compact", "--after-min", "0", "--json").stdout)
    assert told == {"days": 0, "removed": 0, "waiting": 0, "problems": []}
    lost = run(exported, "compact", "--database", str(exported / "none.db"))
    assert (lost.returncode, "There is no log at" in lost.stderr) == (1, True)


def test_the_report_of_a_day_is_a_row_for_each_sensor(exported: Path) -> None:
    done = run(exported, "report", "--day", str(DAY))
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == [AIR, "ATL1-FRZ1-T2"]
    assert "2 sensors, 1,920 readings, 0 outside their limits, 2 unknown" in done.stderr
    missing = run(exported, "report", "--day", "2026-03-04")
    assert "It should have come from ATL1" in " ".join(missing.stderr.split())
    wrong = run(exported, "report", "--day", "soon")
    assert (wrong.returncode, "2026-03-01" in wrong.stderr) == (1, True)


def test_of_a_day_that_was_never_written_it_says_that_nobody_knows_it(exported: Path) -> None:
    done = run(exported, "report", "--day", "2020-01-01")
    assert done.returncode == 1
    assert "The history has nothing of 2020-01-01, so nobody knows how that day was" in " ".join(
        done.stderr.split()
    )
    assert "0 outside" not in done.stderr


def test_without_a_history_it_says_which_setting_makes_one(folder: Path) -> None:
    done = run(folder, "report", "--day", str(DAY), history="")
    assert done.returncode == 1
    assert "set COLDGRID_HISTORY" in done.stderr
