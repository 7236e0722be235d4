"""Hand readings: temperatures that people take with a calibrated probe, as evidence beside the sensors'.

Invariants
    R1  A hand reading is written once, by who took it, with the probe and the hash of a photo of its display.
    R2  It is taken before it is written, and not longer ago than a person remembers.

A product's temperature is taken between packs or with a thin probe in a sacrificed one; it starts the
estimate again and bridges a silent sensor. The air's only bridges.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone

# --- Vocabulary -----------------------------------------------------------------

REMEMBERED = timedelta(hours=24)

Probed = Annotated[float, msgspec.Meta(ge=-100, le=100)]
# SHA-256 of the photo's bytes, in hexadecimal; "" without a photo.
PhotoHash = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class Target(StrEnum):
    """What the probe was held in."""

    PRODUCT = "product"
    AIR = "air"


class HandReading(msgspec.Struct, frozen=True, kw_only=True):
    """A temperature taken by hand. `sscc` "": of any goods there; `location_id` "": anywhere in the zone."""

    reading_id: str
    site_id: str
    zone_id: str
    location_id: str
    sscc: str
    target: Target
    value_c: float
    taken_at: datetime
    probe_id: str
    photo_hash: str
    note: str
    taken_by: str

    def is_about(self, location_id: str, sscc: str) -> bool:
        """Whether it tells the temperature of a unit's goods at a location."""
        if self.target is not Target.PRODUCT:
            return False
        return self.sscc == sscc if self.sscc else self.location_id in ("", location_id)


# --- Events ---------------------------------------------------------------------


class HandReadingRecorded(Event, frozen=True, kw_only=True, tag="quality.hand_reading_recorded"):
    """A person took a temperature."""

    reading_id: str
    site_id: str
    zone_id: str
    location_id: str = ""
    sscc: str = ""
    target: Target
    value_c: float
    taken_at: datetime
    probe_id: str
    photo_hash: str = ""
    note: str = ""


class HandReadingTaken(Conflict):
    """A hand reading of this id is on record (R1)."""


# --- Table and projection -------------------------------------------------------

quality_hand_reading = sa.Table(
    "quality_hand_reading",
    metadata,
    sa.Column("reading_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("location_id", sa.Text, nullable=False),
    sa.Column("sscc", sa.Text, nullable=False),
    sa.Column("target", Named(Target), nullable=False),
    sa.Column("value_c", sa.Float, nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
    sa.Column("probe_id", sa.Text, nullable=False),
    sa.Column("photo_hash", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("taken_by", sa.Text, nullable=False),
    sa.Index("ix_quality_hand_reading_zone", "zone_id", "taken_at"),
    info={"origin": "site"},
)
_KEEP = Statement(quality_hand_reading.insert())


@projects(HandReadingRecorded)
def _keep(tx: Tx, event: HandReadingRecorded) -> None:
    tx.write(_KEEP, **msgspec.structs.asdict(event), taken_by=tx.actor)


# --- Commands -------------------------------------------------------------------


class RecordHandReading(Command, frozen=True, kw_only=True, tag="quality.record_hand_reading"):
    """Ask to put a temperature taken by hand on record. `taken_at` None: now."""

    site_id: str
    reading_id: str
    zone_id: str
    value_c: Probed
    probe_id: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    target: Target = Target.PRODUCT
    location_id: str = ""
    sscc: str = ""
    taken_at: datetime | None = None
    photo_hash: PhotoHash = ""
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


def decide_reading(command: RecordHandReading, now: datetime) -> HandReadingRecorded:
    """Return the event that keeps a reading, or reject (R2)."""
    taken_at = command.taken_at or now
    problems = []
    if taken_at > now:
        problems.append(Problem(field="taken_at", message="lies in the future", fix="check the clock"))
    if taken_at < now - REMEMBERED:
        fix = "write what was measured as a note of the incident"
        problems.append(Problem(field="taken_at", message="is more than a day ago", fix=fix))
    if command.sscc and command.target is Target.AIR:
        problems.append(Problem(field="target", message="the air is not a unit's", fix="leave sscc out"))
    if problems:
        raise Invalid(problems=problems)
    return HandReadingRecorded(
        reading_id=command.reading_id,
        site_id=command.site_id,
        zone_id=command.zone_id,
        location_id=command.location_id,
        sscc=command.sscc,
        target=Target(command.target),
        value_c=float(command.value_c),
        taken_at=taken_at,
        probe_id=command.probe_id,
        photo_hash=command.photo_hash,
        note=command.note.strip(),
    )


@handles(RecordHandReading, action="quality.record_hand_reading", owner=Owner.SITE)
def record_hand_reading(tx: Tx, command: RecordHandReading) -> None:
    """Put a temperature taken by hand on record."""
    zone = get_zone(tx, command.zone_id)
    if zone.site_id != command.site_id:
        message = f"{zone.zone_id} is a zone of {zone.site_id}"
        raise Invalid(problems=[Problem(field="zone_id", message=message)])
    if tx.one(_GET, reading_id=command.reading_id) is not None:
        raise HandReadingTaken(reading_id=command.reading_id)
    event = decide_reading(command, tx.now)
    tx.record(f"measurement/{command.reading_id}", event, occurred_at=event.taken_at)


# --- Queries --------------------------------------------------------------------


def _reading(*row: object) -> HandReading:
    return HandReading(**dict(zip(HandReading.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


_SELECT = sa.select(*(quality_hand_reading.c[name] for name in HandReading.__struct_fields__))
_GET = Statement(
    _SELECT.where(quality_hand_reading.c.reading_id == sa.bindparam("reading_id")), into=_reading
)
_OF_ZONE = Statement(
    _SELECT.where(
        quality_hand_reading.c.zone_id == sa.bindparam("zone_id"),
        quality_hand_reading.c.taken_at >= sa.bindparam("from_at", type_=Instant),
        quality_hand_reading.c.taken_at <= sa.bindparam("until_at", type_=Instant),
    ).order_by(quality_hand_reading.c.taken_at, quality_hand_reading.c.reading_id),
    into=_reading,
)


def find_hand_reading(db: Reader, reading_id: str) -> HandReading | None:
    """Return one reading; None where there is none of this id."""
    return db.one(_GET, reading_id=reading_id)


def hand_readings_of(db: Reader, zone_id: str, from_at: datetime, until_at: datetime) -> list[HandReading]:
    """Return what was measured by hand in a zone over a time, oldest first."""
    return db.all(_OF_ZONE, zone_id=zone_id, from_at=from_at, until_at=until_at)
