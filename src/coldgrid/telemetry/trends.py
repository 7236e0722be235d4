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

from coldgrid.telemetry.flush import Grouped
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
# A cell's number in time takes no more: cells of five minutes last for ten thousand years.
NUMBER_BITS = 32


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
    rows, cells = readings.rows, _cut(readings, scale)
    where = (rows, scale)
    was, was_total, was_count = memory.cell[where], memory.cell_sum[where], memory.cell_count[where]
    alone = len(cells.head) == len(rows)
    if alone and bool((cells.number == was).all()):
        draft.put("cell_sum", where, was_total + cells.total)
        draft.put("cell_count", where, was_count + cells.count)
        return NONE_CLOSED
    first = np.arange(len(rows)) if alone else np.flatnonzero(cells.ordinal == 0)
    last = np.append(first[1:], len(cells.head)) - 1
    goes_on = cells.number[first] == was
    cells.total[first] += np.where(goes_on, was_total, 0)
    cells.count[first] += np.where(goes_on, was_count, 0)
    draft.put("cell", where, cells.number[last])
    draft.put("cell_sum", where, cells.total[last])
    draft.put("cell_count", where, cells.count[last])
    left = np.flatnonzero(~goes_on & (was_count > 0))
    # The cell that was open closes at the first reading of the flush, each other one where the next begins.
    inner = np.ones(len(cells.head), dtype=np.bool_)
    inner[last] = False
    passed = np.flatnonzero(inner)
    if not len(left) + len(passed):
        return NONE_CLOSED
    index = np.concatenate([cells.head[first[left]], cells.head[passed + 1]])
    order = np.argsort(index)
    total = np.concatenate([was_total[left], cells.total[passed]])[order]
    closed = _Closed(
        memory,
        rows,
        scale,
        group=np.concatenate([left, cells.group[passed]])[order],
        number=np.concatenate([was[left], cells.number[passed]])[order],
        mean_e4=total // np.concatenate([was_count[left], cells.count[passed]])[order],
    )
    closed.keep(draft)
    return Closings(index[order], *closed.judge())


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


class _Closed:
    """The cells that a flush closed, group by group in the order of time, before the means of older ones."""

    def __init__(
        self, memory: Memory, rows: Ints, scale: int, *, group: Ints, number: Ints, mean_e4: Ints
    ) -> None:
        self.memory, self.scale = memory, scale
        self.group, self.number, self.mean_e4 = group, number, mean_e4
        self.row = rows[group]
        # Increasing, so that the cell so many before is found by bisection.
        self.key = (group << NUMBER_BITS) + number

    def judge(self) -> tuple[Flags, Ints]:
        """Tell of each cell whether the trend counts there, and the rate over the short span (or NO_RATE)."""
        tuned, row = self.memory.tuned, self.row
        known, before_e4 = self.back(1)
        rising = known & (self.mean_e4 >= before_e4)
        left_e4 = tuned["high_e4"][row] - self.mean_e4
        horizon_us = tuned[HORIZON[self.scale]][row]
        on = np.zeros(len(row), dtype=np.bool_)
        rate = np.full(len(row), NO_RATE)
        for span, least in SPANS[self.scale]:
            known, before_e4 = self.back(span)
            rise_e4 = self.mean_e4 - before_e4
            in_time = left_e4 * (span * CELL_US[self.scale]) <= rise_e4 * horizon_us
            enough = (rise_e4 > 0) & (rise_e4 >= tuned[least][row])
            on |= rising & known & enough & in_time
            if span == SPANS[self.scale][0][0]:
                rate = np.where(known, _per_hour(rise_e4, span, self.scale), NO_RATE)
        return on, rate

    def back(self, cells: int) -> tuple[Flags, Ints]:
        """Return the mean so many cells before, and whether it is known: closed just now, or remembered."""
        wanted = self.key - cells
        found = np.searchsorted(self.key, wanted)
        now = self.key[found] == wanted
        place = (self.number - cells) % CELLS
        where = (self.row, self.scale, place)
        remembered = self.memory.mean_cell[where] == self.number - cells
        return now | remembered, np.where(now, self.mean_e4[found], self.memory.mean_e4[where])

    def keep(self, draft: Draft) -> None:
        """Draft the means that are remembered: of each sensor the newest so many."""
        of, group = np.unique(self.row, return_inverse=True)
        where, place = (of, self.scale), (group, self.number % CELLS)
        mean_e4, mean_cell = self.memory.mean_e4[where], self.memory.mean_cell[where]
        mean_e4[place], mean_cell[place] = self.mean_e4, self.number
        draft.put("mean_e4", where, mean_e4)
        draft.put("mean_cell", where, mean_cell)
