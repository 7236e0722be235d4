"""Curves: the temperature that goods in one place had, joined from the sensors that cover it.

Pure functions only. Nothing here knows about databases, alarms or limits.

Units: instants in microseconds since 1970 UTC (`_us`), temperatures in degrees Celsius, times in minutes.
Between two known points the temperature is taken as linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

US_PER_MIN = 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Series:
    """One sensor's readings: strictly increasing instants and their temperatures, arrays of one length."""

    at_us: Ints
    value_c: Floats

    def __post_init__(self) -> None:
        if self.at_us.shape != self.value_c.shape:
            raise ValueError("a series needs one instant for each reading")
        if len(self.at_us) > 1 and bool((np.diff(self.at_us) <= 0).any()):
            raise ValueError("readings must be strictly increasing in time")
        if not bool(np.isfinite(self.value_c).all()):
            raise ValueError("readings must be finite numbers")


@dataclass(frozen=True)
class Curve:
    """The temperature that goods in one place had: warm and cold edge at each instant.

    `known[i]` tells whether the piece from instant i to i + 1 is known (one shorter than the others).
    """

    at_us: Ints
    hot_c: Floats
    cold_c: Floats
    known: Bools

    def __post_init__(self) -> None:
        if len(self.at_us) < 2:
            raise ValueError("exposure needs at least two readings")
        if bool((np.diff(self.at_us) <= 0).any()):
            raise ValueError("readings must be strictly increasing in time")

    def spanning(self, first_at: datetime, last_at: datetime) -> Curve:
        """The curve made long enough for two instants; what is added is unknown, drawn level."""
        before = [micros(first_at)] if micros(first_at) < self.at_us[0] else []
        after = [micros(last_at)] if micros(last_at) > self.at_us[-1] else []
        pad = (len(before), len(after))
        at_us = np.concatenate([before, self.at_us, after]).astype(np.int64)
        hot_c, cold_c = np.pad(self.hot_c, pad, "edge"), np.pad(self.cold_c, pad, "edge")
        return Curve(at_us, hot_c, cold_c, np.pad(self.known, pad))


NO_READINGS = Series(np.empty(0, dtype=np.int64), np.empty(0))


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC of an aware instant."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant_of(at_us: int) -> datetime:
    """The UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=at_us)


def merged(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join columns into one that increases, with nothing in it twice; quick where each increases already.

    A day of readings takes 0.07 ms; `numpy.unique`, which hashes them first, 7.
    """
    joined = np.sort(np.concatenate(parts), kind="stable")
    first = np.ones(len(joined), dtype=np.bool_)
    np.not_equal(joined[1:], joined[:-1], out=first[1:])
    return joined[first]


# --- The worst covering sensor --------------------------------------------------


def worst_curve(
    sensors: Sequence[Series],
    from_at: datetime,
    until_at: datetime,
    *,
    grace_min: float,
    hand: Series | None = None,
) -> Curve:
    """Join the sensors that cover a place: the warmest makes the hot edge, the coldest the cold one.

    A sensor counts between two of its readings that lie at most `grace_min` apart; a hand reading inside a
    longer gap splits it. Before the first and after the last reading the nearest value stands for
    `grace_min`. A piece that no sensor counts for is unknown; it is interpolated only to be drawn.

    Args:
        sensors: Those whose mapping study covers the place. All empty: the whole curve is unknown at 0 °C.
        from_at: First instant of the curve.
        until_at: Last instant, after `from_at`.
        grace_min: How long silence is bridged, minutes (see `estimate.grace_min`).
        hand: Readings taken by hand with a calibrated probe.

    Raises:
        ValueError: `until_at` is not after `from_at`.
    """
    first_us, last_us = micros(from_at), micros(until_at)
    if last_us <= first_us:
        raise ValueError("a curve must end after it begins")
    grace_us = round(grace_min * US_PER_MIN)
    series = [_with_hand(each, hand, grace_us) for each in sensors or [NO_READINGS]]
    series = [each for each in series if len(each.at_us)]
    inside = [each.at_us[(each.at_us > first_us) & (each.at_us < last_us)] for each in series]
    edges = [np.clip(each.at_us[[0, -1]] + [-grace_us, grace_us], first_us, last_us) for each in series]
    at_us = merged([*inside, *edges, np.array([first_us, last_us], dtype=np.int64)])
    hot_c = np.full(len(at_us), -np.inf)
    cold_c = np.full(len(at_us), np.inf)
    known = np.zeros(len(at_us) - 1, dtype=np.bool_)
    for each in series:
        counts = _counts(each, at_us, grace_us)
        touched = np.concatenate([counts, [False]]) | np.concatenate([[False], counts])
        value_c = np.interp(at_us, each.at_us, each.value_c)
        hot_c = np.where(touched, np.maximum(hot_c, value_c), hot_c)
        cold_c = np.where(touched, np.minimum(cold_c, value_c), cold_c)
        known |= counts
    return Curve(at_us, _filled(at_us, hot_c), _filled(at_us, cold_c), known)


def _with_hand(sensor: Series, hand: Series | None, grace_us: int) -> Series:
    """The series with hand readings added where it was silent for longer than the grace."""
    if hand is None or not len(hand.at_us):
        return sensor
    if not len(sensor.at_us):
        return hand
    after = np.searchsorted(sensor.at_us, hand.at_us)
    before_us = np.where(after > 0, sensor.at_us[np.maximum(after - 1, 0)], np.iinfo(np.int64).min // 2)
    next_us = np.where(
        after < len(sensor.at_us),
        sensor.at_us[np.minimum(after, len(sensor.at_us) - 1)],
        np.iinfo(np.int64).max // 2,
    )
    wanted = (next_us - before_us > grace_us) & (next_us != hand.at_us)
    at_us = np.concatenate([sensor.at_us, hand.at_us[wanted]])
    order = np.argsort(at_us, kind="stable")
    return Series(at_us[order], np.concatenate([sensor.value_c, hand.value_c[wanted]])[order])


def _counts(sensor: Series, at_us: Ints, grace_us: int) -> Bools:
    """For each piece of the grid: does it lie between readings close enough, or within grace of the ends?"""
    middle_us = at_us[:-1] + np.diff(at_us) // 2
    after = np.searchsorted(sensor.at_us, middle_us, side="right")
    gap_us = np.diff(sensor.at_us)
    within = np.zeros(len(middle_us), dtype=np.bool_)
    inner = (after > 0) & (after < len(sensor.at_us))
    within[inner] = gap_us[after[inner] - 1] <= grace_us
    early = (after == 0) & (at_us[:-1] >= sensor.at_us[0] - grace_us)
    late = (after == len(sensor.at_us)) & (at_us[1:] <= sensor.at_us[-1] + grace_us)
    return np.asarray(within | early | late)


def _filled(at_us: Ints, value_c: Floats) -> Floats:
    finite = np.isfinite(value_c)
    if not finite.any():
        return np.zeros(len(at_us))
    return np.asarray(np.interp(at_us, at_us[finite], value_c[finite]))


def bridged(curve: Curve, taken_us: Ints, grace_min: float) -> Curve:
    """Return a curve whose silence is bridged where goods were probed by hand.

    A probe stands for `grace_min` after it, and for the silence before it if that is no longer than that.
    """
    grace_us = round(grace_min * US_PER_MIN)
    inside = taken_us[(taken_us > curve.at_us[0]) & (taken_us < curve.at_us[-1])]
    if not len(inside) or curve.known.all():
        return curve
    until_us = np.minimum(inside + grace_us, curve.at_us[-1])
    at_us = merged([curve.at_us, inside, until_us])
    source = np.searchsorted(curve.at_us, at_us[:-1], side="right") - 1
    known = curve.known[source].copy()
    starts_us, ends_us = at_us[:-1], at_us[1:]
    for probe_us in inside.tolist():
        known |= (starts_us >= probe_us) & (ends_us <= probe_us + grace_us)
        heard_us = ends_us[known & (ends_us <= probe_us)]
        if len(heard_us) and probe_us - heard_us[-1] <= grace_us:
            known |= (starts_us >= heard_us[-1]) & (ends_us <= probe_us)
    hot_c, cold_c = np.interp(at_us, curve.at_us, curve.hot_c), np.interp(at_us, curve.at_us, curve.cold_c)
    return Curve(at_us, hot_c, cold_c, known)


def spliced(parts: Sequence[tuple[Curve, datetime, datetime]]) -> Curve:
    """Join what goods had in one place after another: each curve, from when and until when it counts.

    The parts follow each other; a hole between two of them is unknown.
    """
    at_us: list[int] = []
    hot_c: list[float] = []
    cold_c: list[float] = []
    known: list[bool] = []
    for curve, from_at, until_at in parts:
        first_us, last_us = micros(from_at), micros(until_at)
        if at_us:
            first_us = max(first_us, at_us[-1] + 1)
            known.append(first_us == at_us[-1] + 1)
        spanned = curve.spanning(instant_of(first_us), instant_of(last_us))
        points = spanned.at_us[(spanned.at_us > first_us) & (spanned.at_us < last_us)]
        points = np.concatenate([[first_us], points, [last_us]]).astype(np.int64)
        source = np.searchsorted(spanned.at_us, points[:-1], side="right") - 1
        at_us += points.tolist()
        hot_c += np.interp(points, spanned.at_us, spanned.hot_c).tolist()
        cold_c += np.interp(points, spanned.at_us, spanned.cold_c).tolist()
        known += spanned.known[source].tolist()
    return Curve(np.array(at_us), np.array(hot_c), np.array(cold_c), np.array(known, dtype=np.bool_))
