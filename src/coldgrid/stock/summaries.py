"""Summaries: stock added up for pages and the API: by site, zone and lot, with what is held and promised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from coldgrid.catalog.products import Product, get_product
from coldgrid.kernel.money import Money
from coldgrid.kernel.reading import Reader
from coldgrid.stock.inventory import LotInZone, lots_in_zones
from coldgrid.stock.promise_book import promised_in_zones
from coldgrid.stock.units import Unit


class StockRow(msgspec.Struct, frozen=True, kw_only=True):
    """One lot in one zone, in base units. `for_sale`: fit, free and in a selling place, promised or not."""

    site_id: str
    zone_id: str
    product: Product
    lot_id: str
    expires_on: date
    units: int
    qty: int
    held_qty: int
    for_sale_qty: int
    promised_qty: int
    weight_g: int | None

    @property
    def value(self) -> Money:
        """What the goods are worth."""
        return Money(self.product.value_cents * self.qty, self.product.currency)

    @property
    def held_value(self) -> Money:
        """What the held part is worth."""
        return Money(self.product.value_cents * self.held_qty, self.product.currency)

    @property
    def short_qty(self) -> int:
        """How much more is promised than may be sold."""
        return max(0, self.promised_qty - self.for_sale_qty)

    @property
    def left_qty(self) -> int:
        """What is still for sale: for sale, and promised to nobody."""
        return max(0, self.for_sale_qty - self.promised_qty)

    @property
    def state(self) -> tuple[str, str]:
        """How it stands, as a state and a word."""
        if self.short_qty:
            return ("crit", "short")
        if self.held_qty:
            return ("warn", "held" if self.held_qty == self.qty else "partly held")
        if self.for_sale_qty < self.qty:
            return ("off", "not for sale" if not self.for_sale_qty else "partly for sale")
        return ("ok", "for sale") if self.left_qty else ("info", "all promised")


def stock_rows(db: Reader, zone_ids: Sequence[str]) -> list[StockRow]:
    """Return what stands in some zones, by zone, product and expiry."""
    promised: dict[tuple[str, str, str, str, date], int] = {}
    for one in promised_in_zones(db, zone_ids):
        promised[one.zone_id, one.product_id, one.owner, one.lot_id, one.expires_on] = one.qty
    products: dict[str, Product] = {}
    rows = []
    for lot in lots_in_zones(db, zone_ids):
        product = products.get(lot.product_id) or products.setdefault(
            lot.product_id, get_product(db, lot.product_id)
        )
        key = (lot.zone_id, lot.product_id, lot.owner, lot.lot_id, lot.expires_on)
        rows.append(_row(lot, product, promised.get(key, 0)))
    return rows


def uncovered_without(db: Reader, units: Sequence[Unit]) -> int:
    """Return how many base units more are promised than may be sold, once some units are gone."""
    taken: Counter[tuple[str, str, str, date]] = Counter()
    for unit in units:
        if unit.sellable:
            taken[unit.zone_id, unit.product_id, unit.lot_id, unit.expires_on] += unit.qty
    missing = 0
    for row in stock_rows(db, sorted({unit.zone_id for unit in units})):
        gone = taken[row.zone_id, row.product.product_id, row.lot_id, row.expires_on]
        left = row.for_sale_qty - gone
        missing += max(0, min(gone, row.promised_qty - left)) if gone else 0
    return missing


def _row(lot: LotInZone, product: Product, promised_qty: int) -> StockRow:
    return StockRow(
        site_id=lot.site_id,
        zone_id=lot.zone_id,
        product=product,
        lot_id=lot.lot_id,
        expires_on=lot.expires_on,
        units=lot.units,
        qty=lot.qty,
        held_qty=lot.held_qty,
        for_sale_qty=lot.for_sale_qty,
        promised_qty=promised_qty,
        weight_g=lot.weight_g,
    )


class StockSum(msgspec.Struct, frozen=True, kw_only=True):
    """Rows added up."""

    units: int
    qty: int
    held_qty: int
    promised_qty: int
    left_qty: int
    short_qty: int
    value: Money
    held_value: Money


def sum_of(rows: Iterable[StockRow]) -> StockSum:
    """Add rows up. Values of other currencies than US dollars are left out of the money."""
    chosen = list(rows)
    dollars = [row for row in chosen if row.product.currency == "USD"]
    return StockSum(
        units=sum(row.units for row in chosen),
        qty=sum(row.qty for row in chosen),
        held_qty=sum(row.held_qty for row in chosen),
        promised_qty=sum(row.promised_qty for row in chosen),
        left_qty=sum(row.left_qty for row in chosen),
        short_qty=sum(row.short_qty for row in chosen),
        value=Money(sum(row.value.cents for row in dollars)),
        held_value=Money(sum(row.held_value.cents for row in dollars)),
    )
