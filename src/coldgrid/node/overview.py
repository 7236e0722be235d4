"""Overview: how every zone and site is right now, looked at every two seconds and kept in memory.

Pages show this picture instead of working it out for each reader, so a page costs the same with a
dozen sites as with a thousand. It is never older than one round. What was seen before is kept for six
hours, for the lines beside the figures; it begins anew when the tower starts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import Site, TemperatureClass, list_sites
from coldgrid.network.zones import Zone, list_zones
from coldgrid.orchestration.approvals import waiting_approvals
from coldgrid.orchestration.incident_rules import Incident
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.orchestration.severity import Severity
from coldgrid.telemetry.newest import Newest, ZoneReading, warmest_by_zone
from coldgrid.telemetry.rules import Role

AIR = frozenset({Role.ZONE_AIR, Role.RETURN_AIR})
PROBES = frozenset({Role.PRODUCT_PROBE})
SILENT_AFTER = timedelta(minutes=10)
# Worst first: how states rank on a page and on the map.
RANK = {"crit": 0, "warn": 1, "off": 2, "ok": 3}
CLASSES = [TemperatureClass.FROZEN, TemperatureClass.CHILLED, TemperatureClass.AMBIENT]
WORDS = {"ok": "In range", "warn": "Watch", "crit": "Critical", "off": "Silent"}
# The past beside the figures: a point every few minutes of business time, for so many points.
POINT_EVERY = timedelta(minutes=5)
POINTS_MAX = 72


class ZoneState(msgspec.Struct, frozen=True, kw_only=True):
    """A zone now: its worst air reading, and what that means. `air_c` None: nobody knows."""

    zone: Zone
    air_c: float | None
    probe_c: float | None
    at: datetime | None
    state: str
    incident: Incident | None


class SiteState(msgspec.Struct, frozen=True, kw_only=True):
    """A site now: the worst of its zones."""

    site: Site
    zones: list[ZoneState]
    state: str
    incidents: list[Incident]

    @property
    def worst(self) -> ZoneState | None:
        """The zone that a reader should look at first."""
        return min(self.zones, key=_urgency, default=None)


def _urgency(zone: ZoneState) -> tuple[int, int, str]:
    """Worst first; where nothing is wrong, the coldest goods, which have most to lose."""
    return RANK[zone.state], CLASSES.index(zone.zone.temperature_class), zone.zone.zone_id


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen at an instant, by site where a reader may see some sites only."""

    at: datetime
    in_range: frozenset[str]
    waiting: dict[str, int]
    at_stake_cents: dict[str, int]
    orders: int


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """The network at an instant of the business clock, and the points of the hours before."""

    at: datetime
    sites: dict[str, SiteState]
    orders: dict[str, int]
    point: Point
    past: list[Point] = []

    def site(self, site_id: str) -> SiteState | None:
        """One site, or None."""
        return self.sites.get(site_id)


def zone_state(
    zone: Zone, air: ZoneReading | None, probe: ZoneReading | None, incident: Incident | None
) -> ZoneState:
    """Judge a zone by its newest readings: unknown where there is none, never good by default."""
    in_band = air is not None and not _outside(zone, air.value_c)
    if incident is not None and _is_critical(incident, in_band=in_band):
        state = "crit"
    elif air is None:
        state = "off"
    elif incident is not None or not in_band:
        # Beyond the band is not yet an alarm: a defrost or a door may explain it, or it has not lasted.
        state = "warn"
    else:
        state = "ok"
    return ZoneState(
        zone=zone,
        air_c=None if air is None else air.value_c,
        probe_c=None if probe is None else probe.value_c,
        at=None if air is None else air.at,
        state=state,
        incident=incident,
    )


def _is_critical(incident: Incident, *, in_band: bool) -> bool:
    """Whether goods are in danger now; an incident stays open long after the air is cold again.

    In air that is in its band they still are while a time to their limit, before or after it, is told.
    """
    if incident.severity is not Severity.EXCURSION_RISK:
        return False
    return not in_band or incident.picture.limit_at is not None


def _outside(zone: Zone, air_c: float) -> bool:
    too_cold = zone.temperature_class is not TemperatureClass.FROZEN and air_c < zone.low_c
    return too_cold or air_c > zone.high_c


def look(db: Reader, newest: Newest, now: datetime, orders: Mapping[str, int]) -> Picture:
    """Look at all sites. `newest`: what the sensors measured last; `orders`: how many there are by status."""
    incidents = open_incidents(db)
    by_zone: Mapping[str, Incident] = {incident.zone_id: incident for incident in reversed(incidents)}
    since = now - SILENT_AFTER
    air, probes = warmest_by_zone(newest, AIR, since), warmest_by_zone(newest, PROBES, since)
    zones: dict[str, list[ZoneState]] = {}
    for zone in list_zones(db):
        key = zone.zone_id
        told = zone_state(zone, air.get(key), probes.get(key), by_zone.get(key))
        zones.setdefault(zone.site_id, []).append(told)
    sites = {}
    for site in list_sites(db):
        states = zones.get(site.site_id, [])
        own = [incident for incident in incidents if incident.site_id == site.site_id]
        worst = min((state.state for state in states), key=RANK.__getitem__, default="off")
        sites[site.site_id] = SiteState(site=site, zones=states, state=worst, incidents=own)
    return Picture(at=now, sites=sites, orders=dict(orders), point=_point(db, sites, orders, now))


def _point(db: Reader, sites: Mapping[str, SiteState], orders: Mapping[str, int], now: datetime) -> Point:
    stakes = {
        site_id: sum(incident.picture.at_stake_cents or 0 for incident in state.incidents)
        for site_id, state in sites.items()
        if state.incidents
    }
    return Point(
        at=now,
        in_range=frozenset(site_id for site_id, state in sites.items() if state.state == "ok"),
        waiting=dict(Counter(approval.site_id for approval in waiting_approvals(db))),
        at_stake_cents=stakes,
        orders=sum(orders.values()),
    )


class Overview:
    """Keeps the latest picture; `refresh` is called by a background loop, `picture` by pages.

    Args:
        reader: Lends a reader of committed facts.
        newest: Fetches what the sensors measured last from the decider.
        now: The business clock.
        orders: Counts the orders by status; a site keeps none.
    """

    def __init__(
        self,
        reader: Callable[[], AbstractContextManager[Reader]],
        newest: Callable[[], Newest],
        now: Callable[[], datetime],
        orders: Callable[[Reader], dict[str, int]],
    ) -> None:
        self._reader = reader
        self._newest = newest
        self._now = now
        self._orders = orders
        self._past: deque[Point] = deque(maxlen=POINTS_MAX)
        self._picture: Picture | None = None

    def refresh(self) -> bool:
        """Look again; return whether anything but the time differs from the look before."""
        newest = self._newest()
        with self._reader() as db:
            seen = look(db, newest, self._now(), self._orders(db))
        before = self._picture
        if not self._past or seen.at - self._past[-1].at >= POINT_EVERY:
            self._past.append(seen.point)
        self._picture = msgspec.structs.replace(seen, past=list(self._past))
        return before is None or (before.sites, before.orders) != (seen.sites, seen.orders)

    def picture(self) -> Picture:
        """Return the latest picture; the first reader waits for the first look."""
        if self._picture is None:
            self.refresh()
        assert self._picture is not None
        return self._picture


def incidents_of(sites: Sequence[SiteState]) -> list[Incident]:
    """The open incidents of some sites."""
    return [incident for site in sites for incident in site.incidents]
