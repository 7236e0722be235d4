"""The promise book: what the network promised on which bucket, and what became of it.

Invariants
    K1  A promise is never edited: it is freed (given back, moved) or kept (shipped), in whole or in part.
    K2  Of every promise, 0 ≤ open ≤ promised.

The hot path only inserts rows. Everything here is owned by the network's origin, so its facts have one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Day, Instant, day_text, metadata, partial_index
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision
from coldgrid.stock.buckets import Allocation, BucketKey

# --- Vocabulary -----------------------------------------------------------------


class Freed(msgspec.Struct, frozen=True, gc=False):
    """A part of a promise that no longer stands; (epoch, seq, n) names the promise in the network's log."""

    epoch: int
    seq: int
    n: int
    line_no: int
    site_id: str
    product_id: str
    owner: str
    lot_id: str
    zone_id: str
    qty: int
    expires_on: date

    @property
    def key(self) -> BucketKey:
        """The bucket that gets it back."""
        return (self.product_id, self.owner, self.site_id, self.zone_id, self.lot_id, self.expires_on)


class Promise(msgspec.Struct, frozen=True):
    """One allocation of an order as readers see it. `open_qty`: what is neither shipped nor given back."""

    order_id: str
    epoch: int
    seq: int
    n: int
    line_no: int
    site_id: str
    product_id: str
    owner: str
    lot_id: str
    zone_id: str
    expires_on: date
    qty: int
    open_qty: int
    promised_at: datetime

    @property
    def key(self) -> BucketKey:
        """The bucket it draws on."""
        return (self.product_id, self.owner, self.site_id, self.zone_id, self.lot_id, self.expires_on)

    def freed(self, qty: int | None = None) -> Freed:
        """Return the part of it that a fact frees: all that is open, or `qty` of it."""
        return Freed(
            self.epoch,
            self.seq,
            self.n,
            self.line_no,
            self.site_id,
            self.product_id,
            self.owner,
            self.lot_id,
            self.zone_id,
            self.open_qty if qty is None else qty,
            self.expires_on,
        )


# --- Events ---------------------------------------------------------------------


class Promised(Event, frozen=True, tag="stock.promised"):
    """Goods were promised to an order. The decision says why from these buckets."""

    order_id: str
    allocations: Sequence[Allocation]
    decision: Decision


class PromiseReleased(Event, frozen=True, tag="stock.promise_released"):
    """Promised goods were given back. `cause_id`: what it answers."""

    order_id: str
    freed: Sequence[Freed]
    reason: str
    cause_id: str = ""


class PromiseMoved(Event, frozen=True, tag="stock.promise_moved"):
    """Promises moved to other buckets in one fact: never counted twice, never between two stools."""

    order_id: str
    freed: Sequence[Freed]
    allocations: Sequence[Allocation]
    decision: Decision
    cause_id: str = ""


class PromiseKept(Event, frozen=True, tag="stock.promise_kept"):
    """Promised goods were dispatched: the promise is consumed."""

    order_id: str
    dispatch_id: str
    site_id: str
    freed: Sequence[Freed]


# --- Table and projections ------------------------------------------------------

stock_promise = sa.Table(
    "stock_promise",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("line_no", sa.BigInteger, nullable=False),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("expires_on", Day, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("open_qty", sa.BigInteger, nullable=False),
    sa.Column("promised_at", Instant, nullable=False),
    sa.CheckConstraint("open_qty >= 0 AND open_qty <= qty", name="ck_stock_promise_open"),
    info={"origin": "network"},
)
_P = stock_promise.c
# A literal, not a parameter: only then does a planner see that the partial index answers.
_IS_OPEN = _P.open_qty > sa.literal_column("0")
# Only open promises are looked up by place, so only they are in the index. In the order of promising, so that
# all orders of a commit share its last page: every order pays for the index, few look through it.
partial_index("ix_stock_promise_open", _P.epoch, _P.seq, _P.zone_id, where=_IS_OPEN)

_INSERT = Statement(stock_promise.insert())
_FREE = Statement(
    stock_promise.update()
    .where(
        _P.order_id == sa.bindparam("of_order"),
        _P.epoch == sa.bindparam("of_epoch"),
        _P.seq == sa.bindparam("of_seq"),
        _P.n == sa.bindparam("of_n"),
    )
    .values(open_qty=_P.open_qty - sa.bindparam("less"))
)
assert _FREE.names == ("less", "of_order", "of_epoch", "of_seq", "of_n"), "its rows are written in this order"


def _insert_rows(tx: Tx, order_id: str, allocations: Sequence[Allocation]) -> None:
    epoch, seq, at = tx.entry.epoch, tx.entry.seq, tx.stamp.micros
    write_row = tx.batch.write_row  # an order has several rows: one step less for each
    for n, a in enumerate(allocations):
        write_row(
            _INSERT,
            (
                order_id,
                epoch,
                seq,
                n,
                a.line_no,
                a.site_id,
                a.product_id,
                a.owner,
                a.lot_id,
                a.zone_id,
                day_text(a.expires_on),
                a.qty,
                a.qty,
                at,
            ),
        )


def _free_rows(tx: Tx, order_id: str, freed: Sequence[Freed]) -> None:
    for part in freed:
        tx.write_row(_FREE, (part.qty, order_id, part.epoch, part.seq, part.n))


@projects(Promised)
def _write(tx: Tx, event: Promised) -> None:
    _insert_rows(tx, event.order_id, event.allocations)


@projects(PromiseReleased)
def _give_back(tx: Tx, event: PromiseReleased) -> None:
    _free_rows(tx, event.order_id, event.freed)


@projects(PromiseKept)
def _keep(tx: Tx, event: PromiseKept) -> None:
    _free_rows(tx, event.order_id, event.freed)


@projects(PromiseMoved)
def _move(tx: Tx, event: PromiseMoved) -> None:
    _free_rows(tx, event.order_id, event.freed)
    _insert_rows(tx, event.order_id, event.allocations)


# --- Queries --------------------------------------------------------------------


class PromisedTotal(msgspec.Struct, frozen=True):
    """What is promised on one bucket."""

    product_id: str
    owner: str
    site_id: str
    zone_id: str
    lot_id: str
    expires_on: date
    qty: int


_COLUMNS = tuple(_P[name] for name in Promise.__struct_fields__)
_NEWEST = (_P.epoch.desc(), _P.seq.desc(), _P.n.desc())
_OF_ORDER = Statement(
    sa.select(*_COLUMNS)
    .where(_P.order_id == sa.bindparam("of_order"))
    .order_by(_P.line_no, _P.epoch, _P.seq, _P.n),
    into=Promise,
)
_ON_ZONE = Statement(
    sa.select(*_COLUMNS).where(_P.zone_id == sa.bindparam("zone"), _IS_OPEN).order_by(*_NEWEST),
    into=Promise,
)
_ON_LOT = Statement(
    sa.select(*_COLUMNS)
    .where(_P.zone_id == sa.bindparam("zone"), _P.lot_id == sa.bindparam("lot"), _IS_OPEN)
    .order_by(*_NEWEST),
    into=Promise,
)
_BUCKET = (_P.product_id, _P.owner, _P.site_id, _P.zone_id, _P.lot_id, _P.expires_on)
_TOTALS = Statement(
    sa.select(*_BUCKET, sa.cast(sa.func.sum(_P.open_qty), sa.BigInteger))
    .where(_IS_OPEN)
    .group_by(*_BUCKET)
    .order_by(*_BUCKET),
    into=PromisedTotal,
)

_IN_ZONES = Statement(
    sa.select(*_BUCKET, sa.cast(sa.func.sum(_P.open_qty), sa.BigInteger))
    .where(_P.zone_id.in_(sa.bindparam("zones", expanding=True)), _IS_OPEN)
    .group_by(*_BUCKET)
    .order_by(*_BUCKET),
    into=PromisedTotal,
)


def promises_of(db: Reader, order_id: str) -> list[Promise]:
    """Return an order's promises, past ones too, by line."""
    return db.all(_OF_ORDER, of_order=order_id)


def ever_promised(order_id: sa.ColumnElement[str], sites: sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    """Return a condition on another room's orders: goods of some sites were ever promised to them."""
    return sa.exists().where(_P.order_id == order_id, _P.site_id.in_(sites))


def open_promises_of(db: Reader, order_id: str) -> list[Promise]:
    """Return what is still promised to an order."""
    return [promise for promise in promises_of(db, order_id) if promise.open_qty > 0]


def promised_on(db: Reader, zone_id: str) -> list[Promise]:
    """Return the open promises on a zone's goods, newest first."""
    return db.all(_ON_ZONE, zone=zone_id)


def promised_on_bucket(db: Reader, key: BucketKey) -> list[Promise]:
    """Return the open promises on one bucket, newest first."""
    found: list[Promise] = db.all(_ON_LOT, zone=key[3], lot=key[4])
    return [promise for promise in found if promise.key == key]


def promised_totals(db: Reader) -> list[PromisedTotal]:
    """Return what is promised, by bucket: one pass over the open promises, to load the index."""
    return db.all(_TOTALS)


def promised_in_zones(db: Reader, zone_ids: Sequence[str]) -> list[PromisedTotal]:
    """Return what is promised on some zones' goods, by bucket."""
    return db.all(_IN_ZONES, zones=list(zone_ids)) if zone_ids else []
