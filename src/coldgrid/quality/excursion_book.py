"""The book of excursions: their tables, and what others may ask. `excursions` carries commands out.

What a unit spends of its life is kept by unit (`budgets`), so that it follows the goods to other sites and
into later excursions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, Named, metadata, partial_index
from coldgrid.kernel.tx import Tx
from coldgrid.quality import budgets
from coldgrid.quality.disposition_rules import DispositionSigned
from coldgrid.quality.excursion_rules import (
    Excursion,
    ExcursionClosed,
    ExcursionLinked,
    ExcursionNotFound,
    ExcursionOpened,
    ExcursionUpdated,
    shipped_key,
)
from coldgrid.quality.exposed import ExposedUnit, ShippedUnit
from coldgrid.quality.exposure import Verdict

# --- Tables and projections -----------------------------------------------------

quality_excursion = sa.Table(
    "quality_excursion",
    metadata,
    sa.Column("excursion_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("locations", Json(tuple[str, ...]), nullable=False),
    sa.Column("alarm_id", sa.Text, nullable=False),
    sa.Column("cause_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False, index=True),
    sa.Column("from_at", Instant, nullable=False),
    sa.Column("until_at", Instant, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at_stake_cents", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Index("ix_quality_excursion_opened", "opened_at"),
    info={"origin": "site"},
)
# E1 again, in the database: one open excursion for a zone.
partial_index(
    "uq_quality_excursion_open",
    quality_excursion.c.zone_id,
    where=quality_excursion.c.closed_at.is_(None),
    unique=True,
)
quality_exposed = sa.Table(
    "quality_exposed",
    metadata,
    sa.Column("excursion_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("lot_id", sa.Text, nullable=False, index=True),
    sa.Column("qty", sa.BigInteger, nullable=False),
    sa.Column("decided", sa.Boolean, nullable=False),
    sa.Column("verdict", Named(Verdict), nullable=False),
    sa.Column("numbers", Json(ExposedUnit), nullable=False),
    sa.Column("named_at", Instant, nullable=False),
    sa.Index("ix_quality_exposed_sscc", "sscc"),
    info={"origin": "site"},
)
# What waits for somebody is asked for with every page.
partial_index(
    "ix_quality_exposed_waiting", quality_exposed.c.site_id, where=quality_exposed.c.decided.is_(False)
)
# A part is decided before its excursion names it under its own label.
quality_decided = sa.Table(
    "quality_decided",
    metadata,
    sa.Column("excursion_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    info={"origin": "site"},
)
quality_shipped = sa.Table(
    "quality_shipped",
    metadata,
    sa.Column("excursion_id", sa.Text, primary_key=True),
    sa.Column("sscc", sa.Text, primary_key=True),
    sa.Column("gone_with", sa.Text, primary_key=True),
    sa.Column("numbers", Json(ShippedUnit), nullable=False),
    sa.Column("named_at", Instant, nullable=False),
    info={"origin": "site"},
)

_which = quality_excursion.c.excursion_id == sa.bindparam("which")
_OPEN_ROW = Statement(quality_excursion.insert())
_CHANGE_ROW = Statement(
    quality_excursion.update()
    .where(_which)
    .values(
        locations=sa.bindparam("to_locations"),
        from_at=sa.bindparam("since"),
        until_at=sa.bindparam("until"),
        at_stake_cents=sa.bindparam("at_stake"),
    )
)
_CLOSE_ROW = Statement(
    quality_excursion.update()
    .where(_which)
    .values(
        until_at=sa.bindparam("until"),
        at_stake_cents=sa.bindparam("at_stake"),
        closed_at=sa.bindparam("closed"),
    )
)
_LINK_ROW = Statement(
    quality_excursion.update().where(_which).values(incident_id=sa.bindparam("of_incident"))
)
_NAME = Statement(upsert(quality_exposed, keys=["excursion_id", "sscc"], set_=["qty", "verdict", "numbers"]))
_DECIDE = Statement(upsert(quality_decided, keys=["excursion_id", "sscc"]))
_SETTLE = Statement(
    quality_exposed.update()
    .where(
        quality_exposed.c.excursion_id == sa.bindparam("of"),
        quality_exposed.c.sscc.in_(
            sa.select(quality_decided.c.sscc).where(quality_decided.c.excursion_id == sa.bindparam("also_of"))
        ),
    )
    .values(decided=True)
)
_NAME_SHIPPED = Statement(upsert(quality_shipped, keys=["excursion_id", "sscc", "gone_with"]))


@projects(ExcursionOpened)
def _open_row(tx: Tx, event: ExcursionOpened) -> None:
    tx.write(
        _OPEN_ROW,
        excursion_id=event.excursion_id,
        site_id=event.site_id,
        zone_id=event.zone_id,
        locations=event.locations,
        alarm_id=event.alarm_id,
        cause_id=event.cause_id,
        incident_id=event.incident_id,
        from_at=event.from_at,
        until_at=event.until_at,
        why=event.why,
        at_stake_cents=event.at_stake_cents,
        currency=event.currency,
        opened_at=tx.now,
        closed_at=tx.now if event.over else None,
    )
    _name(tx, event)


@projects(ExcursionUpdated)
def _change_row(tx: Tx, event: ExcursionUpdated) -> None:
    tx.write(
        _CHANGE_ROW,
        which=event.excursion_id,
        to_locations=event.locations,
        since=event.from_at,
        until=event.until_at,
        at_stake=event.at_stake_cents,
    )
    _name(tx, event)


@projects(ExcursionClosed)
def _close_row(tx: Tx, event: ExcursionClosed) -> None:
    tx.write(
        _CLOSE_ROW,
        which=event.excursion_id,
        until=event.until_at,
        at_stake=event.at_stake_cents,
        closed=tx.now,
    )
    _name(tx, event)


@projects(ExcursionLinked)
def _link_row(tx: Tx, event: ExcursionLinked) -> None:
    tx.write(_LINK_ROW, which=event.excursion_id, of_incident=event.incident_id)


@projects(DispositionSigned)
def _decide_row(tx: Tx, event: DispositionSigned) -> None:
    tx.write(_DECIDE, excursion_id=event.excursion_id, sscc=event.sscc)
    tx.write(_SETTLE, of=event.excursion_id, also_of=event.excursion_id)


def _name(tx: Tx, event: ExcursionOpened | ExcursionUpdated | ExcursionClosed) -> None:
    for unit in event.units:
        tx.write(
            _NAME,
            excursion_id=event.excursion_id,
            sscc=unit.sscc,
            site_id=event.site_id,
            lot_id=unit.lot_id,
            qty=unit.qty,
            decided=False,
            verdict=unit.verdict,
            numbers=unit,
            named_at=tx.now,
        )
        budgets.spend(tx, unit.sscc, event.excursion_id, unit.spent_min)
    if event.units:
        tx.write(_SETTLE, of=event.excursion_id, also_of=event.excursion_id)
    for gone in event.shipped:
        tx.write(
            _NAME_SHIPPED,
            excursion_id=event.excursion_id,
            sscc=gone.sscc,
            gone_with=shipped_key(gone)[1],
            numbers=gone,
            named_at=tx.now,
        )


# --- Queries --------------------------------------------------------------------


class Exposed(msgspec.Struct, frozen=True):
    """An exposed unit as readers see it, with its excursion."""

    excursion_id: str
    site_id: str
    numbers: ExposedUnit
    named_at: datetime


def _excursion(*row: object) -> Excursion:
    return Excursion(**dict(zip(Excursion.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_SELECT = sa.select(*(quality_excursion.c[name] for name in Excursion.__struct_fields__))
_NEWEST = (quality_excursion.c.opened_at.desc(), quality_excursion.c.excursion_id)
_is_open = quality_excursion.c.closed_at.is_(None)
_GET = Statement(_SELECT.where(_which), into=_excursion)
_OPEN_OF_ZONE = Statement(
    _SELECT.where(_is_open, quality_excursion.c.zone_id == sa.bindparam("zone_id")), into=_excursion
)
_OPEN = Statement(_SELECT.where(_is_open).order_by(*_NEWEST), into=_excursion)
_LIST = Statement(_SELECT.order_by(*_NEWEST).limit(sa.bindparam("most", type_=sa.Integer)), into=_excursion)
_OF_INCIDENT = Statement(
    _SELECT.where(quality_excursion.c.incident_id == sa.bindparam("incident_id")).order_by(*_NEWEST),
    into=_excursion,
)
_EXPOSED = sa.select(*(quality_exposed.c[name] for name in Exposed.__struct_fields__))
_UNITS = Statement(
    _EXPOSED.where(quality_exposed.c.excursion_id == sa.bindparam("of")).order_by(quality_exposed.c.sscc),
    into=Exposed,
)
_UNIT = Statement(
    _EXPOSED.where(
        quality_exposed.c.excursion_id == sa.bindparam("of"), quality_exposed.c.sscc == sa.bindparam("sscc")
    ),
    into=Exposed,
)
_OF_UNIT = Statement(
    _EXPOSED.where(quality_exposed.c.sscc == sa.bindparam("sscc")).order_by(
        quality_exposed.c.named_at.desc()
    ),
    into=Exposed,
)
_waits = sa.and_(quality_exposed.c.decided.is_(False), quality_exposed.c.qty > 0)
_WAITING = Statement(
    sa.select(quality_exposed.c.site_id, sa.func.count()).where(_waits).group_by(quality_exposed.c.site_id)
)
_COUNTS = Statement(
    sa.select(
        quality_exposed.c.excursion_id,
        sa.func.count(),
        sa.func.count(sa.case((_waits, quality_exposed.c.sscc))),
    )
    .where(quality_exposed.c.excursion_id.in_(sa.bindparam("ids", expanding=True)))
    .group_by(quality_exposed.c.excursion_id)
)
_OF_LOT = Statement(
    _SELECT.where(
        quality_excursion.c.excursion_id.in_(
            sa.select(quality_exposed.c.excursion_id).where(
                quality_exposed.c.lot_id == sa.bindparam("lot_id")
            )
        )
    ).order_by(*_NEWEST),
    into=_excursion,
)
_SHIPPED = Statement(
    sa.select(quality_shipped.c.numbers)
    .where(quality_shipped.c.excursion_id == sa.bindparam("of"))
    .order_by(quality_shipped.c.sscc, quality_shipped.c.gone_with)
)


def get_excursion(db: Reader, excursion_id: str) -> Excursion:
    """Return one excursion, open or closed.

    Raises:
        ExcursionNotFound: there is none of this id.
    """
    found = find_excursion(db, excursion_id)
    if found is None:
        raise ExcursionNotFound(excursion_id=excursion_id)
    return found


def find_excursion(db: Reader, excursion_id: str) -> Excursion | None:
    """Return one excursion; None where there is none of this id."""
    return db.one(_GET, which=excursion_id)


def open_excursion_of(db: Reader, zone_id: str) -> Excursion | None:
    """Return the open excursion of a zone, if it has one (E1)."""
    return db.one(_OPEN_OF_ZONE, zone_id=zone_id)


def open_excursions(db: Reader) -> list[Excursion]:
    """Return every open excursion, newest first."""
    return db.all(_OPEN)


def list_excursions(db: Reader, limit: int = 100) -> list[Excursion]:
    """Return the newest excursions, open and closed."""
    return db.all(_LIST, most=limit)


def excursions_of_incident(db: Reader, incident_id: str) -> list[Excursion]:
    """Return the excursions that an incident answers, newest first."""
    return db.all(_OF_INCIDENT, incident_id=incident_id)


def exposed_units(db: Reader, excursion_id: str) -> list[Exposed]:
    """Return the units that an excursion names, by SSCC."""
    return db.all(_UNITS, of=excursion_id)


def exposed_unit(db: Reader, excursion_id: str, sscc: str) -> Exposed | None:
    """Return one unit of an excursion; None where it does not name it."""
    return db.one(_UNIT, of=excursion_id, sscc=sscc)


def excursions_of_unit(db: Reader, sscc: str) -> list[Exposed]:
    """Return every excursion that named a unit, at any site, newest first."""
    return db.all(_OF_UNIT, sscc=sscc)


def excursions_of_lot(db: Reader, lot_id: str) -> list[Excursion]:
    """Return the excursions that named a unit of a lot, at any site, newest first."""
    return db.all(_OF_LOT, lot_id=lot_id)


def waiting_units(db: Reader) -> dict[str, int]:
    """Return how many exposed units wait for a decision, by the site that named them."""
    return dict(db.all(_WAITING))


def unit_counts(db: Reader, excursion_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return for excursions how many units they name and how many of these are undecided."""
    rows = db.all(_COUNTS, ids=list(excursion_ids)) if excursion_ids else []
    return {excursion_id: (units, waiting) for excursion_id, units, waiting in rows}


def shipped_units(db: Reader, excursion_id: str) -> list[ShippedUnit]:
    """Return what had left before the excursion was seen, by SSCC."""
    rows: Iterable[tuple[ShippedUnit]] = db.all(_SHIPPED, of=excursion_id)
    return [shipped for (shipped,) in rows]
