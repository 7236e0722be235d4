"""Goods: the lots and handling units that stand in the network when a plan begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from random import Random

from biip.checksums import gs1_standard_check_digit

from coldgrid.catalog.limits import StorageLimit
from coldgrid.catalog.lots import RegisterLot
from coldgrid.catalog.products import PackName, Product
from coldgrid.kernel.events import Command
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import LocationKind, Zone
from coldgrid.stock.movements import ReceiveUnit
from coldgrid.stock.units import PackLevel
from coldgrid.tower.world.places import Places

# GS1's prefix for documentation and examples: these numbers collide with nobody's.
COMPANY_PREFIX = "0952123"
STANDING = (LocationKind.BULK, LocationKind.PICK)


def sscc(serial: int) -> str:
    """Return an SSCC of the demonstration company: extension 0, prefix, nine digits, check digit."""
    body = f"0{COMPANY_PREFIX}{serial:09d}"
    return f"{body}{gs1_standard_check_digit(body)}"


def opening_stock(places: Places, today: date, random: Random, pallets_per_zone: int) -> Iterator[Command]:
    """Yield the commands that fill every zone with units of fitting products, the oldest lots first.

    Each zone gets about `pallets_per_zone` units, and never more than half its capacity.
    """
    serial = 0
    known: dict[str, RegisterLot] = {}
    for ordinal, zone in enumerate(places.zones):
        fitting = [p for p in places.products if p.active and fits(zone, places.ranges.get(p.product_id))]
        spots = [one for one in places.locations if one.zone_id == zone.zone_id and one.kind in STANDING]
        if not fitting or not spots:
            continue
        count = min(pallets_per_zone, max(1, zone.capacity_pallets // 2))
        for index in range(count):
            # Zones begin at different products, so that every product stands somewhere, most in many places.
            product = fitting[(ordinal * 5 + index) % len(fitting)]
            lot = _lot(zone.site_id, product, index // len(fitting), today, random)
            serial += 1
            if known.setdefault(lot.lot_id, lot) is lot:
                yield lot
            qty = _pallet_qty(product)
            yield ReceiveUnit(
                site_id=zone.site_id,
                sscc=sscc(serial),
                location_id=spots[index % len(spots)].location_id,
                pack_level=PackLevel.PALLET,
                product_id=product.product_id,
                lot_id=lot.lot_id,
                qty=qty,
                weight_g=product.weight_g * qty if product.catch_weight else None,
                reference=f"ASN-{zone.site_id}-{index // 4 + 1:03d}",
            )


def fits(zone: Zone, limit: StorageLimit | None) -> bool:
    """Whether the whole band of a zone lies within a product's range; without a range it fits nowhere."""
    if limit is None:
        return False
    warm = limit.high_c is None or zone.high_c <= limit.high_c
    cold = limit.low_c is None or zone.low_c >= limit.low_c
    frozen = zone.temperature_class == TemperatureClass.FROZEN
    return warm and cold and frozen == (limit.high_c is not None and limit.high_c < 0)


def _lot(site_id: str, product: Product, age: int, today: date, random: Random) -> RegisterLot:
    """A lot made a while ago, so that each product has lots of several expiries (FEFO has work to do)."""
    used_days = min(product.shelf_life_days // 4, 2 + age * 3 + random.randrange(3))
    produced_on = today - timedelta(days=used_days)
    lot_id = f"{product.product_id}-{produced_on:%y%m%d}-{site_id}"
    return RegisterLot(
        site_id=site_id,
        lot_id=lot_id,
        product_id=product.product_id,
        tlc=f"{produced_on:%y%j}{product.product_id[:3]}{random.randrange(100, 1000)}",
        tlc_source=f"{product.owner} plant {random.randrange(1, 4)}",
        produced_on=produced_on,
        expires_on=produced_on + timedelta(days=product.shelf_life_days),
    )


def _pallet_qty(product: Product) -> int:
    """Base units on a pallet: what the catalogue says, else ten cases, else forty units."""
    by_name = {level.name: level.qty for level in product.pack_levels}
    return by_name.get(PackName.PALLET) or by_name.get(PackName.CASE, 4) * 10
