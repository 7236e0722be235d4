"""The pick list: what is left to take for an order, and where to take it, first expired first out. Pure.

Invariants
    L1  What was dispatched or picked counts against the promises as the network will count it.
    L2  Goods of the promised lot are proposed: from places for picking before bulk, the smallest unit first.
    L3  A unit is refused with what to do; held, expired or unfit goods are never taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime

import msgspec

from coldgrid.kernel.rejections import Problem
from coldgrid.stock.promises import Promise, Shipped, decide_kept
from coldgrid.stock.units import UNSOLD_KINDS, Unit, UnitStatus

PICK_PLACE = "pick"


class Hold(msgspec.Struct, frozen=True):
    """An open hold of a unit, in the words of the floor."""

    reason: str
    role: str


class Stop(msgspec.Struct, frozen=True):
    """Take so much from this unit at this place. `has`: what is free on it."""

    line_no: int
    product_id: str
    lot_id: str
    expires_on: date
    sscc: str
    zone_id: str
    location_id: str
    qty: int
    has: int


class Missing(msgspec.Struct, frozen=True):
    """Goods of a line that no unit here can give."""

    line_no: int
    product_id: str
    lot_id: str
    zone_id: str
    qty: int


def decide_left(
    open_: Sequence[Promise], gone: Sequence[tuple[datetime | None, Sequence[Shipped]]]
) -> list[Promise]:
    """Return what is still open once goods that are gone or picked are counted (L1), each with its rest.

    `gone`: goods with the instant they left; None counts against every promise. A dispatch fulfils what was
    promised before it.
    """
    left = list(open_)
    for at, goods in gone:
        counted = decide_kept([one for one in left if at is None or one.promised_at <= at], goods)
        less = {(part.epoch, part.seq, part.n): part.qty for part in counted}
        left = [
            msgspec.structs.replace(one, open_qty=one.open_qty - less.get((one.epoch, one.seq, one.n), 0))
            for one in left
        ]
    return [one for one in left if one.open_qty > 0]


def decide_stops(
    left: Sequence[Promise], units: Sequence[Unit], taken: Mapping[str, int], closed: Collection[str]
) -> tuple[list[Stop], list[Missing]]:
    """Return where to go, in the order of the places, and what nobody can give (L2).

    Args:
        left: What is to be taken.
        units: The site's units of those lots.
        taken: What is picked from each unit already, for any order.
        closed: Units that were found short: nothing more is taken from them.
    """
    free = {one.sscc: one.qty - taken.get(one.sscc, 0) for one in units if one.sscc not in closed}
    stops, missing = [], []
    for promise in sorted(left, key=lambda one: (one.expires_on, one.line_no, one.n)):
        wanted = promise.open_qty
        fitting = [one for one in units if _serves(one, promise) and free.get(one.sscc, 0) > 0]
        for unit in sorted(fitting, key=lambda one: _turn(one, promise, free)):
            qty = min(wanted, free[unit.sscc])
            if qty > 0:
                stops.append(_stop(promise, unit, qty, free[unit.sscc]))
                free[unit.sscc] -= qty
                wanted -= qty
        if wanted:
            missing.append(
                Missing(promise.line_no, promise.product_id, promise.lot_id, promise.zone_id, wanted)
            )
    return sorted(stops, key=lambda one: (one.zone_id, one.location_id, one.sscc)), missing


def _serves(unit: Unit, promise: Promise) -> bool:
    same = (unit.product_id, unit.owner, unit.lot_id) == (promise.product_id, promise.owner, promise.lot_id)
    return same and unit.sellable and unit.expires_on >= promise.expires_on


def _turn(unit: Unit, promise: Promise, free: Mapping[str, int]) -> tuple[bool, bool, int, str]:
    return (
        unit.zone_id != promise.zone_id,
        unit.location_kind != PICK_PLACE,
        free[unit.sscc],
        unit.sscc,
    )


def _stop(promise: Promise, unit: Unit, qty: int, has: int) -> Stop:
    return Stop(
        line_no=promise.line_no,
        product_id=promise.product_id,
        lot_id=promise.lot_id,
        expires_on=unit.expires_on,
        sscc=unit.sscc,
        zone_id=unit.zone_id,
        location_id=unit.location_id,
        qty=qty,
        has=has,
    )


def wanted_of(unit: Unit, left: Sequence[Promise]) -> int:
    """Return how many base units of a unit's goods are still to be taken."""
    totals: Counter[tuple[str, str, str]] = Counter()
    for one in left:
        totals[one.product_id, one.owner, one.lot_id] += one.open_qty
    return totals[unit.product_id, unit.owner, unit.lot_id]


def why_not(unit: Unit, left: Sequence[Promise], holds: Sequence[Hold], today: date) -> Problem | None:
    """Return why a unit must not be taken for what is left, and what to do instead (L3); None: take it."""
    return next(_unfit(unit, holds, today), None) or _unwanted(unit, left)


def _unfit(unit: Unit, holds: Sequence[Hold], today: date) -> Iterator[Problem]:
    """What keeps a unit from any customer, the first first."""
    if not unit.product_id:
        yield _not("carries other units and holds no goods of its own", "Scan a unit that stands on it.")
    if not unit.present:
        yield _not(f"has left this building for {unit.location_id}", "Put it aside and tell a supervisor.")
    if unit.expires_on < today:
        yield _not(f"expired on {unit.expires_on}", "Put it in quarantine and take another unit.")
    for one in holds:
        told = f"is held: {one.reason.replace('_', ' ')}"
        fix = f"Leave it: only {one.role.replace('_', ' ')} ends this hold. Take another unit."
        yield _not(told, fix)
    if unit.status is not UnitStatus.AVAILABLE:
        yield _not(f"is not available: {unit.status.value}", "Leave it and take another unit.")
    if unit.location_kind in UNSOLD_KINDS:
        yield _not(f"stands in quarantine at {unit.location_id}", "Leave it and take another unit.")


def _unwanted(unit: Unit, left: Sequence[Promise]) -> Problem | None:
    of_product = [one for one in left if one.product_id == unit.product_id]
    if not of_product:
        return _not(f"is {unit.product_id}, of which this order wants no more", "Put it back.")
    if not any((one.owner, one.lot_id) == (unit.owner, unit.lot_id) for one in of_product):
        lots = ", ".join(sorted({one.lot_id for one in of_product}))
        return _not(f"is of lot {unit.lot_id}, not of {lots}", f"Put it back and take lot {lots}.")
    return None


def _not(message: str, fix: str) -> Problem:
    return Problem(field="sscc", message=message, fix=fix)
