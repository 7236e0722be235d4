"""Lineage: from which units a unit's goods came: exposure and traces follow the goods, not the label."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.stock.stays import Stay, stays_of

GENERATIONS_MAX = 64


class LineageKind(StrEnum):
    """How goods came from one unit to another."""

    SPLIT = "split"
    MERGE = "merge"
    TRANSFORM = "transform"


stock_lineage = sa.Table(
    "stock_lineage",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, primary_key=True),
    sa.Column("kind", Named(LineageKind), nullable=False),
    sa.Column("sscc", sa.Text, nullable=False),
    sa.Column("from_sscc", sa.Text, nullable=False),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("ix_stock_lineage_sscc", "sscc"),
    sa.Index("ix_stock_lineage_from", "from_sscc"),
    info={"origin": "site"},
)
_L = stock_lineage.c
_INSERT = Statement(stock_lineage.insert())


class Descent(msgspec.Struct, frozen=True):
    """`qty` base units of `from_sscc` became part of `sscc`."""

    kind: LineageKind
    sscc: str
    from_sscc: str
    qty: int
    at: datetime


def descend(tx: Tx, site_id: str, n: int, descent: Descent) -> None:
    """Write from which unit goods came; from projections only."""
    row = msgspec.structs.asdict(descent)
    tx.write(_INSERT, site_id=site_id, epoch=tx.entry.epoch, seq=tx.entry.seq, n=n, **row)


_COLUMNS = (_L.kind, _L.sscc, _L.from_sscc, _L.qty, _L.at)
_IN_TIME = (_L.at, _L.site_id, _L.epoch, _L.seq, _L.n)
_PARENTS = Statement(
    sa.select(*_COLUMNS).where(_L.sscc == sa.bindparam("of_sscc")).order_by(*_IN_TIME), into=Descent
)
_CHILDREN = Statement(
    sa.select(*_COLUMNS).where(_L.from_sscc == sa.bindparam("of_sscc")).order_by(*_IN_TIME), into=Descent
)


def came_from(db: Reader, sscc: str) -> list[Descent]:
    """Return the units whose goods became part of a unit, oldest first."""
    return db.all(_PARENTS, of_sscc=sscc)


def went_into(db: Reader, sscc: str) -> list[Descent]:
    """Return the units that a unit's goods became part of, oldest first."""
    return db.all(_CHILDREN, of_sscc=sscc)


def history_of(db: Reader, sscc: str) -> list[Stay]:
    """Return where a unit's goods stood: its own stays, and its ancestors' until the goods left those.

    A transformed product starts a life of its own, so its ingredients' stays are not among them.
    """
    found: list[Stay] = []
    seen = {sscc}
    todo: list[tuple[str, datetime | None]] = [(sscc, None)]
    for _ in range(GENERATIONS_MAX):
        if not todo:
            break
        older: list[tuple[str, datetime | None]] = []
        for one, until in todo:
            found += [stay for stay in stays_of(db, one) if until is None or stay.arrived_at < until]
            for descent in came_from(db, one):
                if descent.kind is not LineageKind.TRANSFORM and descent.from_sscc not in seen:
                    seen.add(descent.from_sscc)
                    older.append((descent.from_sscc, descent.at if until is None else min(until, descent.at)))
        todo = older
    return sorted(found, key=lambda stay: (stay.arrived_at, stay.sscc))
