"""Lag: how goods follow the air around them, as a first-order body.

Pure functions only. `dT/dt = (air - T) / lag`: air moves in minutes, a pallet in hours.

Invariants
    G1  Product temperature after any time lies between its own start and the air's extremes.
    G2  Steps compose: advancing twice along one line of air is advancing once.

Units: times in minutes, temperatures in degrees Celsius, rates in degrees per minute.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, inf, log

import numpy as np

from coldgrid.quality.curves import Floats

# Below this ratio of time to lag the exact weights lose digits to cancellation, so their series is used.
_SMALL = 1e-5
# A change slower than a degree in nineteen centuries is none.
_STEADY_C_PER_MIN = 1e-9
_BISECTIONS = 60


def weights(minutes: float, lag_min: float) -> tuple[float, float, float]:
    """How much the start, the air before and the air after weigh in the product's temperature.

    Exact for air that changes along a straight line; the three are not negative and sum to one (G1).
    `lag_min` 0 is air itself.
    """
    if lag_min <= 0:
        return (0.0, 0.0, 1.0) if minutes > 0 else (1.0, 0.0, 0.0)
    ratio = minutes / lag_min
    kept = exp(-ratio)
    mean = -expm1(-ratio) / ratio if ratio > _SMALL else 1 - ratio / 2
    return kept, max(mean - kept, 0.0), max(1 - mean, 0.0)


def advance_c(
    product_c: float, air_before_c: float, air_after_c: float, minutes: float, lag_min: float
) -> float:
    """Return the product's temperature after `minutes` of air that went straight between two values."""
    kept, before, after = weights(minutes, lag_min)
    return kept * product_c + before * air_before_c + after * air_after_c


def follow_c(at_min: Floats, air_c: Floats, start_c: float, lag_min: float) -> Floats:
    """Return the product's temperature at each instant of a piecewise-linear air, exact, any spacing.

    The steps are affine maps, composed pairwise (a scan in log2(n) passes) instead of one after the other.
    """
    if lag_min <= 0:
        return np.concatenate([[start_c], air_c[1:]])
    kept, added = _steps(at_min, air_c, lag_min)
    factor = kept
    span = 1
    while span < len(kept):
        added = np.concatenate([added[:span], added[span:] + factor[span:] * added[:-span]])
        factor = np.concatenate([factor[:span], factor[span:] * factor[:-span]])
        span *= 2
    return np.concatenate([[start_c], factor * start_c + added])


def end_c(at_min: Floats, air_c: Floats, start_c: float, lag_min: float) -> float:
    """Return the product's temperature at the last instant of a piecewise-linear air: the end of `follow_c`.

    What each step added has faded since by its distance from the end.
    """
    if lag_min <= 0 or len(at_min) < 2:
        return float(air_c[-1]) if lag_min <= 0 and len(at_min) > 1 else start_c
    _, added = _steps(at_min, air_c, lag_min)
    faded = np.exp((at_min - at_min[-1]) / lag_min)
    return float(start_c * faded[0] + (added * faded[1:]).sum())


def _steps(at_min: Floats, air_c: Floats, lag_min: float) -> tuple[Floats, Floats]:
    """What each step keeps of the temperature before it, and what it adds."""
    ratio = np.diff(at_min) / lag_min
    kept = np.exp(-ratio)
    safe = np.where(ratio > _SMALL, ratio, 1.0)
    mean = np.where(ratio > _SMALL, -np.expm1(-ratio) / safe, 1 - ratio / 2)
    added = np.maximum(mean - kept, 0.0) * air_c[:-1] + np.maximum(1 - mean, 0.0) * air_c[1:]
    return kept, added


def settle_min(product_c: float, target_c: float, air_c: float, lag_min: float) -> float:
    """Minutes until the product passes `target_c` in air that stays at `air_c`; infinite if it never does."""
    start, goal = air_c - product_c, air_c - target_c
    if start == 0 or goal / start >= 1:
        return 0.0 if product_c == target_c else inf
    return inf if goal / start <= 0 else lag_min * log(start / goal)


def reach_min(product_c: float, limit_c: float, air_c: float, rate: float, lag_min: float) -> float:
    """Minutes until the product first warms to `limit_c` in air that keeps changing by `rate` °C a minute.

    Zero when it is there already, infinite when it never gets there.
    """
    if product_c >= limit_c:
        return 0.0
    if abs(rate) < _STEADY_C_PER_MIN or lag_min <= 0:
        return _reach_steady(product_c, limit_c, air_c, rate, lag_min)
    # T(t) = air(t) - rate * lag + offset * e^(-t/lag), so T is convex for a positive offset, else concave.
    offset = product_c - air_c + rate * lag_min

    def at(minutes: float) -> float:
        return air_c + rate * minutes - rate * lag_min + offset * exp(-minutes / lag_min)

    if rate < 0:
        # The product peaks where it meets the falling air, once, if it was colder.
        if offset >= 0 or product_c >= air_c:
            return inf
        latest = lag_min * log(offset / (rate * lag_min))
        if at(latest) < limit_c:
            return inf
    else:
        latest = (limit_c - air_c) / rate + lag_min + abs(offset) / rate
    return _bisect(at, limit_c, max(latest, 0.0))


def _reach_steady(product_c: float, limit_c: float, air_c: float, rate: float, lag_min: float) -> float:
    if lag_min > 0:
        return settle_min(product_c, limit_c, air_c, lag_min) if air_c > limit_c else inf
    if air_c >= limit_c:
        return 0.0
    return (limit_c - air_c) / rate if rate > 0 else inf


def _bisect(at: Callable[[float], float], limit_c: float, latest_min: float) -> float:
    low_min, high_min = 0.0, latest_min
    for _ in range(_BISECTIONS):
        middle_min = (low_min + high_min) / 2
        if at(middle_min) < limit_c:
            low_min = middle_min
        else:
            high_min = middle_min
    return high_min
