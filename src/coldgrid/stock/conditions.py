"""Conditions: what a unit is fit for, and what it stands on. Neither moves goods.

Invariants
    C1  A status is set by a person or a policy with a reason; it is neither a hold nor a place.
    C2  A unit stands on one parent, at the same location, never on itself or on what stands on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock import inventory
from coldgrid.stock.hold_joins import join_holds
from coldgrid.stock.inventory import find_unit, get_unit, with_nested
from coldgrid.stock.units import DEPTH_MAX, Line, Unit, UnitStatus, depth_below, line_of, may_sell, require

# --- Events and rejections ------------------------------------------------------


class UnitStatusSet(Event, frozen=True, tag="stock.unit_status_set"):
    """A unit is fit for something else now. `line` stays in its place; it tells what may be sold."""

    site_id: str
    zone_id: str
    line: Line
    before: UnitStatus
    status: UnitStatus
    reason: str


class UnitNested(Event, frozen=True, tag="stock.unit_nested"):
    """A unit was put on another, or with `parent_sscc` None on the floor."""

    site_id: str
    zone_id: str
    sscc: str
    parent_sscc: str | None


class StatusUnchanged(Conflict):
    """The unit has that status already."""


class CannotNest(Conflict):
    """A unit stands on one at the same location that does not stand on it, at most eight deep (C2)."""


@projects(UnitStatusSet)
def _set_status(tx: Tx, event: UnitStatusSet) -> None:
    inventory.set_unit_status(
        tx,
        event.site_id,
        event.line.sscc,
        status=event.status,
        sellable=event.line.is_sellable,
        expires_on=event.line.expires_on,
    )


@projects(UnitNested)
def _nest(tx: Tx, event: UnitNested) -> None:
    inventory.nest_unit(tx, event.site_id, event.sscc, event.parent_sscc)


# --- Decisions (pure) -----------------------------------------------------------


class SetUnitStatus(Command, frozen=True, tag="stock.set_unit_status"):
    """Ask to say what a unit is fit for, such as `available` after an inspection."""

    site_id: str
    sscc: str
    status: UnitStatus
    reason: str


class NestUnit(Command, frozen=True, tag="stock.nest_unit"):
    """Ask to put a unit on another one, or with `parent_sscc` None on the floor."""

    site_id: str
    sscc: str
    parent_sscc: str | None = None


def decide_status(command: SetUnitStatus, unit: Unit) -> UnitStatusSet:
    """Return the event that sets a status (C1), or reject. What quality condemned stays so."""
    if not command.reason.strip():
        require([Problem(field="reason", message="say why")])
    if unit.status in (command.status, UnitStatus.CONDEMNED):
        raise StatusUnchanged(sscc=unit.sscc, status=unit.status)
    status = UnitStatus(command.status)
    line = msgspec.structs.replace(
        line_of(unit, unit.place),
        parent_sscc=unit.parent_sscc,
        is_sellable=may_sell(status, unit.open_holds, unit.place),
    )
    return UnitStatusSet(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        line=line,
        before=unit.status,
        status=status,
        reason=command.reason.strip(),
    )


def decide_nest(unit: Unit, parent: Unit | None, nested: Sequence[Unit], above: int) -> UnitNested:
    """Return the event that puts a unit on another, or reject (C2).

    Args:
        unit: What is put.
        parent: On what; None for the floor.
        nested: The unit and all that stands on it.
        above: How many levels there are above the parent.
    """
    if parent is not None:
        same_place = parent.present and parent.place == unit.place
        children: dict[str, list[str]] = {}
        for one in nested:
            children.setdefault(one.parent_sscc or "", []).append(one.sscc)
        depth = above + 2 + depth_below(unit.sscc, children)
        if not same_place or parent.sscc in {one.sscc for one in nested} or depth > DEPTH_MAX:
            raise CannotNest(
                sscc=unit.sscc, parent_sscc=parent.sscc, parent_location_id=parent.location_id, depth=depth
            )
    return UnitNested(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        sscc=unit.sscc,
        parent_sscc=parent.sscc if parent else None,
    )


# --- Commands -------------------------------------------------------------------


@handles(SetUnitStatus, action="stock.set_unit_status", owner=Owner.SITE)
def set_unit_status(tx: Tx, command: SetUnitStatus) -> None:
    """Say what a unit is fit for."""
    event = decide_status(command, get_unit(tx, command.site_id, command.sscc))
    tx.record(f"unit/{command.sscc}", event)


@handles(NestUnit, action="stock.nest_unit", owner=Owner.SITE)
def nest_unit(tx: Tx, command: NestUnit) -> None:
    """Put a unit on another one; it joins the holds of what it stands on."""
    unit = get_unit(tx, command.site_id, command.sscc)
    parent = get_unit(tx, command.site_id, command.parent_sscc) if command.parent_sscc else None
    nested = with_nested(tx, [unit])
    event = decide_nest(unit, parent, nested, _levels_above(tx, parent))
    tx.record(f"unit/{command.sscc}", event)
    if parent is not None:
        join_holds(tx, command.site_id, [one.sscc for one in nested], "put on a held unit")


def _levels_above(tx: Tx, unit: Unit | None) -> int:
    levels = 0
    while unit is not None and unit.parent_sscc and levels < DEPTH_MAX:
        unit = find_unit(tx, unit.site_id, unit.parent_sscc)
        levels += 1
    return levels
