"""Zone now: the air, the goods in it and their time left, for pages, incidents and playbooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone, get_zone
from coldgrid.quality.assessing import Goods, goods_of
from coldgrid.quality.curves import Curve
from coldgrid.quality.estimate import Estimate, Lag, TimeLeft, lag_of, slope_c_per_min, time_left
from coldgrid.quality.zone_air import WORST_AIR_C, Body, ZoneAir, band_low_c, in_band_min
from coldgrid.stock.inventory import units_in_zone
from coldgrid.stock.units import Unit


class ProductNow(msgspec.Struct, frozen=True, kw_only=True):
    """Units of one product, packed alike, under the same sensors, with their estimate. None: unknown.

    `location_id`: one of the places where they stand.

    `left_min`: until the product crosses its warm limit if the air goes on as it does, None for never;
    `earliest_min` and `latest_min` are the edges of the band.
    """

    product_id: str
    location_id: str
    temperature_class: TemperatureClass
    units: int
    qty: int
    pallets: float
    value_cents: int
    product_c: float | None
    low_c: float | None
    high_c: float | None
    limit_c: float | None
    lag_min: float
    lag_quick_min: float
    lag_slow_min: float
    left_min: float | None
    earliest_min: float | None
    latest_min: float | None


class ZoneNow(msgspec.Struct, frozen=True, kw_only=True):
    """A zone at an instant. `in_range` None: nobody knows the air; `trend_c_per_h` of the worst sensor.

    A trend is None where nobody can tell it, as from one single reading.
    `limit_at`: when the first product crosses its limit, None for never or unknown. `high_c`: the tightest
    warm limit of the goods. `grace_min`: how long silence is bridged for the most delicate of them.
    """

    zone_id: str
    at: datetime
    air_c: float | None
    trend_c_per_h: float | None
    in_range: bool | None
    band_low_c: float | None
    band_high_c: float
    units: int
    value_cents: int
    currency: str
    high_c: float | None
    limit_at: datetime | None
    crossed: bool
    grace_min: float
    products: list[ProductNow]

    @property
    def left_min(self) -> float | None:
        """Minutes until the first product crosses its limit; None for never or unknown."""
        return None if self.limit_at is None else (self.limit_at - self.at).total_seconds() / 60


# Where no goods say otherwise, silence is bridged for as long as the zone's usual goods would stand.
_USUAL_HEADROOM_C = 4.0


def zone_now(db: Reader, zone_id: str, now: datetime) -> ZoneNow:
    """Work out a zone's air, its goods' estimates and their time left.

    Raises:
        ZoneNotFound: there is no such zone.
    """
    zone = get_zone(db, zone_id)
    known = ZoneAir(db, zone, now - timedelta(minutes=1), now)
    groups = _groups(known, units_in_zone(db, zone_id))
    goods = {product_id: goods_of(db, product_id) for product_id in sorted({key[0] for key in groups})}
    products = [_product(zone, known, units, goods[key[0]]) for key, units in groups.items()]
    grace = _grace(zone, known, groups, goods)
    air = known.air("", grace)
    seen = bool(air.known[-1])
    lefts = [one.left_min for one in products if one.left_min is not None]
    return ZoneNow(
        zone_id=zone_id,
        at=now,
        air_c=round(float(air.hot_c[-1]), 2) if seen else None,
        trend_c_per_h=round(slope_c_per_min(air) * 60, 2) if seen and known.has_trend(grace) else None,
        in_range=_in_range(zone, air) if seen else None,
        band_low_c=band_low_c(zone),
        band_high_c=zone.high_c,
        units=sum(len(units) for units in groups.values()),
        value_cents=sum(one.value_cents for one in products),
        currency=goods[min(goods)].product.currency if goods else "USD",
        high_c=min((one.limit_c for one in products if one.limit_c is not None), default=None),
        limit_at=now + timedelta(minutes=min(lefts)) if lefts else None,
        crossed=any(
            one.product_c is not None and one.limit_c is not None and one.product_c > one.limit_c
            for one in products
        ),
        grace_min=round(grace, 1),
        products=products,
    )


class ZoneSpace(msgspec.Struct, frozen=True, kw_only=True):
    """A zone as a place to bring goods to: its air, how long it has been in its band, and what it holds."""

    air_c: float | None
    in_band_min: float
    pallets: float


def zone_space(db: Reader, zone: Zone, now: datetime, back: timedelta) -> ZoneSpace:
    """Look at a zone's air and its pallets only: no estimate is needed to tell whether there is room."""
    known = ZoneAir(db, zone, now - back, now)
    groups = _groups(known, units_in_zone(db, zone.zone_id))
    goods = {product_id: goods_of(db, product_id) for product_id in {key[0] for key in groups}}
    air = known.air("", _grace(zone, known, groups, goods))
    return ZoneSpace(
        air_c=round(float(air.hot_c[-1]), 2) if air.known[-1] else None,
        in_band_min=in_band_min(known),
        pallets=sum(_pallets(units, goods[key[0]]) for key, units in groups.items()),
    )


Key = tuple[str, str, str]


def _grace(
    zone: Zone, known: ZoneAir, groups: Mapping[Key, Sequence[Unit]], goods: Mapping[str, Goods]
) -> float:
    """How long silence is bridged for the most delicate goods of a zone, minutes."""
    usual = Body(lag_of(zone.lag_min), zone.setpoint_c + _USUAL_HEADROOM_C)
    graces = [
        known.grace_min(units[0].location_id, _body(zone, units[0].pack_level.value, goods[key[0]]))
        for key, units in groups.items()
    ]
    return min(graces, default=known.grace_min("", usual))


def _pallets(units: Sequence[Unit], goods: Goods) -> float:
    """How many pallet places units of one product, packed alike, take."""
    levels = goods.product.pack_levels
    per_pallet = next((level.qty for level in levels if level.name.value == "pallet"), 0)
    if units[0].pack_level.value == "pallet" or not per_pallet:
        return float(len(units))
    return round(sum(unit.qty for unit in units) / per_pallet, 2)


def _groups(known: ZoneAir, units: Sequence[Unit]) -> dict[Key, list[Unit]]:
    """The units by what tells their temperature: product, sensors over them, packaging."""
    covers = {location_id: known.cover_of(location_id) for location_id in {one.location_id for one in units}}
    groups: dict[Key, list[Unit]] = {}
    for unit in units:
        if unit.qty > 0:
            key = (unit.product_id, covers[unit.location_id], unit.pack_level.value)
            groups.setdefault(key, []).append(unit)
    return groups


def _body(zone: Zone, pack_level: str, goods: Goods) -> Body:
    return Body(lag_of(zone.lag_min, pack_level), goods.limit_c)


def _product(zone: Zone, known: ZoneAir, units: Sequence[Unit], goods: Goods) -> ProductNow:
    location_id, pack_level = units[0].location_id, units[0].pack_level.value
    body = _body(zone, pack_level, goods)
    state = known.estimate(location_id, body)
    qty = sum(unit.qty for unit in units)
    left = _left(state, body.lag, goods.limit_c)
    product = goods.product
    return ProductNow(
        product_id=product.product_id,
        location_id=location_id,
        temperature_class=product.temperature_class,
        units=len(units),
        qty=qty,
        pallets=_pallets(units, goods),
        value_cents=qty * product.value_cents,
        product_c=round(state.product_c, 2) if state else None,
        low_c=round(state.low_c, 2) if state else None,
        high_c=round(state.high_c, 2) if state else None,
        limit_c=goods.limits.range_high_c if goods.limits else None,
        lag_min=body.lag.lag_min,
        lag_quick_min=body.lag.quick_min,
        lag_slow_min=body.lag.slow_min,
        left_min=_rounded(left.left_min),
        earliest_min=_rounded(left.earliest_min),
        latest_min=_rounded(left.latest_min),
    )


def _left(state: Estimate | None, lag: Lag, limit_c: float) -> TimeLeft:
    if state is None or limit_c == float("inf"):
        return TimeLeft(None, None, None)
    return time_left(state, lag, limit_c, WORST_AIR_C)


def _rounded(minutes: float | None) -> float | None:
    return None if minutes is None else round(minutes, 1)


def _in_range(zone: Zone, air: Curve) -> bool:
    low_c = band_low_c(zone)
    return bool(air.hot_c[-1] <= zone.high_c and (low_c is None or air.cold_c[-1] >= low_c))
