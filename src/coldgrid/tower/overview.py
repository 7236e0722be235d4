"""Overview: how every zone and site is right now, looked at every two seconds and kept in memory.

Pages show this picture instead of working it out for each reader, so a page costs the same with a
dozen sites as with a thousand. It is never older than one round; how old it is stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import Site, TemperatureClass, list_sites
from coldgrid.network.zones import Zone, list_zones
from coldgrid.orchestration.incident_rules import Incident
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.orchestration.severity import Severity
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor, list_sensors
from coldgrid.telemetry.store import LastReading, last_readings

AIR = frozenset({Role.ZONE_AIR, Role.RETURN_AIR})
SILENT_AFTER = timedelta(minutes=10)
# Worst first: how states rank on a page and on the map.
RANK = {"crit": 0, "warn": 1, "off": 2, "ok": 3}
CLASSES = [TemperatureClass.FROZEN, TemperatureClass.CHILLED, TemperatureClass.AMBIENT]
WORDS = {"ok": "In range", "warn": "Watch", "crit": "Critical", "off": "Silent"}


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


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """The network at an instant of the business clock."""

    at: datetime
    sites: list[SiteState]
    incidents: list[Incident]

    def site(self, site_id: str) -> SiteState | None:
        """One site, or None."""
        return next((state for state in self.sites if state.site.site_id == site_id), None)


def zone_state(
    zone: Zone, readings: Sequence[tuple[Sensor, LastReading]], now: datetime, incident: Incident | None
) -> ZoneState:
    """Judge a zone by its newest readings: unknown where they are old or bad, never good by default."""
    fresh = [(sensor, last) for sensor, last in readings if last.good and last.at >= now - SILENT_AFTER]
    air = [last for sensor, last in fresh if sensor.role in AIR]
    probes = [last.value_c for sensor, last in fresh if sensor.role is Role.PRODUCT_PROBE]
    worst = max(air, key=lambda last: last.value_c, default=None)
    if incident is not None and incident.severity is Severity.EXCURSION_RISK:
        state = "crit"
    elif worst is None:
        state = "off"
    elif worst.value_c > zone.high_c or (zone.temperature_class != "frozen" and worst.value_c < zone.low_c):
        state = "crit"
    else:
        state = "warn" if incident is not None else "ok"
    return ZoneState(
        zone=zone,
        air_c=None if worst is None else worst.value_c,
        probe_c=max(probes, default=None),
        at=None if worst is None else worst.at,
        state=state,
        incident=incident,
    )


def look(db: Reader, now: datetime) -> Picture:
    """Look at the whole network."""
    incidents = open_incidents(db)
    by_zone: Mapping[str, Incident] = {incident.zone_id: incident for incident in reversed(incidents)}
    zones: dict[str, list[Zone]] = {}
    for zone in list_zones(db):
        zones.setdefault(zone.site_id, []).append(zone)
    sensors: dict[str, list[Sensor]] = {}
    for sensor in list_sensors(db):
        sensors.setdefault(sensor.zone_id, []).append(sensor)
    sites = []
    for site in list_sites(db):
        last = last_readings(db, site.site_id)
        states = [
            zone_state(
                zone,
                [(s, last[s.sensor_id]) for s in sensors.get(zone.zone_id, ()) if s.sensor_id in last],
                now,
                by_zone.get(zone.zone_id),
            )
            for zone in zones.get(site.site_id, ())
        ]
        own = [incident for incident in incidents if incident.site_id == site.site_id]
        worst = min((state.state for state in states), key=RANK.__getitem__, default="off")
        sites.append(SiteState(site=site, zones=states, state=worst, incidents=own))
    return Picture(at=now, sites=sites, incidents=incidents)


class Overview:
    """Keeps the latest picture; `refresh` is called by a background loop, `picture` by pages."""

    def __init__(
        self, reader: Callable[[], AbstractContextManager[Reader]], now: Callable[[], datetime]
    ) -> None:
        self._reader = reader
        self._now = now
        self._picture: Picture | None = None

    def refresh(self) -> str:
        """Look again; return what to say on the health page."""
        with self._reader() as db:
            self._picture = look(db, self._now())
        return f"{len(self._picture.sites)} sites"

    def picture(self) -> Picture:
        """Return the latest picture; the first reader waits for the first look."""
        if self._picture is None:
            self.refresh()
        assert self._picture is not None
        return self._picture
