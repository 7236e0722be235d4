"""The transfer book: what was sent from site to site, with the holds that went along, and what arrived.

Each side writes its own rows, so the two facts may reach a third database in any order. `transfers` decides.
"""

from __future__ import annotations

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
    """

    site_id: str
    zone_id: str
    transfer_id: str
    to_site_id: str
    units: list[SentUnit]
    reason: str
    lots: list[Lot] = msgspec.field(default_factory=list)


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
    sa.Index("ix_stock_sent_to", "to_site_id"),
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


@projects(TransferShipped)
def _ship(tx: Tx, event: TransferShipped) -> None:
    for lot in event.lots:
        learn_lot(tx, event.site_id, lot)
    posting = Posting(MovementKind.TRANSFER_OUT, event.transfer_id)
    post(tx, event.site_id, posting, [unit.line for unit in event.units])
    for unit in event.units:
        hold_book.leave(tx, event.site_id, unit.line.sscc, event.transfer_id)
        tx.write(
            _SEND,
            transfer_id=event.transfer_id,
            sscc=unit.line.sscc,
            from_site_id=event.site_id,
            to_site_id=event.to_site_id,
            body=unit,
            sent_at=tx.entry.occurred_at,
            sent_by=tx.actor,
            reason=event.reason,
        )


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


_S = stock_sent.c
_A = stock_arrived.c
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
_UNDER_WAY = Statement(
    sa.select(_S.to_site_id)
    .select_from(_BOTH)
    .where(_S.sscc == sa.bindparam("of_sscc"), _A.arrived_at.is_(None))
)
_COMING = Statement(
    sa.select(*_COLUMNS)
    .select_from(_BOTH)
    .where(_S.to_site_id == sa.bindparam("site"), _A.arrived_at.is_(None))
    .order_by(_S.sent_at, _S.transfer_id, _S.sscc),
    into=Sent,
)


def sent_units(db: Reader, transfer_id: str) -> list[Sent]:
    """Return the units of a transfer, received ones too; none where it is not known here."""
    return db.all(_OF_TRANSFER, transfer=transfer_id)


def on_their_way(db: Reader, site_id: str) -> list[Sent]:
    """Return the units that were sent to a site and have not arrived, oldest first."""
    return db.all(_COMING, site=site_id)


def on_the_way(db: Reader, sscc: str) -> Sent | None:
    """Return the transfer that a unit is on; None where it is on none."""
    return db.one(_COMES, of_sscc=sscc)


def require_label_free(db: Reader, sscc: str) -> None:
    """Reject when a label is taken: an SSCC is in one building, or under way to one, at a time.

    Raises:
        UnitAlreadyPresent: a unit with it is in a building.
        UnitOnItsWay: a unit with it was sent and has not arrived.
    """
    for unit in units_by_sscc(db, sscc):
        if unit.present:
            raise UnitAlreadyPresent(sscc=sscc, site_id=unit.site_id, location_id=unit.location_id)
    to_site_id = db.value(_UNDER_WAY, of_sscc=sscc)
    if to_site_id is not None:
        raise UnitOnItsWay(sscc=sscc, to_site_id=to_site_id)
