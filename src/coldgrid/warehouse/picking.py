"""Picking: goods are taken for an order unit by unit, and leave together.

Invariants
    K1  No more is taken than the order wants of a lot, nor than is left on the unit by other orders.
    K2  What is dispatched is what was picked; held goods stay, and then nothing leaves.
    K3  A unit that had less than the books say is not offered again until somebody looked: what is missing
        waits for a count, what is damaged is held. The rest of the order is sourced again by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock.conditions import SetUnitStatus
from coldgrid.stock.dispatch import DispatchGoods, DispatchLine
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.hold_facts import HoldReason
from coldgrid.stock.hold_joins import require_not_held
from coldgrid.stock.holds import PlaceHold
from coldgrid.stock.inventory import find_unit, get_unit
from coldgrid.stock.promises import Promise, Shipped, open_promises_of
from coldgrid.stock.units import Unit, UnitStatus, require
from coldgrid.warehouse.picks import (
    Pick,
    PickingEnded,
    SentGoods,
    Short,
    ShortUnit,
    UnitPicked,
    picks_at,
    picks_from,
    unsettled,
)
from coldgrid.warehouse.plan import Hold, decide_left, wanted_of, why_not


class NothingToPick(Conflict):
    """Nothing of this order is to be taken here any more."""

    todo = "It was sent, cancelled, or is served from elsewhere: put back what is in your hands."


class NothingPicked(Conflict):
    """Nothing is picked for this order."""

    todo = "Scan a unit of its list first, or say of a unit on it why there is nothing to take."


class MorePickedThanWanted(Conflict):
    """More is picked than the order wants from here now."""

    todo = "Put back what is too much: part of the order is served from elsewhere by now."


# --- Decisions (pure) -----------------------------------------------------------


class PickUnit(Command, frozen=True, tag="warehouse.pick_unit"):
    """Tell how many base units of a unit are taken for an order now; 0 puts them back.

    `short`: why there is no more to take from it, `missing` or `damaged`; "" where there is.
    """

    site_id: str
    order_id: str
    sscc: str
    qty: int
    short: str = ""


class DispatchPicked(Command, frozen=True, tag="warehouse.dispatch_picked"):
    """Ask to let everything leave that is picked for an order."""

    site_id: str
    order_id: str
    dispatch_id: str


class Work(msgspec.Struct, frozen=True):
    """What a site is to take for an order. `left`: when the picks are counted; `picks`: what is picked."""

    due: list[Promise]
    left: list[Promise]
    picks: list[Pick]


class Source(msgspec.Struct, frozen=True):
    """A unit to take from: what other orders took of it, what this one did, its open holds."""

    unit: Unit
    others: int
    before: Pick | None
    holds: Sequence[Hold]


def decide_pick(command: PickUnit, source: Source, left: Sequence[Promise], today: date) -> UnitPicked:
    """Return the event that takes goods from a unit, or puts them back (K1), or reject.

    `left`: what the order wants when nothing is taken from this unit.
    """
    unit = source.unit
    if command.qty or command.short:
        if not left:
            raise NothingToPick(order_id=command.order_id, site_id=command.site_id)
        wrong = why_not(unit, left, source.holds, today)
        require([wrong] if wrong else [])
        require(_qty_problems(command, wanted_of(unit, left), unit.qty - source.others))
    elif source.before is None:
        problem = Problem(field="qty", message="must be 1 or more", fix="or say why there is nothing to take")
        require([problem])
    return UnitPicked(
        site_id=command.site_id,
        zone_id=unit.zone_id,
        order_id=command.order_id,
        sscc=unit.sscc,
        product_id=unit.product_id,
        owner=unit.owner,
        lot_id=unit.lot_id,
        qty=command.qty,
        short=command.short,
    )


def _qty_problems(command: PickUnit, wanted: int, free: int) -> list[Problem]:
    if command.short and command.short not in set(Short):
        return [Problem(field="short", message=f"must be {', '.join(Short)} or left out")]
    if command.qty < 0:
        return [Problem(field="qty", message="must be 0 or more")]
    if command.qty > wanted:
        return [
            Problem(field="qty", message=f"the order wants {wanted} of this lot", fix="put the rest back")
        ]
    if command.qty > free:
        fix = "if more stands there, have it counted"
        return [Problem(field="qty", message=f"the books have {free} to take on it", fix=fix)]
    if command.short and command.qty >= min(wanted, free):
        return [Problem(field="short", message="nothing is short of it", fix="leave the reason out")]
    return []


def surplus(work: Work) -> dict[str, int]:
    """Return how many base units too many are picked, by lot."""
    more: Counter[tuple[str, str, str]] = Counter()
    for pick in work.picks:
        more[_lot_of(pick)] += pick.qty
    for promise in work.due:
        more[_lot_of(promise)] -= promise.open_qty
    return {lot_id: qty for (_, _, lot_id), qty in more.items() if qty > 0}


# --- Commands -------------------------------------------------------------------


@handles(PickUnit, action="stock.dispatch_goods", owner=Owner.SITE)
def pick_unit(tx: Tx, command: PickUnit) -> UnitPicked:
    """Take goods from a unit for an order, or put them back."""
    unit = find_unit(tx, command.site_id, command.sscc)
    if unit is None:
        message = f"no unit {command.sscc} was ever at {command.site_id}"
        require([Problem(field="sscc", message=message, fix="Scan the label again.")])
        raise AssertionError
    work = work_of(tx, command.site_id, command.order_id, without=unit.sscc)
    source = source_of(tx, unit, command.order_id)
    event = decide_pick(command, source, work.left, tx.now.date())
    tx.record(f"pick/{command.order_id}", event)
    return event


@handles(DispatchPicked, action="stock.dispatch_goods", owner=Owner.SITE)
def dispatch_picked(tx: Tx, command: DispatchPicked) -> PickingEnded:
    """Let what is picked leave, and block what was found short (K2, K3).

    Raises:
        UnitsHeld: naming each open hold.
    """
    work = work_of(tx, command.site_id, command.order_id)
    picks = work.picks
    if not picks:
        raise NothingPicked(order_id=command.order_id, site_id=command.site_id)
    require_not_held(tx, command.site_id, [one.sscc for one in picks if one.qty])
    if more := surplus(work):
        raise MorePickedThanWanted(order_id=command.order_id, too_many=more)
    lines = tuple(DispatchLine(sscc=one.sscc, qty=one.qty) for one in picks if one.qty)
    if lines:
        tx.run(
            DispatchGoods(
                site_id=command.site_id,
                dispatch_id=command.dispatch_id,
                order_id=command.order_id,
                lines=lines,
            )
        )
    short = [ShortUnit(one.sscc, one.short) for one in picks if one.short]
    event = PickingEnded(
        site_id=command.site_id,
        order_id=command.order_id,
        dispatch_id=command.dispatch_id if lines else "",
        short=short,
    )
    tx.record(f"pick/{command.order_id}", event)
    for one in short:
        _block(tx, command, one)
    return event


def _block(tx: Tx, command: DispatchPicked, short: ShortUnit) -> None:
    """Keep what is left of a unit from being promised until somebody looked at it."""
    unit = get_unit(tx, command.site_id, short.sscc)
    if not unit.present or unit.status is not UnitStatus.AVAILABLE:
        return
    if short.reason == Short.DAMAGED:
        hold_id = derive_id("hold", command.site_id, command.dispatch_id, short.sscc)
        tx.run(
            PlaceHold(
                site_id=command.site_id,
                hold_id=hold_id,
                reason=HoldReason.DAMAGE,
                cause_id=command.dispatch_id,
                sscc=(short.sscc,),
            )
        )
        return
    told = f"short when picked for {command.order_id}: count it"
    tx.run(SetUnitStatus(site_id=command.site_id, sscc=short.sscc, status=UnitStatus.INSPECT, reason=told))


# --- Queries --------------------------------------------------------------------


def work_of(db: Reader, site_id: str, order_id: str, without: str = "") -> Work:
    """Return what a site is to take for an order. `without`: a unit whose pick is not counted."""
    open_ = [one for one in open_promises_of(db, order_id) if one.site_id == site_id]
    picks = [one for one in picks_at(db, site_id) if one.order_id == order_id and one.sscc != without]
    return count_work(open_, unsettled(db, site_id, [order_id]), picks)


def source_of(db: Reader, unit: Unit, order_id: str) -> Source:
    """Return a unit as somebody who picks an order meets it."""
    picks = picks_from(db, unit.site_id, [unit.sscc])
    return Source(
        unit,
        sum(one.qty for one in picks if one.order_id != order_id),
        next((one for one in picks if one.order_id == order_id), None),
        holds_on(db, unit.site_id, [unit.sscc]).get(unit.sscc, []),
    )


def offer_of(db: Reader, unit: Unit, order_id: str) -> int:
    """Return how much of a unit is to be taken for an order, in all."""
    wanted = wanted_of(unit, work_of(db, unit.site_id, order_id, without=unit.sscc).left)
    return max(0, min(wanted, unit.qty - source_of(db, unit, order_id).others))


def count_work(open_: Sequence[Promise], gone: Sequence[SentGoods], picks: Sequence[Pick]) -> Work:
    """Return what is due of some open promises, and what is left of it when the picks are counted."""
    due = decide_left(open_, [(one.sent_at, one.goods) for one in gone])
    taken = [_goods(one, due) for one in picks if one.qty]
    return Work(due=due, left=decide_left(due, [(None, taken)]), picks=list(picks))


def _goods(pick: Pick, due: Sequence[Promise]) -> Shipped:
    """What a pick will be when it is shipped: of its lot's own promise where there is one."""
    same = (one.expires_on for one in due if _lot_of(one) == _lot_of(pick))
    expires_on = next(same, date.max)
    return Shipped(
        key=(pick.product_id, pick.owner, pick.site_id, pick.zone_id, pick.lot_id, expires_on), qty=pick.qty
    )


def _lot_of(one: Promise | Pick) -> tuple[str, str, str]:
    return one.product_id, one.owner, one.lot_id


def holds_on(db: Reader, site_id: str, ssccs: Sequence[str]) -> dict[str, list[Hold]]:
    """Return the open holds of some units, by unit."""
    found: dict[str, list[Hold]] = {}
    for one in open_holds_of(db, site_id, ssccs):
        found.setdefault(one.sscc, []).append(Hold(one.reason.value, one.releasing_role))
    return found
