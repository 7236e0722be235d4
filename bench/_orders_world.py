"""The network of the orders benchmarks: 20 sites, 60 products, stock everywhere, customers in 50 cells."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from random import Random

from coldgrid.catalog.products import Product, ProductDefined
from coldgrid.kernel.authorize import SYSTEM, AllowAll, Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Call, Decider
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.tx import Tx
from coldgrid.network.calendars import WEEKDAYS, Calendar, Cutoff, Hours
from coldgrid.network.sites import SiteDefined, SiteKind, SiteSettings, SlaTier, TemperatureClass
from coldgrid.orders.intake import AskedLine, Customer, Destination, PlaceOrder
from coldgrid.stock.index import PromisableIndex

SITES = 20
PRODUCTS = 60
CELLS = 50
CUSTOMERS = 2_000
CLASSES = (TemperatureClass.FROZEN, TemperatureClass.CHILLED, TemperatureClass.AMBIENT)
KINDS = (SiteKind.DC, SiteKind.MFC, SiteKind.STORE, SiteKind.DARK_STORE)
CHANNEL = Principal("channel", frozenset({"integrator"}))
DAYS = list(WEEKDAYS)


class Host:
    """The real clock and the system's randomness; everybody may do everything."""

    clock: ClockKind = "live"
    authorizer: Authorizer = AllowAll()

    def now(self) -> datetime:
        """Read the clock."""
        return datetime.now(UTC)

    def entropy(self, count: int) -> bytes:
        """Draw random bytes."""
        return os.urandom(count)


def open_world(url: str) -> Decider:
    """Open a database with the network in force and more goods than the benchmark can sell."""
    decider = Decider(open_database(url), Host())
    decider.within(SYSTEM, "network", _define, "bench")
    stock_up(decider)
    return decider


def stock_up(decider: Decider) -> None:
    """Put goods into the index; how they were received is not what is measured here."""
    index: PromisableIndex = decider.shared.hot[PromisableIndex]
    today = datetime.now(UTC).date()
    for number in range(PRODUCTS):
        for site in range(SITES):
            for lot in range(2):
                index.add(_bucket(number, site, lot, today), 10_000_000, 0)


def _bucket(number: int, site: int, lot: int, today: date) -> tuple[str, str, str, str, str, date]:
    zone = ("FRZ1", "CHL1", "AMB1")[number % 3]
    expires_on = today + timedelta(days=90 + 30 * lot)
    return (
        product_id(number),
        "COLDGRID",
        site_id(site),
        f"{site_id(site)}-{zone}",
        f"L{number}-{lot}",
        expires_on,
    )


def site_id(number: int) -> str:
    """A site's id."""
    return f"S{number:02}A"


def product_id(number: int) -> str:
    """A product's id."""
    return f"SKU-{number:03}-1L"


def _define(tx: Tx) -> None:
    chance = Random(20)
    for number in range(SITES):
        tx.record(f"site/{site_id(number)}", SiteDefined(site=_site(number, chance)))
    for number in range(PRODUCTS):
        product = Product(
            product_id=product_id(number),
            gtin=f"{number:014}",
            name=f"Product {number}",
            owner="COLDGRID",
            temperature_class=CLASSES[number % 3],
            pack_levels=[],
            shelf_life_days=365,
            weight_g=500,
            volume_ml=1_000,
            value_cents=500,
        )
        tx.record(f"product/{product.product_id}", ProductDefined(product=product))


def _site(number: int, chance: Random) -> SiteSettings:
    return SiteSettings(
        site_id=site_id(number),
        name=f"Site {number}",
        kind=KINDS[number % 4],
        city="City",
        region="US",
        lat=chance.uniform(30, 45),
        lon=chance.uniform(-118, -78),
        timezone="America/Chicago",
        calendar=Calendar(hours=[Hours(DAYS)]),
        cutoffs=[Cutoff("air", "11:30", DAYS), Cutoff("ground", "17:00", DAYS)],
        sla_tier=SlaTier.GOLD,
        capacity={},
        escalation_group="GRP-ALL",
    )


_PLACES = [(Random(n).uniform(30, 45), Random(-n - 1).uniform(-118, -78)) for n in range(CELLS)]


def order(number: int) -> PlaceOrder:
    """An order of three products of one temperature class, from one of the returning customers."""
    lat, lon = _PLACES[number % CELLS]
    first = 3 * (number % (PRODUCTS // 3)) + number % 3
    lines = [
        AskedLine(line_no=i + 1, product_id=product_id((first + 3 * i) % PRODUCTS), qty=1 + i)
        for i in range(3)
    ]
    return PlaceOrder(
        channel="web",
        channel_order_id=f"{10_000_000 + number}",
        customer_id=f"C{number % CUSTOMERS}",
        customer=Customer(name="Ann Example", email="ann@example.com", address=["1 Main St", "Springfield"]),
        ship_to=Destination(region="US", lat=lat, lon=lon),
        lines=lines,
    )


def calls(first: int, count: int) -> list[Call]:
    """Orders as the API hands them to the decider, each with its key."""
    placed = [order(number) for number in range(first, first + count)]
    return [Call(command, CHANNEL, f"order/{command.order_id}") for command in placed]
