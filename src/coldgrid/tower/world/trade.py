"""Trade: customers order, and sites pick and ship what was promised, as their staff would."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec

from coldgrid.catalog.products import Product
from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import Site
from coldgrid.orders.intake import AskedLine, Customer, Destination, PlaceOrder
from coldgrid.stock.dispatch import DispatchGoods, DispatchLine
from coldgrid.stock.inventory import units_of_lot
from coldgrid.stock.promises import Promise, open_promises_of

NAMES = ("Ana", "Ben", "Chloe", "Dev", "Elena", "Femi", "Grace", "Hugo", "Ines", "Jonah", "Kira", "Luis")
LINES_MAX = 3


class Due(msgspec.Struct, frozen=True, order=True):
    """An order that its sites will ship at an instant."""

    at: datetime
    order_id: str


class Trade:
    """Draws orders at a mean rate (a Poisson process) and remembers which of them to ship when."""

    def __init__(
        self,
        sites: Sequence[Site],
        products: Sequence[Product],
        per_hour: float,
        ship_after: timedelta,
        seed: int,
    ) -> None:
        self._random = Random(f"trade {seed}")
        self._sites = list(sites)
        self._products = [product for product in products if product.active]
        self._per_hour = per_hour
        self._ship_after = ship_after
        self._next_at: datetime | None = None
        self._count = 0
        self.due: list[Due] = []

    def orders_until(self, now: datetime) -> list[PlaceOrder]:
        """Return the orders that customers place up to an instant."""
        if self._per_hour <= 0:
            return []
        found = []
        if self._next_at is None:
            self._next_at = now + self._pause()
        while self._next_at <= now:
            found.append(self._order(self._next_at))
            self._next_at += self._pause()
        return found

    def _pause(self) -> timedelta:
        return timedelta(hours=self._random.expovariate(self._per_hour))

    def _order(self, at: datetime) -> PlaceOrder:
        random = self._random
        self._count += 1
        near = random.choice(self._sites)
        products = random.sample(self._products, min(len(self._products), random.randint(1, LINES_MAX)))
        name = random.choice(NAMES)
        order = PlaceOrder(
            channel="web",
            channel_order_id=f"{at:%m%d}-{self._count:05d}",
            customer_id=f"c{random.randrange(400):03d}",
            customer=Customer(name=name, email=f"{name.lower()}@example.com", address=[f"{near.city}"]),
            ship_to=Destination(
                region=near.region,
                lat=round(near.lat + random.uniform(-0.6, 0.6), 3),
                lon=round(near.lon + random.uniform(-0.6, 0.6), 3),
            ),
            lines=[
                AskedLine(line_no=number, product_id=product.product_id, qty=random.randint(1, 6))
                for number, product in enumerate(products, start=1)
            ],
        )
        self.due.append(Due(at + self._ship_after, order.order_id))
        return order

    def shipments(self, db: Reader, now: datetime) -> list[Command]:
        """Return the dispatches that are due: for each order and site, units of the promised lots."""
        ready = [due for due in self.due if due.at <= now]
        self.due = [due for due in self.due if due.at > now]
        found: list[Command] = []
        for due in ready:
            by_site: dict[str, list[Promise]] = {}
            for promise in open_promises_of(db, due.order_id):
                by_site.setdefault(promise.site_id, []).append(promise)
            for site_id, promises in sorted(by_site.items()):
                lines = [line for promise in promises for line in _pick(db, promise)]
                if lines:
                    dispatch_id = derive_id("dsp", due.order_id, site_id, due.at)
                    found.append(
                        DispatchGoods(
                            site_id=site_id,
                            dispatch_id=dispatch_id,
                            order_id=due.order_id,
                            lines=_merged(lines),
                        )
                    )
        return found

    def postpone(self, order_id: str, until: datetime) -> None:
        """Try an order's shipment again later."""
        self.due.append(Due(until, order_id))


def _pick(db: Reader, promise: Promise) -> list[DispatchLine]:
    """Choose units of the promised lot in the promised zone, the one with least on it first."""
    lines, wanted = [], promise.qty
    units = [
        unit
        for unit in units_of_lot(db, promise.lot_id)
        if unit.site_id == promise.site_id and unit.zone_id == promise.zone_id and unit.sellable and unit.qty
    ]
    for unit in sorted(units, key=lambda unit: (unit.qty, unit.sscc)):
        if wanted <= 0:
            break
        lines.append(DispatchLine(sscc=unit.sscc, qty=min(unit.qty, wanted)))
        wanted -= unit.qty
    return lines


def _merged(lines: Sequence[DispatchLine]) -> tuple[DispatchLine, ...]:
    """Two lines of an order from one unit are one line of the dispatch."""
    total: dict[str, int] = {}
    for line in lines:
        total[line.sscc] = total.get(line.sscc, 0) + line.qty
    return tuple(DispatchLine(sscc=number, qty=qty) for number, qty in total.items())
