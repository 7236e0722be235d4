"""Finding: where a scanned or typed text leads: to a unit, a location, a lot or a product.

`find` takes whole codes and names. What begins or ends so is found for the search (`webkit.hits`): units of
the visitor's sites, and lots.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

import msgspec

from coldgrid.catalog.lots import LOT_NAMES, Lot, LotNotFound, get_lot
from coldgrid.catalog.products import Product, ProductNotFound, get_product, product_by_gtin
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import Location, LocationNotFound, get_location
from coldgrid.stock.inventory import UNIT_NAMES, units_by_sscc
from coldgrid.stock.scans import Scan, read_scan
from coldgrid.stock.units import where_now
from coldgrid.webkit.hits import Hit, register_finder


class Found(msgspec.Struct, frozen=True):
    """The address a text leads to; else `why` it leads nowhere, or neither where it is no code at all."""

    address: str = ""
    why: str = ""


def find(db: Reader, text: str) -> Found:
    """Return where a text leads. Names that somebody gave come before what a number may mean."""
    name = text.strip()
    if not name:
        return Found()
    if _lot(db, name) is not None:
        return Found(f"/stock/lots/{quote(name, safe='')}")
    if (location := location_of(db, name)) is not None:
        zone = f"/stock/sites/{location.site_id}/zones/{location.zone_id}"
        return Found(f"{zone}?at={quote(location.location_id)}")
    if (product := _product(db, name.upper())) is not None:
        return Found(f"/catalog/{quote(product.product_id, safe='')}")
    return _of_scan(db, read_scan(name))


def _of_scan(db: Reader, scan: Scan) -> Found:
    if scan.wrong:
        return Found(why=scan.wrong)
    if scan.sscc:
        if units_by_sscc(db, scan.sscc):
            return Found(f"/stock/units/{scan.sscc}")
        return Found(why=f"No unit {scan.sscc} was ever received or sent here. Receive it first.")
    if scan.gtin:
        return _of_goods(db, scan)
    if scan.lot:
        return _of_lot(db, scan.lot)
    nameless = "The code names neither a unit nor goods: it has no (00), (01) or (10)."
    return Found(why="" if scan.name else nameless)


def _of_goods(db: Reader, scan: Scan) -> Found:
    try:
        product = product_by_gtin(db, scan.gtin)
    except ProductNotFound:
        return Found(why=f"No product has the GTIN {scan.gtin}. It is given to a product in the catalog.")
    if not scan.lot:
        return Found(f"/catalog/{quote(product.product_id, safe='')}")
    lot = _lot(db, scan.lot)
    if lot is not None and lot.product_id != product.product_id:
        why = f"Lot {scan.lot} is of {lot.product_id}, and the GTIN on the label is of {product.product_id}."
        return Found(why=f"{why} Put the goods aside and ask your supervisor.")
    return _of_lot(db, scan.lot, f" of {product.product_id}")


def _of_lot(db: Reader, lot_id: str, of: str = "") -> Found:
    if _lot(db, lot_id) is not None:
        return Found(f"/stock/lots/{quote(lot_id, safe='')}")
    return Found(
        why=f"No lot {lot_id}{of} is registered. If more than the lot's number stands there, the scanner "
        "leaves out FNC1: set it to send the character 29."
    )


def location_of(db: Reader, text: str) -> Location | None:
    """Return the location whose label was scanned or typed, in any case; None where there is none."""
    try:
        return get_location(db, text.strip().upper())
    except LocationNotFound:
        return None


def _lot(db: Reader, lot_id: str) -> Lot | None:
    try:
        return get_lot(db, lot_id)
    except LotNotFound:
        return None


def _product(db: Reader, product_id: str) -> Product | None:
    try:
        return get_product(db, product_id)
    except ProductNotFound:
        return None


# --- By the beginning or the end ------------------------------------------------


def find_units(db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Hit]:
    """Return units that some sites have or had (None: any), by the first or last digits of their label."""
    found = []
    for sscc in dict.fromkeys(one.thing_id for one in UNIT_NAMES.find(db, sites, text, most)):
        unit = where_now(units_by_sscc(db, sscc))
        goods = f"{unit.product_id or 'carrier'} {unit.lot_id}".strip()
        where = f"{unit.site_id}, {unit.location_id}"
        found.append(Hit("Unit", sscc, f"{goods} · {where}", f"/stock/units/{sscc}"))
    return found


def find_lots(db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Hit]:
    """Return lots by the beginning or the end of their number; of a lot nobody knows less than all."""
    lots = [get_lot(db, one.thing_id) for one in LOT_NAMES.find(db, None, text, most)]
    return [
        Hit("Lot", lot.lot_id, lot.product_id, f"/stock/lots/{quote(lot.lot_id, safe='')}") for lot in lots
    ]


register_finder("stock.units", find_units, order=20)
register_finder("stock.lots", find_lots, order=30)
