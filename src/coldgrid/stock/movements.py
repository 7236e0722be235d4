"""Movements: goods come in and move within the building.

Invariants
    V1  Goods come in from a named place beyond the shelves.
    V2  What nests in a unit moves with it; a unit moved by itself no longer stands on its parent.
    V3  An SSCC is in one building, or under way to one, once; a unit that left may come back under it.
    V4  Held goods move like others, stay held, and join what is held where they arrive.
    V5  Goods go to a zone of another temperature class only when the command says so (`keeping`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coldgrid.catalog.lots import Lot, get_lot
from coldgrid.catalog.products import Product, get_product
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_location
from coldgrid.stock.hold_joins import join_holds
from coldgrid.stock.inventory import get_unit, with_nested
from coldgrid.stock.keeping import Keeping, keeping_of
from coldgrid.stock.posting import MovementKind, NewUnit, Posting, post, post_arrival
from coldgrid.stock.transfer_book import require_label_free
from coldgrid.stock.units import (
    NEVER,
    QTY_MAX,
    Line,
    PackLevel,
    Place,
    Unit,
    UnitStatus,
    Virtual,
    beyond,
    line_of,
    may_sell,
    qty_problems,
    require,
    sscc_problems,
)

# Where received goods may come from.
SOURCES = frozenset({Virtual.SUPPLIER, Virtual.CUSTOMER, Virtual.ADJUSTMENT})


# --- Events ---------------------------------------------------------------------


class UnitReceived(Event, frozen=True, omit_defaults=True, tag="stock.unit_received"):
    """A unit came into the building. `reference`: the delivery, return or count behind it.

    `other_class`: into a zone of another temperature class than the goods', which who did it knew.
    """

    site_id: str
    zone_id: str
    line: Line
    pack_level: PackLevel
    status: UnitStatus
    reference: str
    other_class: bool = False


class UnitMoved(Event, frozen=True, omit_defaults=True, tag="stock.unit_moved"):
    """A unit and all that nests in it moved within the building. `zone_id`: where it is now.

    `other_class`: into a zone of another temperature class than the goods', which who did it knew.
    """

    site_id: str
    zone_id: str
    from_zone_id: str
    sscc: str
    lines: list[Line]
    reason: str
    other_class: bool = False


# --- Rejections -----------------------------------------------------------------


class UnitAlreadyThere(Conflict):
    """The unit stands at that location already."""


# --- Projections ----------------------------------------------------------------


@projects(UnitReceived)
def _receive(tx: Tx, event: UnitReceived) -> None:
    new = NewUnit(pack_level=event.pack_level, status=event.status)
    post_arrival(tx, event.site_id, Posting(MovementKind.RECEIPT, event.reference), event.line, new)


@projects(UnitMoved)
def _move(tx: Tx, event: UnitMoved) -> None:
    post(tx, event.site_id, Posting(MovementKind.MOVE), event.lines)


# --- Decisions (pure) -----------------------------------------------------------


class ReceiveUnit(Command, frozen=True, tag="stock.receive_unit"):
    """Ask to take a unit in. Without a product it is a carrier of other units, `qty` 0.

    `owner`: "" is the product's. `weight_g`: required where the product is sold by weight. Returned goods
    (`source` CUSTOMER) wait for inspection. `other_class`: into a zone of another class all the same.
    """

    site_id: str
    sscc: str
    location_id: str
    pack_level: PackLevel = PackLevel.PALLET
    product_id: str = ""
    lot_id: str = ""
    qty: int = 0
    owner: str = ""
    parent_sscc: str | None = None
    weight_g: int | None = None
    reference: str = ""
    source: Virtual = Virtual.SUPPLIER
    other_class: bool = False


class MoveUnit(Command, frozen=True, tag="stock.move_unit"):
    """Ask to move a unit, and all that nests in it, to another location of the site.

    `other_class`: into a zone of another temperature class than the goods' all the same.
    """

    site_id: str
    sscc: str
    to_location_id: str
    reason: str = ""
    other_class: bool = False


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a unit that arrives: its place, its goods, what it stands on."""

    place: Place
    product: Product | None = None
    lot: Lot | None = None
    parent: Unit | None = None
    keeping: Keeping | None = None


def decide_receive(command: ReceiveUnit, arrival: Arrival) -> UnitReceived:
    """Return the event that takes a unit in, or reject with everything that is wrong (V1)."""
    problems = [*sscc_problems(command.sscc), *_goods_problems(command, arrival)]
    if command.source not in SOURCES:
        problems.append(Problem(field="source", message=f"goods do not come from {command.source}"))
    if arrival.parent is not None and arrival.parent.place != arrival.place:
        message = f"the parent stands at {arrival.parent.location_id}"
        problems.append(Problem(field="location_id", message=message, fix="receive it there, then move it"))
    if arrival.keeping is not None:
        problems += arrival.keeping.problems("location_id", said=command.other_class)
    require(problems)
    returned = command.source == Virtual.CUSTOMER
    status = UnitStatus.INSPECT if returned else UnitStatus.AVAILABLE
    line = Line(
        sscc=command.sscc,
        owner=command.owner or (arrival.product.owner if arrival.product else ""),
        product_id=command.product_id,
        lot_id=command.lot_id,
        expires_on=arrival.lot.expires_on if arrival.lot else NEVER,
        qty=command.qty,
        weight_g=command.weight_g,
        origin=beyond(Virtual(command.source)),
        target=arrival.place,
        parent_sscc=command.parent_sscc,
        is_sellable=may_sell(status, 0, arrival.place),
    )
    return UnitReceived(
        site_id=command.site_id,
        zone_id=arrival.place.zone_id,
        line=line,
        pack_level=PackLevel(command.pack_level),
        status=status,
        reference=command.reference,
        other_class=bool(arrival.keeping and arrival.keeping.misfits()),
    )


def _goods_problems(command: ReceiveUnit, arrival: Arrival) -> list[Problem]:
    if arrival.product is None:
        carried = [Problem(field="qty", message="a carrier without a product holds 0")] if command.qty else []
        return carried + ([Problem(field="product_id", message="is missing")] if command.lot_id else [])
    product, lot = arrival.product, arrival.lot
    problems = qty_problems(command.qty)
    if lot is None or lot.product_id != product.product_id:
        of = f"is a lot of {lot.product_id}" if lot else "is missing"
        problems.append(Problem(field="lot_id", message=of, fix="register the lot first"))
    if command.owner not in ("", product.owner):
        problems.append(Problem(field="owner", message=f"{product.product_id} belongs to {product.owner}"))
    if product.catch_weight and command.weight_g is None:
        problems.append(Problem(field="weight_g", message="the product is sold by weight: weigh it"))
    if command.weight_g is not None and not 0 < command.weight_g <= QTY_MAX:
        problems.append(Problem(field="weight_g", message=f"must be between 1 and {QTY_MAX} grams"))
    if not product.active and command.source == Virtual.SUPPLIER:
        problems.append(Problem(field="product_id", message="the product is no longer received"))
    return problems


def decide_move(
    command: MoveUnit, units: Sequence[Unit], target: Place, keeping: Keeping | None = None
) -> UnitMoved:
    """Return the event that moves a unit with what nests in it (V2, V5), or reject. `units`: itself first.

    Within its zone a unit may move wherever it stands: `keeping` counts where it comes to another.
    """
    root = units[0]
    if root.present and root.location_id == target.location_id:
        raise UnitAlreadyThere(sscc=root.sscc, location_id=target.location_id)
    elsewhere = keeping if keeping is not None and root.zone_id != target.zone_id else None
    if elsewhere is not None:
        require(elsewhere.problems("to_location_id", said=command.other_class))
    lines = [line_of(root, target)]
    lines += [msgspec.structs.replace(line_of(u, target), parent_sscc=u.parent_sscc) for u in units[1:]]
    return UnitMoved(
        site_id=command.site_id,
        zone_id=target.zone_id,
        from_zone_id=root.zone_id,
        sscc=root.sscc,
        lines=lines,
        reason=command.reason,
        other_class=bool(elsewhere and elsewhere.misfits()),
    )


# --- Commands -------------------------------------------------------------------


@handles(ReceiveUnit, action="stock.receive_unit", owner=Owner.SITE)
def receive_unit(tx: Tx, command: ReceiveUnit) -> UnitReceived:
    """Take a unit in. It joins what is held where it arrives."""
    place = place_at(tx, command.site_id, command.location_id)
    arrival = Arrival(
        place=place,
        product=get_product(tx, command.product_id) if command.product_id else None,
        lot=get_lot(tx, command.lot_id) if command.lot_id else None,
        parent=get_unit(tx, command.site_id, command.parent_sscc) if command.parent_sscc else None,
        keeping=keeping_of(tx, place.zone_id, [command.product_id]),
    )
    event = decide_receive(command, arrival)
    require_label_free(tx, command.sscc)
    tx.record(f"unit/{command.sscc}", event)
    join_holds(tx, command.site_id, [command.sscc], "received into a held place")
    return event


@handles(MoveUnit, action="stock.move_unit", owner=Owner.SITE)
def move_unit(tx: Tx, command: MoveUnit) -> UnitMoved:
    """Move a unit with all that nests in it."""
    unit = get_unit(tx, command.site_id, command.sscc)
    target = place_at(tx, command.site_id, command.to_location_id)
    units = with_nested(tx, [unit])
    keeping = keeping_of(tx, target.zone_id, [one.product_id for one in units])
    event = decide_move(command, units, target, keeping)
    tx.record(f"unit/{command.sscc}", event)
    join_holds(tx, command.site_id, [line.sscc for line in event.lines], "moved into a held place")
    return event


def place_at(db: Reader, site_id: str, location_id: str) -> Place:
    """Return a location of a site as a place.

    Raises:
        Invalid: the location belongs to another site, or is no longer in use.
    """
    location = get_location(db, location_id)
    if location.site_id != site_id:
        message = f"{location_id} is a location of {location.site_id}"
        raise Invalid(problems=[Problem(field="location_id", message=message)])
    if not location.active:
        raise Invalid(problems=[Problem(field="location_id", message=f"{location_id} is no longer in use")])
    return Place(location.location_id, location.zone_id, str(location.kind))
