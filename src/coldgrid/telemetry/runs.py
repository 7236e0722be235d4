"""Runs: from "the condition holds at this reading" to raised, suppressed and returned.

A run begins at the first reading at which a rule's condition holds and ends at the first at which it
does not. In a run the rule is raised at most once, when it held for the rule's duration and nothing
blocks it. A run that was raised, or noted as suppressed, is returned when it ends. What is carried from
earlier flushes is the state at their last reading, so that a stream gives the same turns however it is
cut into flushes.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
import numpy as np

from coldgrid.telemetry.devices import BY_FAULT, FREE, Codes
from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.memory import NOTED, OFF, ON, RAISED, Draft, Memory
from coldgrid.telemetry.quantities import Flags, Ints
from coldgrid.telemetry.rules import COLUMN, Rule


class Kind(StrEnum):
    """What happened to a rule of a sensor."""

    RAISED = "raised"
    RETURNED = "returned"
    SUPPRESSED = "suppressed"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one rule, in event time.

    `at_us` is the reading at which it happened, `since_us` when the condition began, `last_good_us` the
    last good reading before that (0: there was none). `by` says what suppressed it.
    """

    row: int
    rule: Rule
    kind: Kind
    at_us: int
    pos: int
    value_e4: int | None
    since_us: int
    last_good_us: int
    rate_e4_per_h: int | None = None
    by: int = FREE


class Tracked(msgspec.Struct, frozen=True):
    """What tracking one rule gave: its turns, and where it stands raised (None: nowhere)."""

    turns: list[Turn]
    raised: Flags | None


def hold(memory: Memory, rule: Rule, readings: Grouped, begins: Flags, ends: Flags) -> Flags:
    """Return where a condition with hysteresis holds: from `begins` to `ends`, as it was in between."""
    index = np.arange(len(readings))
    decisive = np.maximum.accumulate(np.where(begins | ends, index, -1))
    carried = (memory.state[readings.rows, COLUMN[rule]] & ON) > 0
    fresh = decisive >= readings.starts[readings.group]
    held: Flags = np.where(fresh, begins[decisive], carried[readings.group])
    return held


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule's condition holds in a flush.

    Args:
        readings: The readings that the rule looks at.
        on: Where its condition holds.
        before_us: For each reading, the good reading before it: the last before a trouble that begins here.
        lasts_us: For each group, how long the condition holds before the rule is raised.
        blocked: For each reading, what keeps the rule from being raised; None: nothing.
    """

    readings: Grouped
    on: Flags
    before_us: Ints
    lasts_us: Ints
    blocked: Codes | None = None


class _Runs:
    """The runs of one rule in one flush, as columns over its readings."""

    def __init__(self, memory: Memory, rule: Rule, condition: Condition) -> None:
        readings, on, before_us = condition.readings, condition.on, condition.before_us
        self.rule, self.readings, self.on = rule, readings, on
        column = COLUMN[rule]
        rows, group = readings.rows, readings.group
        self.state = memory.state[rows, column]
        was_on = np.empty_like(on)
        was_on[1:] = on[:-1]
        was_on[readings.starts] = (self.state & ON) > 0
        self.falls = was_on & ~on
        last_rise = np.maximum.accumulate(np.where(on & ~was_on, np.arange(len(readings)), -1))
        self.fresh = last_rise >= readings.starts[group]
        # A run's key: the index of its first reading, or −1−group for one that was carried in.
        self.key = np.where(self.fresh, last_rise, -1 - group)
        self.since = np.where(self.fresh, readings.at_us[last_rise], memory.since[rows, column][group])
        self.before = np.where(self.fresh, before_us[last_rise], memory.before[rows, column][group])

    def carried(self, bit: int) -> Flags:
        """Where the run was carried in with this bit set."""
        flags: Flags = ~self.fresh & ((self.state & bit) > 0)[self.readings.group]
        return flags

    def first_of_each(self, where: Flags) -> dict[int, int]:
        """Return for each run its first reading in `where`."""
        found = np.flatnonzero(where)
        if not len(found):
            return {}
        keys, first = np.unique(self.key[found], return_index=True)
        return dict(zip(keys.tolist(), found[first].tolist(), strict=True))

    def turn(self, kind: Kind, index: int, by: int = FREE) -> Turn:
        """Describe what happened at a reading."""
        readings = self.readings
        return Turn(
            row=int(readings.rows[readings.group[index]]),
            rule=self.rule,
            kind=kind,
            at_us=int(readings.at_us[index]),
            pos=int(readings.pos[index]),
            value_e4=int(readings.value_e4[index]),
            since_us=int(self.since[index]),
            last_good_us=int(self.before[index]),
            by=by,
        )


def track(memory: Memory, draft: Draft, rule: Rule, condition: Condition) -> Tracked:
    """Follow one rule through a flush and draft where it stands at the end."""
    readings, on, blocked = condition.readings, condition.on, condition.blocked
    runs = _Runs(memory, rule, condition)
    was_raised = runs.carried(RAISED)
    ripe = on & ~was_raised & (readings.at_us - runs.since >= condition.lasts_us[readings.group])
    raised = runs.first_of_each(ripe if blocked is None else ripe & (blocked == FREE))
    turns = [runs.turn(Kind.RAISED, index) for index in raised.values()]
    noted: dict[int, int] = {}
    was_noted = runs.carried(NOTED)
    if blocked is not None:
        by_design = ripe & (blocked != FREE) & (blocked != BY_FAULT) & ~was_noted
        noted = {
            key: index
            for key, index in runs.first_of_each(by_design).items()
            if index < raised.get(key, len(readings))
        }
        turns += [runs.turn(Kind.SUPPRESSED, index, int(blocked[index])) for index in noted.values()]
    for index in np.flatnonzero(runs.falls).tolist():
        key = int(runs.key[index])
        if key in raised or key in noted or was_raised[index] or was_noted[index]:
            turns.append(runs.turn(Kind.RETURNED, index))
    _draft_ends(memory, draft, runs, list(raised), list(noted))
    return Tracked(turns, _where_raised(runs, raised, was_raised))


def _draft_ends(memory: Memory, draft: Draft, runs: _Runs, raised: list[int], noted: list[int]) -> None:
    """Draft where each group's run stands at its last reading."""
    ends, rows, column = runs.readings.ends, runs.readings.rows, COLUMN[runs.rule]
    on, key = runs.on[ends], runs.key[ends]
    kept = np.where(runs.fresh[ends], OFF, runs.state & (RAISED | NOTED))
    state = (
        ON | kept | np.where(np.isin(key, raised), RAISED, OFF) | np.where(np.isin(key, noted), NOTED, OFF)
    )
    state = np.where(on, state, OFF).astype(np.uint8)
    since, before = np.where(on, runs.since[ends], 0), np.where(on, runs.before[ends], 0)
    moved = (state != runs.state) | (since != memory.since[rows, column])
    if moved.any():
        where = (rows[moved], column)
        draft.put("state", where, state[moved])
        draft.put("since", where, since[moved])
        draft.put("before", where, before[moved])


def _where_raised(runs: _Runs, raised: dict[int, int], was_raised: Flags) -> Flags | None:
    if not raised and not was_raised.any():
        return None
    flags = was_raised & runs.on
    index = np.arange(len(flags))
    for key, first in raised.items():
        flags |= (runs.key == key) & runs.on & (index >= first)
    return flags
