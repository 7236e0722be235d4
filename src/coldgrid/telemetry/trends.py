"""Trends: is the air rising, and when is it due at the limit.

Readings are averaged in cells of five minutes and of half an hour. Whenever a cell closes, that is at
the first reading of a later one, its mean is compared with the means before it. All of it is whole
numbers, so that the answer does not depend on how the stream was cut.

A trend counts when the air rose by the rule's rate over the whole window, still rises, and at that
rate reaches the high limit within the horizon: a freezer that warms all day in its normal range
alarms nobody, one that drifts towards its limit does, hours before it is there.
"""

from __future__ import annotations

import msgspec
import numpy as np

from coldgrid.telemetry.flush import Grouped, stable_order
from coldgrid.telemetry.memory import CELLS, Draft, Memory
from coldgrid.telemetry.quantities import Flags, Ints
from coldgrid.telemetry.rules import (
    FAST_CELL_US,
    FAST_LONG_CELLS,
    FAST_SHORT_CELLS,
    HOUR_US,
    SLOW_CELL_US,
    SLOW_CELLS,
)

FAST, SLOW = 0, 1
CELL_US = (FAST_CELL_US, SLOW_CELL_US)
# For each scale: how many cells back, and the name of the least rise over so many.
SPANS = (
    ((FAST_SHORT_CELLS, "rise_short_e4"), (FAST_LONG_CELLS, "rise_long_e4")),
    ((SLOW_CELLS, "rise_slow_e4"),),
)
HORIZON = ("horizon_us", "horizon_slow_us")
NO_RATE = np.iinfo(np.int64).min


class Closings(msgspec.Struct, frozen=True):
    """The readings at which cells closed, in order: whether the trend counts there, and its rate."""

    index: Ints
    on: Flags
    rate_e4_per_h: Ints


NONE_CLOSED = Closings(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_), np.zeros(0, dtype=np.int64))


class _Cells(msgspec.Struct, frozen=True):
    """A flush cut into cells: of each its first reading, number, sum, count, group and place in the group."""

    head: Ints
    number: Ints
    total: Ints
    count: Ints
    group: Ints
    ordinal: Ints


def close_cells(memory: Memory, draft: Draft, readings: Grouped, scale: int) -> Closings:
    """Average the flush into cells, draft the open one and the closed ones, and judge each that closed."""
    cells = _cut(readings, scale)
    follow = _Follow(memory, readings, scale)
    if len(cells.head) == len(readings.rows):
        if bool((cells.number == follow.cell).all()):
            follow.go_on(cells)
        else:
            follow.take(cells, np.arange(len(cells.head)))
    else:
        order = stable_order(cells.ordinal)
        for turn in np.split(order, np.cumsum(np.bincount(cells.ordinal))[:-1]):
            follow.take(cells, turn)
    return follow.finish(draft)


def rates_now(memory: Memory, rows: Ints) -> Ints:
    """Return the short rate that each sensor's last closed cell gave, or NO_RATE."""
    means, numbers = memory.mean_e4[rows, FAST], memory.mean_cell[rows, FAST]
    last = numbers.max(axis=1).astype(np.int64)
    place = np.arange(len(rows))
    now, then = last % CELLS, (last - FAST_SHORT_CELLS) % CELLS
    rise = means[place, now].astype(np.int64) - means[place, then]
    known = (last > 0) & (numbers[place, then] == last - FAST_SHORT_CELLS)
    return np.where(known, _per_hour(rise, FAST_SHORT_CELLS, FAST), NO_RATE)


def _per_hour(rise_e4: Ints, cells: int, scale: int) -> Ints:
    return rise_e4 * HOUR_US // (cells * CELL_US[scale])


def _cut(readings: Grouped, scale: int) -> _Cells:
    starts, ends = readings.starts, readings.ends
    number = readings.at_us[starts] // CELL_US[scale]
    if bool((readings.at_us[ends] < (number + 1) * CELL_US[scale]).all()):
        # As a rule a flush is shorter than a cell, and no sensor is in two.
        group = np.arange(len(starts))
        total = np.add.reduceat(readings.value_e4, starts)
        return _Cells(starts, number, total, readings.counts, group, np.zeros(len(starts), dtype=np.int64))
    number = readings.at_us // CELL_US[scale]
    first = np.empty(len(number), dtype=np.bool_)
    first[1:] = number[1:] != number[:-1]
    first[starts] = True
    head = np.flatnonzero(first)
    group = readings.group[head]
    return _Cells(
        head=head,
        number=number[head],
        total=np.add.reduceat(readings.value_e4, head),
        count=np.diff(head, append=len(number)),
        group=group,
        ordinal=np.arange(len(head)) - np.searchsorted(head, starts)[group],
    )


class _Follow:
    """Follows each sensor from cell to cell, all sensors at once."""

    def __init__(self, memory: Memory, readings: Grouped, scale: int) -> None:
        self.memory, self.rows, self.scale = memory, readings.rows, scale
        self.cell = memory.cell[self.rows, scale]
        self.total = memory.cell_sum[self.rows, scale]
        self.count = memory.cell_count[self.rows, scale]
        self.mean_e4, self.mean_cell = memory.mean_e4[:0, scale], memory.mean_cell[:0, scale]
        self.closed = np.zeros(len(self.rows), dtype=np.bool_)
        self.found: list[Closings] = []

    def go_on(self, cells: _Cells) -> None:
        """Take the only cell of each group, which is the open one."""
        self.total += cells.total
        self.count += cells.count

    def take(self, cells: _Cells, turn: Ints) -> None:
        """Take the next cell of each group that has one."""
        group = cells.group[turn]
        same = cells.number[turn] == self.cell[group]
        goes_on = turn[same]
        self.total[cells.group[goes_on]] += cells.total[goes_on]
        self.count[cells.group[goes_on]] += cells.count[goes_on]
        other, group = turn[~same], group[~same]
        closing = self.count[group] > 0
        if closing.any():
            self.close(group[closing], cells.head[other[closing]])
        self.cell[group] = cells.number[other]
        self.total[group] = cells.total[other]
        self.count[group] = cells.count[other]

    def close(self, group: Ints, index: Ints) -> None:
        """Close the open cell of some groups and judge the trend up to it."""
        if not self.closed.any():
            self.mean_e4 = self.memory.mean_e4[self.rows, self.scale]
            self.mean_cell = self.memory.mean_cell[self.rows, self.scale]
        self.closed[group] = True
        number = self.cell[group]
        mean_e4 = self.total[group] // self.count[group]
        on, rate = self.judge(group, number, mean_e4)
        self.found.append(Closings(index, on, rate))
        self.mean_e4[group, number % CELLS] = mean_e4
        self.mean_cell[group, number % CELLS] = number

    def judge(self, group: Ints, number: Ints, mean_e4: Ints) -> tuple[Flags, Ints]:
        """Tell whether the trend counts at this cell, and the rate over the shortest span (or NO_RATE)."""
        known, before_e4 = self.back(group, number, 1)
        rising = known & (mean_e4 >= before_e4)
        left_e4 = self.memory.tuned["high_e4"][self.rows[group]] - mean_e4
        horizon_us = self.memory.tuned[HORIZON[self.scale]][self.rows[group]]
        on = np.zeros(len(group), dtype=np.bool_)
        rate = np.full(len(group), NO_RATE)
        for span, least in SPANS[self.scale]:
            known, before_e4 = self.back(group, number, span)
            rise_e4 = mean_e4 - before_e4
            in_time = left_e4 * (span * CELL_US[self.scale]) <= rise_e4 * horizon_us
            enough = (rise_e4 > 0) & (rise_e4 >= self.memory.tuned[least][self.rows[group]])
            on |= rising & known & enough & in_time
            if span == SPANS[self.scale][0][0]:
                rate = np.where(known, _per_hour(rise_e4, span, self.scale), NO_RATE)
        return on, rate

    def back(self, group: Ints, number: Ints, cells: int) -> tuple[Flags, Ints]:
        """Return the mean so many cells before, and whether it is known."""
        place = (number - cells) % CELLS
        return self.mean_cell[group, place] == number - cells, self.mean_e4[group, place].astype(np.int64)

    def finish(self, draft: Draft) -> Closings:
        """Draft where the cells stand and return all closings in the order of their readings."""
        where = (self.rows, self.scale)
        draft.put("cell", where, self.cell)
        draft.put("cell_sum", where, self.total)
        draft.put("cell_count", where, self.count)
        if not self.found:
            return NONE_CLOSED
        rows = (self.rows[self.closed], self.scale)
        draft.put("mean_e4", rows, self.mean_e4[self.closed])
        draft.put("mean_cell", rows, self.mean_cell[self.closed])
        index = np.concatenate([found.index for found in self.found])
        order = np.argsort(index)
        return Closings(
            index[order],
            np.concatenate([found.on for found in self.found])[order],
            np.concatenate([found.rate_e4_per_h for found in self.found])[order],
        )
