"""Grid: a curve cut where it crosses its limits, to read off minutes and peaks for many stays at once.

Pure functions only. Each piece of the grid lies wholly on one side of every level, so its minutes count
wholly or not at all; sums and maxima over any stay come from running totals and tables built once.

Units: minutes after the curve's first instant (`_min`), temperatures in degrees Celsius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from coldgrid.quality.curves import US_PER_MIN, Bools, Curve, Floats, Ints, instant_of, merged, micros

# A stay's time beyond levels is looked for in blocks of this many stays, which bounds the memory it takes.
_BLOCK_STAYS = 1024


@dataclass(frozen=True)
class Level:
    """A bound on one edge of a curve: the hot edge must not exceed it, or the cold edge not fall below."""

    hot: bool
    bound_c: float


@dataclass(frozen=True)
class Grid:
    """A curve with the instants added at which it crosses its levels. `first_us`: where its minutes begin."""

    first_us: int
    at_min: Floats
    hot_c: Floats
    cold_c: Floats
    known: Bools

    @classmethod
    def of(cls, curve: Curve, levels: Sequence[Level]) -> Grid:
        """Cut a curve at its levels."""
        first_us = int(curve.at_us[0])
        at_min = (curve.at_us - first_us) / US_PER_MIN
        crossings = [_crossings(at_min, _beyond_c(level, curve.hot_c, curve.cold_c)) for level in levels]
        cut_min = merged([at_min, *crossings])
        source = np.searchsorted(at_min, cut_min[:-1], side="right") - 1
        return cls(
            first_us,
            cut_min,
            np.interp(cut_min, at_min, curve.hot_c),
            np.interp(cut_min, at_min, curve.cold_c),
            curve.known[source],
        )

    def minutes_of(self, instants: Sequence[datetime]) -> Floats:
        """Instants as minutes on this grid."""
        return (
            np.array([micros(instant) for instant in instants], dtype=np.int64) - self.first_us
        ) / US_PER_MIN

    def instant_at(self, at_min: float) -> datetime:
        """The instant of a minute on this grid, to the microsecond."""
        return instant_of(self.first_us + round(at_min * US_PER_MIN))

    def beyond(self, level: Level) -> Bools:
        """Tell for each piece whether it lies beyond a level. A curve that runs along its bound does not."""
        above_c = _beyond_c(level, self.hot_c, self.cold_c)
        return np.asarray((above_c[:-1] + above_c[1:]) / 2 > 1e-9)

    def highest(self, values: Floats, start_min: Floats, end_min: Floats) -> Floats:
        """The highest of a linear quantity during each stay. The grid must span it."""
        lo = np.searchsorted(self.at_min, start_min, side="right")
        hi = np.searchsorted(self.at_min, end_min, side="left")
        ends = np.maximum(np.interp(start_min, self.at_min, values), np.interp(end_min, self.at_min, values))
        return np.maximum(range_max(values, lo, hi), ends)


def _beyond_c(level: Level, hot_c: Floats, cold_c: Floats) -> Floats:
    return hot_c - level.bound_c if level.hot else level.bound_c - cold_c


def _crossings(at_min: Floats, above_c: Floats) -> Floats:
    before, after = above_c[:-1], above_c[1:]
    crossed = (before < 0) != (after < 0)
    fraction = before[crossed] / (before[crossed] - after[crossed])
    return np.asarray(at_min[:-1][crossed] + fraction * np.diff(at_min)[crossed])


@dataclass(frozen=True)
class Pieces:
    """Some pieces of a grid, each counted with its known minutes.

    Silence inside a run neither adds to it nor ends it: nobody saw the goods come back.
    """

    grid: Grid
    chosen: Bools

    def minutes(self, start_min: Floats, end_min: Floats) -> Floats:
        """Known minutes of each stay that lie in these pieces."""
        total_min = self._total_min()
        at_min = self.grid.at_min
        return np.asarray(np.interp(end_min, at_min, total_min) - np.interp(start_min, at_min, total_min))

    def longest_min(self, start_min: Floats, end_min: Floats) -> Floats:
        """The most known minutes that a stay spent in these pieces in one go."""
        first, last = self.runs()
        if not len(first):
            return np.zeros(len(start_min))
        blocks = range(0, len(start_min), _BLOCK_STAYS)
        found = [
            self._longest_min(first, last, start_min[i : i + _BLOCK_STAYS], end_min[i : i + _BLOCK_STAYS])
            for i in blocks
        ]
        return np.concatenate(found)

    def first_min(self, start_min: Floats, end_min: Floats) -> Floats:
        """When each stay first was in these pieces, minutes on the grid; infinite where it never was."""
        first, last = self.runs()
        if not len(first):
            return np.full(len(start_min), np.inf)
        i = np.searchsorted(last, start_min, side="right")
        entered = np.maximum(first[np.minimum(i, len(first) - 1)], start_min)
        return np.where((i < len(first)) & (entered < end_min), entered, np.inf)

    def runs(self) -> tuple[Floats, Floats]:
        """First and last minute of each unbroken run of these pieces."""
        edges = np.diff(np.concatenate([[False], self.chosen, [False]]).astype(np.int8))
        return self.grid.at_min[np.flatnonzero(edges == 1)], self.grid.at_min[np.flatnonzero(edges == -1)]

    def _longest_min(self, first: Floats, last: Floats, start_min: Floats, end_min: Floats) -> Floats:
        total_min = self._total_min()
        entered = np.maximum(first[None, :], start_min[:, None])
        left = np.minimum(last[None, :], end_min[:, None])
        spent = np.interp(left, self.grid.at_min, total_min) - np.interp(entered, self.grid.at_min, total_min)
        return np.asarray(np.where(left > entered, spent, 0.0).max(axis=1))

    def _total_min(self) -> Floats:
        counted = self.chosen & self.grid.known
        return np.concatenate([[0.0], np.cumsum(np.diff(self.grid.at_min) * counted)])


def range_max(values: Floats, lo: Ints, hi: Ints) -> Floats:
    """The highest of `values[lo:hi]` for each pair; minus infinity where it is empty.

    Each range is covered by two overlapping blocks whose length is a power of two, so that a query costs O(1)
    and the tables O(n log n).
    """
    found = np.full(len(lo), -np.inf)
    table, length = values, 1
    span = hi - lo
    while True:
        fits = (span >= length) & (span < 2 * length)
        found[fits] = np.maximum(table[lo[fits]], table[hi[fits] - length])
        if 2 * length > len(values):
            return found
        table, length = np.maximum(table[:-length], table[length:]), 2 * length
