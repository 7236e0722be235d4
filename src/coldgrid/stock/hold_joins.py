"""How holds travel with goods: what joins an open hold as it arrives, and what may not leave while held.

Used by every movement of this room. `holds` places and ends them.
"""

from __future__ import annotations

from collections.abc import Sequence

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.tx import Tx
from coldgrid.stock.hold_book import Hold, UnitHold, holds_of_place, open_holds_of
from coldgrid.stock.hold_facts import CarriedHold, HeldUnit, HoldExtended
from coldgrid.stock.inventory import get_units
from coldgrid.stock.units import Unit


class UnitsHeld(Conflict):
    """Held goods are not allocated and not shipped to customers."""

    todo = "Have each hold ended by the role it names, or take other goods."


def held_unit(unit: Unit) -> HeldUnit:
    """Return a unit as a hold records it."""
    return HeldUnit(
        sscc=unit.sscc,
        owner=unit.owner,
        product_id=unit.product_id,
        lot_id=unit.lot_id,
        expires_on=unit.expires_on,
        qty=unit.qty,
        location_id=unit.location_id,
        zone_id=unit.zone_id,
        was_sellable=unit.sellable,
    )


def require_not_held(db: Reader, site_id: str, ssccs: Sequence[str]) -> None:
    """Reject when a unit is held, naming every open hold.

    Raises:
        UnitsHeld: with each hold, its reason and who may end it.
    """
    held = open_holds_of(db, site_id, ssccs)
    if held:
        told = [
            {
                "sscc": one.sscc,
                "hold_id": one.hold_id,
                "reason": one.reason,
                "ended_by_role": one.releasing_role,
            }
            for one in held
        ]
        raise UnitsHeld(site_id=site_id, holds=told)


def join_holds(tx: Tx, site_id: str, ssccs: Sequence[str], why: str) -> None:
    """Let units join the open holds of the place where they stand now, and of what they stand on (O2)."""
    for unit in get_units(tx, site_id, ssccs):
        place = holds_of_place(tx, site_id, unit.zone_id, unit.location_id, tx.now)
        parent = open_holds_of(tx, site_id, [unit.parent_sscc]) if unit.parent_sscc else []
        holds: list[Hold | UnitHold] = [*place, *parent]
        for hold in holds:
            carry_hold(tx, site_id, hold, [unit.sscc], why)


def carry_hold(
    tx: Tx, site_id: str, hold: Hold | UnitHold | CarriedHold, ssccs: Sequence[str], why: str
) -> None:
    """Record that units are in a hold from now on, but for those that its reason and cause hold already."""
    held = open_holds_of(tx, site_id, ssccs)
    same = {one.sscc for one in held if (one.reason, one.cause_id) == (hold.reason, hold.cause_id)}
    units = get_units(tx, site_id, [sscc for sscc in ssccs if sscc not in same])
    if not units:
        return
    zones = {unit.zone_id for unit in units}
    event = HoldExtended(
        hold_id=hold.hold_id,
        site_id=site_id,
        zone_id=zones.pop() if len(zones) == 1 else "",
        units=[held_unit(unit) for unit in units],
        reason=hold.reason,
        cause_id=hold.cause_id,
        releasing_role=hold.releasing_role,
        placed_by=hold.placed_by,
        placed_at=hold.placed_at,
        why=why,
    )
    tx.record(f"hold/{hold.hold_id}", event)
