"""The demo's master data: twelve sites that hang together, with nothing of the real world in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import asin, cos, radians, sin, sqrt

import pytest

from coldgrid.catalog.limits import LimitKind, fits_band, limits_of
from coldgrid.catalog.products import Product, Regime, gtins_of, list_products
from coldgrid.kernel.reading import Reader
from coldgrid.network.calendars import next_departure
from coldgrid.network.groups import get_group, on_duty
from coldgrid.network.lanes import lanes_from, lanes_to
from coldgrid.network.sites import Site, SiteKind, list_sites
from coldgrid.network.zones import Zone, list_zones, locations_of_zone
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import sensors_of_zone
from coldgrid.tower.demo.master import load_demo_master
from tests.conftest import Kernel, sqlite_kernel
from tests.network.master import put_in_force

CITIES = {"SEA1", "RNO1", "PHX1", "DEN1", "DFW1", "MCI1", "JOT1", "CMH1", "ATL1", "CLT1", "TPA1", "EWR1"}
EARTH_KM = 6371.0088


@pytest.fixture(scope="module")
def demo() -> Iterator[Kernel]:
    with sqlite_kernel() as kernel:
        put_in_force(kernel, *load_demo_master())
        yield kernel


@pytest.fixture
def db(demo: Kernel) -> Reader:
    return demo.reader()


def test_loading_it_twice_gives_the_same_items() -> None:
    assert load_demo_master() == load_demo_master()


def test_there_are_twelve_sites_of_all_seven_kinds(db: Reader) -> None:
    sites = list_sites(db)
    assert {site.site_id for site in sites} == CITIES
    assert {site.kind for site in sites} == set(SiteKind)


def test_every_site_has_cold_zones_within_its_capacity_with_places_and_sensors(db: Reader) -> None:
    for site in list_sites(db):
        zones = [zone for zone in list_zones(db) if zone.site_id == site.site_id]
        assert {zone.temperature_class for zone in zones} == set(site.capacity)
        for temperature_class, pallets in site.capacity.items():
            held = [zone.capacity_pallets for zone in zones if zone.temperature_class is temperature_class]
            assert sum(held) <= pallets
        for zone in zones:
            assert locations_of_zone(db, zone.zone_id)
            assert any(sensor.role is Role.ZONE_AIR for sensor in sensors_of_zone(db, zone.zone_id))


def test_every_location_is_covered_by_a_sensor_of_the_air(db: Reader) -> None:
    for zone in list_zones(db):
        covered = {
            location_id
            for sensor in sensors_of_zone(db, zone.zone_id)
            if sensor.role is Role.ZONE_AIR
            for location_id in sensor.covers
        }
        assert covered == {location.location_id for location in locations_of_zone(db, zone.zone_id)}


def test_every_freezer_reports_its_door_and_its_compressor(db: Reader) -> None:
    for zone in list_zones(db):
        if zone.temperature_class == "frozen":
            roles = {sensor.role for sensor in sensors_of_zone(db, zone.zone_id)}
            assert {Role.DOOR, Role.COMPRESSOR} <= roles


def test_every_site_can_be_reached_and_left(db: Reader) -> None:
    for site_id in CITIES:
        assert lanes_from(db, site_id)
        assert lanes_to(db, site_id)


def test_a_lane_s_distance_is_that_of_its_ends_by_road(db: Reader) -> None:
    sites = {site.site_id: site for site in list_sites(db)}
    for site_id in CITIES:
        for lane in lanes_from(db, site_id):
            straight_km = _apart_km(sites[lane.from_site], sites[lane.to_site])
            assert lane.distance_km == pytest.approx(1.2 * straight_km, abs=1)
            assert lane.transit_min >= lane.distance_km / 110 * 60


def _apart_km(a: Site, b: Site) -> float:
    lat_a, lon_a, lat_b, lon_b = map(radians, (a.lat, a.lon, b.lat, b.lon))
    part = sin((lat_b - lat_a) / 2) ** 2 + cos(lat_a) * cos(lat_b) * sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_KM * asin(sqrt(part))


def test_somebody_with_a_key_is_on_duty_at_every_site_at_two_in_the_morning(db: Reader) -> None:
    for site in list_sites(db):
        duties = on_duty(db, site.escalation_group, datetime(2026, 11, 20, 7, tzinfo=UTC))
        keyholder = next(duty for duty in duties if duty.rota == "keyholder")
        assert keyholder.drive_min is not None
        backup = next(duty for duty in duties if duty.rota == "backup")
        assert backup.person_id != keyholder.person_id


def test_only_numbers_and_addresses_of_fiction_are_used(db: Reader) -> None:
    for site in list_sites(db):
        group = get_group(db, site.escalation_group)
        contacts = [*group.people, *(contact for step in group.steps for contact in step.contacts)]
        for contact in contacts:
            if contact.channel in {"sms", "voice"}:
                assert contact.address[-7:-2] == "55501"
            elif contact.channel == "email":
                assert contact.address.endswith("@example.com")


def test_gtins_are_of_the_prefix_for_demonstrations(db: Reader) -> None:
    for product in list_products(db):
        assert all(gtin[1:4] == "952" for gtin in gtins_of(product))


def test_every_product_has_a_range_and_fits_a_zone_of_its_class_in_every_dc(db: Reader) -> None:
    dcs = {site.site_id for site in list_sites(db) if site.kind is SiteKind.DC}
    zones = [zone for zone in list_zones(db) if zone.site_id in dcs]
    for product in list_products(db):
        assert {zone.site_id for zone in zones if _fits(db, product, zone)} == dcs, product.product_id


def _fits(db: Reader, product: Product, zone: Zone) -> bool:
    rows = limits_of(db, product.product_id)
    return zone.temperature_class is product.temperature_class and fits_band(rows, zone.low_c, zone.high_c)


def test_mean_kinetic_temperature_is_asked_of_the_vaccine_alone(db: Reader) -> None:
    asked = [
        product.regime
        for product in list_products(db)
        for row in limits_of(db, product.product_id)
        if row.kind is LimitKind.MKT
    ]
    assert asked == [Regime.PHARMA]


def test_goods_leave_every_shipping_site_within_three_days_of_any_night(db: Reader) -> None:
    for site in list_sites(db):
        if site.cutoffs:
            for day in range(0, 365, 7):
                at = datetime(2026, 1, 1, 7, tzinfo=UTC) + timedelta(days=day)
                departure = next_departure(site.cutoffs, site.calendar, site.timezone, at)
                assert departure is not None
                assert departure.cutoff_at - at < timedelta(days=3)
