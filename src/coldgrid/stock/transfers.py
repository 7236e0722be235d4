"""Transfers: goods move from site to site, under hold where need be (a rescue), and stay held.

Invariants
    T1  The sender's fact carries everything the receiver needs: units, goods, what nests where, open holds.
    T2  A unit is received once, at the site it was sent to; what is missing stays in transit.
    T3  Open holds leave the sender with the goods and are open at the receiver with the same reason and role.

Each side writes its own rows, so the two facts may reach a third database in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, NotFound, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.stock import hold_book
from coldgrid.stock.hold_book import UnitHold, open_holds_of
from coldgrid.stock.hold_facts import CarriedHold
from coldgrid.stock.hold_joins import carry_hold, join_holds
from coldgrid.stock.inventory import get_units, units_by_sscc, with_nested
from coldgrid.stock.movements import place_at
from coldgrid.stock.posting import MovementKind, NewUnit, Posting, post, post_arrival
from coldgrid.stock.units import (
    Line,
    PackLevel,
    Place,
    Unit,
    UnitAlreadyPresent,
    UnitStatus,
    Virtual,
    beyond,
    line_of,
    may_sell,
    require,
)

# --- Events ---------------------------------------------------------------------


class SentUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit on its way: its line, what it is, what it stands on there, and the holds that go with it."""

    line: Line
    pack_level: PackLevel
    status: UnitStatus
    parent_sscc: str | None = None
    holds: list[CarriedHold] = msgspec.field(default_factory=list)


class TransferShipped(Event, frozen=True, tag="stock.transfer_shipped"):
    """Units left for another site. `zone_id`: the zone they all stood in; "" where there were several."""

    site_id: str
    zone_id: str
    transfer_id: str
    to_site_id: str
    units: list[SentUnit]
    reason: str


class TransferReceived(Event, frozen=True, tag="stock.transfer_received"):
    """Units of a transfer arrived. Their holds follow as facts of their own."""

    site_id: str
    zone_id: str
    transfer_id: str
    from_site_id: str
    units: list[SentUnit]


# --- Rejections -----------------------------------------------------------------


class TransferAlreadyShipped(Conflict):
    """A transfer of this id has left before."""


class TransferNotFound(NotFound):
    """There is no such transfer to this site, or its sender's fact has not arrived yet."""


class NotOnTransfer(Conflict):
    """That unit is not on the transfer, or was received before (T2)."""


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


# --- Decisions (pure) -----------------------------------------------------------


class ShipTransfer(Command, frozen=True, tag="stock.ship_transfer"):
    """Ask to send units, with all that nests in them, to another site. Held ones go and stay held."""

    site_id: str
    transfer_id: str
    to_site_id: str
    sscc: tuple[str, ...]
    reason: str = ""


class ReceiveTransfer(Command, frozen=True, tag="stock.receive_transfer"):
    """Tell that units of a transfer (none named: all that are on their way) stand at a location now."""

    site_id: str
    transfer_id: str
    location_id: str
    sscc: tuple[str, ...] = ()


def decide_ship(command: ShipTransfer, units: Sequence[Unit], holds: Sequence[UnitHold]) -> TransferShipped:
    """Return the event that sends units (T1). `units`: the named ones and all that nests in them."""
    here = {unit.sscc for unit in units}
    sent = [
        SentUnit(
            line=line_of(unit, beyond(Virtual.TRANSIT)),
            pack_level=unit.pack_level,
            status=unit.status,
            parent_sscc=unit.parent_sscc if unit.parent_sscc in here else None,
            holds=[_carried(hold) for hold in holds if hold.sscc == unit.sscc],
        )
        for unit in units
    ]
    zones = {unit.zone_id for unit in units}
    return TransferShipped(
        site_id=command.site_id,
        zone_id=zones.pop() if len(zones) == 1 else "",
        transfer_id=command.transfer_id,
        to_site_id=command.to_site_id,
        units=sent,
        reason=command.reason,
    )


def _carried(hold: UnitHold) -> CarriedHold:
    return CarriedHold(
        hold_id=hold.hold_id,
        reason=hold.reason,
        cause_id=hold.cause_id,
        releasing_role=hold.releasing_role,
        placed_by=hold.placed_by,
        placed_at=hold.placed_at,
    )


def decide_receive(command: ReceiveTransfer, sent: Sequence[Sent], place: Place) -> TransferReceived:
    """Return the event that takes units of a transfer in (T2), or reject."""
    coming = {one.sscc: one for one in sent if one.to_site_id == command.site_id and one.arrived_at is None}
    strangers = [sscc for sscc in command.sscc if sscc not in coming]
    if strangers or not coming:
        raise NotOnTransfer(transfer_id=command.transfer_id, sscc=", ".join(strangers) or "all")
    chosen = [coming[sscc].unit for sscc in dict.fromkeys(command.sscc or tuple(coming))]
    arriving = {unit.line.sscc for unit in chosen}
    return TransferReceived(
        site_id=command.site_id,
        zone_id=place.zone_id,
        transfer_id=command.transfer_id,
        from_site_id=sent[0].from_site_id,
        units=[_arrived(unit, place, arriving) for unit in chosen],
    )


def _arrived(unit: SentUnit, place: Place, arriving: set[str]) -> SentUnit:
    line = msgspec.structs.replace(
        unit.line,
        origin=beyond(Virtual.TRANSIT),
        target=place,
        since=None,
        parent_sscc=unit.parent_sscc if unit.parent_sscc in arriving else None,
        was_sellable=False,
        is_sellable=may_sell(unit.status, len(unit.holds), place),
    )
    return msgspec.structs.replace(unit, line=line)


# --- Commands -------------------------------------------------------------------


@handles(ShipTransfer, action="stock.ship_transfer", owner=Owner.SITE)
def ship_transfer(tx: Tx, command: ShipTransfer) -> TransferShipped:
    """Send units to another site. The receiver is told: the fact is in its feed."""
    if not command.sscc:
        require([Problem(field="sscc", message="name at least one unit")])
    if command.to_site_id == command.site_id:
        require([Problem(field="to_site_id", message="is where the goods are", fix="move them instead")])
    get_site(tx, command.to_site_id)
    if sent_units(tx, command.transfer_id):
        raise TransferAlreadyShipped(transfer_id=command.transfer_id)
    named = get_units(tx, command.site_id, list(dict.fromkeys(command.sscc)))
    units = with_nested(tx, named)
    holds = open_holds_of(tx, command.site_id, [unit.sscc for unit in units])
    event = decide_ship(command, units, holds)
    tx.record(f"transfer/{command.transfer_id}", event, audience=(command.to_site_id,))
    return event


@handles(ReceiveTransfer, action="stock.receive_transfer", owner=Owner.SITE)
def receive_transfer(tx: Tx, command: ReceiveTransfer) -> TransferReceived:
    """Take units of a transfer in, with the holds they carry."""
    sent = sent_units(tx, command.transfer_id)
    if not sent:
        raise TransferNotFound(transfer_id=command.transfer_id, site_id=command.site_id)
    event = decide_receive(command, sent, place_at(tx, command.site_id, command.location_id))
    ssccs = [unit.line.sscc for unit in event.units]
    for sscc in ssccs:
        if any(unit.present and unit.site_id == command.site_id for unit in units_by_sscc(tx, sscc)):
            raise UnitAlreadyPresent(sscc=sscc, site_id=command.site_id)
    tx.record(f"transfer/{command.transfer_id}", event, audience=(event.from_site_id,))
    carried: dict[str, tuple[CarriedHold, list[str]]] = {}
    for unit in event.units:
        for hold in unit.holds:
            carried.setdefault(hold.hold_id, (hold, []))[1].append(unit.line.sscc)
    for hold, held in carried.values():
        carry_hold(tx, command.site_id, hold, held, f"came held with transfer {command.transfer_id}")
    join_holds(tx, command.site_id, ssccs, "received into a held place")
    return event


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
