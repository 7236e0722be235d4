"""Kill -9 under load, fifty times: what was acknowledged is there, nothing is half done, and work goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coldgrid.kernel import command_log, log
from coldgrid.kernel.database import open_database
from coldgrid.orchestration.approvals import ApprovalStatus, get_approval
from coldgrid.orchestration.decisions import DecisionStatus, get_decision
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.orders.orders import get_order
from coldgrid.stock.ledger import unbalanced
from coldgrid.telemetry import store
from coldgrid.tower.rooms import load_rooms
from tests.conftest import T0, Kernel
from tests.faults.worker import HELD, MOVED, SUPERVISOR, minute_of
from tests.kernel.rooms import Bumped, Echoed, Told, count_of
from tests.network.master import put_in_force
from tests.orders.world import stocked
from tests.stock.world import FREEZER, SITE, check_everything, index, receive
from tests.telemetry.cold_room import AIR, at, sensor

KILLS = 25  # of each load: fifty in all
LIVES_S = 0.25  # a child is killed so long after its first acknowledgement at the latest


def killed_rounds(database: Path, load: str) -> list[str]:
    """Let children load the database, kill each at some moment; return what they had acknowledged."""
    chance = random.Random(2)
    acknowledged: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.worker", str(database), load],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for turn in range(KILLS):
            process.stdin.write(f"{turn}\n")
            process.stdin.flush()
            child = int(process.stdout.readline().removeprefix("child "))
            first = process.stdout.readline()
            assert first.startswith("ack ")
            time.sleep(chance.uniform(0.0, LIVES_S))
            os.kill(child, signal.SIGKILL)
            lines = [first, *iter(process.stdout.readline, "over\n")]
            acknowledged += [line.split()[1] for line in lines]
        process.stdin.close()
    return acknowledged


@contextmanager
def opened(database: Path) -> Iterator[Kernel]:
    """Open what the killed ones left, and let it do what was still to do."""
    kernel = Kernel(open_database(str(database)))
    try:
        kernel.decider.settle()
        yield kernel
    finally:
        kernel.close()


def check_log(kernel: Kernel, acknowledged: list[str]) -> list[Any]:
    """Each key is answered from the log, numbers have no gap, rebuild equals live; return the events."""
    reader = kernel.reader()
    kept = {
        key
        for start in range(0, len(acknowledged), 500)
        for _, key in command_log.find(reader, acknowledged[start : start + 500])
    }
    assert [key for key in acknowledged if key not in kept] == []
    entries = list(log.read_all(reader))
    assert [entry.position for entry in entries] == list(range(len(entries)))
    for origin in {entry.origin for entry in entries}:
        assert (seqs := [e.seq for e in entries if e.origin == origin]) == list(range(len(seqs)))
    kernel.rebuild()
    return [log.decode_entry(entry) for entry in entries]


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_done(tmp_path: Path) -> None:
    database = tmp_path / "toy.db"
    acknowledged = killed_rounds(database, "toy")
    assert len(acknowledged) > KILLS * 10
    with opened(database) as kernel:
        events = check_log(kernel, acknowledged)
        assert [key for key in acknowledged if count_of(kernel.reader(), key) != 1] == []
        # A command, its cascade and, at the latest now, its cursor reaction: all or nothing of each.
        told = [{e.name for e in events if isinstance(e, kind)} for kind in (Bumped, Echoed, Told)]
        assert told[0] == told[1] == told[2]


def seed(database: Path) -> None:
    """A network with more goods than are asked for, a sensor, an incident."""
    load_rooms()
    kernel = Kernel(open_database(str(database)))
    stocked(kernel, near=100_000, far=100_000)
    put_in_force(kernel, sensor(), change_id="change-sensors")
    for code in (MOVED, HELD):
        kernel.do(receive(code, 50))
    incident = OpenIncident(
        site_id=SITE,
        incident_id="i1",
        severity=Severity.OPERATOR_ACTIONABLE,
        title="Too warm",
        zone_id=FREEZER,
    )
    kernel.do(incident)
    kernel.close()


@pytest.mark.timeout(600)
def test_no_order_batch_approval_or_movement_is_lost_or_half_done(tmp_path: Path) -> None:
    database = tmp_path / "rooms.db"
    seed(database)
    acknowledged = killed_rounds(database, "rooms")
    of = {
        caller: [key for key in acknowledged if f"-{caller}" in key and "/" not in key]
        for caller in ("order", "batch", "approval", "move", "hold")
    }
    assert all(of.values()), {caller: len(keys) for caller, keys in of.items()}
    with opened(database) as kernel:
        check_log(kernel, acknowledged)
        check_everything(kernel)
        check_orders(kernel, of["order"])
        check_readings(kernel, of["batch"])
        check_approvals(kernel, of["approval"])
        assert unbalanced(kernel.reader()) == []
        for bucket in index(kernel)._by_key.values():  # noqa: SLF001 (looks at every bucket there is)
            assert bucket.promised <= bucket.sellable


def check_orders(kernel: Kernel, keys: list[str]) -> None:
    """Each is there and, like each that nobody was told of, placed with its promise or not at all."""
    for key in keys:
        assert get_order(kernel.reader(), f"web-{key}").live
    events = [event for _, event in kernel.events()]
    placed = {event.order_id for event in events if type(event).__name__ == "OrderPlaced"}
    promised = {event.order_id for event in events if type(event).__name__ == "Promised"}
    assert placed == promised
    assert {f"web-{key}" for key in keys} <= placed


def check_readings(kernel: Kernel, keys: list[str]) -> None:
    """Each batch's reading is in the series."""
    times, _ = store.series(kernel.reader(), AIR, at(-1_000), T0)
    stored = set(times.astype("int64").tolist())
    assert [key for key in keys if round(at(minute_of(key)).timestamp() * 1_000_000) not in stored] == []


def check_approvals(kernel: Kernel, keys: list[str]) -> None:
    """Each says who agreed, and so does the record of its decision: also where nobody was told."""
    reader = kernel.reader()
    for key in keys:
        assert get_approval(reader, key).decided_by == SUPERVISOR.actor_id
    asked = [event for _, event in kernel.events() if type(event).__name__ == "ApprovalRequested"]
    for event in asked:
        approval = get_approval(reader, event.approval_id)
        waits = get_decision(reader, approval.decision.decision_id).status is DecisionStatus.WAITING
        assert waits == (approval.status is ApprovalStatus.WAITING)
