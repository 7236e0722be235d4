"""Reach: what it costs and when goods arrive, from every site to one part of the country.

Pure: sites, a ship-to cell, an instant and a policy in, columns of integers out. A reach holds for one minute
and one cell, so that thousands of orders share its arithmetic; sourcing only adds what depends on the order.

Bounds: a cell is a quarter of a degree (at most 28 km high); its middle stands for every address in it, so a
distance is off by at most 20 km. Arrival days are UTC days. Cut-offs and hours are local
(`network/calendars.py` says what a change of clocks does to them). Units: minutes since 1970 UTC,
thousandths of a cent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from math import asin, cos, radians, sqrt

import msgspec

from coldgrid.kernel.tables import EPOCH
from coldgrid.network.calendars import (
    WEEKDAYS,
    Calendar,
    Cutoff,
    departures,
    local_day,
    local_instant,
    works_on,
)
from coldgrid.orders.policy import ColdChain, SourcingPolicy

EARTH_KM = 6371.0088  # mean radius, IUGG
CELLS_PER_DEGREE = 4
MINUTES_PER_DAY = 1_440
TIMETABLE_DAYS = 8  # a week and a day: a site that ships on one weekday only still has its next departure

Cell = tuple[int, int]

# Reason codes are short: each decision holds one per site. `sourcing.REASON_TEXTS` spells them out.
DEARER = "s.dear"
MODE = "s.mode"
KIND = "s.kind"
TOO_FAR = "s.far"
NO_DEPARTURE = "s.late"
SILENT = "s.quiet"


class ShippingSite(msgspec.Struct, frozen=True):
    """What sourcing must know of a site. Without cut-offs it has couriers only.

    `stale_min`: for how long its facts have not come, as was noted last.
    """

    site_id: str
    kind: str
    mode: str
    lat: float
    lon: float
    timezone: str
    calendar: Calendar
    cutoffs: Sequence[Cutoff] = ()
    stale_min: int = 0


class Timetable(msgspec.Struct, frozen=True):
    """A site's coming days: cut-offs of its carriers, and hours in which a courier can leave."""

    from_min: int
    until_min: int
    cutoffs_min: list[int]
    opens_min: list[int]
    closes_min: list[int]


class Combined(msgspec.Struct, gc=False):
    """A reach for one set of temperature classes: a box each, so the classes' costs add up.

    Its columns begin with the sites that serve all classes, in the reach's order; `sites` are their indexes
    in the reach, `freight` their (base in thousandths of a cent, cents per kilogram). Then come those ruled
    out. `reasons` starts every open site as dearer. `arrives_after_min` counts from the reach's minute.
    `split_mcents` and `kg_min_cents`: the least that the boxes, and a kilogram's freight, of a split can
    cost.
    """

    classes: tuple[str, ...]
    names: list[str]
    sites: list[int]
    freight: list[tuple[int, int]]
    reasons: list[str]
    facts: dict[str, Sequence[float | str | None]]
    split_mcents: int
    kg_min_cents: int


class Reach(msgspec.Struct):
    """All sites seen from one cell at one minute, one list per column, in the order of `site_ids`.

    `final_at`: when a site must begin to pick for its departure.
    """

    at_min: int
    site_ids: list[str]
    departs_min: list[int]
    arrives_min: list[int]
    arrives_on: list[date]
    arrives_at: list[datetime]
    final_at: list[datetime]
    kg_cents: list[int]
    base_mcents: dict[str, list[int]]
    reasons: dict[str, list[str]]
    latest_min: int
    combined: dict[tuple[str, ...], Combined] = {}

    def of(self, classes: tuple[str, ...]) -> Combined:
        """The columns for an order with these temperature classes, sorted and each once."""
        found = self.combined.get(classes)
        if found is None:
            found = self.combined[classes] = _combine(self, classes)
        return found


def instant(minute: int) -> datetime:
    """The instant of a minute since 1970 UTC."""
    return EPOCH + timedelta(minutes=minute)


def cell_of(lat: float, lon: float) -> Cell:
    """The quarter-degree cell around a place. Addresses are personal data, cells are not."""
    return round(lat * CELLS_PER_DEGREE), round(lon * CELLS_PER_DEGREE)


def distance_km(lat: float, lon: float, to_lat: float, to_lon: float) -> float:
    """Great-circle distance in kilometres (haversine, a sphere of the mean radius: within 0.5 %)."""
    half_lat = (radians(to_lat) - radians(lat)) / 2
    half_lon = (radians(to_lon) - radians(lon)) / 2
    chord = _sin2(half_lat) + cos(radians(lat)) * cos(radians(to_lat)) * _sin2(half_lon)
    return 2 * EARTH_KM * asin(min(1.0, sqrt(chord)))


def _sin2(angle: float) -> float:
    return (1 - cos(2 * angle)) / 2


def timetable(site: ShippingSite, from_min: int) -> Timetable:
    """The site's cut-offs and hours from the day before `from_min` on; good until `until_min`."""
    at = datetime.fromtimestamp(from_min * 60, UTC)
    first = local_day(at, site.timezone) - timedelta(days=1)
    leaving = departures(site.cutoffs, site.calendar, site.timezone, first, TIMETABLE_DAYS + 1)
    days = [first + timedelta(days=offset) for offset in range(TIMETABLE_DAYS + 1)]
    hours = [
        (
            _minute(local_instant(day, row.opens, site.timezone)),
            _minute(local_instant(day, row.closes, site.timezone)),
        )
        for day in days
        if works_on(site.calendar, day)
        for row in site.calendar.hours
        if WEEKDAYS[day.weekday()] in row.days
    ]
    hours.sort()
    return Timetable(
        from_min=from_min,
        until_min=from_min + MINUTES_PER_DAY,
        cutoffs_min=sorted(_minute(departure.cutoff_at) for departure in leaving),
        opens_min=[opens for opens, _ in hours],
        closes_min=[closes for _, closes in hours],
    )


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def parcel_leaves_min(table: Timetable, ready_min: int) -> int | None:
    """The first cut-off that goods ready at `ready_min` still make; the bound is inclusive."""
    i = bisect_left(table.cutoffs_min, ready_min)
    return table.cutoffs_min[i] if i < len(table.cutoffs_min) else None


def courier_leaves_min(table: Timetable, ready_min: int) -> int | None:
    """When a courier can leave: at once in working hours, else at the next opening."""
    i = bisect_right(table.closes_min, ready_min)
    return max(ready_min, table.opens_min[i]) if i < len(table.opens_min) else None


def last_workable_min(table: Timetable, way: Road, arrives_by_min: int) -> int | None:
    """The last instant at which goods can leave and still arrive in time, None when there is none."""
    latest_min = arrives_by_min - way.transit_min
    if not way.local:
        i = bisect_right(table.cutoffs_min, latest_min)
        return table.cutoffs_min[i - 1] if i else None
    i = bisect_right(table.opens_min, latest_min)
    return min(latest_min, table.closes_min[i - 1]) if i else None


class Road(msgspec.Struct, frozen=True, gc=False):
    """The way from one site to one cell: `local` by courier, else as a parcel."""

    local: bool
    transit_min: int
    parcel_cents: int
    kg_cents: int


def road(site: ShippingSite, cell: Cell, policy: SourcingPolicy) -> Road:
    """Distance, time and freight from a site to the middle of a cell."""
    km = policy.road_factor * distance_km(
        site.lat, site.lon, cell[0] / CELLS_PER_DEGREE, cell[1] / CELLS_PER_DEGREE
    )
    if km <= policy.local_km:
        return Road(True, policy.local_min, policy.local_cents, policy.local_kg_cents)
    hundreds = int(km) // 100
    return Road(
        local=False,
        transit_min=policy.parcel_base_min + int(km * 60) // policy.parcel_km_per_h,
        parcel_cents=policy.parcel_cents + hundreds * policy.parcel_100km_cents,
        kg_cents=policy.parcel_kg_cents + hundreds * policy.parcel_kg_100km_cents,
    )


def build_reach(
    sites: Sequence[ShippingSite],
    roads: Sequence[Road],
    tables: Sequence[Timetable],
    now_min: int,
    policy: SourcingPolicy,
) -> Reach:
    """Combine the sites' roads to a cell and their timetables into the columns that hold for this minute.

    Args:
        sites: In any order; the columns keep it.
        roads: One per site, to the cell.
        tables: One timetable per site.
        now_min: The order's minute.
        policy: What things cost.
    """
    departs = [
        _departs(site, way, table, now_min, policy)
        for site, way, table in zip(sites, roads, tables, strict=True)
    ]
    picks = [policy.kinds[site.kind].pick_min if site.kind in policy.kinds else 0 for site in sites]
    arrives = [leaves + way.transit_min if leaves else 0 for leaves, way in zip(departs, roads, strict=True)]
    base: dict[str, list[int]] = {}
    reasons: dict[str, list[str]] = {}
    for name, chain in policy.chains.items():
        reasons[name] = [
            _ruled_out(site, way, leaves, chain, policy)
            for site, way, leaves in zip(sites, roads, departs, strict=True)
        ]
        base[name] = [
            0 if why != DEARER else _box_mcents(site, way, arrives_min - now_min, chain, policy)
            for site, way, arrives_min, why in zip(sites, roads, arrives, reasons[name], strict=True)
        ]
    return Reach(
        at_min=now_min,
        site_ids=[site.site_id for site in sites],
        departs_min=departs,
        arrives_min=arrives,
        arrives_on=[instant(at_min).date() for at_min in arrives],
        arrives_at=[instant(at_min) for at_min in arrives],
        final_at=[instant(leaves - pick) for leaves, pick in zip(departs, picks, strict=True)],
        kg_cents=[way.kg_cents for way in roads],
        base_mcents=base,
        reasons=reasons,
        latest_min=max(arrives, default=0),
        combined={},
    )


def _departs(site: ShippingSite, way: Road, table: Timetable, now_min: int, policy: SourcingPolicy) -> int:
    """When goods would leave, 0 when they would not within the timetable."""
    kind = policy.kinds.get(site.kind)
    if kind is None:
        return 0
    leaves_min = courier_leaves_min if way.local else parcel_leaves_min
    return leaves_min(table, now_min + kind.pick_min) or 0


def may_source(stale_min: int, policy: SourcingPolicy) -> bool:
    """Tell whether a site still offers goods for new orders, its facts not having come for so long."""
    return stale_min < policy.stop_sourcing_after_min


def _ruled_out(
    site: ShippingSite, way: Road, departs_min: int, chain: ColdChain, policy: SourcingPolicy
) -> str:
    if site.mode not in ("normal", "ship_only"):
        return MODE
    if not may_source(site.stale_min, policy):
        return SILENT
    if site.kind not in policy.kinds:
        return KIND
    if way.transit_min > chain.transit_max_h * 60:
        return TOO_FAR
    return DEARER if departs_min else NO_DEPARTURE


def _box_mcents(
    site: ShippingSite, way: Road, until_arrival_min: int, chain: ColdChain, policy: SourcingPolicy
) -> int:
    """One box of one class: pick, pack, cool and carry it, and wait for it; thousandths of a cent."""
    once_cents = policy.kinds[site.kind].handle_cents + chain.box_cents + way.parcel_cents
    per_hour = chain.hour_cents * way.transit_min + policy.hour_cents * until_arrival_min
    return once_cents * 1_000 + per_hour * 1_000 // 60


def _combine(reach: Reach, classes: tuple[str, ...]) -> Combined:
    columns = [reach.base_mcents[name] for name in classes]
    reasons = [
        next((why for why in each if why != DEARER), DEARER)
        for each in zip(*(reach.reasons[name] for name in classes), strict=True)
    ]
    sites = sorted(range(len(reasons)), key=lambda i: (reasons[i] != DEARER, i))
    base = [sum(each) for each in zip(*columns, strict=True)]
    return Combined(
        classes=classes,
        names=[reach.site_ids[i] for i in sites],
        sites=sites,
        freight=[(base[i], reach.kg_cents[i]) for i in sites if reasons[i] == DEARER],
        reasons=[reasons[i] for i in sites],
        facts={
            "arrives_after_min": [reach.arrives_min[i] - reach.at_min for i in sites if reasons[i] == DEARER]
        },
        split_mcents=_least_split_mcents(reach, classes),
        kg_min_cents=min(reach.kg_cents, default=0),
    )


def _least_split_mcents(reach: Reach, classes: tuple[str, ...]) -> int:
    """Two sites send at least two boxes and at least one of every class."""
    bases = [
        sorted(
            base
            for base, why in zip(reach.base_mcents[name], reach.reasons[name], strict=True)
            if why == DEARER
        )
        for name in classes
    ]
    if len(classes) == 1:
        return sum(bases[0][:2])
    return sum(each[0] for each in bases if each)
