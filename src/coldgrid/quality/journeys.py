"""Journeys: what suppliers' and carriers' loggers say of goods before they came.

Invariants
    J1  A logger's file is on record by its hash, and is counted once for each unit that travelled with it.
    J2  A logger in the load measures the product: its readings are judged as they are, with its own gaps.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.quality import budgets
from coldgrid.quality.assessing import goods_of, no_limits, spent_in
from coldgrid.quality.curves import Curve, Series, micros
from coldgrid.quality.exposure import Stay, Verdict, assess_stays
from coldgrid.quality.limits import StorageLimits
from coldgrid.stock.inventory import get_units

# A logger that is silent for longer than this has a hole in its story, whatever its interval.
LOGGER_GAP_MIN = 60.0
READINGS_MAX = 50_000

Celsius = Annotated[float, msgspec.Meta(ge=-100, le=100)]


class Logged(msgspec.Struct, frozen=True):
    """One reading of a logger."""

    at: datetime
    value_c: Celsius


class TravelledUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit that travelled with the logger, and what that did to it."""

    sscc: str
    product_id: str
    lot_id: str
    verdict: Verdict
    why: str
    outside_min: float
    peak_c: float | None
    spent_min: dict[str, float] = {}


class Journey(msgspec.Struct, frozen=True):
    """A journey as readers see it."""

    journey_id: str
    site_id: str
    logger_id: str
    carrier: str
    from_at: datetime
    until_at: datetime
    file_hash: str
    units: tuple[TravelledUnit, ...]
    recorded_at: datetime


class JourneyRecorded(Event, frozen=True, kw_only=True, tag="quality.journey_recorded"):
    """A logger told what goods had on their way. `file_hash`: SHA-256 of its file."""

    journey_id: str
    site_id: str
    zone_id: str
    logger_id: str
    carrier: str
    from_at: datetime
    until_at: datetime
    readings: int
    file_hash: str
    units: tuple[TravelledUnit, ...]


class JourneyAlreadyRecorded(Conflict):
    """The journey, or this logger's file, is on record already (J1)."""


quality_journey = sa.Table(
    "quality_journey",
    metadata,
    sa.Column("journey_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("logger_id", sa.Text, nullable=False),
    sa.Column("carrier", sa.Text, nullable=False),
    sa.Column("from_at", Instant, nullable=False),
    sa.Column("until_at", Instant, nullable=False),
    sa.Column("file_hash", sa.Text, nullable=False, index=True),
    sa.Column("units", Json(tuple[TravelledUnit, ...]), nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    info={"origin": "site"},
)
_KEEP = Statement(quality_journey.insert())


@projects(JourneyRecorded)
def _keep(tx: Tx, event: JourneyRecorded) -> None:
    fields = {name: getattr(event, name) for name in Journey.__struct_fields__[:-1]}
    tx.write(_KEEP, **fields, recorded_at=tx.now)
    for unit in event.units:
        budgets.spend(tx, unit.sscc, event.journey_id, unit.spent_min)


class RecordJourney(Command, frozen=True, kw_only=True, tag="quality.record_journey"):
    """Ask to judge received units by the logger that travelled with them. `readings`: by time."""

    site_id: str
    journey_id: str
    ssccs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    logger_id: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    carrier: Annotated[str, msgspec.Meta(max_length=120)] = ""
    readings: Annotated[tuple[Logged, ...], msgspec.Meta(min_length=2, max_length=READINGS_MAX)]
    file_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def journey_problems(command: RecordJourney, now: datetime) -> list[Problem]:
    """Return what is wrong with a logger's readings."""
    problems = [
        Problem(field=f"readings[{i}].at", message="is not after the reading before it", fix="sort by time")
        for i, (before, after) in enumerate(pairwise(command.readings), start=1)
        if after.at <= before.at
    ]
    if command.readings[-1].at > now:
        problems.append(
            Problem(field="readings", message="end in the future", fix="check the logger's clock")
        )
    return problems


@handles(RecordJourney, action="quality.record_journey", owner=Owner.SITE)
def record_journey(tx: Tx, command: RecordJourney) -> JourneyRecorded:
    """Take a logger's story into the budgets of the units that travelled with it."""
    problems = journey_problems(command, tx.now)
    if problems:
        raise Invalid(problems=problems[:100])
    if tx.one(_KNOWN, journey_id=command.journey_id, file_hash=command.file_hash) is not None:
        raise JourneyAlreadyRecorded(journey_id=command.journey_id)
    units = get_units(tx, command.site_id, command.ssccs)
    curve = _curve(command)
    from_at, until_at = command.readings[0].at, command.readings[-1].at
    spent = budgets.spent_before(tx, command.ssccs, besides=command.journey_id)
    limits: dict[str, StorageLimits | None] = {
        product_id: goods_of(tx, product_id).limits
        for product_id in sorted({unit.product_id for unit in units})
    }
    travelled = []
    for unit in units:
        stay = Stay(unit.sscc, from_at, until_at, spent.get(unit.sscc, {}))
        rows = limits[unit.product_id]
        seen = assess_stays(curve, [stay], rows)[0] if rows is not None else no_limits(unit.sscc)
        travelled.append(
            TravelledUnit(
                sscc=unit.sscc,
                product_id=unit.product_id,
                lot_id=unit.lot_id,
                verdict=seen.verdict,
                why=seen.why,
                outside_min=round(seen.outside_min, 1),
                peak_c=seen.peak_c,
                spent_min=spent_in(seen, rows, stay.prior_min),
            )
        )
    event = JourneyRecorded(
        journey_id=command.journey_id,
        site_id=command.site_id,
        zone_id=units[0].zone_id,
        logger_id=command.logger_id,
        carrier=command.carrier,
        from_at=from_at,
        until_at=until_at,
        readings=len(command.readings),
        file_hash=command.file_hash,
        units=tuple(travelled),
    )
    tx.record(f"measurement/{command.journey_id}", event, occurred_at=until_at)
    return event


def _curve(command: RecordJourney) -> Curve:
    at_us = np.array([micros(reading.at) for reading in command.readings], dtype=np.int64)
    series = Series(at_us, np.array([reading.value_c for reading in command.readings]))
    known = np.diff(series.at_us) <= LOGGER_GAP_MIN * 60_000_000
    return Curve(series.at_us, series.value_c, series.value_c, known)


_KNOWN = Statement(
    sa.select(quality_journey.c.journey_id).where(
        sa.or_(
            quality_journey.c.journey_id == sa.bindparam("journey_id"),
            quality_journey.c.file_hash == sa.bindparam("file_hash"),
        )
    )
)
_LIST = Statement(
    sa.select(*(quality_journey.c[name] for name in Journey.__struct_fields__))
    .order_by(quality_journey.c.recorded_at.desc(), quality_journey.c.journey_id)
    .limit(sa.bindparam("most", type_=sa.Integer)),
    into=Journey,
)


def list_journeys(db: Reader, limit: int = 100) -> list[Journey]:
    """Return the journeys that were recorded last."""
    return db.all(_LIST, most=limit)
