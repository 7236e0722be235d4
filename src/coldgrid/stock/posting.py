"""Posting: what one movement of goods changes in the inventory, the ledger and the stays, in one place."""

from __future__ import annotations

from collections.abc import Sequence

from coldgrid.kernel.tx import Tx
from coldgrid.stock import inventory, ledger, stays
from coldgrid.stock.ledger import MovementKind, Posting
from coldgrid.stock.units import Line, Virtual

# A count that was wrong moved no goods out of the building, so nothing stood there until then.
_CORRECTIONS = frozenset({Virtual.ADJUSTMENT.value})


def post(
    tx: Tx, site_id: str, posting: Posting, lines: Sequence[Line], parents: Sequence[str | None] = ()
) -> None:
    """Write lines that leave, or move within, the building; from projections only.

    Args:
        tx: The projection's unit of work.
        site_id: The site whose fact it is.
        posting: The business behind the lines.
        lines: The movements.
        parents: What each moved unit stands on afterwards; nothing when there are none.
    """
    by = posting.reference or tx.entry.id
    for n, line in enumerate(lines):
        ledger.enter(tx, site_id, posting, line, n)
        if not line.whole:
            inventory.add_to_unit(tx, site_id, line.sscc, -line.qty, -(line.weight_g or 0))
            if line.target.location_id in _CORRECTIONS:
                stays.resize_stay(tx, site_id, line.sscc, -line.qty)
            else:
                stays.part_stay(tx, site_id, line, n, by, posting.order_id)
            continue
        stays.close_stay(tx, site_id, line, by, posting.order_id)
        at = tx.entry.occurred_at
        if line.target.real:
            parent = parents[n] if n < len(parents) else None
            inventory.place_unit(
                tx, site_id, line.sscc, line.target, at=at, sellable=line.is_sellable, parent=parent
            )
            stays.open_stay(tx, site_id, line, n, at)
        else:
            inventory.take_out_unit(tx, site_id, line.sscc, line.target.location_id, at)


__all__ = ["MovementKind", "Posting", "post"]
