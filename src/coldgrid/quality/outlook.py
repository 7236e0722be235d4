"""Outlook: how warm goods get along each way out of a failing zone. Moving warms goods too.

Pure functions only: the air of a way as straight legs, and the product's lag along them.

Units: times in minutes from now, temperatures in degrees Celsius, money in cents.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.quality.estimate import Lag
from coldgrid.quality.lag import weights

# A pallet in the open, its wrap disturbed, follows the air faster than in a stack. House rule of thumb.
HANDLING_QUICKER = 0.7
# Without a repair time, staying is judged over this long: a night until a technician's spare part comes.
NO_REPAIR_MIN = 12 * 60.0
# Each leg is looked at in so many steps, each of them exact.
_STEPS = 48


# --- Vocabulary -----------------------------------------------------------------


class Goods(msgspec.Struct, frozen=True, kw_only=True):
    """Units that behave alike: one product at one temperature. `low_c`, `high_c`: the estimate's band."""

    product_id: str
    temperature_class: str
    value_cents: int
    pallets: float
    product_c: float
    low_c: float
    high_c: float
    limit_c: float
    lag: Lag


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The zone that fails. `repair_min` None: nobody promised a repair; `pull_down_min`: air back in band."""

    air_c: float
    rate_c_per_min: float
    ambient_c: float
    setpoint_c: float
    repair_min: float | None
    pull_down_min: float


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """Cold brought to the goods: doors kept shut, dry ice, a reefer trailer at the dock.

    `ready_min`: until it works; `air_c`: what it keeps the goods' air at, None: it only slows the rise to
    `slowing` of its pace; `handled_min`: minutes in the open that it costs the goods.
    """

    name: str
    ready_min: float
    cost_cents: int
    air_c: float | None = None
    slowing: float = 1.0
    handled_min: float = 0.0
    pallets: float = float("inf")
    needs_hands: bool = True
    available: bool = True


class ColdSpace(msgspec.Struct, frozen=True, kw_only=True):
    """Somewhere else to put the goods. `transit_min` is 0 within the site.

    `in_band_min`: how long its air has been in its band without a break.
    """

    name: str
    temperature_class: str
    air_c: float
    in_band_min: float
    free_pallets: float
    ready_min: float
    load_min: float
    transit_min: float
    transit_c: float
    cost_cents: int


class Hands(msgspec.Struct, frozen=True):
    """Who can move goods: people, when the first is there, pallets an hour each, and the air they work in."""

    people: int
    ready_min: float
    pallets_per_h: float
    handling_c: float


# --- The air of each way out ----------------------------------------------------


class Leg(msgspec.Struct, frozen=True):
    """Air that goes straight to `air_c` in `minutes`, or is there at once. `quicker`: how the lag shrinks."""

    minutes: float
    air_c: float
    at_once: bool = False
    quicker: float = 1.0


def _failing(failure: Failure, minutes: float, slowing: float = 1.0, since_min: float = 0.0) -> list[Leg]:
    """The zone's air for some minutes: on with its trend, up to the ambient and no further."""
    rate = failure.rate_c_per_min * slowing
    start_c = min(failure.air_c + failure.rate_c_per_min * since_min, max(failure.ambient_c, failure.air_c))
    if minutes <= 0:
        return []
    if rate <= 0 or start_c >= failure.ambient_c:
        return [Leg(minutes, start_c)]
    ramp_min = min((failure.ambient_c - start_c) / rate, minutes)
    return [Leg(ramp_min, start_c + rate * ramp_min), Leg(minutes - ramp_min, start_c + rate * ramp_min)]


def recovered_min(failure: Failure) -> float | None:
    """Minutes until the zone is cold again: repair and pull-down. None while nobody promised a repair."""
    return None if failure.repair_min is None else failure.repair_min + failure.pull_down_min


def staying_legs(failure: Failure, slowing: float = 1.0) -> list[Leg]:
    """Staying: the trend until the repair and then the pull-down, or a night of it."""
    if failure.repair_min is None:
        return _failing(failure, NO_REPAIR_MIN, slowing)
    pulled = Leg(failure.pull_down_min, failure.setpoint_c)
    return [*_failing(failure, failure.repair_min, slowing), pulled]


def covered_legs(failure: Failure, cover: Cover, hands: Hands) -> list[Leg]:
    """Stay under a cover: the trend until it works, then its air, or a slower trend."""
    before = _failing(failure, cover.ready_min)
    if cover.air_c is None:
        total_min = recovered_min(failure) or NO_REPAIR_MIN
        return [*before, *_failing(failure, total_min - cover.ready_min, cover.slowing, cover.ready_min)]
    handled = Leg(cover.handled_min, hands.handling_c, at_once=True, quicker=HANDLING_QUICKER)
    held = Leg(NO_REPAIR_MIN, cover.air_c, at_once=True)
    return [*before, *([handled] if cover.handled_min else []), held]


def moving_legs(failure: Failure, space: ColdSpace, hands: Hands, pallets: float) -> list[Leg]:
    """The last pallet's way: it waits for all the others, is handled, driven, handled again, and rests."""
    moved_min = pallets / (hands.people * hands.pallets_per_h) * 60
    handled = Leg(space.load_min, hands.handling_c, at_once=True, quicker=HANDLING_QUICKER)
    legs = [*_failing(failure, max(hands.ready_min, space.ready_min) + moved_min), handled]
    if space.transit_min > 0:
        legs += [Leg(space.transit_min, space.transit_c, at_once=True), handled]
    return [*legs, Leg(NO_REPAIR_MIN, space.air_c, at_once=True)]


# --- What goods make of it ------------------------------------------------------


class Course(msgspec.Struct, frozen=True):
    """The warmest that a body gets, and when it first is past its limit."""

    peak_c: float
    crossed_min: float | None


def _course(failure: Failure, legs: Sequence[Leg], start_c: float, limit_c: float, lag_min: float) -> Course:
    """How warm a body gets along some legs of air, and when it first is past its limit."""
    air_c, product_c, at_min = failure.air_c, start_c, 0.0
    peak_c, crossed_min = start_c, 0.0 if start_c > limit_c else None
    for leg in legs:
        from_c = leg.air_c if leg.at_once else air_c
        kept, before, after = weights(leg.minutes / _STEPS, lag_min * leg.quicker)
        end_c = leg.air_c + (product_c - leg.air_c) * kept**_STEPS
        if from_c == leg.air_c and (crossed_min is not None or max(product_c, end_c) <= limit_c):
            # Along level air the product only nears it, so its ends tell all there is to tell.
            product_c, peak_c = end_c, max(peak_c, end_c)
        else:
            rise_c = (leg.air_c - from_c) / _STEPS
            for step in range(_STEPS):
                before_c = from_c + rise_c * step
                product_c = kept * product_c + before * before_c + after * (before_c + rise_c)
                peak_c = max(peak_c, product_c)
                if crossed_min is None and product_c > limit_c:
                    crossed_min = at_min + leg.minutes * (step + 1) / _STEPS
        air_c, at_min = leg.air_c, at_min + leg.minutes
    return Course(peak_c, crossed_min)


class Outlook(msgspec.Struct, frozen=True):
    """One kind of goods along one way. `lost`: the part of its band that ends past the limit, 0 to 1."""

    peak_c: float
    crossed_min: float | None
    lost: float


def outlook(failure: Failure, legs: Sequence[Leg], goods: Goods) -> Outlook:
    """What some legs of air make of goods, the edges of their band included."""
    likely = _course(failure, legs, goods.product_c, goods.limit_c, goods.lag.lag_min)
    warm = _course(failure, legs, goods.high_c, goods.limit_c, goods.lag.quick_min)
    cool = _course(failure, legs, goods.low_c, goods.limit_c, goods.lag.slow_min)
    over_c = warm.peak_c - goods.limit_c
    band_c = max(warm.peak_c - cool.peak_c, 1e-9)
    return Outlook(likely.peak_c, warm.crossed_min, min(max(over_c / band_c, 0.0), 1.0))
