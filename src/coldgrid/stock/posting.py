"""Posting: what one movement of goods changes in the inventory, the ledger and the stays, in one place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.kernel.tx import Tx
from coldgrid.stock import inventory, ledger, stays
from coldgrid.stock.ledger import MovementKind, Posting
from coldgrid.stock.units import Line, PackLevel, Unit, UnitStatus, Virtual

__all__ = ["MovementKind", "NewUnit", "Posting", "post", "post_arrival"]


class NewUnit(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit is that arrives with a line, beside the goods."""

    pack_level: PackLevel
    status: UnitStatus


def post(tx: Tx, site_id: str, posting: Posting, lines: Sequence[Line]) -> None:
    """Write lines that leave a place in the building, or correct a count there; from projections only."""
    by = posting.reference or tx.entry.id
    at = tx.entry.occurred_at
    for n, line in enumerate(lines):
        ledger.enter(tx, site_id, posting, line, n)
        if not line.origin.real:
            _more(tx, site_id, line)
        elif not line.whole:
            _less(tx, site_id, posting, line, n)
        else:
            stays.close_stay(tx, site_id, line, by, posting.order_id)
            if line.target.real:
                inventory.place_unit(tx, site_id, line, at)
                stays.open_stay(tx, site_id, line, n, at)
            else:
                inventory.take_out_unit(tx, site_id, line.sscc, line.target.location_id, at)


def post_arrival(tx: Tx, site_id: str, posting: Posting, line: Line, new: NewUnit, n: int = 0) -> None:
    """Write a unit that comes into the building from beyond; from projections only."""
    at = tx.entry.occurred_at
    ledger.enter(tx, site_id, posting, line, n)
    inventory.put_unit(tx, unit_of(tx, site_id, line, new))
    stays.open_stay(tx, site_id, line, n, at)


def unit_of(tx: Tx, site_id: str, line: Line, new: NewUnit) -> Unit:
    """Return the unit that a line brings, free of holds: those are facts of their own."""
    at = tx.entry.occurred_at
    return Unit(
        site_id=site_id,
        sscc=line.sscc,
        parent_sscc=line.parent_sscc,
        owner=line.owner,
        product_id=line.product_id,
        lot_id=line.lot_id,
        expires_on=line.expires_on,
        pack_level=new.pack_level,
        qty=line.qty,
        weight_g=line.weight_g,
        status=new.status,
        location_id=line.target.location_id,
        zone_id=line.target.zone_id,
        location_kind=line.target.kind,
        arrived_at=line.since or at,
        received_at=at,
        open_holds=0,
        sellable=line.is_sellable,
    )


def _more(tx: Tx, site_id: str, line: Line) -> None:
    inventory.add_to_unit(tx, site_id, line.sscc, line.qty, line.weight_g)
    stays.resize_stay(tx, site_id, line.sscc, line.qty)


def _less(tx: Tx, site_id: str, posting: Posting, line: Line, n: int) -> None:
    inventory.add_to_unit(tx, site_id, line.sscc, -line.qty, -(line.weight_g or 0))
    if line.target.location_id == Virtual.ADJUSTMENT:
        # A count that was wrong moved no goods: nothing stood there until now.
        stays.resize_stay(tx, site_id, line.sscc, -line.qty)
    else:
        stays.part_stay(tx, site_id, line, n, posting.reference or tx.entry.id, posting.order_id)
