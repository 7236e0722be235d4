"""The engine: one flush of readings through all rules, vectorised over sensors and time.

Invariants
    R1  Rules look at event time only: a stream gives the same turns however it is cut into flushes.
    R2  A reading that the probe cannot have measured is never used as a good one.
    R3  While a sensor is stuck none of its other rules is raised.
    R4  Nothing is decided outside: the same memory and flush give the same draft and turns.

A flush of a healthy network costs a few passes over its columns: each rule first asks, per sensor,
whether anything could be on, and follows only those.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from coldgrid.telemetry.cumulative import follow_hours_above
from coldgrid.telemetry.devices import BY_FAULT, FREE, Codes, explained, faulty, follow_devices
from coldgrid.telemetry.flush import Grouped, shifted
from coldgrid.telemetry.memory import NEVER, OFF, ON, RAISED, Device, Draft, Memory
from coldgrid.telemetry.quantities import Flags, Ints
from coldgrid.telemetry.rules import COLUMN, FAST_CELL_US, RULES, SLOW_CELL_US, SUPPRESSIBLE, Rule
from coldgrid.telemetry.runs import Condition, Kind, Turn, hold, track
from coldgrid.telemetry.trends import FAST, NO_RATE, SLOW, Closings, close_cells, rates_now


class Outcome(msgspec.Struct, frozen=True):
    """What a flush gave: changes to apply, and turns in the order of the readings that made them."""

    draft: Draft
    turns: list[Turn]


def evaluate(memory: Memory, readings: Grouped, seen_us: int) -> Outcome:
    """Run a flush through every rule (R1 to R4).

    Args:
        memory: What the rules remember; not changed.
        readings: Newer, sensor by sensor, than what the memory has seen.
        seen_us: When the flush came in, in business time: only silence is measured by it.
    """
    draft = Draft()
    turns = _gaps(memory, draft, readings)
    turns += _out_of_range(memory, draft, readings)
    good = readings.only(~readings.bad) if readings.bad.any() else readings
    if len(good):
        turns += _good_readings(memory, draft, good)
    _remember(memory, draft, readings, good, seen_us)
    turns.sort(key=lambda turn: (turn.pos, RULES.index(turn.rule), turn.kind is Kind.RETURNED))
    return Outcome(draft, turns)


def silent_from(memory: Memory, rows: Ints, listening_since_us: int = NEVER) -> Ints:
    """Return when each sensor is silent that is not heard of before, in µs.

    Of one that was not heard since an outage of ours, `listening_since_us` is when its time left counts from.
    """
    left_us, gap_us = memory.left_us[rows], memory.tuned["gap_us"][rows]
    return np.where(
        left_us > 0, listening_since_us + np.minimum(left_us, gap_us), memory.seen_us[rows] + gap_us
    )


def find_silent(memory: Memory, rows: Ints, now_us: int, listening_since_us: int = NEVER) -> Outcome:
    """Raise the gap rule where nothing came in for too long: silence makes no reading, a timer asks."""
    draft = Draft()
    column = COLUMN[Rule.GAP]
    late = now_us >= silent_from(memory, rows, listening_since_us)
    silent = rows[late & (memory.seen_us[rows] > NEVER) & (memory.state[rows, column] == OFF)]
    draft.put("state", (silent, column), np.full(len(silent), ON | RAISED, dtype=np.uint8))
    draft.put("left_us", silent, np.zeros(len(silent), dtype=np.int64))
    draft.put("since", (silent, column), memory.seen_us[silent])
    draft.put("before", (silent, column), memory.good_at[silent])
    turns = [
        Turn(
            row=row,
            rule=Rule.GAP,
            kind=Kind.RAISED,
            at_us=int(memory.seen_us[row] + memory.tuned["gap_us"][row]),
            pos=-1,
            value_e4=None,
            since_us=int(memory.seen_us[row]),
            last_good_us=int(memory.good_at[row]),
        )
        for row in silent.tolist()
    ]
    return Outcome(draft, turns)


# --- Faults ---------------------------------------------------------------------


def _gaps(memory: Memory, draft: Draft, readings: Grouped) -> list[Turn]:
    column = COLUMN[Rule.GAP]
    rows = readings.rows
    last_at, open_gap = memory.last_at[rows], memory.state[rows, column] != OFF
    before_us = shifted(readings.at_us, readings.starts, last_at)
    apart_us = readings.at_us - before_us
    gap_us = memory.tuned["gap_us"][rows]
    wide = np.maximum.reduceat(apart_us, readings.starts) > gap_us
    if not (wide.any() or open_gap.any()):
        return []
    gap_us = gap_us[readings.group]
    gaping = (before_us > NEVER) & (apart_us > gap_us)
    ending = np.zeros(len(readings), dtype=np.bool_)
    ending[readings.starts] = open_gap
    turns = []
    for index in np.flatnonzero(gaping | ending).tolist():
        row = int(readings.row[index])
        turn = Turn(
            row=row,
            rule=Rule.GAP,
            kind=Kind.RAISED,
            at_us=int(before_us[index] + gap_us[index]),
            pos=int(readings.pos[index]),
            value_e4=None,
            since_us=int(before_us[index]),
            last_good_us=int(before_us[index]),
        )
        if ending[index]:
            since_us, good_us = int(memory.since[row, column]), int(memory.before[row, column])
            turn = msgspec.structs.replace(turn, since_us=since_us, last_good_us=good_us)
        else:
            turns.append(turn)
        turns.append(msgspec.structs.replace(turn, kind=Kind.RETURNED, at_us=int(readings.at_us[index])))
    if open_gap.any():
        draft.put("state", (rows[open_gap], column), np.zeros(int(open_gap.sum()), dtype=np.uint8))
    return turns


def _out_of_range(memory: Memory, draft: Draft, readings: Grouped) -> list[Turn]:
    carried = memory.state[readings.rows, COLUMN[Rule.OUT_OF_RANGE]] != OFF
    if not (carried.any() or readings.bad.any()):
        return []
    concerned = carried | np.logical_or.reduceat(readings.bad, readings.starts)
    some = readings.only(concerned[readings.group])
    # The last good reading stays the same throughout a run of bad ones.
    good_at = np.where(some.bad, NEVER, some.at_us)
    before_us = _newest_before(some, good_at, memory.good_at[some.rows])
    lasts_us = memory.tuned["bad_us"][some.rows]
    condition = Condition(readings=some, on=some.bad, before_us=before_us, lasts_us=lasts_us)
    return track(memory, draft, Rule.OUT_OF_RANGE, condition).turns


def _newest_before(readings: Grouped, at_us: Ints, carried: Ints) -> Ints:
    """Return for each reading the newest of `at_us` (0: none) at or before its predecessor."""
    index = np.maximum.accumulate(np.where(at_us > NEVER, np.arange(len(at_us)), -1))
    fresh = index >= readings.starts[readings.group]
    newest = np.where(fresh, at_us[index], carried[readings.group])
    return shifted(newest, readings.starts, carried)


def _stuck(
    memory: Memory, draft: Draft, good: Grouped, was_e4: Ints, was_us: Ints
) -> tuple[list[Turn], Flags | None]:
    """Follow exact repetition; return the turns and where a sensor stands as stuck."""
    rows, ends, column = good.rows, good.ends, COLUMN[Rule.STUCK]
    changed = (good.value_e4 != was_e4) | (was_us == NEVER)
    index = np.where(changed, np.arange(len(good)), -1)
    newest = np.maximum.reduceat(index, good.starts)
    stuck_us, changed_at = memory.tuned["stuck_us"][rows], memory.changed_at[rows]
    draft.put("changed_at", rows, np.where(newest >= 0, good.at_us[newest], changed_at))
    # Only a sensor whose last known change is that long ago is looked at closely.
    some = (good.at_us[ends] - changed_at >= stuck_us) | (memory.state[rows, column] != OFF)
    some &= ~memory.is_device[rows]
    if not some.any():
        return [], None
    keep = some[good.group]
    close, changed = good.only(keep), changed[keep]
    last = np.maximum.accumulate(np.where(changed, np.arange(len(close)), -1))
    fresh = last >= close.starts[close.group]
    since = np.where(fresh, close.at_us[last], changed_at[some][close.group])
    on = close.at_us - since >= stuck_us[some][close.group]
    if not (on.any() or (memory.state[close.rows, column] != OFF).any()):
        return [], None
    no_longer = np.zeros(len(close.rows), dtype=np.int64)
    tracked = track(
        memory, draft, Rule.STUCK, Condition(readings=close, on=on, before_us=since, lasts_us=no_longer)
    )
    if tracked.raised is None:
        return tracked.turns, None
    raised = np.zeros(len(good), dtype=np.bool_)
    raised[keep] = tracked.raised
    return tracked.turns, raised


# --- The air --------------------------------------------------------------------


def _good_readings(memory: Memory, draft: Draft, good: Grouped) -> list[Turn]:
    was_e4 = shifted(good.value_e4, good.starts, memory.good_e4[good.rows])
    was_us = shifted(good.at_us, good.starts, memory.good_at[good.rows])
    changed = follow_devices(memory, draft, good)
    turns, stuck = _stuck(memory, draft, good, was_e4, was_us)
    limited = memory.is_limited[good.rows]
    if not limited.any():
        return turns
    air = good
    if not limited.all():
        keep = limited[good.group]
        air, was_e4, was_us = good.only(keep), was_e4[keep], was_us[keep]
        stuck = None if stuck is None else stuck[keep]
    look = _Air(memory, draft, air, was_e4, was_us)
    look.block(explained(memory, changed, air), stuck)
    turns += look.trends()
    turns += look.limits()
    turns += follow_hours_above(memory, draft, look.condition(Rule.CUMULATIVE, air), look.was_e4)
    turns += look.compressor(changed)
    return look.with_rates(turns)


class _Air:
    """The air's readings of one flush, with what came before each of them."""

    def __init__(self, memory: Memory, draft: Draft, air: Grouped, was_e4: Ints, was_us: Ints) -> None:
        self.memory, self.draft, self.air = memory, draft, air
        self.was_e4, self.was_us = was_e4, was_us
        self.blocked: Codes | None = None
        self.by_fault: Codes | None = None
        self.explained: Flags | None = None
        self.closings: list[tuple[Grouped, Closings]] = []

    def block(self, codes: Codes | None, stuck: Flags | None) -> None:
        """Remember what keeps rules from being raised."""
        if stuck is not None:
            self.by_fault = np.where(stuck, BY_FAULT, FREE).astype(np.uint8)
            codes = self.by_fault if codes is None else np.where(stuck, BY_FAULT, codes).astype(np.uint8)
        self.blocked = codes
        if codes is not None:
            self.explained = (codes != FREE) & (codes != BY_FAULT)

    def condition(self, rule: Rule, readings: Grouped) -> Condition:
        """Return a rule's condition over all air readings, off everywhere."""
        lasts_us = self.memory.tuned[_LASTS[rule]][readings.rows] if rule in _LASTS else readings.rows * 0
        return Condition(
            readings=readings,
            on=np.zeros(len(readings), dtype=np.bool_),
            before_us=self.was_us,
            lasts_us=lasts_us,
            blocked=self.blocked if rule in SUPPRESSIBLE else self.by_fault,
        )

    def follow(self, rule: Rule, on: Flags, *, some: Flags) -> list[Turn]:
        """Track a rule in the groups where something is on."""
        keep = some[self.air.group]
        all_of_it = self.condition(rule, self.air)
        readings = self.air.only(keep)
        blocked = all_of_it.blocked
        condition = msgspec.structs.replace(
            all_of_it,
            readings=readings,
            on=on[keep],
            before_us=self.was_us[keep],
            lasts_us=all_of_it.lasts_us[some],
            blocked=None if blocked is None else blocked[keep],
        )
        return track(self.memory, self.draft, rule, condition).turns

    def limits(self) -> list[Turn]:
        """Follow the high and the low limit and the approach to the high one."""
        air, tuned = self.air, self.memory.tuned
        warmest = np.maximum.reduceat(air.value_e4, air.starts)
        coldest = np.minimum.reduceat(air.value_e4, air.starts)
        turns = []
        for rule, name, sign in _LIMITS:
            limit_e4 = tuned[name][air.rows]
            carried = self.memory.state[air.rows, COLUMN[rule]] != OFF
            some = carried | (warmest > limit_e4 if sign > 0 else coldest < limit_e4)
            if not some.any():
                continue
            beyond = (air.value_e4 - limit_e4[air.group]) * sign
            back = beyond <= -tuned["hysteresis_e4"][air.rows][air.group]
            on = hold(self.memory, rule, air, beyond > 0, back)
            turns += self.follow(rule, on, some=some)
        return turns

    def trends(self) -> list[Turn]:
        """Follow the rates of rise, over what no door or defrost explains."""
        air, was_us = self.air, self.was_us
        if self.explained is not None:
            air, was_us = self.air.only(~self.explained), self.was_us[~self.explained]
        by_fault = (
            self.by_fault
            if self.explained is None or self.by_fault is None
            else self.by_fault[~self.explained]
        )
        turns: list[Turn] = []
        if not len(air):
            return turns
        for rule, scale, lasts_us in ((Rule.RATE, FAST, FAST_CELL_US), (Rule.RATE_SLOW, SLOW, SLOW_CELL_US)):
            closings = close_cells(self.memory, self.draft, air, scale)
            if scale == FAST:
                self.closings.append((air, closings))
            if not len(closings.index):
                continue
            at_closing = np.zeros(len(air), dtype=np.bool_)
            at_closing[closings.index] = True
            readings = air.only(at_closing)
            condition = Condition(
                readings=readings,
                on=closings.on,
                before_us=was_us[closings.index],
                lasts_us=np.full(len(readings.rows), lasts_us),
                blocked=None if by_fault is None else by_fault[closings.index],
            )
            tracked = track(self.memory, self.draft, rule, condition)
            rates = dict(zip(readings.pos.tolist(), closings.rate_e4_per_h.tolist(), strict=True))
            turns += [_rated(turn, rates[turn.pos]) for turn in tracked.turns]
        return turns

    def compressor(self, changed: Mapping[int, Device]) -> list[Turn]:
        """Follow the compressor's fault together with air that has warmed since it began."""
        air, rule = self.air, Rule.COMPRESSOR
        fault = faulty(self.memory, changed, air)
        carried = self.memory.state[air.rows, COLUMN[rule]] != OFF
        if fault is None:
            if not carried.any():
                return []
            fault = np.zeros(len(air), dtype=np.bool_)
        some = carried | np.logical_or.reduceat(fault, air.starts)
        if not some.any():
            return []
        # The base is the reading before the fault was first seen.
        index = np.arange(len(air))
        was_faulty = np.empty_like(fault)
        was_faulty[1:] = fault[:-1]
        was_faulty[air.starts] = self.memory.base_e4[air.rows] != _NO_BASE
        onset = np.maximum.accumulate(np.where(fault & ~was_faulty, index, -1))
        fresh = onset >= air.starts[air.group]
        first_e4 = np.where(self.was_us > NEVER, self.was_e4, air.value_e4)
        carried_e4 = (self.memory.base_e4[air.rows] - _BASE)[air.group]
        base_e4 = np.where(fresh, first_e4[onset], carried_e4)
        rise_e4 = self.memory.tuned["compressor_rise_e4"][air.rows][air.group]
        on = fault & (air.value_e4 >= base_e4 + rise_e4)
        ends = air.ends
        kept_e4 = np.where(fault[ends], base_e4[ends] + _BASE, _NO_BASE)
        self.draft.put("base_e4", air.rows[some], kept_e4[some])
        return self.follow(rule, on, some=some)

    def with_rates(self, turns: list[Turn]) -> list[Turn]:
        """Add to the turns of the air the rate at which it rose then: that of the last closed cell."""
        if not self.closings or all(turn.rate_e4_per_h is not None for turn in turns):
            return turns
        air, closings = self.closings[0]
        told = []
        for turn in turns:
            if turn.rate_e4_per_h is None and not self.memory.is_device[turn.row]:
                closed = (air.row[closings.index] == turn.row) & (air.pos[closings.index] <= turn.pos)
                before = np.flatnonzero(closed)
                rate = (
                    closings.rate_e4_per_h[before[-1]]
                    if len(before)
                    else rates_now(self.memory, _one(turn.row))[0]
                )
                told.append(_rated(turn, int(rate)))
            else:
                told.append(turn)
        return told


# A base is kept with this added, so that 0 says: no compressor fault is under way.
_BASE, _NO_BASE = 2**40, 0
_LIMITS = (
    (Rule.BAND_HIGH, "high_e4", 1),
    (Rule.BAND_LOW, "low_e4", -1),
    (Rule.APPROACHING, "approach_e4", 1),
)
_LASTS = {
    Rule.BAND_HIGH: "band_us",
    Rule.BAND_LOW: "band_us",
    Rule.APPROACHING: "approach_us",
    Rule.COMPRESSOR: "compressor_us",
}


def _rated(turn: Turn, rate_e4_per_h: int) -> Turn:
    return turn if rate_e4_per_h == NO_RATE else msgspec.structs.replace(turn, rate_e4_per_h=rate_e4_per_h)


def _one(row: int) -> Ints:
    return np.array([row], dtype=np.int64)


def _remember(memory: Memory, draft: Draft, readings: Grouped, good: Grouped, seen_us: int) -> None:
    ends = readings.ends
    draft.put("last_at", readings.rows, readings.at_us[ends])
    draft.put("last_e4", readings.rows, readings.value_e4[ends])
    draft.put("seen_us", readings.rows, np.full(len(ends), seen_us))
    if memory.left_us[readings.rows].any():
        draft.put("left_us", readings.rows, np.zeros(len(ends), dtype=np.int64))
    if len(good):
        draft.put("good_at", good.rows, good.at_us[good.ends])
        draft.put("good_e4", good.rows, good.value_e4[good.ends])
