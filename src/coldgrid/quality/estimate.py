"""Estimate: what the product's temperature is while only the air's is measured, and how sure that is.

Pure functions only.

Invariants
    T1  The estimate lies between its start and the air's extremes, and inside its own band.
    T2  A new reading costs the same whatever came before: the state is all there is.
    T3  Warmer air never lengthens the time left.

The model is a first-order lag (`lag.py`). The band takes in the lag's uncertainty (one curve for the quickest
and one for the slowest body), the sensor's, and what is left of the uncertainty of the start.

Units: instants in UTC, times in minutes, temperatures in degrees Celsius.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from math import exp, expm1

import msgspec
import numpy as np

from coldgrid.quality.curves import US_PER_MIN, Curve, Series, instant_of
from coldgrid.quality.lag import advance_c, end_c, follow_c, reach_min

# A lag that no probe was fitted to is a rule of thumb: the outer cases of a pallet follow the air about twice
# as fast as the mean, the core at two thirds of its pace. House rule; a mapping study or a fit replaces it.
UNFITTED_QUICKER = 0.5
UNFITTED_SLOWER = 1.5
# Accuracy class 0.5 of EN 12830, temperature recorders for chilled and frozen goods.
SENSOR_UNCERTAINTY_C = 0.5
# How far goods may be from their zone's temperature when they arrive unmeasured.
START_UNCERTAINTY_C = 1.0

# How much faster a smaller load follows the air than a full pallet, by pack level. House rule of thumb:
# for a first-order body the lag goes with volume over surface.
LAG_FACTOR = {"pallet": 1.0, "layer": 0.5, "case": 0.35, "inner": 0.2, "each": 0.12}


# --- Lag by load and packaging --------------------------------------------------


class Lag(msgspec.Struct, frozen=True):
    """A body's first-order lag with the quickest and slowest that it may be, minutes."""

    lag_min: float
    quick_min: float
    slow_min: float
    fitted: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.quick_min <= self.lag_min <= self.slow_min:
            raise ValueError("a lag is positive and lies between its quickest and its slowest")


def lag_of(zone_lag_min: float, pack_level: str = "pallet", fill: float = 1.0) -> Lag:
    """Return the lag to assume for goods that no probe was fitted to.

    Args:
        zone_lag_min: A full pallet's lag in this zone, minutes (the zone's own figure).
        pack_level: The unit's; an unknown level counts as a case.
        fill: How full the unit is, 0 to 1. Half a pallet follows the air faster than a full one.

    Raises:
        ValueError: the zone's lag is not positive.
    """
    if zone_lag_min <= 0:
        raise ValueError("a zone's lag must be positive")
    factor = LAG_FACTOR.get(pack_level, LAG_FACTOR["case"]) * (0.5 + 0.5 * min(max(fill, 0.0), 1.0))
    lag_min = zone_lag_min * factor
    return Lag(lag_min, lag_min * UNFITTED_QUICKER, lag_min * UNFITTED_SLOWER)


# How fast the air of a cold room rises at worst: plant off, door left open. House rule; a failed compressor
# alone takes a freezer up by a tenth to a quarter of a degree a minute.
WORST_RISE_C_PER_MIN = 0.5


@lru_cache(4_096)
def grace_min(product_c: float, limit_c: float, lag: Lag) -> float:
    """Return how long silence is bridged: the time to the limit if the air had begun to rise at its worst.

    Within it even the quickest body cannot have crossed, so nothing need be held. Zero when the product is at
    its limit already; at most one lag, because no one should stay blind for longer.

    Args:
        product_c: The last known temperature of product and air.
        limit_c: The warm limit.
        lag: The body's.
    """
    reached = reach_min(product_c, limit_c, product_c, WORST_RISE_C_PER_MIN, lag.quick_min)
    return min(reached, lag.lag_min)


# --- The estimate, reading by reading -------------------------------------------


class Estimate(msgspec.Struct, frozen=True):
    """What is known of one body at one instant; the next reading needs nothing else (T2).

    `start_half_c`: what is left of the uncertainty of the start. `rate_c_per_min`: how the air has been
    changing, smoothed over `TREND_MIN`.
    """

    at: datetime
    air_c: float
    product_c: float
    quick_c: float
    slow_c: float
    start_half_c: float
    rate_c_per_min: float = 0.0
    trend_min: float = 0.0

    @property
    def low_c(self) -> float:
        """The coldest that the product may be."""
        return min(self.product_c, self.quick_c, self.slow_c) - self.start_half_c - SENSOR_UNCERTAINTY_C

    @property
    def high_c(self) -> float:
        """The warmest that the product may be."""
        return max(self.product_c, self.quick_c, self.slow_c) + self.start_half_c + SENSOR_UNCERTAINTY_C


# The air's trend forgets what is older than about this: long enough to see past a door, short enough to see
# a compressor stop.
TREND_MIN = 15.0


def begin(at: datetime, air_c: float, product_c: float | None = None) -> Estimate:
    """Start an estimate: at the air's temperature with its uncertainty, or at a probe's reading."""
    if product_c is None:
        return Estimate(at, air_c, air_c, air_c, air_c, START_UNCERTAINTY_C)
    return Estimate(at, air_c, product_c, product_c, product_c, 0.0)


def advance(state: Estimate, at: datetime, air_c: float, lag: Lag) -> Estimate:
    """Return the estimate after one more air reading. One that is not newer changes nothing.

    Late readings are for `product_band`, which works a whole series out again.
    """
    minutes = (at - state.at).total_seconds() / 60
    if minutes <= 0:
        return state
    seen_min = state.trend_min + minutes
    weight = minutes / min(seen_min, TREND_MIN) if seen_min < TREND_MIN else -expm1(-minutes / TREND_MIN)
    rate = (air_c - state.air_c) / minutes
    return Estimate(
        at,
        air_c,
        advance_c(state.product_c, state.air_c, air_c, minutes, lag.lag_min),
        advance_c(state.quick_c, state.air_c, air_c, minutes, lag.quick_min),
        advance_c(state.slow_c, state.air_c, air_c, minutes, lag.slow_min),
        state.start_half_c * exp(-minutes / lag.slow_min),
        state.rate_c_per_min + weight * (rate - state.rate_c_per_min),
        seen_min,
    )


def probed(state: Estimate, product_c: float) -> Estimate:
    """Return the estimate corrected by a product temperature taken at its instant."""
    return msgspec.structs.replace(
        state, product_c=product_c, quick_c=product_c, slow_c=product_c, start_half_c=0.0
    )


# --- The estimate of a whole series ---------------------------------------------


def product_band(
    air: Curve,
    lag: Lag,
    *,
    start_c: float | None = None,
    start_half_c: float = START_UNCERTAINTY_C,
    probes: Series | None = None,
) -> Curve:
    """Return the band that a product's temperature lies in, from the air's worst curve.

    The hot edge follows the warmest covering sensor, the cold edge the coldest; both take the quicker or
    slower body, whichever is further out. What is unknown of the air is unknown of the product.

    Args:
        air: Of the covering sensors (`curves.worst_curve`).
        lag: The body's.
        start_c: Its temperature at the curve's first instant; None: the air's.
        start_half_c: How uncertain that is.
        probes: Product temperatures taken by hand within the curve; the estimate starts again from each.
    """
    at_min = (air.at_us - air.at_us[0]) / US_PER_MIN
    cuts, starts = _starts(air, start_c, start_half_c, probes)
    hot, cold = np.empty(len(at_min)), np.empty(len(at_min))
    for (first, last), (known_c, half_c) in zip(cuts, starts, strict=True):
        part = slice(first, last + 1)
        minutes = at_min[part] - at_min[first]
        slack_c = half_c * np.exp(-minutes / lag.slow_min) + SENSOR_UNCERTAINTY_C
        lags = (lag.lag_min, lag.quick_min, lag.slow_min)
        warm_c = air.hot_c[part][0] if known_c is None else known_c
        cool_c = air.cold_c[part][0] if known_c is None else known_c
        hot[part] = (
            np.max([follow_c(minutes, air.hot_c[part], warm_c, each) for each in lags], axis=0) + slack_c
        )
        cold[part] = (
            np.min([follow_c(minutes, air.cold_c[part], cool_c, each) for each in lags], axis=0) - slack_c
        )
    return Curve(air.at_us, hot, cold, air.known)


Cuts = list[tuple[int, int]]
Starts = list[tuple[float | None, float]]


def _starts(
    air: Curve, start_c: float | None, start_half_c: float, probes: Series | None
) -> tuple[Cuts, Starts]:
    """The pieces between probe readings, each with the temperature it starts from."""
    places, values = [0], [(start_c, start_half_c)]
    for at_us, value_c in zip(probes.at_us, probes.value_c, strict=True) if probes else ():
        place = int(np.searchsorted(air.at_us, at_us))
        if place >= len(air.at_us) or at_us < air.at_us[0]:
            continue
        if place == places[-1]:
            values[-1] = (float(value_c), 0.0)
        else:
            places.append(place)
            values.append((float(value_c), 0.0))
    return list(zip(places, [*places[1:], len(air.at_us) - 1], strict=True)), values


# --- Time left ------------------------------------------------------------------


# No trend lasts for longer than this: a limit further off is not in sight.
FORESEEN_MIN = 7 * 24 * 60.0


class TimeLeft(msgspec.Struct, frozen=True):
    """Minutes until the product crosses its limit: best estimate and the band's edges; None: out of sight."""

    left_min: float | None
    earliest_min: float | None
    latest_min: float | None


def time_left(state: Estimate, lag: Lag, limit_c: float, ambient_c: float) -> TimeLeft:
    """Return the product's time to its warm limit if the air goes on as it has been changing.

    The air's trend ends at `ambient_c`, which no failed cooling exceeds. A probe or an estimate that is past
    the limit has no time left. It is the product's time, not the air's: the lag is in it.
    """
    rate = state.rate_c_per_min
    band = (
        (state.product_c, lag.lag_min),
        (state.high_c, lag.quick_min),
        (state.low_c, lag.slow_min),
    )
    left = [_left_min(start_c, limit_c, state.air_c, rate, ambient_c, lag_min) for start_c, lag_min in band]
    best, earliest, latest = (None if minutes > FORESEEN_MIN else minutes for minutes in left)
    return TimeLeft(best, earliest, latest)


def _left_min(
    product_c: float, limit_c: float, air_c: float, rate: float, ambient_c: float, lag_min: float
) -> float:
    if rate <= 0 or air_c >= ambient_c:
        return reach_min(product_c, limit_c, air_c, min(rate, 0.0), lag_min)
    ramp_min = (ambient_c - air_c) / rate
    reached = reach_min(product_c, limit_c, air_c, rate, lag_min)
    if reached <= ramp_min:
        return reached
    then_c = advance_c(product_c, air_c, ambient_c, ramp_min, lag_min)
    return ramp_min + reach_min(then_c, limit_c, ambient_c, 0.0, lag_min)


def estimate_at_end(air: Curve, lag: Lag, probes: Series | None = None) -> Estimate:
    """Return what is known of a body at the last instant of its air, from the last hand probe on.

    The hot edge of the air is what counts: the estimate is for time left, which ends at a warm limit. The
    trend is the air's slope over the last `TREND_MIN`, by least squares.
    """
    cuts, starts = _starts(air, None, START_UNCERTAINTY_C, probes)
    first, (known_c, half_c) = cuts[-1][0], starts[-1]
    at_min = (air.at_us[first:] - air.at_us[first]) / US_PER_MIN
    air_c = air.hot_c[first:]
    start_c = float(air_c[0]) if known_c is None else known_c
    product_c, quick_c, slow_c = (
        end_c(at_min, air_c, start_c, each) for each in (lag.lag_min, lag.quick_min, lag.slow_min)
    )
    return Estimate(
        instant_of(int(air.at_us[-1])),
        float(air_c[-1]),
        product_c,
        quick_c,
        slow_c,
        half_c * exp(-float(at_min[-1]) / lag.slow_min),
        slope_c_per_min(air),
        float(at_min[-1]),
    )


def slope_c_per_min(air: Curve, minutes: float = TREND_MIN) -> float:
    """How fast the hot edge of the air has been changing lately, by least squares; 0 if unknown."""
    recent = air.at_us >= air.at_us[-1] - round(minutes * US_PER_MIN)
    at_min = (air.at_us[recent] - air.at_us[-1]) / US_PER_MIN
    if len(at_min) < 2 or not air.known[-(len(at_min) - 1) :].all():
        return 0.0
    spread = at_min - at_min.mean()
    return float((spread * air.hot_c[recent]).sum() / np.square(spread).sum())
