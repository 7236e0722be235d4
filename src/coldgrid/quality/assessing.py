"""Assessing: which goods stood in a place over a time, and what the readings say of each of them.

Reads stays (stock), readings (telemetry), limits (catalog) and what was spent before, and hands them to the
pure rules of `exposure`. Goods of one product at one location that are packed alike share one curve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.catalog.limits import limits_of
from coldgrid.catalog.products import Product, Regime, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import get_zone
from coldgrid.quality import exposure
from coldgrid.quality.budgets import spent_before
from coldgrid.quality.curves import Curve, spliced
from coldgrid.quality.estimate import lag_of
from coldgrid.quality.exposed import Assessed, ExposedUnit, Scope, ShippedUnit
from coldgrid.quality.exposure import Exposure, assess_stays
from coldgrid.quality.limits import Limit, LimitKind, StorageLimits
from coldgrid.quality.zone_air import Body, ZoneAir
from coldgrid.stock.inventory import get_units
from coldgrid.stock.stays import Stay, units_present
from coldgrid.stock.units import Unit, Virtual

BEING_JUDGED = "its readings are being judged"
INSTANT = timedelta(microseconds=1)
CUSTOMER, TRANSIT = Virtual.CUSTOMER.value, Virtual.TRANSIT.value


class Goods(msgspec.Struct, frozen=True):
    """What there is to know of a product to judge it. `limits` None: nobody has said what it tolerates."""

    product: Product
    limits: StorageLimits | None

    @property
    def limit_c(self) -> float:
        """The warm limit that time left and silence are measured against; infinite without one."""
        return self.limits.range_high_c if self.limits is not None else float("inf")


def goods_of(db: Reader, product_id: str) -> Goods:
    """Return a product with its limits, as the pure rules take them."""
    product = get_product(db, product_id)
    rows = tuple(
        Limit(
            limit_id=row.limit_id,
            kind=LimitKind(row.kind.value),
            low_c=row.low_c,
            high_c=row.high_c,
            minutes=row.minutes,
            source=row.source,
        )
        for row in limits_of(db, product_id)
    )
    if not any(row.kind is LimitKind.RANGE for row in rows):
        return Goods(product, None)
    pharma = product.regime is Regime.PHARMA
    return Goods(product, StorageLimits(product_id=product_id, rows=rows, pharma=pharma))


def assess(
    db: Reader,
    scope: Scope,
    until_at: datetime,
    *,
    besides: str,
    named: Collection[str] = (),
    corrections_c: Mapping[str, float] | None = None,
) -> Assessed:
    """Judge every unit that stood in a place from `scope.from_at` to `until_at`.

    Args:
        db: Where to read.
        scope: Zone, locations and start.
        until_at: Up to when; at least a moment after the start.
        besides: The excursion or other cause whose own spending of life budgets does not count as earlier.
        named: Units that were named before: they stay named though they left since.
        corrections_c: What to add to a sensor's readings, by sensor id.
    """
    stays = _stays(db, scope, until_at, named)
    if not stays:
        return Assessed((), ())
    judge = _Judge(db, scope, until_at, stays, besides, corrections_c or {})
    exposures = judge.exposures()
    units = [
        _exposed(judge, sscc, own, exposures[sscc])
        for sscc, own in _by_unit(stays).items()
        if sscc in named or _in_building(own)
    ]
    shipped = [
        _shipped(stay, exposures[stay.sscc])
        for stay in stays
        if _is_gone(stay, named) and stay.left_at is not None
    ]
    return Assessed(tuple(units), tuple(shipped))


def _is_gone(stay: Stay, named: Collection[str]) -> bool:
    """Whether goods left before anybody knew. What was named, then rescued, waits for its decision."""
    return stay.gone_to == CUSTOMER or (stay.gone_to == TRANSIT and stay.sscc not in named)


def named_units(db: Reader, scope: Scope, until_at: datetime) -> tuple[ExposedUnit, ...]:
    """Name the units that stood in a place, and are not gone, without judging their readings yet."""
    by_unit = {
        sscc: own for sscc, own in _by_unit(_stays(db, scope, until_at, ())).items() if _in_building(own)
    }
    units = get_units(db, scope.site_id, sorted(by_unit))
    return tuple(
        _unit(
            unit,
            by_unit[unit.sscc],
            get_product(db, by_unit[unit.sscc][-1].product_id),
            verdict=exposure.Verdict.UNKNOWN,
            why=BEING_JUDGED,
            outside_min=0.0,
            outside_longest_min=0.0,
            peak_c=None,
            coldest_c=None,
        )
        for unit in units
    )


def _stays(db: Reader, scope: Scope, until_at: datetime, named: Collection[str]) -> list[Stay]:
    return [
        stay
        for stay in units_present(db, scope.zone_id, scope.from_at, until_at + INSTANT)
        if (not scope.locations or stay.location_id in scope.locations)
        and stay.product_id
        and _counts(stay, named)
    ]


def _in_building(stays: Iterable[Stay]) -> bool:
    return any(stay.gone_to not in (CUSTOMER, TRANSIT) for stay in stays)


def currency_of(db: Reader, assessed: Assessed) -> str:
    """The currency of the goods named; US dollars where there are none."""
    products = sorted({unit.product_id for unit in assessed.units})
    return get_product(db, products[0]).currency if products else "USD"


def _counts(stay: Stay, named: Collection[str]) -> bool:
    """Goods that were destroyed or counted away before anybody knew are nobody's to decide about."""
    gone_otherwise = stay.left_at is not None and stay.gone_to in (
        Virtual.DESTROYED,
        Virtual.DONATED,
        Virtual.ADJUSTMENT,
    )
    return stay.sscc in named or not gone_otherwise


def _by_unit(stays: Iterable[Stay]) -> dict[str, list[Stay]]:
    found: dict[str, list[Stay]] = {}
    for stay in stays:
        found.setdefault(stay.sscc, []).append(stay)
    return found


class _Judge:
    """The readings, limits and units that one assessment needs, each read once."""

    def __init__(
        self,
        db: Reader,
        scope: Scope,
        until_at: datetime,
        stays: Sequence[Stay],
        besides: str,
        corrections_c: Mapping[str, float],
    ) -> None:
        self.scope = scope
        self.until_at = until_at
        self.by_unit = _by_unit(stays)
        self.goods = {pid: goods_of(db, pid) for pid in sorted({stay.product_id for stay in stays})}
        self.units: dict[str, Unit] = {
            unit.sscc: unit for unit in get_units(db, scope.site_id, sorted(self.by_unit))
        }
        self._spent = spent_before(db, self.by_unit, besides)
        zone = get_zone(db, scope.zone_id)
        self._lag_min = zone.lag_min
        self._air = ZoneAir(db, zone, scope.from_at, until_at, corrections_c)
        self._probed = self._air.probed_by_hand()

    def exposures(self) -> dict[str, Exposure]:
        """Judge every unit; those with one stay and the same curve at once."""
        groups: dict[tuple[str, str, str, str], list[exposure.Stay]] = {}
        places: dict[str, str] = {}
        found: dict[str, Exposure] = {}
        for sscc, own in self.by_unit.items():
            if self.goods[own[0].product_id].limits is None:
                found[sscc] = no_limits(sscc)
            elif len(own) == 1:
                probed = sscc if sscc in self._probed else ""
                cover = self._air.cover_of(own[0].location_id)
                places.setdefault(cover, own[0].location_id)
                key = (own[0].product_id, cover, self.units[sscc].pack_level.value, probed)
                groups.setdefault(key, []).append(self._stay(sscc, own))
            else:
                found[sscc] = self._moved(sscc, own)
        for (product_id, cover, pack_level, probed), stays in groups.items():
            limits = self.goods[product_id].limits
            assert limits is not None, "sorted out above"
            curve = self._air.product(places[cover], self._body(product_id, pack_level), probed)
            found |= {each.sscc: each for each in assess_stays(curve, stays, limits)}
        return found

    def spent_of(self, sscc: str) -> Mapping[str, float]:
        """What a unit had spent of its life budgets before, by limit id."""
        return self._spent.get(sscc, {})

    def span(self, stay: Stay) -> tuple[datetime, datetime]:
        """The part of a stay that is asked about; of goods that arrived this very instant, an instant."""
        from_at = max(stay.arrived_at, self.scope.from_at)
        return from_at, max(min(stay.left_at or self.until_at, self.until_at), from_at + INSTANT)

    def _stay(self, sscc: str, own: Sequence[Stay]) -> exposure.Stay:
        return exposure.Stay(sscc, self.span(own[0])[0], self.span(own[-1])[1], self.spent_of(sscc))

    def _body(self, product_id: str, pack_level: str) -> Body:
        return Body(lag_of(self._lag_min, pack_level), self.goods[product_id].limit_c)

    def _moved(self, sscc: str, own: Sequence[Stay]) -> Exposure:
        """A unit that stood in several places: its places' curves, one after the other."""
        limits = self.goods[own[0].product_id].limits
        assert limits is not None, "the caller looked"
        body = self._body(own[0].product_id, self.units[sscc].pack_level.value)
        probed = sscc if sscc in self._probed else ""
        parts: list[tuple[Curve, datetime, datetime]] = []
        for stay in own:
            from_at, until_at = self.span(stay)
            # A part that left has a stay of its own beside the rest's: the longer one stands for both.
            if parts and from_at < parts[-1][2]:
                from_at = parts[-1][2]
            if from_at < until_at:
                parts.append((self._air.product(stay.location_id, body, probed), from_at, until_at))
        whole = exposure.Stay(sscc, parts[0][1], parts[-1][2], self.spent_of(sscc))
        return assess_stays(spliced(parts), [whole], limits)[0]


def no_limits(sscc: str) -> Exposure:
    """What can be said of goods of which nobody wrote down what they tolerate: nothing."""
    return Exposure(
        sscc=sscc,
        verdict=exposure.Verdict.UNKNOWN,
        why="the product has no storage limits on record",
        outside_min=0.0,
        outside_longest_min=0.0,
        peak_c=None,
        coldest_c=None,
        mkt_c=None,
        unknown_min=0.0,
        gap_longest_min=0.0,
        thawed_at=None,
        findings=(),
    )


def _exposed(judge: _Judge, sscc: str, own: Sequence[Stay], seen: Exposure) -> ExposedUnit:
    goods = judge.goods[own[0].product_id]
    return _unit(
        judge.units[sscc],
        own,
        goods.product,
        verdict=seen.verdict,
        why=seen.why,
        outside_min=_tenths(seen.outside_min),
        outside_longest_min=_tenths(seen.outside_longest_min),
        peak_c=_hundredths(seen.peak_c),
        coldest_c=_hundredths(seen.coldest_c),
        mkt_c=_hundredths(seen.mkt_c),
        unknown_min=_tenths(seen.unknown_min),
        thawed_at=seen.thawed_at,
        spent_min=spent_in(seen, goods.limits, judge.spent_of(sscc)),
    )


def _unit(unit: Unit, own: Sequence[Stay], product: Product, **numbers: Any) -> ExposedUnit:
    # A part that was sold before has a stay of its own, and left with it.
    last = next((stay for stay in reversed(own) if stay.gone_to != CUSTOMER), own[-1])
    qty = unit.qty if unit.present else last.qty
    return ExposedUnit(
        sscc=unit.sscc,
        product_id=last.product_id,
        lot_id=last.lot_id,
        owner=last.owner,
        qty=qty,
        location_id=last.location_id,
        arrived_at=own[0].arrived_at,
        left_at=last.left_at,
        value_cents=qty * product.value_cents,
        **numbers,
    )


def spent_in(seen: Exposure, limits: StorageLimits | None, before: Mapping[str, float]) -> dict[str, float]:
    """Return what an exposure took of each life budget, minutes by limit id; only where it took some."""
    if limits is None:
        return {}
    lives = {row.limit_id for row in limits.rows if row.kind is LimitKind.CUMULATIVE}
    total = {each.limit_id: each.value or 0.0 for each in seen.findings if each.limit_id in lives}
    spent = {limit_id: _tenths(minutes - before.get(limit_id, 0.0)) for limit_id, minutes in total.items()}
    return {limit_id: minutes for limit_id, minutes in spent.items() if minutes > 0}


def _shipped(stay: Stay, seen: Exposure) -> ShippedUnit:
    assert stay.left_at is not None, "the caller looked"
    to_customer = stay.gone_to == CUSTOMER
    return ShippedUnit(
        sscc=stay.sscc,
        product_id=stay.product_id,
        lot_id=stay.lot_id,
        qty=stay.qty,
        dispatch_id=stay.gone_by if to_customer else "",
        transfer_id="" if to_customer else stay.gone_by,
        order_id=stay.order_id,
        at=stay.left_at,
        verdict=seen.verdict,
        why=seen.why,
        peak_c=_hundredths(seen.peak_c),
    )


def _tenths(minutes: float) -> float:
    """Minutes as they are told: a tenth is finer than any reading interval that matters."""
    return round(minutes, 1)


def _hundredths(value_c: float | None) -> float | None:
    """Degrees as they are told: a hundredth is finer than any probe."""
    return None if value_c is None else round(value_c, 2)
