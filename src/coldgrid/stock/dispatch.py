"""Dispatch: goods leave for customers, or for good. Held goods never go to a customer.

Invariants
    D1  Goods go to a customer only if available, not expired and free of every hold, their site's or carried.
    D2  A dispatch is one fact: all of its lines leave, or none.
    D3  What is destroyed was condemned first, with a second person as witness; given away or returned goods
        were decided to be so. An open hold, the insurer's too, keeps all of them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock.hold_joins import require_not_held
from coldgrid.stock.inventory import children_of, get_unit, get_units, with_nested
from coldgrid.stock.ledger import movements_of_references
from coldgrid.stock.posting import MovementKind, Posting, post
from coldgrid.stock.units import (
    QTY_MAX,
    Line,
    TooFewGoods,
    Unit,
    UnitCarriesOthers,
    UnitStatus,
    Virtual,
    beyond,
    line_of,
    require,
)

LINES_MAX = 1000
# Which decided status lets goods leave for good, and where to.
REMOVED_TO = {
    UnitStatus.CONDEMNED: Virtual.DESTROYED,
    UnitStatus.DONATE: Virtual.DONATED,
    UnitStatus.RETURN: Virtual.SUPPLIER,
}


# --- Events ---------------------------------------------------------------------


class GoodsDispatched(Event, frozen=True, tag="stock.goods_dispatched"):
    """Goods left for a customer. `zone_id`: the zone they all stood in, or "" where they stood in several."""

    site_id: str
    zone_id: str
    dispatch_id: str
    order_id: str
    lines: list[Line]


class GoodsRemoved(Event, frozen=True, tag="stock.goods_removed"):
    """A unit's goods were destroyed, given away or returned. `witness`: who saw it, beside the actor."""

    site_id: str
    zone_id: str
    line: Line
    witness: str
    evidence_id: str


# --- Rejections -----------------------------------------------------------------


class GoodsNotAvailable(Conflict):
    """Goods that are not available, or expired, go to no customer (D1)."""


class AlreadyDispatched(Conflict):
    """A dispatch of this id has left before."""


class NotDecided(Conflict):
    """Goods leave for good only after it was decided what becomes of them (D3)."""

    todo = "End the hold with the disposition destroy, donate or return first."


# --- Projections ----------------------------------------------------------------


@projects(GoodsDispatched)
def _dispatch(tx: Tx, event: GoodsDispatched) -> None:
    posting = Posting(MovementKind.DISPATCH, event.dispatch_id, event.order_id)
    post(tx, event.site_id, posting, event.lines)


@projects(GoodsRemoved)
def _remove(tx: Tx, event: GoodsRemoved) -> None:
    post(tx, event.site_id, Posting(MovementKind.REMOVAL, event.evidence_id), [event.line])


# --- Decisions (pure) -----------------------------------------------------------


class DispatchLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base units of one unit's own goods; 0 is the whole unit with all that nests in it."""

    sscc: str
    qty: int = 0


class DispatchGoods(Command, frozen=True, tag="stock.dispatch_goods"):
    """Ask to let goods leave for a customer's order."""

    site_id: str
    dispatch_id: str
    order_id: str
    lines: tuple[DispatchLine, ...]


class RemoveGoods(Command, frozen=True, tag="stock.remove_goods"):
    """Ask to let a unit leave for good, as was decided. `witness`: required where it is destroyed."""

    site_id: str
    sscc: str
    evidence_id: str
    witness: str = ""


def decide_dispatch(
    command: DispatchGoods, asked: Mapping[str, int], units: Mapping[str, Unit], today: date
) -> GoodsDispatched:
    """Return the event that lets goods leave (D1, D2), or reject. Holds were looked at before.

    Args:
        command: What is asked.
        asked: Base units by SSCC, nested units of whole ones included.
        units: Those units.
        today: The day; goods that expired before it stay.
    """
    unfit = [u for u in units.values() if u.status is not UnitStatus.AVAILABLE or u.expires_on < today]
    if unfit:
        told = [{"sscc": u.sscc, "status": u.status, "expires_on": u.expires_on.isoformat()} for u in unfit]
        raise GoodsNotAvailable(units=told)
    lines = [line_of(units[sscc], beyond(Virtual.CUSTOMER), qty) for sscc, qty in asked.items()]
    zones = {line.origin.zone_id for line in lines}
    return GoodsDispatched(
        site_id=command.site_id,
        zone_id=zones.pop() if len(zones) == 1 else "",
        dispatch_id=command.dispatch_id,
        order_id=command.order_id,
        lines=lines,
    )


def decide_asked(lines: Sequence[DispatchLine], units: Sequence[Unit]) -> dict[str, int]:
    """Return how many base units leave each unit. `units`: the named ones and all that nests in them.

    Raises:
        UnitCarriesOthers: all goods of a unit were asked for, but not what nests in it.
        TooFewGoods: more than a unit holds.
    """
    by_sscc = {unit.sscc: unit for unit in units}
    children: dict[str, list[str]] = {}
    for unit in units:
        if unit.parent_sscc in by_sscc:
            children.setdefault(unit.parent_sscc or "", []).append(unit.sscc)
    asked: dict[str, int] = {}
    for line in lines:
        if line.qty:
            asked[line.sscc] = asked.get(line.sscc, 0) + line.qty
        else:
            asked.update((sscc, by_sscc[sscc].qty) for sscc in _subtree(line.sscc, children))
    for sscc, qty in asked.items():
        _require_takeable(
            by_sscc[sscc], qty, [child for child in children.get(sscc, ()) if child not in asked]
        )
    return asked


def _require_takeable(unit: Unit, qty: int, left_behind: Sequence[str]) -> None:
    if qty > unit.qty:
        raise TooFewGoods(sscc=unit.sscc, wanted=qty, holds=unit.qty)
    if qty == unit.qty and left_behind:
        raise UnitCarriesOthers(sscc=unit.sscc, carries=", ".join(left_behind))


def _subtree(sscc: str, children: Mapping[str, Sequence[str]]) -> list[str]:
    return [sscc, *(below for child in children.get(sscc, ()) for below in _subtree(child, children))]


def decide_remove(command: RemoveGoods, unit: Unit, actor: str, *, carries: bool) -> GoodsRemoved:
    """Return the event that lets goods leave for good (D3), or reject."""
    problems = []
    if not command.evidence_id.strip():
        problems.append(Problem(field="evidence_id", message="cite the protocol or receipt"))
    if unit.status is UnitStatus.CONDEMNED and command.witness.strip() in ("", actor):
        problems.append(Problem(field="witness", message="name who saw it, somebody else than you"))
    require(problems)
    if unit.status not in REMOVED_TO:
        raise NotDecided(sscc=unit.sscc, status=unit.status)
    if carries:
        raise UnitCarriesOthers(sscc=unit.sscc)
    return GoodsRemoved(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        line=line_of(unit, beyond(REMOVED_TO[unit.status])),
        witness=command.witness.strip(),
        evidence_id=command.evidence_id.strip(),
    )


def _line_problems(lines: Sequence[DispatchLine]) -> list[Problem]:
    if not 1 <= len(lines) <= LINES_MAX:
        return [Problem(field="lines", message=f"must be 1 to {LINES_MAX} lines")]
    return [
        Problem(field=f"lines[{n}].qty", message=f"must be between 0 and {QTY_MAX} base units")
        for n, line in enumerate(lines)
        if not 0 <= line.qty <= QTY_MAX
    ]


# --- Commands -------------------------------------------------------------------


@handles(DispatchGoods, action="stock.dispatch_goods", owner=Owner.SITE)
def dispatch_goods(tx: Tx, command: DispatchGoods) -> GoodsDispatched:
    """Let goods leave for a customer's order.

    Raises:
        UnitsHeld: naming each open hold.
    """
    require(_line_problems(command.lines))
    if movements_of_references(tx, [command.dispatch_id]):
        raise AlreadyDispatched(dispatch_id=command.dispatch_id)
    named = get_units(tx, command.site_id, list(dict.fromkeys(line.sscc for line in command.lines)))
    units = with_nested(tx, named)
    asked = decide_asked(command.lines, units)
    require_not_held(tx, command.site_id, list(asked))
    chosen = {unit.sscc: unit for unit in units if unit.sscc in asked}
    event = decide_dispatch(command, asked, chosen, tx.now.date())
    tx.record(f"dispatch/{command.dispatch_id}", event)
    return event


@handles(RemoveGoods, action="stock.remove_goods", owner=Owner.SITE)
def remove_goods(tx: Tx, command: RemoveGoods) -> GoodsRemoved:
    """Let a unit leave for good, as was decided."""
    unit = get_unit(tx, command.site_id, command.sscc)
    require_not_held(tx, command.site_id, [command.sscc])
    carries = bool(children_of(tx, command.site_id, command.sscc))
    event = decide_remove(command, unit, tx.actor, carries=carries)
    tx.record(f"unit/{command.sscc}", event)
    return event
