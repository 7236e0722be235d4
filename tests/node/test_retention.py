"""Retention at a serving host: what its settings let go, what is spared, what the command says and proves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.settings import load_settings
from coldgrid.node.retention import LEAST_DAYS, LOOKBACK, policy_of, spared_of, waits_for
from coldgrid.node.upgrade import bring_up
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.telemetry.retention import READINGS
from coldgrid.tower.rooms import load_rooms
from tests.conftest import T0, Kernel
from tests.node.machines import Machine, running
from tests.patience import eventually
from tests.ports import free_port
from tests.starting import run

PORT = free_port()


# In a process without the flows between rooms: with them the silence that follows would be an incident.
SEED = """
import sys
from coldgrid.kernel.database import open_database
from tests.conftest import Kernel
from tests.telemetry.test_seal import a_day

kernel = Kernel(open_database(sys.argv[1]))
a_day(kernel)
kernel.close()
"""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeded")
    load_rooms()
    path = str(folder / "tower.db")
    subprocess.run([sys.executable, "-c", SEED, path], check=True, cwd=Path(__file__).parents[2])
    bring_up(path, T0, lambda text: None)
    return folder


@pytest.fixture
def folder(seeded: Path, tmp_path: Path) -> Path:
    """A tower's folder with a day of readings from months ago."""
    shutil.copytree(seeded, tmp_path, dirs_exist_ok=True)
    return tmp_path


class Asked:
    """A reader that counts what it is asked."""

    def __init__(self, db: Reader) -> None:
        self._db = db
        self.count = 0

    def all(self, statement: Any, **values: Any) -> Any:
        self.count += 1
        return self._db.all(statement, **values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


def incident(folder: Path) -> None:
    kernel = Kernel(open_database(str(folder / "tower.db")))
    kernel.host.instant = T0 + timedelta(days=1)
    opening = OpenIncident(
        site_id="ATL1",
        incident_id="incident-1",
        zone_id="ATL1-FRZ1",
        severity=Severity.EXCURSION_RISK,
        title="Freezer 1 is warm",
    )
    kernel.do(opening)
    kernel.close()


def environment_of(folder: Path, **settings: str) -> dict[str, str]:
    return {
        "COLDGRID_DATABASE": str(folder / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(folder / "signing.key"),
        "COLDGRID_PORT": str(PORT),
        "COLDGRID_CHECKPOINT_EVERY_S": "0.5",
        **{f"COLDGRID_{name.upper()}": value for name, value in settings.items()},
    }


def ask(folder: Path, *arguments: str, **settings: str) -> Any:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    done = run(["retention", "--json", *arguments], inherited | environment_of(folder, **settings))
    assert done.returncode == 0, done.stderr
    return done.stdout if "--now" in arguments else json.loads(done.stdout)


def test_by_default_everything_is_kept(folder: Path) -> None:
    told = ask(folder, "--dry-run")
    assert {one["kind"]: (one["days"], one["things"]) for one in told["classes"]} == dict.fromkeys(
        LEAST_DAYS, (0, 0)
    )
    assert ask(folder)["facts"] == []


def test_a_serving_host_lets_go_what_a_dry_run_named_and_the_log_proves_it(folder: Path) -> None:
    would = ask(folder, "--dry-run", keep_readings_days="60")
    readings = next(one for one in would["classes"] if one["kind"] == READINGS)
    assert readings["things"] == 2
    assert readings["bytes"] > 0
    assert ask(folder)["facts"] == [], "a dry run changes nothing"

    settings = environment_of(folder, keep_readings_days="60")
    tower = Machine(
        "the tower", ["serve"], settings | {"LOG_FILE": str(folder / "log")}, f"http://127.0.0.1:{PORT}"
    )
    with running(tower):
        tower.start()
        assert "readings: " in ask(folder, "--now")
        assert "readings: 0 went" in ask(folder, "--now"), "once it has served it sealed what was left"
        eventually(lambda: ask(folder)["facts"][0]["checkpoint"] is not None, "a checkpoint covers the fact")
        (fact,) = ask(folder)["facts"]
        assert fact["kind"] == READINGS
        assert fact["things"] >= 2, "what the dry run named, and what was sealed at the start"
        assert fact["bytes"] >= readings["bytes"]
        assert fact["entry"].startswith("network/")


def test_readings_that_an_open_incident_rests_on_are_spared(folder: Path) -> None:
    incident(folder)
    would = ask(folder, "--dry-run", keep_readings_days="60")
    assert [one["things"] for one in would["classes"] if one["kind"] == READINGS] == [0]
    assert list(would["spared"]) == ["ATL1"]
    kernel = Kernel(open_database(str(folder / "tower.db")))
    asked = Asked(kernel.reader())
    assert spared_of(cast("Reader", asked)).since == {"ATL1": T0 + timedelta(days=1) - LOOKBACK}
    assert asked.count == 3, (
        "one question for incidents, holds and excursions each, however many sites there are"
    )
    kernel.close()


@pytest.mark.parametrize("kind", sorted(LEAST_DAYS))
def test_a_time_that_is_too_short_is_refused_by_its_name(kind: str) -> None:
    name = f"keep_{kind}_days"
    with pytest.raises(Invalid) as refused:
        policy_of(load_settings({f"COLDGRID_{name.upper()}": str(LEAST_DAYS[kind] - 1)}))
    assert refused.value.problems[0].field == f"COLDGRID_{name.upper()}"
    assert policy_of(load_settings({f"COLDGRID_{name.upper()}": str(LEAST_DAYS[kind])})).days == {
        kind: LEAST_DAYS[kind]
    }


def test_a_node_keeps_its_readings_until_its_tower_has_them(folder: Path) -> None:
    kernel = Kernel(open_database(str(folder / "tower.db")))
    settings = load_settings({})
    assert waits_for(kernel.reader(), settings, READINGS) == ""
    assert "asks for blocks" in waits_for(kernel.reader(), settings, READINGS, "the tower asks for blocks")
    assert waits_for(kernel.reader(), settings, "messages", "the tower asks for blocks") == ""
    kernel.close()
