"""Transfers: goods move from site to site, under hold where need be (a rescue), and stay held.

Invariants
    T1  The sender's fact carries everything the receiver needs: units, goods, their lots, what nests where,
        open holds.
    T2  A unit is received once, at the site it was sent to; what is missing stays in transit.
    T3  Open holds leave the sender with the goods and are open at the receiver with the same reason and role.
    T4  Goods under hold leave for another site by a supervisor, or by what somebody approved (a rescue): that
        person authorised the transfer. Within the site whoever moves goods may move them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.catalog.lots import Lot, get_lot
from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Forbidden, NotFound, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock.authority import is_system
from coldgrid.stock.counts import SUPERVISOR
from coldgrid.stock.destinations import Destination, classes_of, destination
from coldgrid.stock.hold_book import UnitHold, open_holds_of
from coldgrid.stock.hold_facts import CarriedHold
from coldgrid.stock.hold_joins import carry_hold, join_holds
from coldgrid.stock.inventory import get_units, units_by_sscc, with_nested
from coldgrid.stock.keeping import Keeping, keeping_of
from coldgrid.stock.movements import place_at
from coldgrid.stock.transfer_book import (
    Sent,
    SentUnit,
    TransferReceived,
    TransferShipped,
    on_their_way,
    sent_units,
)
from coldgrid.stock.units import (
    Place,
    Unit,
    UnitAlreadyPresent,
    Virtual,
    beyond,
    line_of,
    may_sell,
    require,
)

__all__ = [
    "NotOnTransfer",
    "ReceiveTransfer",
    "ShipTransfer",
    "TransferAlreadyShipped",
    "TransferNotFound",
    "TransferReceived",
    "TransferShipped",
    "on_their_way",
    "sent_units",
]

# --- Rejections -----------------------------------------------------------------


class TransferAlreadyShipped(Conflict):
    """A transfer of this id has left before."""


class TransferNotFound(NotFound):
    """There is no such transfer to this site, or its sender's fact has not arrived yet."""


class NotOnTransfer(Conflict):
    """That unit is not on the transfer, or was received before (T2)."""

    todo = "Scan the unit: its page says where it stands, and which transfer brings it."


class HeldTransferNeedsSupervisor(Forbidden):
    """Goods under hold are sent to another site by a supervisor (T4)."""

    todo = "Leave the held units out, or ask a supervisor of the site to send them."


# --- Decisions (pure) -----------------------------------------------------------


class ShipTransfer(Command, frozen=True, tag="stock.ship_transfer"):
    """Ask to send units, with all that nests in them, to another site. Held ones go and stay held.

    `other_class`: by a lane or to a site of another temperature class than the goods' all the same.
    """

    site_id: str
    transfer_id: str
    to_site_id: str
    sscc: tuple[str, ...]
    reason: str = ""
    other_class: bool = False


class Authority(msgspec.Struct, frozen=True):
    """By what right goods are sent: a supervisor's, or `approved` by somebody before (the program's)."""

    supervised: bool
    approved: bool


class ReceiveTransfer(Command, frozen=True, tag="stock.receive_transfer"):
    """Tell that units of a transfer (none named: all that are on their way) stand at a location now.

    `other_class`: in a zone of another temperature class than the goods' all the same.
    """

    site_id: str
    transfer_id: str
    location_id: str
    sscc: tuple[str, ...] = ()
    other_class: bool = False


def require_sendable(
    command: ShipTransfer, to: Destination, holds: Sequence[UnitHold], authority: Authority
) -> None:
    """Reject goods that are not to go to a site (destinations, D1 and D2), or not by who sends them (T4)."""
    if not authority.approved:
        require([*to.closed, *([] if command.other_class else to.misfits)])
    if holds and not (authority.supervised or authority.approved):
        raise HeldTransferNeedsSupervisor(held=", ".join(sorted({hold.sscc for hold in holds})))


def decide_ship(
    command: ShipTransfer,
    units: Sequence[Unit],
    holds: Sequence[UnitHold],
    lots: Sequence[Lot] = (),
    other_class: bool = False,
) -> TransferShipped:
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
        lots=list(lots),
        other_class=other_class,
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


def choose(command: ReceiveTransfer, sent: Sequence[Sent]) -> list[SentUnit]:
    """Return the units of a transfer that are taken in (T2), or reject."""
    coming = {one.sscc: one for one in sent if one.to_site_id == command.site_id and one.arrived_at is None}
    strangers = [sscc for sscc in command.sscc if sscc not in coming]
    if strangers or not coming:
        raise NotOnTransfer(transfer_id=command.transfer_id, sscc=", ".join(strangers) or "all")
    return [coming[sscc].unit for sscc in dict.fromkeys(command.sscc or tuple(coming))]


def decide_receive(
    command: ReceiveTransfer, from_site_id: str, chosen: Sequence[SentUnit], place: Place, keeping: Keeping
) -> TransferReceived:
    """Return the event that takes the chosen units of a transfer in, or reject (`keeping`, K1)."""
    require(keeping.problems("location_id", said=command.other_class))
    arriving = {unit.line.sscc for unit in chosen}
    return TransferReceived(
        site_id=command.site_id,
        zone_id=place.zone_id,
        transfer_id=command.transfer_id,
        from_site_id=from_site_id,
        other_class=bool(keeping.misfits()),
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
    if sent_units(tx, command.transfer_id):
        raise TransferAlreadyShipped(transfer_id=command.transfer_id)
    named = get_units(tx, command.site_id, list(dict.fromkeys(command.sscc)))
    units = with_nested(tx, named)
    to = destination(
        tx, command.site_id, command.to_site_id, classes_of(tx, {one.product_id for one in units})
    )
    holds = open_holds_of(tx, command.site_id, [unit.sscc for unit in units])
    require_sendable(command, to, holds, Authority(SUPERVISOR in tx.roles, is_system(tx.actor)))
    lots = [get_lot(tx, lot_id) for lot_id in sorted({unit.lot_id for unit in units} - {""})]
    event = decide_ship(command, units, holds, lots, bool(to.misfits))
    tx.record(f"transfer/{command.transfer_id}", event, audience=(command.to_site_id,))
    return event


@handles(ReceiveTransfer, action="stock.receive_transfer", owner=Owner.SITE)
def receive_transfer(tx: Tx, command: ReceiveTransfer) -> TransferReceived:
    """Take units of a transfer in, with the holds they carry."""
    sent = sent_units(tx, command.transfer_id)
    if not sent:
        raise TransferNotFound(transfer_id=command.transfer_id, site_id=command.site_id)
    place, chosen = place_at(tx, command.site_id, command.location_id), choose(command, sent)
    keeping = keeping_of(tx, place.zone_id, [unit.line.product_id for unit in chosen])
    event = decide_receive(command, sent[0].from_site_id, chosen, place, keeping)
    ssccs = [unit.line.sscc for unit in event.units]
    for sscc in ssccs:
        if any(unit.present for unit in units_by_sscc(tx, sscc)):
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
