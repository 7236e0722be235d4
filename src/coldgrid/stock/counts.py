"""Counts: what somebody found in a unit, whether it agrees with the books or puts them right.

Invariants
    C1  Every count is a fact with who counted and when, one that agrees too.
    C2  A count that differs is a movement to or from the adjustment account.
    C3  A difference beyond the tolerance, and a unit that is not there at all, are booked by a supervisor.

What was booked without a supervisor since one last booked a difference counts against the tolerance: many
small differences do not add up to a large one that nobody answers for.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Forbidden, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock.authority import is_system
from coldgrid.stock.inventory import children_of, get_unit
from coldgrid.stock.posting import MovementKind, Posting, post
from coldgrid.stock.units import (
    QTY_MAX,
    Line,
    Unit,
    UnitCarriesOthers,
    UnitNotPresent,
    Virtual,
    beyond,
    line_of,
    require,
)

# What those who are no supervisor may book: a house figure, as cycle counts have it.
TOLERANCE_PERMILLE = 20
SUPERVISOR = "supervisor"


# --- Events ---------------------------------------------------------------------


class UnitAdjusted(Event, frozen=True, omit_defaults=True, tag="stock.unit_adjusted"):
    """A count found more or less than the books; `line` is the difference.

    `within_qty`: base units that were tolerated; none where a supervisor booked it.
    """

    site_id: str
    zone_id: str
    line: Line
    counted_qty: int
    reason: str
    within_qty: int | None = None


class UnitCounted(Event, frozen=True, tag="stock.unit_counted"):
    """A count found in a unit what the books say."""

    site_id: str
    zone_id: str
    sscc: str
    counted_qty: int


# --- Rejections -----------------------------------------------------------------


class CountNeedsSupervisor(Forbidden):
    """A difference of this size is booked by a supervisor (C3)."""

    todo = "Count once more; if it is so, ask a supervisor of the site to book it."


# --- Table and projections --------------------------------------------------------

stock_count = sa.Table(
    "stock_count",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("sscc", sa.Text, nullable=False),
    sa.Column("counted_qty", sa.BigInteger, nullable=False),
    sa.Column("difference_qty", sa.BigInteger, nullable=False),
    sa.Column("within_qty", sa.BigInteger),
    sa.Column("counted_at", Instant, nullable=False),
    sa.Column("counted_by", sa.Text, nullable=False),
    sa.Index("ix_stock_count_sscc", "sscc"),
    info={"origin": "site"},
)
_INSERT = Statement(stock_count.insert())


@projects(UnitAdjusted)
def _adjust(tx: Tx, event: UnitAdjusted) -> None:
    post(tx, event.site_id, Posting(MovementKind.ADJUSTMENT), [event.line])
    less = event.line.origin.real
    difference_qty = -event.line.qty if less else event.line.qty
    _keep(tx, event.site_id, event.line.sscc, event.counted_qty, difference_qty, event.within_qty)


@projects(UnitCounted)
def _count(tx: Tx, event: UnitCounted) -> None:
    _keep(tx, event.site_id, event.sscc, event.counted_qty, 0, None)


def _keep(
    tx: Tx, site_id: str, sscc: str, counted_qty: int, difference_qty: int, within_qty: int | None
) -> None:
    tx.write(
        _INSERT,
        site_id=site_id,
        epoch=tx.entry.epoch,
        seq=tx.entry.seq,
        sscc=sscc,
        counted_qty=counted_qty,
        difference_qty=difference_qty,
        within_qty=within_qty,
        counted_at=tx.entry.occurred_at,
        counted_by=tx.actor,
    )


# --- Decisions (pure) -----------------------------------------------------------


class AdjustUnit(Command, frozen=True, tag="stock.adjust_unit"):
    """Tell what a count found in a unit: base units of its own goods, 0 when it is gone.

    `reason`: why it differs; a count that agrees needs none.
    """

    site_id: str
    sscc: str
    counted_qty: int
    reason: str = ""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """A count as readers see it. `difference_qty`: found more than the books, or with a minus less."""

    site_id: str
    sscc: str
    counted_qty: int
    difference_qty: int
    within_qty: int | None
    counted_at: datetime
    counted_by: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a count is decided from, beside the unit: whether others stand on it, who books.

    `unsupervised_qty`: the differences that nobody answers for yet, added up without their signs.
    """

    carries: bool = False
    supervised: bool = True
    unsupervised_qty: int = 0


def tolerated_qty(unit: Unit, standing: Standing) -> int:
    """Return how large a difference may be that no supervisor books: at least one base unit (C3)."""
    share = max(1, unit.qty * TOLERANCE_PERMILLE // 1000)
    return max(0, share - standing.unsupervised_qty)


def decide_adjust(command: AdjustUnit, unit: Unit, standing: Standing) -> UnitAdjusted | UnitCounted:
    """Return the event of a count: that it agrees, or what puts the books right (C1, C2); or reject."""
    more = command.counted_qty - unit.qty
    problems = []
    if not 0 <= command.counted_qty <= QTY_MAX:
        problems.append(Problem(field="counted_qty", message=f"must be between 0 and {QTY_MAX} base units"))
    if more and not command.reason.strip():
        problems.append(Problem(field="reason", message="say why the count differs"))
    if not unit.product_id:
        problems.append(Problem(field="sscc", message="carries other units and holds no goods of its own"))
    require(problems)
    if not unit.present:
        raise UnitNotPresent(sscc=unit.sscc, site_id=unit.site_id, gone_to=unit.location_id)
    if more == 0:
        return UnitCounted(
            site_id=unit.site_id, zone_id=unit.zone_id, sscc=unit.sscc, counted_qty=command.counted_qty
        )
    if command.counted_qty == 0 and standing.carries:
        raise UnitCarriesOthers(sscc=unit.sscc)
    within_qty = None if standing.supervised else tolerated_qty(unit, standing)
    if within_qty is not None and (abs(more) > within_qty or command.counted_qty == 0):
        raise CountNeedsSupervisor(
            sscc=unit.sscc, booked_qty=unit.qty, counted_qty=command.counted_qty, tolerated_qty=within_qty
        )
    return UnitAdjusted(
        site_id=unit.site_id,
        zone_id=unit.zone_id,
        line=_difference(unit, more),
        counted_qty=command.counted_qty,
        reason=command.reason.strip(),
        within_qty=within_qty,
    )


def _difference(unit: Unit, more: int) -> Line:
    """Return the movement that puts the books right (C2)."""
    if more < 0:
        return line_of(unit, beyond(Virtual.ADJUSTMENT), -more)
    return msgspec.structs.replace(
        line_of(unit, unit.place, 0),
        qty=more,
        weight_g=_found_g(unit, more),
        origin=beyond(Virtual.ADJUSTMENT),
        since=None,
        whole=False,
        was_sellable=False,
    )


def _found_g(unit: Unit, more: int) -> int | None:
    """Goods found weigh what those beside them weigh."""
    return None if unit.weight_g is None or unit.qty == 0 else unit.weight_g * more // unit.qty


# --- Command ----------------------------------------------------------------------


@handles(AdjustUnit, action="stock.adjust_unit", owner=Owner.SITE)
def adjust_unit(tx: Tx, command: AdjustUnit) -> UnitAdjusted | UnitCounted:
    """Keep a count; put the books right where it differs."""
    unit = get_unit(tx, command.site_id, command.sscc)
    standing = Standing(
        carries=bool(children_of(tx, command.site_id, command.sscc)),
        supervised=SUPERVISOR in tx.roles or is_system(tx.actor),
        unsupervised_qty=_unsupervised_qty(tx, command.site_id, command.sscc),
    )
    event = decide_adjust(command, unit, standing)
    tx.record(f"unit/{command.sscc}", event)
    return event


def _unsupervised_qty(db: Reader, site_id: str, sscc: str) -> int:
    total = 0
    for one in counts_of(db, sscc):
        if one.site_id == site_id and one.difference_qty:
            total = 0 if one.within_qty is None else total + abs(one.difference_qty)
    return total


# --- Query ------------------------------------------------------------------------

_OF_UNIT = Statement(
    sa.select(*(stock_count.c[name] for name in Count.__struct_fields__))
    .where(stock_count.c.sscc == sa.bindparam("of_sscc"))
    .order_by(stock_count.c.counted_at, stock_count.c.site_id, stock_count.c.epoch, stock_count.c.seq),
    into=lambda *row: Count(**dict(zip(Count.__struct_fields__, row, strict=True))),
)


def counts_of(db: Reader, sscc: str) -> list[Count]:
    """Return every count of a unit, at every site, oldest first."""
    return db.all(_OF_UNIT, of_sscc=sscc)
