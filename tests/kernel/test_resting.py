"""What follows from a backlog rests in a lane of its origin: exactly once, in order, behind what is live."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from coldgrid.kernel import log, parking
from coldgrid.kernel.cascade import CURSOR_CHUNK
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.resting import REST_IDLE, REST_MAX
from coldgrid.kernel.service import DeciderService
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Echo

NAMES = [f"n{number}" for number in range(30)]


def log_of(site_id: str, names: Sequence[str]) -> list[Entry]:
    """A site's log as its node wrote it: each name is echoed, which the network answers by telling it."""
    with sqlite_kernel() as node:
        for name in names:
            node.do(Echo(site_id=site_id, name=name))
        return [entry for entry in log.read_all(node.reader()) if entry.origin == site_id]


def take(kernel: Kernel, entries: Sequence[Entry], *, rests: bool = False) -> None:
    site_id = entries[0].origin
    kernel.decider.take(site_id, lambda tx: take_in(tx, entries, live=True), "test", rests=rests)


def run_due(kernel: Kernel, chunk: int = CURSOR_CHUNK) -> None:
    """Run what is due by the clock, as a serving decider does between commits."""
    decider = kernel.decider
    while decider.pump.due(kernel.host.now()):
        decider.take(
            NETWORK_ORIGIN,
            lambda tx: decider.pump.run(tx.batch, decider.unit, chunk, tx.now),
            "cursor",
        )


def told(kernel: Kernel, names: Sequence[str]) -> list[int]:
    return [rooms.told_of(kernel.reader(), name) for name in names]


def told_in_order(kernel: Kernel, names: Sequence[str]) -> bool:
    order = [event.name for _, event in kernel.events() if isinstance(event, rooms.Told)]
    return [name for name in order if name in names] == list(names)


def test_a_backlog_rests_while_it_comes_and_what_is_live_goes_first(kernel: Kernel) -> None:
    night, live = log_of("ATL1", NAMES), log_of("SEA1", ["live"])
    take(kernel, night[:20], rests=True)
    take(kernel, live)
    run_due(kernel)
    assert told(kernel, ["live"]) == [1]
    assert told(kernel, NAMES) == [0] * len(NAMES)
    take(kernel, night[20:], rests=True)
    kernel.host.instant += REST_IDLE
    run_due(kernel)
    assert told(kernel, NAMES) == [1] * len(NAMES)
    assert told_in_order(kernel, NAMES)
    assert not kernel.decider.pump.due()
    kernel.rebuild()


def test_a_backlog_that_does_not_end_rests_for_its_time_and_no_longer(kernel: Kernel) -> None:
    night = log_of("ATL1", NAMES)
    step = REST_IDLE / 2
    for entry in night[:-1]:
        take(kernel, [entry], rests=True)
        kernel.host.instant += step
    run_due(kernel)
    assert sum(told(kernel, NAMES)) == 0
    assert kernel.decider.pump.lanes.oldest_s(kernel.host.now()) == (len(night[:-1]) * step).total_seconds()
    kernel.host.instant += REST_MAX - timedelta(seconds=1)
    take(kernel, night[-1:], rests=True)
    run_due(kernel)
    assert sum(told(kernel, NAMES)) == len(NAMES)
    assert kernel.decider.pump.lanes.oldest_s(kernel.host.now()) == 0


def test_the_last_part_of_a_backlog_is_small_and_nothing_waits_any_longer(kernel: Kernel) -> None:
    night = log_of("ATL1", NAMES)
    take(kernel, night[:20], rests=True)
    take(kernel, night[20:])
    run_due(kernel, chunk=3)
    assert told(kernel, NAMES) == [1] * len(NAMES)
    assert told_in_order(kernel, NAMES)


@pytest.mark.parametrize("ran", [0, 1, 7, len(NAMES)])
def test_a_crash_in_the_middle_of_a_lane_loses_and_repeats_nothing(kernel: Kernel, ran: int) -> None:
    night, live = log_of("ATL1", NAMES), log_of("SEA1", ["live"])
    take(kernel, night, rests=True)
    take(kernel, live)
    run_due(kernel)
    kernel.host.instant += REST_IDLE
    for _ in range(ran):
        kernel.decider.take(
            NETWORK_ORIGIN, lambda tx: kernel.decider.pump.run(tx.batch, kernel.decider.unit, 1, tx.now), "c"
        )
    kernel.restart()
    kernel.decider.settle()
    assert told(kernel, [*NAMES, "live"]) == [1] * (len(NAMES) + 1)
    assert told_in_order(kernel, NAMES)
    end = max(entry.position for entry in log.read_all(kernel.reader()) if entry.origin == "ATL1")
    assert parking.cursors(kernel.reader())["toy.tell_network"] >= end
    kernel.restart()
    kernel.decider.settle()
    assert told(kernel, [*NAMES, "live"]) == [1] * (len(NAMES) + 1)


def test_a_commit_that_fails_leaves_the_lane_as_it_was(kernel: Kernel) -> None:
    night = log_of("ATL1", NAMES)
    take(kernel, night[:10], rests=True)
    lanes = kernel.decider.pump.lanes

    def fail(tx: Any) -> None:
        take_in(tx, night[10:], live=True)
        lanes.take(tx.batch, tx.now, "ATL1")
        kernel.decider.pump.run(tx.batch, kernel.decider.unit, 5)
        raise RuntimeError("no disk")

    before = (lanes.open["ATL1"].position, lanes.open["ATL1"].upto)
    with pytest.raises(RuntimeError):
        kernel.decider.take("ATL1", fail, "test")
    assert (lanes.open["ATL1"].position, lanes.open["ATL1"].upto) == before
    with pytest.raises(RuntimeError):
        kernel.decider.take("CLT1", lambda tx: _open_and_fail(kernel, tx), "test")
    assert list(lanes.open) == ["ATL1"]
    take(kernel, night[10:])
    kernel.decider.settle()
    assert told(kernel, NAMES) == [1] * len(NAMES)


def _open_and_fail(kernel: Kernel, tx: Any) -> None:
    take_in(tx, log_of("CLT1", ["a"]), live=True)
    kernel.decider.pump.lanes.take(tx.batch, tx.now, "CLT1")
    raise RuntimeError("no disk")


def test_a_parked_event_of_a_lane_keeps_its_stream_waiting(kernel: Kernel) -> None:
    take(kernel, log_of("ATL1", ["never", "a", "never", "b"]), rests=True)
    kernel.decider.settle()
    assert told(kernel, ["never", "a", "b"]) == [0, 1, 1]
    assert len(parking.parked_events(kernel.reader())) == 2


def test_a_serving_decider_runs_a_lane_when_it_has_nothing_else_to_do(kernel: Kernel) -> None:
    take(kernel, log_of("ATL1", NAMES), rests=True)
    everything = threading.Event()
    left = set(NAMES)

    def hear(recorded: Sequence[tuple[Entry, Any]]) -> None:
        left.difference_update(event.name for _, event in recorded if isinstance(event, rooms.Told))
        if not left:
            everything.set()

    kernel.decider.listeners.append(hear)
    service = DeciderService(kernel.decider, lambda due: 3_600.0, lambda: False)
    service.start()
    try:
        assert everything.wait(60), f"{left} are not told, on a clock that stands"
    finally:
        service.stop()
