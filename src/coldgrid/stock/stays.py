"""Stays: when goods stood where, so that exposure covers them only while they were there.

Invariants
    Y1  A unit has at most one open stay at a site; a part that left has a closed stay of its own.
    Y2  A split keeps the time since which its goods had stood there: the exposure budget follows the goods.

A stay names a location and its zone: goods take the worst sensor that covers the location.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.stock.ledger import occurred_us
from coldgrid.stock.units import Line

# --- Table and writes -----------------------------------------------------------

stock_stay = sa.Table(
    "stock_stay",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("location_id", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("arrived_at", Instant, nullable=False),
    sa.Column("left_at", Instant),
    sa.Column("gone_to", sa.Text, nullable=False),
    sa.Column("gone_by", sa.Text, nullable=False),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Index("ix_stock_stay_zone", "zone_id", "left_at"),
    sa.Index("ix_stock_stay_sscc", "sscc"),
    info={"origin": "site"},
)
_S = stock_stay.c
_IS_OPEN = (_S.site_id == sa.bindparam("of_site"), _S.sscc == sa.bindparam("of_sscc"), _S.left_at.is_(None))
_INSERT = Statement(stock_stay.insert())
_CLOSE = Statement(
    stock_stay.update()
    .where(*_IS_OPEN)
    .values(
        left_at=sa.bindparam("at"),
        gone_to=sa.bindparam("to_place"),
        gone_by=sa.bindparam("by"),
        order_id=sa.bindparam("for_order"),
    )
)
_RESIZE = Statement(stock_stay.update().where(*_IS_OPEN).values(qty=_S.qty + sa.bindparam("more")))
assert _RESIZE.names == ("more", "of_site", "of_sscc"), "its rows are written in this order"


def open_stay(tx: Tx, site_id: str, line: Line, n: int, arrived_at: datetime) -> None:
    """Write that the goods of a line stand at its target; from projections only."""
    arrived_us, target = to_micros(arrived_at), line.target
    _insert(tx, site_id, line, n, _Stood(target.zone_id, target.location_id, arrived_us, None, "", ""))


def close_stay(tx: Tx, site_id: str, line: Line, by: str, order_id: str = "") -> None:
    """Write that a whole unit left its place. `by`: the movement, dispatch or transfer it left with."""
    tx.write(
        _CLOSE,
        of_site=site_id,
        of_sscc=line.sscc,
        at=tx.entry.occurred_at,
        to_place=line.target.location_id,
        by=by,
        for_order=order_id,
    )


def part_stay(tx: Tx, site_id: str, line: Line, n: int, by: str, order_id: str = "") -> None:
    """Write the stay of a part that left a unit, and that the unit holds less."""
    resize_stay(tx, site_id, line.sscc, -line.qty)
    left_us, origin = occurred_us(tx), line.origin
    arrived_us = to_micros(line.since) if line.since else left_us
    stood = _Stood(origin.zone_id, origin.location_id, arrived_us, left_us, by, order_id)
    _insert(tx, site_id, line, n, stood)


def resize_stay(tx: Tx, site_id: str, sscc: str, more: int) -> None:
    """Write that a unit holds more, or less, where it stands."""
    tx.write_row(_RESIZE, (more, site_id, sscc))


class _Stood(NamedTuple):
    zone_id: str
    location_id: str
    arrived_us: int
    left_us: int | None
    by: str
    order_id: str


def _insert(tx: Tx, site_id: str, line: Line, n: int, stood: _Stood) -> None:
    entry = tx.entry
    zone_id, location_id, arrived_us, left_us, by, order_id = stood
    row = (
        site_id,
        line.sscc,
        entry.epoch,
        entry.seq,
        n,
        zone_id,
        location_id,
        line.owner,
        line.product_id,
        line.lot_id,
        line.qty,
        arrived_us,
        left_us,
        "" if left_us is None else line.target.location_id,
        by,
        order_id,
    )
    tx.write_row(_INSERT, row)


# --- Queries --------------------------------------------------------------------


class Stay(msgspec.Struct, frozen=True):
    """Goods of one unit in one place for a time. `left_at` is None while they are there.

    `gone_to`: the next location, a virtual one included (CUSTOMER, TRANSIT …); `gone_by`: the dispatch,
    transfer or other movement they left with; `order_id`: the order they left for.
    """

    site_id: str
    sscc: str
    zone_id: str
    location_id: str
    owner: str
    product_id: str
    lot_id: str
    qty: int
    arrived_at: datetime
    left_at: datetime | None
    gone_to: str
    gone_by: str
    order_id: str


_COLUMNS = (
    _S.site_id,
    _S.sscc,
    _S.zone_id,
    _S.location_id,
    _S.owner,
    _S.product_id,
    _S.lot_id,
    _S.qty,
    _S.arrived_at,
    _S.left_at,
    _S.gone_to,
    _S.gone_by,
    _S.order_id,
)
# One read for each half: a planner offered both at once reads every stay the zone ever had.
_STILL_THERE = (
    _S.zone_id == sa.bindparam("zone"),
    _S.left_at.is_(None),
    _S.arrived_at < sa.bindparam("to_at", type_=Instant),
)
_LEFT_SINCE = (
    _S.zone_id == sa.bindparam("zone"),
    _S.left_at > sa.bindparam("from_at", type_=Instant),
    _S.arrived_at < sa.bindparam("to_at", type_=Instant),
)
_IN_TIME = (_S.arrived_at, _S.epoch, _S.seq, _S.n)
_PRESENT = (
    Statement(sa.select(*_COLUMNS).where(*_LEFT_SINCE).order_by(_S.sscc, *_IN_TIME), into=Stay),
    Statement(sa.select(*_COLUMNS).where(*_STILL_THERE).order_by(_S.sscc, *_IN_TIME), into=Stay),
)
_OF_UNIT = Statement(
    sa.select(*_COLUMNS).where(_S.sscc == sa.bindparam("of_sscc")).order_by(*_IN_TIME), into=Stay
)


def units_present(db: Reader, zone_id: str, from_at: datetime, to_at: datetime) -> list[Stay]:
    """Return the stays of goods in a zone that overlap a time window, goods gone since included, by unit.

    A unit that changed location within the zone has one stay for each.
    """
    return [stay for stay in _stays_in(db, zone_id, from_at, to_at) if stay.qty > 0]


def stays_at(db: Reader, zone_id: str, location_id: str, from_at: datetime, to_at: datetime) -> list[Stay]:
    """Return the stays at one location that overlap a time window, carriers of others included."""
    return [stay for stay in _stays_in(db, zone_id, from_at, to_at) if stay.location_id == location_id]


def _stays_in(db: Reader, zone_id: str, from_at: datetime, to_at: datetime) -> list[Stay]:
    left, there = _PRESENT
    found: list[Stay] = db.all(left, zone=zone_id, from_at=from_at, to_at=to_at)
    found += db.all(there, zone=zone_id, to_at=to_at)
    return sorted(found, key=lambda stay: (stay.sscc, stay.arrived_at))


def stays_of(db: Reader, sscc: str) -> list[Stay]:
    """Return where a unit stood, at every site, oldest first."""
    return db.all(_OF_UNIT, of_sscc=sscc)
