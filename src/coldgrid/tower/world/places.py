"""Places: the master data of the sites that take part in a plan."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.catalog.limits import LimitKind, StorageLimit, limits_of
from coldgrid.catalog.products import Product, list_products
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import Site, list_sites
from coldgrid.network.zones import Location, Zone, list_zones, locations_of_zone
from coldgrid.telemetry.sensors import Sensor, sensors_of_zone


class Places(msgspec.Struct, frozen=True):
    """The master data that a world needs, of the sites that take part."""

    sites: list[Site]
    zones: list[Zone]
    locations: list[Location]
    sensors: list[Sensor]
    products: list[Product]
    ranges: dict[str, StorageLimit]


def read_places(db: Reader, sites: Sequence[str]) -> Places:
    """Read the master data of the given sites, of all of them where none are given."""
    chosen = [site for site in list_sites(db) if not sites or site.site_id in sites]
    ids = {site.site_id for site in chosen}
    zones = [zone for zone in list_zones(db) if zone.site_id in ids]
    products = list_products(db)
    ranges = {
        product.product_id: limit
        for product in products
        for limit in limits_of(db, product.product_id)
        if limit.kind is LimitKind.RANGE
    }
    return Places(
        chosen,
        zones,
        [place for zone in zones for place in locations_of_zone(db, zone.zone_id)],
        [sensor for zone in zones for sensor in sensors_of_zone(db, zone.zone_id)],
        products,
        ranges,
    )
