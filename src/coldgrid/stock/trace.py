"""Trace: a lot both ways. Where it came from, every unit of it, what became of it, which orders got it.

One question costs a few indexed reads for each generation of lots, however large the ledger is. Every step
names the log entry behind it, so an evidence pack can prove it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.stock.inventory import units_of_lot
from coldgrid.stock.ledger import (
    Movement,
    MovementKind,
    movements_of_lots,
    movements_of_references,
    references_of_lots,
)
from coldgrid.stock.units import Unit

AtSite = TypeVar("AtSite", "Movement", "LotLink", Unit)
# Ingredients of ingredients: food is rarely more than a handful of transformations away from the field.
GENERATIONS_MAX = 16


class Step(msgspec.Struct, frozen=True):
    """Goods of a lot came in or went out, in one fact. `partner`: supplier's reference, site, order or id.

    `entry_id`: the log entry behind it.
    """

    kind: MovementKind
    site_id: str
    lot_id: str
    product_id: str
    qty: int
    partner: str
    reference: str
    at: datetime
    entry_id: str


class LotLink(msgspec.Struct, frozen=True):
    """One lot became part of another in a transformation."""

    transform_id: str
    site_id: str
    from_lot_id: str
    from_qty: int
    into_lot_id: str
    into_qty: int
    at: datetime


class LotTrace(msgspec.Struct, frozen=True):
    """A lot both ways. `orders`: base units by order, of this lot and of every lot made from it.

    `in_stock`: base units by site, held ones included; `in_transit`: sent and not yet arrived.
    """

    lot_id: str
    came_in: list[Step]
    went_out: list[Step]
    made_from: list[LotLink]
    made_into: list[LotLink]
    units: list[Unit]
    in_stock: dict[str, int]
    in_transit: int
    orders: dict[str, int]


_IN = frozenset({MovementKind.RECEIPT, MovementKind.TRANSFER_IN, MovementKind.PRODUCED})
_OUT = frozenset(
    {MovementKind.DISPATCH, MovementKind.REMOVAL, MovementKind.TRANSFER_OUT, MovementKind.CONSUMED}
)


# --- Decisions (pure) -----------------------------------------------------------


def steps_of(movements: Iterable[Movement], kinds: frozenset[MovementKind]) -> list[Step]:
    """Return the movements of some kinds, those of one fact with one partner summed up."""
    found: dict[tuple[str, str, MovementKind, str], Step] = {}
    for one in movements:
        if one.kind not in kinds or not one.qty:
            continue
        key = (one.entry_id, one.lot_id, one.kind, one.order_id)
        before = found.get(key)
        found[key] = Step(
            kind=one.kind,
            site_id=one.site_id,
            lot_id=one.lot_id,
            product_id=one.product_id,
            qty=one.qty + (before.qty if before else 0),
            partner=one.order_id or one.reference,
            reference=one.reference,
            at=one.moved_at,
            entry_id=one.entry_id,
        )
    return list(found.values())


def links_of(movements: Sequence[Movement]) -> list[LotLink]:
    """Return which lots became part of which, from the movements of some transformations."""
    used: dict[str, dict[str, int]] = {}
    made: dict[str, dict[str, int]] = {}
    first: dict[str, Movement] = {}
    for one in movements:
        side = used if one.kind is MovementKind.CONSUMED else made
        lots = side.setdefault(one.reference, {})
        lots[one.lot_id] = lots.get(one.lot_id, 0) + one.qty
        first.setdefault(one.reference, one)
    return [
        LotLink(
            transform_id,
            first[transform_id].site_id,
            used_lot,
            used_qty,
            made_lot,
            made_qty,
            first[transform_id].moved_at,
        )
        for transform_id, lots in used.items()
        for used_lot, used_qty in lots.items()
        for made_lot, made_qty in made.get(transform_id, {}).items()
    ]


# --- Query ----------------------------------------------------------------------


def trace_lot(db: Reader, lot_id: str, sites: Collection[str] | None = None) -> LotTrace:
    """Trace a lot both ways through the whole network; a lot without movements has an empty trace.

    With `sites`: what happened at these alone. What is in transit is in transit for all.
    """
    every = movements_of_lots(db, [lot_id])
    own = _at(every, sites)
    made_from, made_into = _follow(db, lot_id, back=True), _follow(db, lot_id, back=False)
    later = [link.into_lot_id for link in made_into]
    shipped = own + _at(movements_of_lots(db, sorted(set(later) - {lot_id})), sites)
    orders: dict[str, int] = {}
    for one in shipped:
        if one.kind is MovementKind.DISPATCH and one.order_id:
            orders[one.order_id] = orders.get(one.order_id, 0) + one.qty
    units = _at(units_of_lot(db, lot_id), sites)
    in_stock: dict[str, int] = {}
    for unit in units:
        if unit.present:
            in_stock[unit.site_id] = in_stock.get(unit.site_id, 0) + unit.qty
    return LotTrace(
        lot_id=lot_id,
        came_in=steps_of(own, _IN),
        went_out=steps_of(own, _OUT),
        made_from=_at(made_from, sites),
        made_into=_at(made_into, sites),
        units=units,
        in_stock=in_stock,
        in_transit=_total(every, MovementKind.TRANSFER_OUT) - _total(every, MovementKind.TRANSFER_IN),
        orders=orders,
    )


def _at(rows: Sequence[AtSite], sites: Collection[str] | None) -> list[AtSite]:
    return [one for one in rows if sites is None or one.site_id in sites]


def _total(movements: Iterable[Movement], kind: MovementKind) -> int:
    return sum(one.qty for one in movements if one.kind is kind)


def _follow(db: Reader, lot_id: str, *, back: bool) -> list[LotLink]:
    """Follow transformations from a lot towards its ingredients, or towards what was made from it."""
    kind = MovementKind.PRODUCED if back else MovementKind.CONSUMED
    links: dict[tuple[str, str, str], LotLink] = {}
    seen, todo = {lot_id}, [lot_id]
    for _ in range(GENERATIONS_MAX):
        if not todo:
            break
        used = references_of_lots(db, todo, kind)
        todo = []
        for link in links_of(movements_of_references(db, used)):
            near, far = (link.into_lot_id, link.from_lot_id) if back else (link.from_lot_id, link.into_lot_id)
            if near in seen:
                links[link.transform_id, link.from_lot_id, link.into_lot_id] = link
                if far not in seen:
                    todo.append(far)
        seen |= set(todo)
        todo = sorted(set(todo))
    return list(links.values())
