"""Splits, merges and transformations: goods change their unit, or their lot, and nothing is lost on the way.

Invariants
    S1  A part keeps owner, product, lot, expiry, status and open holds, and since when it stood there.
    S2  Only goods of one owner, product, lot, expiry and status under the same holds are put together.
    S3  Ingredients go to PRODUCTION and products come from there under one id; held goods are no ingredient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from coldgrid.catalog.lots import Lot, get_lot
from coldgrid.catalog.products import get_product
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.stock import inventory, ledger, stays
from coldgrid.stock.hold_book import leave, open_holds_of
from coldgrid.stock.hold_joins import carry_hold, join_holds, require_not_held
from coldgrid.stock.inventory import children_of, get_unit, get_units
from coldgrid.stock.ledger import movements_of_references
from coldgrid.stock.lineage import Descent, LineageKind, descend
from coldgrid.stock.movements import place_at
from coldgrid.stock.posting import MovementKind, NewUnit, Posting, post, post_arrival, unit_of
from coldgrid.stock.transfer_book import require_label_free
from coldgrid.stock.units import (
    Line,
    PackLevel,
    Place,
    TooFewGoods,
    Unit,
    UnitCarriesOthers,
    UnitStatus,
    Virtual,
    beyond,
    line_of,
    may_sell,
    qty_problems,
    require,
    sscc_problems,
)

# --- Events ---------------------------------------------------------------------


class UnitSplit(Event, frozen=True, tag="stock.unit_split"):
    """A part of a unit became a unit of its own, in the same place. `line`: the part, under the old SSCC."""

    site_id: str
    zone_id: str
    line: Line
    new_sscc: str
    pack_level: PackLevel
    status: UnitStatus


class UnitMerged(Event, frozen=True, tag="stock.unit_merged"):
    """All goods of a unit were put to another one in the same place; the unit is no more."""

    site_id: str
    zone_id: str
    line: Line
    into_sscc: str


class GoodsTransformed(Event, frozen=True, tag="stock.goods_transformed"):
    """Goods of some lots became goods of others: repacked, mixed, cut, thawed."""

    site_id: str
    zone_id: str
    transform_id: str
    consumed: list[Line]
    produced: list[Line]
    pack_level: PackLevel


# --- Rejections -----------------------------------------------------------------


class CannotMerge(Conflict):
    """Only like goods under the same holds in one place are put together (S2)."""


class AlreadyTransformed(Conflict):
    """A transformation of this id was recorded before."""


# --- Projections ----------------------------------------------------------------


@projects(UnitSplit)
def _split(tx: Tx, event: UnitSplit) -> None:
    line, site_id = event.line, event.site_id
    new = msgspec.structs.replace(line, sscc=event.new_sscc)
    ledger.enter(tx, site_id, Posting(MovementKind.SPLIT), line, 0, other_sscc=event.new_sscc)
    inventory.add_to_unit(tx, site_id, line.sscc, -line.qty, -(line.weight_g or 0))
    stays.resize_stay(tx, site_id, line.sscc, -line.qty)
    kind = NewUnit(pack_level=event.pack_level, status=event.status)
    inventory.put_unit(tx, unit_of(tx, site_id, new, kind))
    stays.open_stay(tx, site_id, new, 1, line.since or tx.entry.occurred_at)
    at = tx.entry.occurred_at
    descend(tx, site_id, 0, Descent(LineageKind.SPLIT, event.new_sscc, line.sscc, line.qty, at))


@projects(UnitMerged)
def _merge(tx: Tx, event: UnitMerged) -> None:
    line, site_id, at = event.line, event.site_id, tx.entry.occurred_at
    gone = msgspec.structs.replace(line, target=beyond(Virtual.MERGED))
    ledger.enter(tx, site_id, Posting(MovementKind.MERGE), line, 0, other_sscc=event.into_sscc)
    stays.close_stay(tx, site_id, gone, event.into_sscc)
    inventory.take_out_unit(tx, site_id, line.sscc, gone.target.location_id, at)
    leave(tx, site_id, line.sscc, event.into_sscc)
    inventory.add_to_unit(tx, site_id, event.into_sscc, line.qty, line.weight_g)
    stays.resize_stay(tx, site_id, event.into_sscc, line.qty)
    descend(tx, site_id, 0, Descent(LineageKind.MERGE, event.into_sscc, line.sscc, line.qty, at))


@projects(GoodsTransformed)
def _transform(tx: Tx, event: GoodsTransformed) -> None:
    site_id, at = event.site_id, tx.entry.occurred_at
    post(tx, site_id, Posting(MovementKind.CONSUMED, event.transform_id), event.consumed)
    new = NewUnit(pack_level=event.pack_level, status=UnitStatus.AVAILABLE)
    posting = Posting(MovementKind.PRODUCED, event.transform_id)
    n = len(event.consumed)
    for line in event.produced:
        post_arrival(tx, site_id, posting, line, new, n)
        for used in event.consumed:
            descent = Descent(LineageKind.TRANSFORM, line.sscc, used.sscc, used.qty, at)
            descend(tx, site_id, n * len(event.consumed) + event.consumed.index(used), descent)
        n += 1


# --- Decisions (pure) -----------------------------------------------------------


class SplitUnit(Command, frozen=True, tag="stock.split_unit"):
    """Ask to make a part of a unit's own goods a unit of its own."""

    site_id: str
    sscc: str
    new_sscc: str
    qty: int
    pack_level: PackLevel = PackLevel.CASE


class MergeUnit(Command, frozen=True, tag="stock.merge_unit"):
    """Ask to put all goods of a unit to another one."""

    site_id: str
    sscc: str
    into_sscc: str


class Portion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base units of one unit."""

    sscc: str
    qty: int


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit that a transformation makes."""

    sscc: str
    product_id: str
    lot_id: str
    qty: int
    weight_g: int | None = None


class TransformGoods(Command, frozen=True, tag="stock.transform_goods"):
    """Ask to turn goods of some units into new units, which stand at `location_id` afterwards."""

    site_id: str
    transform_id: str
    location_id: str
    inputs: tuple[Portion, ...]
    outputs: tuple[Output, ...]
    pack_level: PackLevel = PackLevel.CASE


def decide_split(command: SplitUnit, unit: Unit) -> UnitSplit:
    """Return the event that splits a unit (S1), or reject."""
    require([*sscc_problems(command.new_sscc, "new_sscc"), *qty_problems(command.qty)])
    line = msgspec.structs.replace(line_of(unit, unit.place, command.qty), parent_sscc=unit.parent_sscc)
    if line.whole:
        raise TooFewGoods(sscc=unit.sscc, wanted=command.qty, holds=unit.qty)
    return UnitSplit(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        line=line,
        new_sscc=command.new_sscc,
        pack_level=PackLevel(command.pack_level),
        status=unit.status,
    )


def decide_merge(
    unit: Unit, into: Unit, holds: Mapping[str, frozenset[tuple[str, str]]], *, carries: bool
) -> UnitMerged:
    """Return the event that puts a unit's goods to another (S2), or reject.

    `holds`: reason and cause of the open holds of both, by SSCC.
    """
    if carries:
        raise UnitCarriesOthers(sscc=unit.sscc)
    differs = [name for name in _LIKE if getattr(unit, name) != getattr(into, name)]
    if holds.get(unit.sscc) != holds.get(into.sscc):
        differs.append("holds")
    if differs or unit.sscc == into.sscc or unit.qty == 0:
        raise CannotMerge(sscc=unit.sscc, into_sscc=into.sscc, differs=", ".join(differs))
    return UnitMerged(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        line=line_of(unit, unit.place),
        into_sscc=into.sscc,
    )


_LIKE = ("owner", "product_id", "lot_id", "expires_on", "status", "location_id")


def decide_transform(
    command: TransformGoods, units: Mapping[str, Unit], made: Sequence[tuple[Output, str, Lot]], place: Place
) -> GoodsTransformed:
    """Return the event that turns goods into others (S3), or reject.

    Args:
        command: What is asked.
        units: The units that are used, by SSCC.
        made: The units that are made, each with its owner and lot.
        place: Where they stand.
    """
    require(_transform_problems(command, units, made))
    consumed = [line_of(units[one.sscc], beyond(Virtual.PRODUCTION), one.qty) for one in command.inputs]
    return GoodsTransformed(
        site_id=command.site_id,
        zone_id=place.zone_id,
        transform_id=command.transform_id,
        consumed=consumed,
        produced=[
            Line(
                sscc=output.sscc,
                owner=owner,
                product_id=output.product_id,
                lot_id=output.lot_id,
                expires_on=lot.expires_on,
                qty=output.qty,
                weight_g=output.weight_g,
                origin=beyond(Virtual.PRODUCTION),
                target=place,
                is_sellable=may_sell(UnitStatus.AVAILABLE, 0, place),
            )
            for output, owner, lot in made
        ],
        pack_level=PackLevel(command.pack_level),
    )


def _transform_problems(
    command: TransformGoods, units: Mapping[str, Unit], made: Sequence[tuple[Output, str, Lot]]
) -> list[Problem]:
    problems = []
    if not command.inputs or not command.outputs:
        problems.append(Problem(field="inputs", message="something is used and something is made"))
    problems += _portion_problems("inputs", [(one.sscc, one.qty) for one in command.inputs])
    problems += _portion_problems("outputs", [(one.sscc, one.qty) for one in command.outputs])
    for n, portion in enumerate(command.inputs):
        status = units[portion.sscc].status
        if status not in (UnitStatus.AVAILABLE, UnitStatus.REWORK):
            problems.append(Problem(field=f"inputs[{n}].sscc", message=f"is no ingredient: {status}"))
    owners = {unit.owner for unit in units.values()}
    for n, (output, owner, lot) in enumerate(made):
        problems += sscc_problems(output.sscc, f"outputs[{n}].sscc")
        if lot.product_id != output.product_id:
            problems.append(Problem(field=f"outputs[{n}].lot_id", message=f"is a lot of {lot.product_id}"))
        if owner not in owners:
            problems.append(Problem(field=f"outputs[{n}].product_id", message=f"belongs to {owner}"))
    return problems


def _portion_problems(field: str, portions: Sequence[tuple[str, int]]) -> list[Problem]:
    problems = [
        problem for n, (_, qty) in enumerate(portions) for problem in qty_problems(qty, f"{field}[{n}].qty")
    ]
    if len({sscc for sscc, _ in portions}) != len(portions):
        problems.append(Problem(field=field, message="name each unit once"))
    return problems


# --- Commands -------------------------------------------------------------------


@handles(SplitUnit, action="stock.split_unit", owner=Owner.SITE)
def split_unit(tx: Tx, command: SplitUnit) -> UnitSplit:
    """Make a part of a unit a unit of its own, under the same holds."""
    unit = get_unit(tx, command.site_id, command.sscc)
    event = decide_split(command, unit)
    require_label_free(tx, command.new_sscc)
    holds = open_holds_of(tx, command.site_id, [command.sscc])
    tx.record(f"unit/{command.sscc}", event)
    for hold in holds:
        carry_hold(tx, command.site_id, hold, [command.new_sscc], f"split from {command.sscc}")
    return event


@handles(MergeUnit, action="stock.merge_unit", owner=Owner.SITE)
def merge_unit(tx: Tx, command: MergeUnit) -> UnitMerged:
    """Put all goods of a unit to another one."""
    unit = get_unit(tx, command.site_id, command.sscc)
    into = get_unit(tx, command.site_id, command.into_sscc)
    held = open_holds_of(tx, command.site_id, [unit.sscc, into.sscc])
    holds = {
        sscc: frozenset((hold.reason.value, hold.cause_id) for hold in held if hold.sscc == sscc)
        for sscc in (unit.sscc, into.sscc)
    }
    carries = bool(children_of(tx, command.site_id, unit.sscc))
    event = decide_merge(unit, into, holds, carries=carries)
    tx.record(f"unit/{command.sscc}", event)
    return event


@handles(TransformGoods, action="stock.transform_goods", owner=Owner.SITE)
def transform_goods(tx: Tx, command: TransformGoods) -> GoodsTransformed:
    """Turn goods of some lots into goods of others."""
    if movements_of_references(tx, [command.transform_id]):
        raise AlreadyTransformed(transform_id=command.transform_id)
    used = get_units(tx, command.site_id, list(dict.fromkeys(one.sscc for one in command.inputs)))
    require_not_held(tx, command.site_id, [unit.sscc for unit in used])
    for portion in command.inputs:
        if children_of(tx, command.site_id, portion.sscc):
            raise UnitCarriesOthers(sscc=portion.sscc)
    for output in command.outputs:
        require_label_free(tx, output.sscc)
    made = [(one, get_product(tx, one.product_id).owner, get_lot(tx, one.lot_id)) for one in command.outputs]
    place = place_at(tx, command.site_id, command.location_id)
    event = decide_transform(command, {unit.sscc: unit for unit in used}, made, place)
    tx.record(f"unit/{command.outputs[0].sscc}", event)
    join_holds(tx, command.site_id, [output.sscc for output in command.outputs], "made in a held place")
    return event
