"""Kill -9 under load, fifty times: what was acknowledged is there, nothing is half done, and work goes on."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from tests.conftest import Kernel
from tests.kernel.rooms import Bumped, Echoed, Told, count_of

KILLS = 50


def killed_round(database: Path, turn: int, chance: random.Random) -> list[str]:
    """Let a worker load the database, kill it at some moment, and return what it had acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.worker", str(database), str(turn)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(chance.uniform(0.0, 0.12))
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    lines = [first, *rest.splitlines(keepends=True)]
    return [line.split()[1] for line in lines if line.startswith("ack ") and line.endswith("\n")]


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_done(tmp_path: Path) -> None:
    database = tmp_path / "cold.db"
    chance = random.Random(2)
    acknowledged: list[str] = []
    for turn in range(KILLS):
        acknowledged += killed_round(database, turn, chance)
    kernel = Kernel(open_database(str(database)))
    try:
        kernel.decider.settle()
        reader = kernel.reader()
        assert len(acknowledged) > KILLS * 10
        assert [key for key in acknowledged if count_of(reader, key) != 1] == []
        entries = list(log.read_all(reader))
        assert [entry.position for entry in entries] == list(range(len(entries)))
        for origin in ("ATL1", "network"):
            assert (seqs := [e.seq for e in entries if e.origin == origin]) == list(range(len(seqs)))
        # A command, its cascade and, at the latest now, its cursor reaction: all or nothing of each.
        events = [log.decode_entry(entry) for entry in entries]
        told = [{e.name for e in events if isinstance(e, kind)} for kind in (Bumped, Echoed, Told)]
        assert told[0] == told[1] == told[2]
        kernel.rebuild()
    finally:
        kernel.close()
