"""A bounded share of histories, and the simulator itself: it replays, and finds what is planted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from coldgrid.kernel import command_log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from tests.conftest import HandClock, postgres_url
from tests.simulation.disk import Disk, DiskDatabase, Fault, PowerLost
from tests.simulation.laws import LawBroken
from tests.simulation.world import play

SHARE_S = 25
SERVER_SEEDS = 2


def histories(*asked: str) -> subprocess.CompletedProcess[str]:
    """Play histories in a process of their own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *asked],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(300)
def test_a_share_of_histories_breaks_no_law() -> None:
    done = histories("--seeds", "1000", "--seconds", str(SHARE_S))
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]


@pytest.mark.timeout(300)
def test_the_same_laws_hold_where_the_tower_keeps_its_data_on_a_server() -> None:
    postgres_url()  # skips, and says why, where there is none
    done = histories("--seeds", str(SERVER_SEEDS), "--tower", "postgresql")
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]


@pytest.mark.timeout(300)
def test_a_seed_is_the_same_history_each_time() -> None:
    told: list[list[str]] = [[], []]
    counts = [play(7, told[turn].append) for turn in range(2)]
    assert counts[0] == counts[1]
    assert told[0] == told[1]


def forget(*args: object) -> dict[object, object]:
    return {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("where", "name", "planted"),
    [(command_log, "find", forget)],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, planted: Callable[..., object]
) -> None:
    monkeypatch.setattr(where, name, planted)
    with pytest.raises(LawBroken):
        deque(map(play, range(20)), maxlen=0)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_commit_that_the_power_ended_is_whole_or_was_never(tmp_path: Path, fault: Fault) -> None:
    for seed in range(20):
        disk = Disk(tmp_path / f"{fault}{seed}.db", Random(seed))
        decider = Decider(DiskDatabase(disk), HandClock())
        decider.connection.command("CREATE TABLE toy (n INTEGER)")
        decider.connection.command("BEGIN")
        decider.connection.command("INSERT INTO toy VALUES (1)")
        decider.connection.command("COMMIT")
        disk.arm(fault, 0)
        decider.connection.command("BEGIN")
        for number in range(2_000):
            decider.connection.command(f"INSERT INTO toy VALUES ({number})")
        with pytest.raises(PowerLost):
            decider.connection.command("COMMIT")
        image = disk.image()
        decider.close()
        disk.put(image)
        database = open_database(str(disk.path))
        connection = database.writer()
        rows = connection.driver.execute("SELECT count(*) FROM toy").fetchone()[0]  # type: ignore[attr-defined]
        connection.close()
        database.close()
        assert rows in (1, 2_001)
        assert rows == {Fault.BEFORE: 1, Fault.AFTER: 2_001}.get(fault, rows)
