"""Calibration: what a sensor that was found off puts in doubt, and the judging again of every lot since.

Invariants
    C1  Everything since the last certificate that was found within tolerance is judged again, with the
        readings put right by the error that was found.
    C2  Goods that come out worse than before are an excursion: named, held and decided like any others.

The error found is taken for the whole time: nobody knows when it began, and the worst case is what counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Day, Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.quality.assessing import assess
from coldgrid.quality.excursion_rules import OpenExcursion
from coldgrid.quality.excursions import open_assessed
from coldgrid.quality.exposed import Assessed, ExposedUnit, Scope, ShippedUnit
from coldgrid.quality.exposure import Verdict
from coldgrid.telemetry.sensors import Calibration, SensorDefined, get_sensor

# --- Vocabulary and event -------------------------------------------------------

# Worse counts more.
_RANK = {Verdict.WITHIN_LIMITS: 0, Verdict.UNKNOWN: 1, Verdict.ASSESS: 2}


class RejudgedLot(msgspec.Struct, frozen=True, kw_only=True):
    """A lot that stood under the sensor: its goods' worst verdict before and after, shipped ones included."""

    lot_id: str
    product_id: str
    units: int
    shipped: int
    was: Verdict
    now: Verdict
    peak_c: float | None


class LotsRejudged(Event, frozen=True, tag="quality.lots_rejudged"):
    """A sensor was found off, and the goods it spoke for were judged again.

    `correction_c`: what was added to its readings.
    """

    rejudge_id: str
    site_id: str
    zone_id: str
    sensor_id: str
    certificate_id: str
    since: datetime
    until_at: datetime
    correction_c: float
    lots: tuple[RejudgedLot, ...]


class AlreadyRejudged(Conflict):
    """The goods were judged again for this certificate before."""


# --- Tables and projections -----------------------------------------------------

# Every certificate that a sensor had; its definition keeps only the newest.
quality_calibration = sa.Table(
    "quality_calibration",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("certificate_id", sa.Text, primary_key=True),
    sa.Column("calibrated_on", Day, nullable=False),
    sa.Column("in_tolerance", sa.Boolean, nullable=False),
    info={"origin": "network"},
)
quality_rejudged = sa.Table(
    "quality_rejudged",
    metadata,
    sa.Column("rejudge_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("sensor_id", sa.Text, nullable=False),
    sa.Column("certificate_id", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("worst", Named(Verdict), nullable=False),
    sa.Column("lots", Json(tuple[RejudgedLot, ...]), nullable=False),
    sa.Column("rejudged_at", Instant, nullable=False),
    info={"origin": "site"},
)
_KEEP = Statement(
    upsert(quality_calibration, keys=["sensor_id", "certificate_id"], set_=["calibrated_on", "in_tolerance"])
)
_REJUDGED = Statement(quality_rejudged.insert())


@projects(SensorDefined)
def _keep_certificate(tx: Tx, event: SensorDefined) -> None:
    found = event.sensor.calibration
    if found is not None:
        tx.write(
            _KEEP,
            sensor_id=event.sensor.sensor_id,
            certificate_id=found.certificate_id,
            calibrated_on=found.calibrated_on,
            in_tolerance=not found_off(found),
        )


@projects(LotsRejudged)
def _keep_rejudged(tx: Tx, event: LotsRejudged) -> None:
    tx.write(
        _REJUDGED,
        rejudge_id=event.rejudge_id,
        site_id=event.site_id,
        sensor_id=event.sensor_id,
        certificate_id=event.certificate_id,
        since=event.since,
        worst=_worst(lot.now for lot in event.lots),
        lots=event.lots,
        rejudged_at=tx.now,
    )


# --- Decisions (pure) -----------------------------------------------------------


def found_off(calibration: Calibration) -> bool:
    """Whether a certificate puts the readings before it in doubt."""
    return abs(calibration.as_found_error) > calibration.tolerance


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=_RANK.__getitem__, default=Verdict.WITHIN_LIMITS)


def rejudged_lots(before: Assessed, after: Assessed) -> tuple[RejudgedLot, ...]:
    """Return each lot with its worst verdict before and after, those that came out worst first."""
    lots: dict[tuple[str, str], list[ExposedUnit | ShippedUnit]] = {}
    for one in _named(after):
        lots.setdefault((one.lot_id, one.product_id), []).append(one)
    was: dict[str, list[Verdict]] = {}
    for earlier in _named(before):
        was.setdefault(earlier.lot_id, []).append(earlier.verdict)
    found = [
        RejudgedLot(
            lot_id=lot_id,
            product_id=product_id,
            units=sum(isinstance(one, ExposedUnit) for one in ones),
            shipped=sum(isinstance(one, ShippedUnit) for one in ones),
            was=_worst(was.get(lot_id, ())),
            now=_worst(one.verdict for one in ones),
            peak_c=max((one.peak_c for one in ones if one.peak_c is not None), default=None),
        )
        for (lot_id, product_id), ones in lots.items()
    ]
    return tuple(sorted(found, key=lambda lot: (-_RANK[lot.now], lot.lot_id, lot.product_id)))


def _named(assessed: Assessed) -> Iterator[ExposedUnit | ShippedUnit]:
    yield from assessed.units
    yield from assessed.shipped


def worsened(before: Assessed, after: Assessed) -> Assessed:
    """Return the goods whose verdict is worse with the readings put right (C2)."""
    was = {unit.sscc: unit.verdict for unit in before.units}
    gone = {(unit.sscc, unit.at): unit.verdict for unit in before.shipped}
    good = Verdict.WITHIN_LIMITS
    return Assessed(
        tuple(unit for unit in after.units if _RANK[unit.verdict] > _RANK[was.get(unit.sscc, good)]),
        tuple(
            unit
            for unit in after.shipped
            if _RANK[unit.verdict] > _RANK[gone.get((unit.sscc, unit.at), good)]
        ),
    )


# --- Command --------------------------------------------------------------------


class RejudgeSince(Command, frozen=True, tag="quality.rejudge_since"):
    """Ask to judge again what stood under a sensor since an instant.

    `correction_c`: what to add to its readings to put them right.
    """

    site_id: str
    rejudge_id: str
    sensor_id: str
    certificate_id: str
    since: datetime
    correction_c: float


@handles(RejudgeSince, action="quality.rejudge_since", owner=Owner.SITE)
def rejudge_since(tx: Tx, command: RejudgeSince) -> LotsRejudged:
    """Judge every lot again (C1) and open an excursion of those that come out worse (C2)."""
    sensor = get_sensor(tx, command.sensor_id)
    if sensor.site_id != command.site_id or command.since >= tx.now:
        field = "since" if command.since >= tx.now else "sensor_id"
        raise Invalid(problems=[Problem(field=field, message="is of another site, or not in the past")])
    if rejudge_of(tx, command.rejudge_id) is not None:
        raise AlreadyRejudged(rejudge_id=command.rejudge_id)
    scope = Scope(
        site_id=command.site_id,
        zone_id=sensor.zone_id,
        locations=tuple(sorted(sensor.covers)),
        from_at=command.since,
    )
    before = assess(tx, scope, tx.now, besides=command.rejudge_id)
    corrections_c = {command.sensor_id: command.correction_c}
    after = assess(tx, scope, tx.now, besides=command.rejudge_id, corrections_c=corrections_c)
    event = LotsRejudged(
        rejudge_id=command.rejudge_id,
        site_id=command.site_id,
        zone_id=sensor.zone_id,
        sensor_id=command.sensor_id,
        certificate_id=command.certificate_id,
        since=command.since,
        until_at=tx.now,
        correction_c=command.correction_c,
        lots=rejudged_lots(before, after),
    )
    tx.record(f"measurement/{command.rejudge_id}", event)
    worse = worsened(before, after)
    if worse.units or worse.shipped:
        opening = OpenExcursion(
            site_id=command.site_id,
            excursion_id=derive_id("excursion", command.rejudge_id),
            zone_id=sensor.zone_id,
            from_at=command.since,
            why=f"{command.sensor_id} was {-command.correction_c:+.2f} °C off ({command.certificate_id})",
            cause_id=command.rejudge_id,
            locations=scope.locations,
        )
        open_assessed(tx, opening, worse, over=True)
    return event


# --- Queries --------------------------------------------------------------------


class Rejudged(msgspec.Struct, frozen=True):
    """What came of judging a sensor's goods again."""

    rejudge_id: str
    site_id: str
    sensor_id: str
    certificate_id: str
    since: datetime
    worst: Verdict
    lots: tuple[RejudgedLot, ...]
    rejudged_at: datetime


_GET = Statement(
    sa.select(*(quality_rejudged.c[name] for name in Rejudged.__struct_fields__)).where(
        quality_rejudged.c.rejudge_id == sa.bindparam("rejudge_id")
    ),
    into=Rejudged,
)
_LAST_GOOD = Statement(
    sa.select(sa.func.max(quality_calibration.c.calibrated_on)).where(
        quality_calibration.c.sensor_id == sa.bindparam("sensor_id"),
        quality_calibration.c.in_tolerance.is_(True),
        quality_calibration.c.calibrated_on < sa.bindparam("before", type_=Day),
    )
)


def rejudge_of(db: Reader, rejudge_id: str) -> Rejudged | None:
    """Return what came of a certificate's judging again; None where there was none of this id."""
    return db.one(_GET, rejudge_id=rejudge_id)


def last_good_at(db: Reader, sensor_id: str, before: date) -> datetime | None:
    """Return when a sensor was last found right before a day; None where no certificate says so."""
    found: date | str | None = db.value(_LAST_GOOD, sensor_id=sensor_id, before=before)
    if found is None:
        return None
    day = date.fromisoformat(found) if isinstance(found, str) else found
    return datetime.combine(day, time(), UTC)
