"""The network of the readings benchmarks: one site, as many air sensors as asked, a clock set by hand."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import numpy as np

from coldgrid.kernel.authorize import SYSTEM, AllowAll, Authorizer
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.tables import to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.network.calendars import WEEKDAYS, Calendar, Hours
from coldgrid.network.sites import SiteDefined, SiteKind, SiteSettings, SlaTier, TemperatureClass
from coldgrid.network.zones import Zone, ZoneDefined
from coldgrid.telemetry.quantities import Floats, Ints
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor, SensorDefined

SITE = "ATL1"
START = datetime(2026, 3, 1, tzinfo=UTC)
START_US = to_micros(START)
PER_ZONE = 10


class HandClock:
    """A clock that the benchmark sets; everybody may do everything."""

    clock: ClockKind = "virtual"
    authorizer: Authorizer = AllowAll()

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        """Tell what was set."""
        return self.instant

    def entropy(self, count: int) -> bytes:
        """Draw random bytes."""
        return os.urandom(count)


def sensor_ids(count: int) -> list[str]:
    """Return so many names, ten to a zone."""
    return [f"{SITE}-FRZ{number // PER_ZONE + 1}-T{number % PER_ZONE + 1}" for number in range(count)]


def open_cold_world(url: str, sensors: int) -> tuple[Decider, HandClock]:
    """Open a database with a site and its sensors in force."""
    host = HandClock()
    decider = Decider(open_database(url), host)
    decider.within(SYSTEM, "network", lambda tx: _define(tx, sensors), "bench")
    return decider, host


def _define(tx: Tx, sensors: int) -> None:
    settings = SiteSettings(
        site_id=SITE,
        name="Forest Park DC",
        kind=SiteKind.DC,
        city="Forest Park",
        region="GA",
        lat=33.62,
        lon=-84.37,
        timezone="America/New_York",
        calendar=Calendar(hours=[Hours(days=list(WEEKDAYS))]),
        sla_tier=SlaTier.GOLD,
        capacity={TemperatureClass.FROZEN: 10_000},
        escalation_group="GRP-ATL1",
    )
    tx.record(f"site/{SITE}", SiteDefined(site=settings))
    names = sensor_ids(sensors)
    for zone_id in dict.fromkeys(name.rpartition("-")[0] for name in names):
        zone = Zone(
            zone_id=zone_id,
            site_id=SITE,
            name=zone_id,
            temperature_class=TemperatureClass.FROZEN,
            setpoint_c=-22.0,
            low_c=-25.0,
            high_c=-18.0,
            capacity_pallets=100,
            lag_min=240,
        )
        tx.record(f"zone/{zone_id}", ZoneDefined(zone=zone))
    for name in names:
        sensor = Sensor(
            sensor_id=name,
            site_id=SITE,
            zone_id=name.rpartition("-")[0],
            role=Role.ZONE_AIR,
            interval_s=10.0,
        )
        tx.record(f"sensor/{name}", SensorDefined(sensor=sensor))


def move(host: HandClock, at_us: int) -> None:
    """Set the clock to an instant."""
    host.instant = START + timedelta(microseconds=at_us - START_US)


def freezer_c(at_us: Ints, seed: int, noise_c: float = 0.02) -> Floats:
    """Return the air of a freezer as a probe with 0.1 °C steps tells it: the compressor's cycle, a day's."""
    random = np.random.default_rng(seed)
    hours = (at_us - START_US) / 3.6e9
    cycle = 0.6 * np.sin(2 * np.pi * hours / 0.4 + seed) + 0.4 * np.sin(2 * np.pi * hours / 24)
    told: Floats = np.round(-21.5 + cycle + random.normal(0, noise_c, len(at_us)), 1)
    return told
