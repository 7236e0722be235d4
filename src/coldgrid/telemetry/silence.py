"""Silence makes no reading: a timer of each site looks for sensors that were not heard of in time.

The timer stands at the earliest instant at which a sensor could be silent. Hearing of a sensor does not
move it; when it fires, it finds who is really silent and stands again at the next such instant.

Invariants
    S1  Time in which no process of ours ran makes nobody silent: after an outage each sensor that was not
        heard since has its whole gap again, from the first reading or look since. A timer that fell due in
        the outage fires as the process begins, and is that look.
    S2  It has that once. What a process listened to it in vain is off what is left of it (`left_us`), and
        each further start takes a part of the gap: however often a host restarts, silence is told.
    S3  What is left is written down each time it changes: a restart finds it as it was.
"""

from __future__ import annotations

import numpy as np

from coldgrid.kernel.registry import on_timer
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.annunciate import record_turns
from coldgrid.telemetry.engine import find_silent, silent_from
from coldgrid.telemetry.memory import NEVER, OFF, Draft, Memory
from coldgrid.telemetry.quantities import Ints
from coldgrid.telemetry.rules import COLUMN, Rule
from coldgrid.telemetry.watch import Watch

# What a start takes of a gap, and how often what is left is written down while somebody was not heard yet.
PARTS = 16


def expect(tx: Tx, rows: Ints) -> None:
    """Make sure that the timer stands no later than when one of these sensors could be silent."""
    watch = tx.hot(Watch)
    if tx.origin not in watch.listening_since_us:
        if _begin(tx, watch):
            watch.checkpoint(tx, tx.origin)
        _stand(tx, watch)
        return
    due_us = to_micros(tx.now) + int(watch.memory.tuned["gap_us"][rows].min())
    if due_us < watch.silence_due_us.get(tx.origin, due_us + 1):
        _set(tx, watch, due_us)


@on_timer("telemetry.silence")
def look_for_silent(tx: Tx, timer: Timer) -> None:
    """Raise the gap rule for sensors that are silent, and stand again."""
    watch = tx.hot(Watch)
    memory, rows = watch.memory, watch.active_rows(tx.origin)
    changed = tx.origin not in watch.listening_since_us and _begin(tx, watch)
    outcome = find_silent(memory, rows, to_micros(tx.now), watch.listening_since_us[tx.origin])
    tx.undo(memory.apply(outcome.draft))
    record_turns(tx, outcome.turns)
    changed |= _count(tx, watch)
    if outcome.turns or changed:
        # No flush tells of silence, so a replay of flushes would not know of it.
        watch.checkpoint(tx, tx.origin)
    _stand(tx, watch)


def _begin(tx: Tx, watch: Watch) -> bool:
    """Say what is left to each sensor as a process begins to listen; tell whether there was any (S1, S2)."""
    memory, now_us = watch.memory, to_micros(tx.now)
    _note(tx, watch.listening_since_us, now_us)
    rows = _awaited(tx, watch)
    rows = rows[memory.seen_us[rows] < now_us]
    left_us, gap_us = memory.left_us[rows], memory.tuned["gap_us"][rows]
    again_us = np.minimum(left_us, gap_us) - gap_us // PARTS
    return _leave(tx, memory, rows, np.where(left_us > 0, np.maximum(again_us, 1), gap_us))


def _count(tx: Tx, watch: Watch) -> bool:
    """Take off what is left the time in which this process listened in vain; tell whether there was any.

    A clock that was set back since is not waited for.
    """
    memory, now_us = watch.memory, to_micros(tx.now)
    vain_us = max(0, now_us - watch.listening_since_us[tx.origin])
    _note(tx, watch.listening_since_us, now_us)
    rows = _awaited(tx, watch)
    rows = rows[memory.left_us[rows] > 0]
    return _leave(tx, memory, rows, np.maximum(memory.left_us[rows] - vain_us, 1))


def _leave(tx: Tx, memory: Memory, rows: Ints, left_us: Ints) -> bool:
    draft = Draft()
    draft.put("left_us", rows, left_us)
    tx.undo(memory.apply(draft))
    return bool(len(rows))


def _awaited(tx: Tx, watch: Watch) -> Ints:
    """The site's sensors that were heard before and are not silent yet."""
    memory, rows = watch.memory, watch.active_rows(tx.origin)
    awaited: Ints = rows[(memory.seen_us[rows] > NEVER) & (memory.state[rows, COLUMN[Rule.GAP]] == OFF)]
    return awaited


def _stand(tx: Tx, watch: Watch) -> None:
    """Set the timer for the next instant at which a sensor could be silent, or time left is written down."""
    memory, rows = watch.memory, _awaited(tx, watch)
    if not len(rows):
        _note(tx, watch.silence_due_us, None)
        return
    due_us = int(silent_from(memory, rows, watch.listening_since_us[tx.origin]).min())
    waiting = rows[memory.left_us[rows] > 0]
    if len(waiting):
        part_us = int(memory.tuned["gap_us"][waiting].min()) // PARTS
        due_us = min(due_us, to_micros(tx.now) + max(1, part_us))
    _set(tx, watch, due_us)


def _set(tx: Tx, watch: Watch, due_us: int) -> None:
    _note(tx, watch.silence_due_us, due_us)
    timer_id, kind = f"telemetry.silence/{tx.origin}", "telemetry.silence"
    tx.set_timer(timer_id, kind, from_micros(due_us), {}, on_outage="restart")


def _note(tx: Tx, of_sites: dict[str, int], at_us: int | None) -> None:
    """Note an instant for the unit's site, or none, with undo."""
    site_id, old = tx.origin, of_sites.get(tx.origin)
    _put(of_sites, site_id, at_us)
    tx.undo(lambda: _put(of_sites, site_id, old))


def _put(of_sites: dict[str, int], site_id: str, at_us: int | None) -> None:
    if at_us is None:
        of_sites.pop(site_id, None)
    else:
        of_sites[site_id] = at_us
