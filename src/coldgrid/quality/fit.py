"""Fit: the lag that a product probe shows, by least squares, to take the place of the rule of thumb.

Pure functions only. Units: times in minutes, temperatures in degrees Celsius.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt

import msgspec
import numpy as np

from coldgrid.quality.curves import US_PER_MIN, Floats, Series
from coldgrid.quality.estimate import SENSOR_UNCERTAINTY_C, Lag
from coldgrid.quality.lag import follow_c

_COARSE = 24
_GOLDEN = 0.6180339887498949
_GOLDEN_STEPS = 24


class Fit(msgspec.Struct, frozen=True):
    """A lag fitted to a product probe.

    `residual_c`: root mean square of what the model leaves; `offset_c`: how much the probe reads above the
    model, constant; `points`: probe readings used.
    """

    lag: Lag
    residual_c: float
    offset_c: float
    points: int


def fit_lag(air: Series, probe: Series, *, shortest_min: float = 1.0, longest_min: float = 5_000.0) -> Fit:
    """Return the lag by which the probe follows the air best, least squares on the lag.

    A constant offset between the two instruments is taken out, since it says nothing about the lag. The
    uncertainty is two standard errors from the curvature at the best fit, at least a tenth of the lag.

    Args:
        air: Readings that span the probe's.
        probe: At least ten readings of the product's temperature.
        shortest_min: Lower bound of the search, minutes.
        longest_min: Upper bound.

    Raises:
        ValueError: fewer than ten probe readings within the air's span, an air too steady to tell, or a best
            fit at the end of the search, which is no lag at all.
    """
    inside = (probe.at_us >= air.at_us[0]) & (probe.at_us <= air.at_us[-1])
    at_us, seen_c = probe.at_us[inside], probe.value_c[inside]
    if len(at_us) < 10:
        raise ValueError("fitting a lag needs at least ten probe readings within the air's")
    if float(np.ptp(air.value_c)) < 4 * SENSOR_UNCERTAINTY_C:
        raise ValueError("the air was too steady to tell the lag")
    grid_us = np.union1d(air.at_us[air.at_us >= at_us[0]], at_us)
    at_min = (grid_us - at_us[0]) / US_PER_MIN
    air_c = np.interp(grid_us, air.at_us, air.value_c)
    chosen = np.searchsorted(grid_us, at_us)

    def errors(lag_min: float) -> Floats:
        error_c = follow_c(at_min, air_c, float(seen_c[0]), lag_min)[chosen] - seen_c
        return np.asarray(error_c - error_c.mean())

    best_min = _least(lambda lag_min: float(np.square(errors(lag_min)).sum()), shortest_min, longest_min)
    if best_min < shortest_min * 1.05 or best_min > longest_min / 1.05:
        raise ValueError("the probe does not lag behind this air: it hangs in the air, or in another place")
    error_c = errors(best_min)
    slope = (errors(best_min * 1.01) - errors(best_min * 0.99)) / (0.02 * best_min)
    residual_c = float(np.sqrt(np.square(error_c).mean()))
    curvature = float(np.square(slope).sum())
    half_min = max(2 * residual_c / sqrt(curvature) if curvature > 0 else best_min, best_min / 10)
    lag = Lag(best_min, max(best_min - half_min, best_min / 10), best_min + half_min, fitted=True)
    offset_c = float((seen_c - follow_c(at_min, air_c, float(seen_c[0]), best_min)[chosen]).mean())
    return Fit(lag, residual_c, offset_c, len(at_us))


def _least(cost: Callable[[float], float], low: float, high: float) -> float:
    """The lowest point of a cost between two bounds: a coarse look on a log scale, then a golden section."""
    looks = np.geomspace(low, high, _COARSE)
    best = int(np.argmin([cost(float(look)) for look in looks]))
    a, b = log(looks[max(best - 1, 0)]), log(looks[min(best + 1, _COARSE - 1)])
    for _ in range(_GOLDEN_STEPS):
        left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
        a, b = (a, right) if cost(exp(left)) < cost(exp(right)) else (left, b)
    return exp((a + b) / 2)
