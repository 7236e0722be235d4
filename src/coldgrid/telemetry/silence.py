"""Silence makes no reading: a timer of each site looks for sensors that were not heard of in time.

The timer stands at the earliest instant at which a sensor could be silent. Hearing of a sensor does not
move it; when it fires, it finds who is really silent and stands again at the next such instant.

After an outage of ours nobody was silent: each sensor has its whole gap again to be heard, from the first
reading or look since. A timer that fell due in the outage fires as the process begins, and is that look.
"""

from __future__ import annotations

import numpy as np

from coldgrid.kernel.registry import on_timer
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.annunciate import record_turns
from coldgrid.telemetry.engine import find_silent
from coldgrid.telemetry.memory import NEVER, OFF
from coldgrid.telemetry.quantities import Ints
from coldgrid.telemetry.rules import COLUMN, Rule
from coldgrid.telemetry.watch import Watch


def expect(tx: Tx, rows: Ints) -> None:
    """Make sure that the timer stands no later than when one of these sensors could be silent."""
    watch = tx.hot(Watch)
    _listening_since_us(tx, watch)
    due_us = to_micros(tx.now) + int(watch.memory.tuned["gap_us"][rows].min())
    if due_us < watch.silence_due_us.get(tx.origin, due_us + 1):
        _set(tx, watch, due_us)


@on_timer("telemetry.silence")
def look_for_silent(tx: Tx, timer: Timer) -> None:
    """Raise the gap rule for sensors that are silent, and stand again."""
    watch = tx.hot(Watch)
    memory, rows = watch.memory, watch.active_rows(tx.origin)
    since_us = _listening_since_us(tx, watch)
    outcome = find_silent(memory, rows, to_micros(tx.now), since_us)
    tx.undo(memory.apply(outcome.draft))
    record_turns(tx, outcome.turns)
    if outcome.turns:
        # No flush tells of silence, so a replay of flushes would not know of it.
        watch.checkpoint(tx, tx.origin)
    heard = rows[(memory.seen_us[rows] > NEVER) & (memory.state[rows, COLUMN[Rule.GAP]] == OFF)]
    if len(heard):
        heeded_us = np.maximum(memory.seen_us[heard], since_us)
        _set(tx, watch, int((heeded_us + memory.tuned["gap_us"][heard]).min()))
    else:
        _forget(tx, watch)


def _set(tx: Tx, watch: Watch, due_us: int) -> None:
    _forget(tx, watch)
    watch.silence_due_us[tx.origin] = due_us
    timer_id, kind = f"telemetry.silence/{tx.origin}", "telemetry.silence"
    tx.set_timer(timer_id, kind, from_micros(due_us), {}, on_outage="restart")


def _listening_since_us(tx: Tx, watch: Watch) -> int:
    """When this process began to listen to the site; a clock that was set back since is not waited for."""
    now_us = to_micros(tx.now)
    since_us = watch.listening_since_us.get(tx.origin, now_us + 1)
    if since_us > now_us:
        # It needs no undo: a command that is taken back was heard all the same.
        since_us = watch.listening_since_us[tx.origin] = now_us
    return since_us


def _forget(tx: Tx, watch: Watch) -> None:
    site_id = tx.origin
    old = watch.silence_due_us.pop(site_id, None)

    def undo() -> None:
        if old is None:
            watch.silence_due_us.pop(site_id, None)
        else:
            watch.silence_due_us[site_id] = old

    tx.undo(undo)
