"""The picture behind the pages: how a zone is judged, which reading counts, what the figures say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from coldgrid.kernel.tables import to_micros
from coldgrid.network.sites import Site, TemperatureClass
from coldgrid.network.zones import Zone
from coldgrid.node.overview import AIR, Picture, Point, SiteState, zone_state
from coldgrid.orchestration.incidents import Incident, Severity, Status
from coldgrid.telemetry.newest import Newest, ZoneReading, warmest_by_zone
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor
from coldgrid.tower import kpis
from coldgrid.tower.order_counts import WAITING
from coldgrid.tower.pages import pins_of
from tests.conftest import T0
from tests.network.master import site

ZONE = Zone(
    zone_id="ATL1-FRZ1",
    site_id="ATL1",
    name="Freezer",
    temperature_class=TemperatureClass.FROZEN,
    setpoint_c=-24.0,
    low_c=-30.0,
    high_c=-20.0,
    capacity_pallets=10,
    lag_min=75.0,
)


def sensor(sensor_id: str, role: Role = Role.ZONE_AIR, *, active: bool = True) -> Sensor:
    return Sensor(sensor_id=sensor_id, site_id="ATL1", zone_id="ATL1-FRZ1", role=role, active=active)


def test_a_zone_of_which_nobody_knows_is_silent_never_good() -> None:
    assert zone_state(ZONE, None, None, None).state == "off"


def test_a_zone_beyond_its_band_without_an_incident_is_watched() -> None:
    assert zone_state(ZONE, ZoneReading(-19.0, T0), None, None).state == "warn"
    assert zone_state(ZONE, ZoneReading(-24.0, T0), None, None).state == "ok"


def test_a_freezer_that_is_colder_than_its_band_is_in_range_and_a_chiller_is_not() -> None:
    assert zone_state(ZONE, ZoneReading(-35.0, T0), None, None).state == "ok"
    chiller = Zone(
        zone_id="ATL1-CHL1",
        site_id="ATL1",
        name="Chiller",
        temperature_class=TemperatureClass.CHILLED,
        setpoint_c=4.0,
        low_c=2.0,
        high_c=5.0,
        capacity_pallets=10,
        lag_min=75.0,
    )
    assert zone_state(chiller, ZoneReading(0.5, T0), None, None).state == "warn"


def an_incident(**facts: Any) -> Incident:
    return Incident(
        incident_id="incident-1",
        site_id="ATL1",
        zone_id=ZONE.zone_id,
        asset_id="",
        severity=Severity.EXCURSION_RISK,
        status=Status.MITIGATED,
        title="Freezer is too warm",
        facts=facts,
        cause_id="alarm-1",
        playbook="freezer-excursion",
        owner=None,
        opened_at=T0,
        seen_at=None,
        changed_at=T0,
        closed_at=None,
    )


@pytest.mark.parametrize(
    ("air", "facts", "state"),
    [
        (ZoneReading(-18.0, T0), {}, "crit"),
        (None, {}, "crit"),
        (ZoneReading(-20.9, T0), {"limit_at": T0.isoformat()}, "crit"),
        (ZoneReading(-24.9, T0), {"limit_at": None}, "warn"),
    ],
    ids=["air too warm", "air unknown", "goods warm up", "cold again"],
)
def test_a_zone_at_risk_is_critical_until_its_air_is_in_its_band_and_its_goods_are_safe(
    air: ZoneReading | None, facts: dict[str, Any], state: str
) -> None:
    assert zone_state(ZONE, air, None, an_incident(**facts)).state == state


@pytest.mark.parametrize(("unit", "figure", "told"), [("c", "−18.4°", "−18.4 °C"), ("f", "−1.1°", "−1.1 °F")])
def test_the_map_tells_temperatures_in_the_readers_unit(unit: str, figure: str, told: str) -> None:
    raw = {name: value for name, value in site().items() if name not in {"kind", "site_kind"}}
    place = msgspec.convert({**raw, "kind": "dc"}, Site)
    zone = zone_state(ZONE, ZoneReading(-18.4, T0), None, None)
    (pin,) = pins_of([SiteState(site=place, zones=[zone], state="warn", incidents=[])], "ATL1", unit)
    assert pin.figure == figure
    assert told in pin.told


def test_the_warmest_fresh_good_reading_of_an_air_sensor_counts() -> None:
    now_us, old_us = to_micros(T0), to_micros(T0 - timedelta(hours=1))
    newest = Newest(
        sensors=[
            sensor("cold"),
            sensor("warm"),
            sensor("old"),
            sensor("bad"),
            sensor("probe", Role.PRODUCT_PROBE),
            sensor("gone", active=False),
        ],
        last_us=np.array([now_us, now_us, old_us, now_us, now_us, now_us]),
        good_us=np.array([now_us, now_us, old_us, old_us, now_us, now_us]),
        good_e4=np.array([-250_000, -210_000, 0, 0, 0, 0]),
    )
    found = warmest_by_zone(newest, AIR, T0 - timedelta(minutes=10))
    assert found == {"ATL1-FRZ1": ZoneReading(-21.0, T0)}


def test_the_figures_are_those_of_the_sites_that_a_reader_sees() -> None:
    point = Point(
        at=T0,
        in_range=frozenset({"CLT1"}),
        waiting={"ATL1": 2},
        at_stake_cents={"ATL1": 4_066_000},
        orders=10,
    )
    picture = Picture(
        at=T0, sites={}, orders={"promised": 5, "dispatched": 3, WAITING: 2, "canceled": 1}, point=point
    )
    told = {figure.label: figure for figure in kpis.figures(picture, [], held=0, budgets=[])}
    assert told["Decisions waiting"].value == "0"
    assert told["Goods at stake"].value == "$0"
    assert (told["Promised in full"].value, told["Promised in full"].note) == ("80.0", "2 waiting for goods")
    assert told["Orders"].value == "11"
    assert told["Alarm budget"].note == "no calls in 28 days"


def test_few_orders_that_wait_among_many_do_not_round_to_all_promised() -> None:
    point = Point(at=T0, in_range=frozenset(), waiting={}, at_stake_cents={}, orders=9_000)
    picture = Picture(at=T0, sites={}, orders={"promised": 8_999, WAITING: 1}, point=point)
    told = {figure.label: figure for figure in kpis.figures(picture, [], held=0, budgets=[])}
    assert (told["Promised in full"].value, told["Promised in full"].state) == ("99.9", "warn")
