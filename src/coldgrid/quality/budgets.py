"""Budgets: what a handling unit has spent of the time that its product may be beyond a limit in all its life.

Invariants
    B1  What one excursion or journey spent counts once, with its newest number.
    B2  The budget belongs to the unit: it follows it to other sites and into later excursions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

# By cause, so that the facts of different sites never overwrite each other whatever order they arrive in.
quality_budget = sa.Table(
    "quality_budget",
    metadata,
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("limit_id", sa.Text, primary_key=True),
    sa.Column("cause_id", sa.Text, primary_key=True),
    sa.Column("spent_min", sa.Float, nullable=False),
    info={"origin": "site"},
)
_SPEND = Statement(upsert(quality_budget, keys=["sscc", "limit_id", "cause_id"], set_=["spent_min"]))


def spend(tx: Tx, sscc: str, cause_id: str, spent_min: Mapping[str, float]) -> None:
    """Write what an excursion or a journey took of a unit's budgets, by limit id; from projections only."""
    for limit_id, minutes in spent_min.items():
        tx.write(_SPEND, sscc=sscc, limit_id=limit_id, cause_id=cause_id, spent_min=minutes)


class Spent(msgspec.Struct, frozen=True):
    """Minutes that one cause took of one budget of a unit."""

    sscc: str
    limit_id: str
    cause_id: str
    spent_min: float


_OF = Statement(
    sa.select(
        quality_budget.c.sscc,
        quality_budget.c.limit_id,
        quality_budget.c.cause_id,
        quality_budget.c.spent_min,
    )
    .where(quality_budget.c.sscc.in_(sa.bindparam("ssccs", expanding=True)))
    .order_by(quality_budget.c.sscc, quality_budget.c.limit_id, quality_budget.c.cause_id),
    into=Spent,
)


def spent_by(db: Reader, ssccs: Collection[str]) -> list[Spent]:
    """Return everything that some units have spent, cause by cause."""
    return db.all(_OF, ssccs=sorted(ssccs)) if ssccs else []


def spent_before(db: Reader, ssccs: Collection[str], besides: str) -> dict[str, dict[str, float]]:
    """Return minutes spent by unit and limit, leaving out what `besides` itself took."""
    found: dict[str, dict[str, float]] = {}
    for row in spent_by(db, ssccs):
        if row.cause_id != besides:
            of_unit = found.setdefault(row.sscc, {})
            of_unit[row.limit_id] = of_unit.get(row.limit_id, 0.0) + row.spent_min
    return found
