"""Orders: what a customer asked for, what was promised, and what became of it.

Invariants
    O1  A channel's order id names one order. The same body again is the same order, another is refused.
    O2  Every line of an open order is promised or named as unsourced with the reason.
    O3  Only an order of which nothing has left a building can be cancelled.
    O4  Personal data is sealed, a ship-to place rounded to its quarter-degree cell, before it is recorded.

Sourcing is provisional until `final_at`, the last instant at which a site can start picking for its last
workable cut-off: until then goods may be looked for elsewhere and found again where they were. Then the
order is released to the sites, and what is still missing is final.

An order's id is its channel's name and id for it, so that a channel's orders lie side by side in every index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, Named, metadata, partial_index, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.orders.order_facts import (
    DispatchedGoods,
    LineUnsourceable,
    Offer,
    OrderCanceled,
    OrderDiffers,
    OrderDispatched,
    OrderEnded,
    OrderLine,
    OrderNotFound,
    OrderPartlyGone,
    OrderPlaced,
    OrderResourced,
    OrderStatus,
    Request,
)
from coldgrid.orders.sourcing import Unsourceable
from coldgrid.stock.promise_book import ever_promised
from coldgrid.warehouse.released import OrderReleased, ShipTo, WorkLine

__all__ = [
    "NO_END",
    "DispatchedGoods",
    "LineUnsourceable",
    "Offer",
    "Order",
    "OrderCanceled",
    "OrderDiffers",
    "OrderDispatched",
    "OrderEnded",
    "OrderLine",
    "OrderNotFound",
    "OrderPartlyGone",
    "OrderPlaced",
    "OrderReleased",
    "OrderResourced",
    "OrderStatus",
    "Request",
    "ShipTo",
    "Where",
    "WorkLine",
    "count_by_status",
    "count_unsourced",
    "find_order",
    "get_order",
    "list_orders",
    "live_orders",
    "order_ids",
    "orders_wanting_goods",
]

# `placed_no` is the epoch and the sequence number of the entry that placed the order.
EPOCH_BITS = 40
NO_END = 2**62
IDS_PER_READ = 10_000

# --- Table and projections ------------------------------------------------------

orders_order = sa.Table(
    "orders_order",
    metadata,
    # Where the network's log placed the order: the newest orders lie together and need no other index.
    sa.Column(
        "placed_no",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("status", Named(OrderStatus), nullable=False),
    sa.Column("placed_at", Instant, nullable=False),
    sa.Column("arrives_at", Instant),
    sa.Column("final_at", Instant),
    sa.Column("provisional", sa.Boolean, nullable=False),
    sa.Column("request", Json(Request), nullable=False),
    sa.Column("sites", Json(dict[str, int]), nullable=False),
    sa.Column("unsourced", Json(list[Unsourceable])),
    sa.Column("dispatches", Json(dict[str, list[DispatchedGoods]])),
    info={"origin": "network"},
)
sa.Index("uq_orders_order_id", orders_order.c.order_id, unique=True)
_HAS_UNSOURCED = orders_order.c.unsourced.is_not(None)
partial_index("ix_orders_order_unsourced", orders_order.c.placed_no, where=_HAS_UNSOURCED)

_PLACE = Statement(orders_order.insert())


def _set(*columns: str) -> Statement[tuple[Any, ...]]:
    return Statement(
        orders_order.update()
        .where(orders_order.c.order_id == sa.bindparam("which"))
        .values({name: sa.bindparam(name) for name in columns})
    )


_SET_OFFER = _set("arrives_at", "final_at", "provisional", "sites", "unsourced")
_SET_STATUS = _set("status", "provisional")
_SET_DISPATCHED = _set("status", "sites", "dispatches")
_encode = msgspec.json.Encoder().encode
# The orders of a minute to one part of the country share their instants.
_micros_of = lru_cache(4096)(to_micros)


@projects(OrderPlaced)
def _place(tx: Tx, event: OrderPlaced) -> None:
    offer, entry = event.offer, tx.entry
    tx.write_row(
        _PLACE,
        (
            entry.epoch << EPOCH_BITS | entry.seq,
            event.order_id,
            "open",
            tx.stamp.micros,
            None if offer.arrives_at is None else _micros_of(offer.arrives_at),
            None if offer.final_at is None else _micros_of(offer.final_at),
            True,
            _encode(event.request).decode(),
            _encode(offer.sites).decode(),
            None,
            None,
        ),
    )


@projects(LineUnsourceable)
def _mark_unsourced(tx: Tx, event: LineUnsourceable) -> None:
    _set_offer(tx, event.order_id, event.offer, event.provisional, event.lines)


@projects(OrderResourced)
def _move(tx: Tx, event: OrderResourced) -> None:
    _set_offer(tx, event.order_id, event.offer, event.provisional, event.unsourced)


def _set_offer(
    tx: Tx, order_id: str, offer: Offer, provisional: bool, unsourced: Sequence[Unsourceable]
) -> None:
    tx.write(
        _SET_OFFER,
        which=order_id,
        arrives_at=offer.arrives_at,
        final_at=offer.final_at,
        provisional=provisional,
        sites=offer.sites,
        unsourced=unsourced or None,
    )


@projects(OrderReleased)
def _release(tx: Tx, event: OrderReleased) -> None:
    tx.write(_SET_STATUS, which=event.order_id, status=OrderStatus.RELEASED, provisional=False)


@projects(OrderCanceled)
def _cancel(tx: Tx, event: OrderCanceled) -> None:
    tx.write(_SET_STATUS, which=event.order_id, status=OrderStatus.CANCELED, provisional=False)


@projects(OrderDispatched)
def _dispatch(tx: Tx, event: OrderDispatched) -> None:
    tx.write(
        _SET_DISPATCHED,
        which=event.order_id,
        status=OrderStatus.DISPATCHED if event.complete else OrderStatus.RELEASED,
        sites=event.offer.sites,
        dispatches=event.dispatches,
    )


# --- What readers see -----------------------------------------------------------


class Order(msgspec.Struct, frozen=True):
    """An order as readers see it. `dispatches`: what left, by dispatch."""

    placed_no: int
    order_id: str
    status: OrderStatus
    placed_at: datetime
    arrives_at: datetime | None
    final_at: datetime | None
    provisional: bool
    request: Request
    sites: dict[str, int]
    unsourced: list[Unsourceable] | None
    dispatches: dict[str, list[DispatchedGoods]] | None

    @property
    def live(self) -> bool:
        """Whether goods are still to be sent."""
        return self.status in (OrderStatus.OPEN, OrderStatus.RELEASED)

    @property
    def offer(self) -> Offer:
        """What is promised now."""
        return Offer(self.sites, self.arrives_at, self.final_at)


# --- Queries --------------------------------------------------------------------

_ALL = sa.select(orders_order)
_GET = Statement(_ALL.where(orders_order.c.order_id == sa.bindparam("order_id")), into=Order)
_NEWEST = _ALL.order_by(orders_order.c.placed_no.desc()).limit(sa.bindparam("most", type_=sa.Integer))
_AT_SITE = sa.type_coerce(orders_order.c.sites, sa.Text).like(sa.bindparam("at_site", type_=sa.Text))
_OF_CHANNEL = orders_order.c.order_id.like(sa.bindparam("of_channel", type_=sa.Text), escape="~")
_BEFORE = _NEWEST.where(orders_order.c.placed_no < sa.bindparam("before"), _AT_SITE, _OF_CHANNEL)
_SERVED_BY = ever_promised(orders_order.c.order_id, sa.bindparam("own", expanding=True))
_IN_STATUS = orders_order.c.status == sa.bindparam("status", type_=Named(OrderStatus))
_WAITS = sa.and_(_HAS_UNSOURCED, orders_order.c.status.in_(["open", "released"]))
_LIST = Statement(_BEFORE, into=Order)
_LIST_STATUS = Statement(_BEFORE.where(_IN_STATUS), into=Order)
_LIST_UNSOURCED = Statement(_BEFORE.where(_WAITS), into=Order)
_OWN = Statement(_BEFORE.where(_SERVED_BY), into=Order)
_OWN_STATUS = Statement(_BEFORE.where(_SERVED_BY, _IN_STATUS), into=Order)
_OWN_UNSOURCED = Statement(_BEFORE.where(_SERVED_BY, _WAITS), into=Order)
_COUNT_UNSOURCED = Statement(
    sa.select(sa.func.count()).where(_HAS_UNSOURCED, orders_order.c.status.in_(["open", "released"]))
)
# Their numbers are in no order of letters: so many of the newest are looked through, older ones by the whole.
SOUGHT_MAX = 20_000
_LATEST = (
    sa.select(orders_order.c.placed_no, orders_order.c.order_id)
    .order_by(orders_order.c.placed_no.desc())
    .limit(SOUGHT_MAX)
    .subquery()
)
_CALLED = sa.func.lower(_LATEST.c.order_id)
_SOUGHT = Statement(
    sa.select(_LATEST.c.order_id)
    .where(
        sa.or_(
            _CALLED.like(sa.bindparam("begin", type_=sa.Text), escape="~"),
            _CALLED.like(sa.bindparam("end", type_=sa.Text), escape="~"),
        )
    )
    .order_by(_LATEST.c.placed_no.desc())
    .limit(sa.bindparam("most", type_=sa.Integer)),
    into=str,
)
_WANTING = Statement(
    _ALL.where(_HAS_UNSOURCED)
    .where(orders_order.c.status.in_(["open", "released"]))
    .order_by(orders_order.c.placed_no)
    .limit(sa.bindparam("most", type_=sa.Integer)),
    into=Order,
)
_LIVE = orders_order.c.status.in_(["open", "released"])
_STANDINGS = Statement(
    sa.select(
        orders_order.c.order_id, orders_order.c.status, orders_order.c.final_at, orders_order.c.sites
    ).where(_LIVE)
)
_IDS = Statement(
    sa.select(orders_order.c.placed_no, orders_order.c.order_id)
    .where(orders_order.c.placed_no > sa.bindparam("after"))
    .order_by(orders_order.c.placed_no)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_COUNTS = Statement(sa.select(orders_order.c.status, sa.func.count()).group_by(orders_order.c.status))


def find_order(db: Reader, order_id: str) -> Order | None:
    """Return one order, or None."""
    return db.one(_GET, order_id=order_id)


def get_order(db: Reader, order_id: str) -> Order:
    """Return one order.

    Raises:
        OrderNotFound: there is none of this id.
    """
    order = find_order(db, order_id)
    if order is None:
        raise OrderNotFound(order_id=order_id)
    return order


class Where(msgspec.Struct, frozen=True):
    """Which orders: with open lines at a site; that some sites ever served; of a channel. Empty: any."""

    open_at: str = ""
    served_by: Collection[str] | None = None
    channel: str = ""


ANYWHERE = Where()


def list_orders(
    db: Reader,
    *,
    before: int = NO_END,
    status: OrderStatus | None = None,
    unsourced: bool = False,
    where: Where = ANYWHERE,
    limit: int = 100,
) -> list[Order]:
    """The newest orders before a `placed_no`: all, those in a status, or those that wait for goods."""
    at_site = f'%"{where.open_at}"%' if where.open_at else "%"
    served_by = where.served_by
    of_channel = f"{where.channel.replace('_', '~_')}-%" if where.channel else "%"
    wanted: dict[str, Any] = {
        "before": before,
        "at_site": at_site,
        "of_channel": of_channel,
        "most": limit,
    }
    if served_by is not None:
        wanted["own"] = sorted(served_by)
    if unsourced:
        return db.all(_LIST_UNSOURCED if served_by is None else _OWN_UNSOURCED, **wanted)
    if status is not None:
        return db.all(_LIST_STATUS if served_by is None else _OWN_STATUS, status=status, **wanted)
    return db.all(_LIST if served_by is None else _OWN, **wanted)


def find_orders(db: Reader, text: str, most: int) -> list[Order]:
    """Return orders whose number begins or ends so, in small or capital letters, the newest first."""
    plain = "".join(f"~{letter}" if letter in "~_%" else letter for letter in text.lower())
    return [get_order(db, one) for one in db.all(_SOUGHT, begin=f"{plain}%", end=f"%{plain}", most=most)]


def count_unsourced(db: Reader) -> int:
    """How many live orders wait for goods."""
    return int(db.value(_COUNT_UNSOURCED) or 0)


def orders_wanting_goods(db: Reader, limit: int) -> list[Order]:
    """Orders with unsourced lines that could still be served, oldest first."""
    return db.all(_WANTING, most=limit)


def live_orders(db: Reader) -> list[tuple[str, OrderStatus, datetime | None, Mapping[str, int]]]:
    """Every order still to be served: id, status, when its sourcing becomes final, open lines by site."""
    return db.all(_STANDINGS)


def order_ids(db: Reader) -> Iterator[str]:
    """The id of every order there ever was, in the order of placing, read in chunks."""
    after = -1
    while found := db.all(_IDS, after=after, most=IDS_PER_READ):
        yield from (order_id for _, order_id in found)
        after = found[-1][0]


def count_by_status(db: Reader) -> dict[str, int]:
    """How many orders are in each status."""
    return {str(status): count for status, count in db.all(_COUNTS)}
