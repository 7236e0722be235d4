"""Picks: what was taken from which unit for which order and has not left, and what left unsettled.

Invariants
    P1  A pick names a unit, an order and how much is taken of it now; the last word counts, 0 puts it back.
    P2  A pick moves no goods in the books: they stand on the unit until they are dispatched.
    P3  What was dispatched is no longer to be picked, also while the network has not heard of it.

`picking` decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock.dispatch import GoodsDispatched
from coldgrid.stock.promise_book import PromiseKept
from coldgrid.stock.promises import Shipped

# --- Vocabulary and events ------------------------------------------------------


class Short(StrEnum):
    """Why less is taken from a unit than its label and the books say."""

    MISSING = "missing"
    DAMAGED = "damaged"


class UnitPicked(Event, frozen=True, tag="warehouse.unit_picked", omit_defaults=True):
    """So many base units of a unit are taken for an order now; with `short` there are no more to take."""

    site_id: str
    zone_id: str
    order_id: str
    sscc: str
    product_id: str
    owner: str
    lot_id: str
    qty: int
    short: str = ""


class ShortUnit(msgspec.Struct, frozen=True):
    """A unit that had less than the books say, and why."""

    sscc: str
    reason: str


class PickingEnded(Event, frozen=True, tag="warehouse.picking_ended", omit_defaults=True):
    """What was picked for an order has left. `dispatch_id` is empty where nothing was found to leave."""

    site_id: str
    order_id: str
    dispatch_id: str
    short: list[ShortUnit] = msgspec.field(default_factory=list)


# --- Tables and projections -----------------------------------------------------

warehouse_pick = sa.Table(
    "warehouse_pick",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("short", sa.Text, nullable=False),
    sa.Column("picked_at", Instant, nullable=False),
    sa.Column("picked_by", sa.Text, nullable=False),
    info={"origin": "site"},
)
# The site's side and the network's side of the same dispatch, so that either may be heard of first.
warehouse_sent = sa.Table(
    "warehouse_sent",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("dispatch_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("sent_at", Instant, nullable=False),
    sa.Column("goods", Json(list[Shipped]), nullable=False),
    sa.Index("ix_warehouse_sent_order", "order_id"),
    info={"origin": "site"},
)
warehouse_settled = sa.Table(
    "warehouse_settled",
    metadata,
    sa.Column("dispatch_id", sa.Text, primary_key=True),
    info={"origin": "network"},
)
_K = warehouse_pick.c
_OF_UNIT = (
    _K.site_id == sa.bindparam("of_site"),
    _K.order_id == sa.bindparam("of_order"),
    _K.sscc == sa.bindparam("of_sscc"),
)
_PICK = Statement(
    upsert(
        warehouse_pick,
        keys=["site_id", "order_id", "sscc"],
        set_=[one.name for one in warehouse_pick.columns if one.name not in ("site_id", "order_id", "sscc")],
    )
)
_DROP = Statement(warehouse_pick.delete().where(*_OF_UNIT))
_END = Statement(warehouse_pick.delete().where(*_OF_UNIT[:2]))
_SEND = Statement(upsert(warehouse_sent, keys=["site_id", "dispatch_id"]))
_SETTLE = Statement(upsert(warehouse_settled, keys=["dispatch_id"]))


@projects(UnitPicked)
def _pick(tx: Tx, event: UnitPicked) -> None:
    if not event.qty and not event.short:
        tx.write(_DROP, of_site=event.site_id, of_order=event.order_id, of_sscc=event.sscc)
        return
    tx.write(_PICK, **msgspec.structs.asdict(event), picked_at=tx.entry.occurred_at, picked_by=tx.actor)


@projects(PickingEnded)
def _end(tx: Tx, event: PickingEnded) -> None:
    tx.write(_END, of_site=event.site_id, of_order=event.order_id)


@projects(GoodsDispatched)
def _send(tx: Tx, event: GoodsDispatched) -> None:
    if not event.order_id:
        return
    for line in event.lines:
        tx.write(_DROP, of_site=event.site_id, of_order=event.order_id, of_sscc=line.sscc)
    goods = [
        Shipped(
            key=(n.product_id, n.owner, event.site_id, n.origin.zone_id, n.lot_id, n.expires_on), qty=n.qty
        )
        for n in event.lines
        if n.qty
    ]
    tx.write(
        _SEND,
        site_id=event.site_id,
        dispatch_id=event.dispatch_id,
        order_id=event.order_id,
        sent_at=tx.entry.occurred_at,
        goods=goods,
    )


@projects(PromiseKept)
def _settle(tx: Tx, event: PromiseKept) -> None:
    tx.write(_SETTLE, dispatch_id=event.dispatch_id)


# --- Queries --------------------------------------------------------------------


class Pick(msgspec.Struct, frozen=True):
    """Goods taken from a unit for an order. `short`: why there was less, or empty."""

    site_id: str
    order_id: str
    sscc: str
    zone_id: str
    product_id: str
    owner: str
    lot_id: str
    qty: int
    short: str
    picked_at: datetime
    picked_by: str


class SentGoods(msgspec.Struct, frozen=True):
    """A dispatch for an order that the network has not counted against its promises yet."""

    order_id: str
    sent_at: datetime
    goods: list[Shipped]


_S = warehouse_sent.c
_AT_SITE = Statement(
    sa.select(*warehouse_pick.columns)
    .where(_K.site_id == sa.bindparam("of_site"))
    .order_by(_K.order_id, _K.picked_at, _K.sscc),
    into=Pick,
)
_ON_UNIT = Statement(
    sa.select(*warehouse_pick.columns)
    .where(_K.site_id == sa.bindparam("of_site"), _K.sscc.in_(sa.bindparam("ssccs", expanding=True)))
    .order_by(_K.order_id, _K.sscc),
    into=Pick,
)
_UNSETTLED = Statement(
    sa.select(_S.order_id, _S.sent_at, _S.goods)
    .where(
        _S.site_id == sa.bindparam("of_site"),
        _S.order_id.in_(sa.bindparam("orders", expanding=True)),
        ~sa.exists().where(warehouse_settled.c.dispatch_id == _S.dispatch_id),
    )
    .order_by(_S.sent_at, _S.dispatch_id),
    into=SentGoods,
)


def picks_at(db: Reader, site_id: str) -> list[Pick]:
    """Return what is picked at a site and has not left, by order."""
    return db.all(_AT_SITE, of_site=site_id)


def picks_from(db: Reader, site_id: str, ssccs: Sequence[str]) -> list[Pick]:
    """Return what is picked from some units, for any order."""
    return db.all(_ON_UNIT, of_site=site_id, ssccs=list(ssccs)) if ssccs else []


def unsettled(db: Reader, site_id: str, order_ids: Sequence[str]) -> list[SentGoods]:
    """Return what left a site for some orders and still stands as promised (P3), oldest first."""
    return db.all(_UNSETTLED, of_site=site_id, orders=list(order_ids)) if order_ids else []
