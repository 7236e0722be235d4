"""What sourcing reads of sites, products and the network's load, kept in the decider's memory.

Invariants
    F1  What is kept equals what the tables say: it changes by the same events, with undo.
    F2  A reach is a function of sites, cell, minute and policy alone; keeping it changes no decision.

Loading reads every site and product, and one row per order still open; a reach costs some 5 µs per site once
a minute for each cell that orders go to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import partial
from heapq import heappop, heappush

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.products import Product, ProductDefined, list_products
from coldgrid.kernel.known import KnownIds
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Day, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import Site, SiteDefined, SiteModeChanged, list_sites
from coldgrid.orders import orders
from coldgrid.orders.orders import (
    LineUnsourceable,
    Offer,
    OrderCanceled,
    OrderDispatched,
    OrderPlaced,
    OrderResourced,
    OrderStatus,
)
from coldgrid.orders.policy import DEFAULT_POLICY, SourcingPolicy, policy_hash
from coldgrid.orders.reach import Cell, Reach, Road, ShippingSite, Timetable, build_reach, road, timetable
from coldgrid.stock.reserves import StalenessNoted, stale_sites

CELLS_MAX = 20_000  # about 10 kB each for 20 sites; beyond, the oldest are worked out again


class Goods(msgspec.Struct, frozen=True, gc=False):
    """What sourcing must know of a product. `life_min`: life on arrival where an order names none."""

    product_id: str
    owner: str
    temperature_class: str
    unit_g: int
    life_min: timedelta


class Sites:
    """The sites with what can be worked out for them ahead of an order."""

    def __init__(self, sites: Iterator[ShippingSite], policy: SourcingPolicy) -> None:
        self.policy = policy
        self.by_id = {site.site_id: site for site in sites}
        self._roads: dict[Cell, list[Road]] = {}
        self._tables: list[Timetable] = []
        self._reaches: dict[Cell, Reach] = {}
        self._in_order: list[ShippingSite] = []
        self._forget()

    def put(self, site_id: str, site: ShippingSite | None) -> ShippingSite | None:
        """Set what a site is; return what it was."""
        before = self.by_id.pop(site_id, None)
        if site is not None:
            self.by_id[site_id] = site
        self._forget()
        return before

    def reach(self, cell: Cell, now_min: int) -> Reach:
        """All sites seen from a cell at a minute."""
        reach = self._reaches.get(cell)
        if reach is None or reach.at_min != now_min:
            reach = build_reach(self._in_order, self.roads(cell), self.tables(now_min), now_min, self.policy)
            if len(self._reaches) >= CELLS_MAX:
                self._reaches.pop(next(iter(self._reaches)))
            self._reaches[cell] = reach
        return reach

    def roads(self, cell: Cell) -> list[Road]:
        """The ways from every site to a cell, in the order of a reach's sites."""
        found = self._roads.get(cell)
        if found is None:
            if len(self._roads) >= CELLS_MAX:
                self._roads.pop(next(iter(self._roads)))
            found = self._roads[cell] = [road(site, cell, self.policy) for site in self._in_order]
        return found

    def tables(self, now_min: int) -> list[Timetable]:
        """The timetables around a minute, in the order of a reach's sites."""
        if any(not table.from_min <= now_min < table.until_min for table in self._tables) or len(
            self._tables
        ) != len(self._in_order):
            self._tables = [timetable(site, now_min) for site in self._in_order]
        return self._tables

    def _forget(self) -> None:
        self._in_order = [self.by_id[site_id] for site_id in sorted(self.by_id)]
        self._roads.clear()
        self._tables = []
        self._reaches.clear()


class Load:
    """Open order lines by site, and the sites that have as many as they can work off."""

    def __init__(self, policy: SourcingPolicy, sites: Sites) -> None:
        self.policy = policy
        self.sites = sites
        self.open_lines: dict[str, int] = {}
        self.full: set[str] = set()

    def change(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """An order has other sites than before."""
        for site_id, lines in before.items():
            self._add(site_id, -lines)
        for site_id, lines in after.items():
            self._add(site_id, lines)

    def _add(self, site_id: str, lines: int) -> None:
        count = self.open_lines[site_id] = self.open_lines.get(site_id, 0) + lines
        site = self.sites.by_id.get(site_id)
        kind = self.policy.kinds.get(site.kind) if site is not None else None
        if kind is not None and count >= kind.open_lines_max:
            self.full.add(site_id)
        elif self.full:
            self.full.discard(site_id)


@hot_state
class SourcingFacts:
    """The facts of F1 in one place.

    `last_shipped`: the expiry a customer got last, where that was agreed on; `release_at`: when the release
    timer is due. Which orders wait for their release is kept here and not in an index: it costs every order
    less.
    """

    def __init__(self, policy: SourcingPolicy, sites: Iterator[ShippingSite]) -> None:
        self.policy = policy
        self.policy_hash = policy_hash(policy)
        self.sites = Sites(sites, policy)
        self.load_of = Load(policy, self.sites)
        self.goods: dict[str, Goods] = {}
        self.last_shipped: dict[tuple[str, str], date] = {}
        self.known = KnownIds()
        self.release_at: datetime | None = None
        self._due: list[tuple[datetime, str]] = []

    @classmethod
    def load(cls, reader: Reader) -> SourcingFacts:
        """Build the facts from the tables."""
        policy = DEFAULT_POLICY
        stale = stale_sites(reader)
        facts = cls(policy, (_shipping_site(site, stale.get(site.site_id, 0)) for site in list_sites(reader)))
        facts.goods = {product.product_id: _goods(product, policy) for product in list_products(reader)}
        for customer_id, product_id, expires_on in reader.all(_LAST_SHIPPED):
            facts.last_shipped[customer_id, product_id] = expires_on
        for order_id in orders.order_ids(reader):
            facts.known.add(order_id)
        for order_id, status, final_at, sites in orders.live_orders(reader):
            facts.load_of.change({}, sites)
            if status is OrderStatus.OPEN and final_at is not None:
                facts.await_release(final_at, order_id)
        facts.release_at = facts.next_release_at()
        return facts

    def await_release(self, final_at: datetime, order_id: str) -> None:
        """Remember when an order's sourcing becomes final; in vain it costs one look in vain."""
        heappush(self._due, (final_at, order_id))

    def next_release_at(self) -> datetime | None:
        """When the next order may have to be released."""
        return self._due[0][0] if self._due else None

    def take_due(self, now: datetime, limit: int) -> list[tuple[datetime, str]]:
        """Take out the orders that may be due; give them back with `await_release` if that is undone."""
        taken: list[tuple[datetime, str]] = []
        while self._due and self._due[0][0] <= now and len(taken) < limit:
            taken.append(heappop(self._due))
        return taken


def _shipping_site(site: Site, stale_min: int) -> ShippingSite:
    return ShippingSite(
        site_id=site.site_id,
        kind=site.kind,
        mode=site.mode,
        lat=site.lat,
        lon=site.lon,
        timezone=site.timezone,
        calendar=site.calendar,
        cutoffs=site.cutoffs,
        stale_min=stale_min,
    )


def _goods(product: Product, policy: SourcingPolicy) -> Goods:
    chain = policy.chains.get(product.temperature_class)
    return Goods(
        product_id=product.product_id,
        owner=product.owner,
        # The plain text: every order looks it up, and a member of an enumeration is hashed anew each time.
        temperature_class=product.temperature_class.value,
        unit_g=product.weight_g,
        life_min=timedelta(days=chain.life_min_days if chain is not None else 0),
    )


# --- What a customer got last ---------------------------------------------------

orders_last_shipped = sa.Table(
    "orders_last_shipped",
    metadata,
    sa.Column("customer_id", sa.Text, primary_key=True),
    sa.Column("product_id", sa.Text, primary_key=True),
    sa.Column("expires_on", Day, primary_key=True),
    info={"origin": "network"},
)
# Every expiry shipped is a row, so that rows of any order of arrival are the same; the latest one counts.
_LAST_SHIPPED = Statement(
    sa.select(
        orders_last_shipped.c.customer_id,
        orders_last_shipped.c.product_id,
        sa.func.max(orders_last_shipped.c.expires_on),
    ).group_by(orders_last_shipped.c.customer_id, orders_last_shipped.c.product_id)
)
_SHIPPED = Statement(upsert(orders_last_shipped, keys=["customer_id", "product_id", "expires_on"]))


# --- Projections ----------------------------------------------------------------


def _put_site(tx: Tx, site_id: str, site: ShippingSite) -> None:
    if tx.rebuilding:
        return
    sites = tx.hot(SourcingFacts).sites
    before = sites.put(site_id, site)
    tx.undo(lambda: _ignore(sites.put(site_id, before)))


def _ignore(_: object) -> None:
    """An undo returns nothing."""


@projects(SiteDefined)
def _keep_site(tx: Tx, event: SiteDefined) -> None:
    settings = event.site
    before = tx.hot(SourcingFacts).sites.by_id.get(settings.site_id)
    _put_site(
        tx,
        settings.site_id,
        ShippingSite(
            site_id=settings.site_id,
            kind=settings.kind,
            mode="normal" if before is None else before.mode,
            lat=settings.lat,
            lon=settings.lon,
            timezone=settings.timezone,
            calendar=settings.calendar,
            cutoffs=settings.cutoffs,
            stale_min=0 if before is None else before.stale_min,
        ),
    )


@projects(SiteModeChanged)
def _keep_mode(tx: Tx, event: SiteModeChanged) -> None:
    before = tx.hot(SourcingFacts).sites.by_id.get(event.site_id)
    if before is not None:
        _put_site(tx, event.site_id, msgspec.structs.replace(before, mode=str(event.mode)))


@projects(StalenessNoted)
def _keep_staleness(tx: Tx, event: StalenessNoted) -> None:
    before = tx.hot(SourcingFacts).sites.by_id.get(event.site_id)
    if before is not None:
        _put_site(tx, event.site_id, msgspec.structs.replace(before, stale_min=event.stale_min))


@projects(ProductDefined)
def _keep_product(tx: Tx, event: ProductDefined) -> None:
    if tx.rebuilding:
        return
    facts = tx.hot(SourcingFacts)
    goods = _goods(event.product, facts.policy)
    before = facts.goods.get(goods.product_id)
    facts.goods[goods.product_id] = goods
    tx.undo(lambda: _put_back(facts.goods, goods.product_id, before))


def _put_back(kept: dict[str, Goods], product_id: str, before: Goods | None) -> None:
    if before is None:
        kept.pop(product_id, None)
    else:
        kept[product_id] = before


@projects(OrderPlaced)
def _count_new(tx: Tx, event: OrderPlaced) -> None:
    if tx.rebuilding:
        return
    facts, offer = tx.hot(SourcingFacts), event.offer
    facts.known.add(event.order_id)  # never taken back: it costs one read at most
    if offer.final_at is not None:
        facts.await_release(offer.final_at, event.order_id)
    if offer.sites:
        facts.load_of.change({}, offer.sites)
        tx.undo(partial(facts.load_of.change, offer.sites, {}))


@projects(OrderResourced)
def _count_moved(tx: Tx, event: OrderResourced) -> None:
    _count(tx, event.order_id, event.before.sites, event.offer)


@projects(LineUnsourceable)
def _count_unsourced(tx: Tx, event: LineUnsourceable) -> None:
    _count(tx, event.order_id, event.before.sites, event.offer)


@projects(OrderCanceled)
def _count_canceled(tx: Tx, event: OrderCanceled) -> None:
    _count(tx, event.order_id, event.before.sites, Offer({}, None, None))


@projects(OrderDispatched)
def _count_dispatched(tx: Tx, event: OrderDispatched) -> None:
    _count(tx, event.order_id, event.before.sites, Offer(event.offer.sites, None, None))
    if event.never_older_for:
        for goods in event.goods:
            _keep_last(tx, (event.never_older_for, goods.product_id), goods.expires_on)


def _count(tx: Tx, order_id: str, before: Mapping[str, int], offer: Offer) -> None:
    """Keep a site's load, and when the order's sourcing becomes final."""
    if tx.rebuilding:
        return
    facts, after = tx.hot(SourcingFacts), offer.sites
    if offer.final_at is not None:
        facts.await_release(offer.final_at, order_id)
    if before != after:
        load = facts.load_of
        load.change(before, after)
        tx.undo(partial(load.change, after, before))


def _keep_last(tx: Tx, key: tuple[str, str], expires_on: date) -> None:
    tx.write(_SHIPPED, customer_id=key[0], product_id=key[1], expires_on=expires_on)
    if tx.rebuilding:
        return
    kept = tx.hot(SourcingFacts).last_shipped
    before = kept.get(key)
    kept[key] = expires_on if before is None else max(before, expires_on)
    tx.undo(lambda: _ignore(kept.pop(key) if before is None else kept.update({key: before})))
