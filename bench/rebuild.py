"""Rebuild: the log of a played night, its trade repeated, projected into fresh tables.

The mix is that of the freezer's night in scenarios/: orders, promises, dispatches and stock movements by far,
then receipts, lots, alarms, incidents, playbook steps, pages, dispositions, master data. An event of it
writes about three rows, so the rows are told beside the events: those written; fewer are left.
A replay runs on one core. Its rate is that of a core, as that of the readings is: the time on the wall, less
what the kernel made the thread wait for a core that others used. The wall is told too.
"""

from __future__ import annotations

import re
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.result import Result
from coldgrid.kernel import log, rebuild
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.held_rows import Writer
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.replay import ReplayBatch
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tx import Tx
from coldgrid.tower.scenario.play import Player
from coldgrid.tower.world.plan import load_plan

PLAN = Path(__file__).parents[1] / "scenarios/freezer-2am.yaml"
EVENTS = 60_000
ROUNDS = 5  # the best one counts: the machine may have other work
TARGET_PER_S = 80_000
TRADE = re.compile(r"orders\.|stock\.(promised|promise_kept|goods_dispatched|unit_received)")
IDS = re.compile(rb'"(order_id|dispatch_id|sscc)":"([^"]+)"')


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        player = Player(load_plan(PLAN), f"{folder}/night.db", lambda told: None)
        player.play()
        repeat_trade(player.decider)
        events, rows, best_s, wall_s = measure(player.decider)
        player.close()
    per_s = events / best_s
    return [
        Result(
            f"rebuild of {events:,} events",
            round(per_s),
            "events/s",
            f"≥ {TARGET_PER_S:,}",
            ok=per_s >= TARGET_PER_S,
        ),
        Result("rebuild, rows written", round(rows / best_s), "rows/s", "", ok=True),
        Result("rebuild, by the wall", round(events / wall_s), "events/s", "", ok=True),
    ]


def repeat_trade(decider: Decider) -> None:
    """Append the night's trade under other ids until the log is long enough; nothing is projected live."""
    reads = Reads(decider.connection)
    trade = [entry for entry in log.read_all(reads) if TRADE.match(entry.type)]
    times = max(1, (EVENTS - log.last_position(reads)) // max(1, len(trade)))
    for number in range(times):
        decider.within(SYSTEM, "network", partial(_append, trade=trade, number=number), "bench")


def _append(tx: Tx, trade: list[Entry], number: int) -> None:
    other = rb'"\1":"\2x%d"' % number
    for entry in trade:
        epoch, seq = tx.batch.heads[entry.origin]
        again = msgspec.structs.replace(
            entry, epoch=epoch, seq=seq, body=IDS.sub(other, entry.body), stream=f"{entry.stream}x{number}"
        )
        log.append_verbatim(tx.batch, again)


def measure(decider: Decider) -> tuple[int, int, float, float]:
    """Return events, rows written, and the seconds of the best round: of a core, and of the wall."""
    rows = count_rows(decider)
    core, wall, events = [], [], 0
    for _ in range(ROUNDS):
        with rebuild.scratch(decider.database) as target:
            started, waited_before = time.perf_counter(), waited_s()
            events = rebuild.replay(Reads(decider.connection), target)
            wall.append(time.perf_counter() - started)
            core.append(wall[-1] - (waited_s() - waited_before))
    return events, rows, min(core), min(wall)


def waited_s() -> float:
    """Return how long this thread was ready but had no core."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not on Linux: then waiting counts
        return 0.0


def count_rows(decider: Decider) -> int:
    """Replay once more, untimed, and count the rows that projections write."""
    rows = 0
    own = ReplayBatch.writer

    def counting(batch: ReplayBatch, statement: Statement[Any]) -> Writer:
        writer = own(batch, statement)

        def counted(row: tuple[Any, ...]) -> None:
            nonlocal rows
            rows += 1
            writer(row)

        return counted

    with rebuild.scratch(decider.database) as target, pytest.MonkeyPatch.context() as patched:
        patched.setattr(ReplayBatch, "writer", counting)
        rebuild.replay(Reads(decider.connection), target)
    return rows
