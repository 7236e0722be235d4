"""The transfer book: what was sent from site to site, with the holds that went along, and what arrived.

Invariants
    B1  Each side writes its own rows, so the two facts may reach a third database in any order.
    B2  `stock_under_way` has the units that were sent and have not arrived, and no others: what is asked
        about transfers under way costs by these, not by all that ever were.

`transfers` decides.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.catalog.lots import Lot, learn_lot
from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock import hold_book
from coldgrid.stock.hold_facts import CarriedHold
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.posting import MovementKind, NewUnit, Posting, post, post_arrival
from coldgrid.stock.units import Line, PackLevel, UnitAlreadyPresent, UnitStatus

# --- Events ---------------------------------------------------------------------


class SentUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit on its way: its line, what it is, what it stands on there, and the holds that go with it."""

    line: Line
    pack_level: PackLevel
    status: UnitStatus
    parent_sscc: str | None = None
    holds: list[CarriedHold] = msgspec.field(default_factory=list)


class TransferShipped(Event, frozen=True, tag="stock.transfer_shipped", omit_defaults=True):
    """Units left for another site. `zone_id`: the zone they all stood in; "" where there were several.

    `lots`: what the receiver must know of theirs; none in facts of the first release.
    `other_class`: by a lane or to a site of another temperature class, which who sent it knew.
    """

    site_id: str
    zone_id: str
    transfer_id: str
    to_site_id: str
    units: list[SentUnit]
    reason: str
    lots: list[Lot] = msgspec.field(default_factory=list)
    other_class: bool = False


class TransferReceived(Event, frozen=True, omit_defaults=True, tag="stock.transfer_received"):
    """Units of a transfer arrived. Their holds follow as facts of their own.

    `other_class`: in a zone of another temperature class than the goods', which who did it knew.
    """

    site_id: str
    zone_id: str
    transfer_id: str
    from_site_id: str
    units: list[SentUnit]
    other_class: bool = False


class UnitOnItsWay(Conflict):
    """A unit with this SSCC is on its way to a site; receive the transfer there."""


# --- Tables and projections -----------------------------------------------------

stock_sent = sa.Table(
    "stock_sent",
    metadata,
    sa.Column("transfer_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("from_site_id", sa.Text, nullable=False),
    sa.Column("to_site_id", sa.Text, nullable=False),
    sa.Column("body", Json(SentUnit), nullable=False),
    sa.Column("sent_at", Instant, nullable=False),
    sa.Column("sent_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_stock_sent_sscc", "sscc"),
    sa.Index("ix_stock_sent_from", "from_site_id", "sent_at"),
    sa.Index("ix_stock_sent_to", "to_site_id", "sent_at"),
    info={"origin": "site"},
)
stock_under_way = sa.Table(
    "stock_under_way",
    metadata,
    sa.Column("transfer_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("from_site_id", sa.Text, nullable=False),
    sa.Column("to_site_id", sa.Text, nullable=False),
    sa.Column("sent_at", Instant, nullable=False),
    sa.Index("ix_stock_under_way_from", "from_site_id"),
    sa.Index("ix_stock_under_way_to", "to_site_id"),
    info={"origin": "site"},
)
stock_arrived = sa.Table(
    "stock_arrived",
    metadata,
    sa.Column("transfer_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("arrived_at", Instant, nullable=False),
    info={"origin": "site"},
)
_SEND = Statement(stock_sent.insert())
_ARRIVE = Statement(stock_arrived.insert())
_START = Statement(stock_under_way.insert())
_END = Statement(
    stock_under_way.delete().where(
        stock_under_way.c.transfer_id == sa.bindparam("of_transfer"),
        stock_under_way.c.sscc == sa.bindparam("of_sscc"),
    )
)
_BEFORE = Statement(
    sa.select(stock_arrived.c.sscc).where(stock_arrived.c.transfer_id == sa.bindparam("of_transfer")),
    into=str,
)


@projects(TransferShipped)
def _ship(tx: Tx, event: TransferShipped) -> None:
    for lot in event.lots:
        learn_lot(tx, event.site_id, lot)
    posting = Posting(MovementKind.TRANSFER_OUT, event.transfer_id)
    post(tx, event.site_id, posting, [unit.line for unit in event.units])
    arrived = set(tx.all(_BEFORE, of_transfer=event.transfer_id))  # its receiver was heard of first (B1)
    for unit in event.units:
        hold_book.leave(tx, event.site_id, unit.line.sscc, event.transfer_id)
        row = {
            "transfer_id": event.transfer_id,
            "sscc": unit.line.sscc,
            "from_site_id": event.site_id,
            "to_site_id": event.to_site_id,
            "sent_at": tx.entry.occurred_at,
        }
        tx.write(_SEND, **row, body=unit, sent_by=tx.actor, reason=event.reason)
        if unit.line.sscc not in arrived:
            tx.write(_START, **row)


@projects(TransferReceived)
def _receive(tx: Tx, event: TransferReceived) -> None:
    posting = Posting(MovementKind.TRANSFER_IN, event.transfer_id)
    for n, unit in enumerate(event.units):
        new = NewUnit(pack_level=unit.pack_level, status=unit.status)
        post_arrival(tx, event.site_id, posting, unit.line, new, n)
        tx.write(
            _ARRIVE,
            transfer_id=event.transfer_id,
            sscc=unit.line.sscc,
            site_id=event.site_id,
            arrived_at=tx.entry.occurred_at,
        )
        tx.write(_END, of_transfer=event.transfer_id, of_sscc=unit.line.sscc)


# --- Queries --------------------------------------------------------------------


class Sent(msgspec.Struct, frozen=True):
    """A unit of a transfer as readers see it. `arrived_at` is None while it is on its way."""

    transfer_id: str
    sscc: str
    from_site_id: str
    to_site_id: str
    unit: SentUnit
    sent_at: datetime
    sent_by: str
    reason: str
    arrived_at: datetime | None


class UnderWay(msgspec.Struct, frozen=True):
    """A transfer with units that have not arrived: how many they are, of how many that were sent."""

    transfer_id: str
    from_site_id: str
    to_site_id: str
    sent_at: datetime
    missing: int
    units: int


_S = stock_sent.c
_A = stock_arrived.c
_U = stock_under_way.c
_BOTH = stock_sent.outerjoin(stock_arrived, sa.and_(_A.transfer_id == _S.transfer_id, _A.sscc == _S.sscc))
_COLUMNS = (
    _S.transfer_id,
    _S.sscc,
    _S.from_site_id,
    _S.to_site_id,
    _S.body,
    _S.sent_at,
    _S.sent_by,
    _S.reason,
    _A.arrived_at,
)
_OF_TRANSFER = Statement(
    sa.select(*_COLUMNS)
    .select_from(_BOTH)
    .where(_S.transfer_id == sa.bindparam("transfer"))
    .order_by(_S.sscc),
    into=Sent,
)
_COMES = Statement(
    sa.select(*_COLUMNS)
    .select_from(_BOTH)
    .where(_S.sscc == sa.bindparam("of_sscc"), _A.arrived_at.is_(None)),
    into=Sent,
)
_OF_UNIT = Statement(
    sa.select(*_COLUMNS)
    .select_from(_BOTH)
    .where(_S.sscc == sa.bindparam("of_sscc"))
    .order_by(_S.sent_at, _S.transfer_id),
    into=Sent,
)
_TO_WHERE = Statement(
    sa.select(_S.to_site_id)
    .select_from(_BOTH)
    .where(_S.sscc == sa.bindparam("of_sscc"), _A.arrived_at.is_(None))
)
_COMING = Statement(
    sa.select(*_COLUMNS[:-1], sa.null())
    .select_from(
        stock_under_way.join(stock_sent, sa.and_(_S.transfer_id == _U.transfer_id, _S.sscc == _U.sscc))
    )
    .where(_U.to_site_id == sa.bindparam("site"))
    .order_by(_S.sent_at, _S.transfer_id, _S.sscc),
    into=Sent,
)
_GROUP = (_U.transfer_id, _U.from_site_id, _U.to_site_id, _U.sent_at)
_ALL_UNITS = sa.select(sa.func.count()).where(_S.transfer_id == _U.transfer_id).scalar_subquery()
_OPEN = (
    sa.select(*_GROUP, sa.func.count(), _ALL_UNITS)
    .group_by(*_GROUP)
    .order_by(_U.sent_at, _U.transfer_id)
    .limit(sa.bindparam("most"))
)
_UNDER_WAY = Statement(_OPEN, into=UnderWay)
_UNDER_WAY_AT = Statement(
    _OPEN.where(
        sa.or_(
            _U.from_site_id.in_(sa.bindparam("sites", expanding=True)),
            _U.to_site_id.in_(sa.bindparam("sites", expanding=True)),
        )
    ),
    into=UnderWay,
)
_NEWEST = {
    end: Statement(
        sa.select(*_COLUMNS)
        .select_from(_BOTH)
        .where(end == sa.bindparam("site"))
        .order_by(_S.sent_at.desc(), _S.transfer_id, _S.sscc)
        .limit(sa.bindparam("most")),
        into=Sent,
    )
    for end in (_S.from_site_id, _S.to_site_id)
}


def sent_units(db: Reader, transfer_id: str) -> list[Sent]:
    """Return the units of a transfer, received ones too; none where it is not known here."""
    return db.all(_OF_TRANSFER, transfer=transfer_id)


def on_their_way(db: Reader, site_id: str) -> list[Sent]:
    """Return the units that were sent to a site and have not arrived, oldest first."""
    return db.all(_COMING, site=site_id)


def on_the_way(db: Reader, sscc: str) -> Sent | None:
    """Return the transfer that a unit is on; None where it is on none."""
    return db.one(_COMES, of_sscc=sscc)


def sent_under_hold(db: Reader, sscc: str, cause_id: str) -> set[str]:
    """Return who sent a unit to another site while something with this cause held it."""
    journeys = db.all(_OF_UNIT, of_sscc=sscc)
    return {one.sent_by for one in journeys if any(hold.cause_id == cause_id for hold in one.unit.holds)}


def under_way(db: Reader, sites: Collection[str] | None, most: int) -> list[UnderWay]:
    """Return the transfers from or to some sites (None: any) that have units to come, oldest first."""
    if sites is None:
        return db.all(_UNDER_WAY, most=most)
    return db.all(_UNDER_WAY_AT, sites=sorted(sites), most=most) if sites else []


def newest_sent(db: Reader, site_id: str, most: int) -> list[Sent]:
    """Return the units that a site sent or was sent last, received ones too, the newest first."""
    found = [one for statement in _NEWEST.values() for one in db.all(statement, site=site_id, most=most)]
    return sorted(found, key=lambda one: (one.sent_at, one.transfer_id, one.sscc), reverse=True)[:most]


def require_label_free(db: Reader, sscc: str) -> None:
    """Reject when a label is taken: an SSCC is in one building, or under way to one, at a time.

    Raises:
        UnitAlreadyPresent: a unit with it is in a building.
        UnitOnItsWay: a unit with it was sent and has not arrived.
    """
    for unit in units_by_sscc(db, sscc):
        if unit.present:
            raise UnitAlreadyPresent(sscc=sscc, site_id=unit.site_id, location_id=unit.location_id)
    to_site_id = db.value(_TO_WHERE, of_sscc=sscc)
    if to_site_id is not None:
        raise UnitOnItsWay(sscc=sscc, to_site_id=to_site_id)
