"""Losses: readings that were sealed at a site and are nowhere any more, as a fact, so that people are told.

Invariants
    L1  A loss is what the log vouches for, what is not here, and what its node says it does not have.
    L2  Readings that came unsealed before their block was lost are here, and are not counted as lost.
    L3  A loss is told once, however often its block is asked for in vain, and ends when its block comes.

The fact is the network's: only who receives a site's blocks knows that no host has one. The site is told.
Nothing stands in for the readings: to the rules of exposure a loss is time without readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, from_micros, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.telemetry import arriving, chunks, parcels
from coldgrid.telemetry.arriving import MissingBlock
from coldgrid.telemetry.landing import joined, within
from coldgrid.telemetry.reading_times import is_beside
from coldgrid.telemetry.sensors import SensorNotFound, get_sensor

# In one fact, so that the loss of a whole disk is no entry of megabytes.
TOLD_AT_ONCE = 500
LONG_AGO, LONG_AHEAD = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

# --- Vocabulary -----------------------------------------------------------------


class LostBlock(msgspec.Struct, frozen=True):
    """A stretch of a sensor's time whose readings are lost, both ends included. `hash`: its block's name."""

    zone_id: str
    sensor_id: str
    from_at: datetime
    to_at: datetime
    readings: int
    hash: str


class Loss(LostBlock, frozen=True):
    """A loss that stands. `found_at`: known since; `entry_id`: the entry that says so."""

    site_id: str
    found_at: datetime
    entry_id: str


def asset_of(site_id: str) -> str:
    """Return the name under which a site's lost readings stand in an incident."""
    return f"readings of {site_id}"


# --- Events ---------------------------------------------------------------------


class ReadingsLost(Event, frozen=True, tag="telemetry.readings_lost"):
    """Readings that a site's log vouches for are not here, and its node does not have them any more."""

    site_id: str
    blocks: list[LostBlock]


class LostReadingsFound(Event, frozen=True, tag="telemetry.lost_readings_found"):
    """Blocks that were told as lost came after all: another disk had them. `hashes`: their names."""

    site_id: str
    hashes: list[str]


# --- Table and projections -------------------------------------------------------

telemetry_loss = sa.Table(
    "telemetry_loss",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("from_at", Instant, primary_key=True),
    sa.Column("to_at", Instant, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False, index=True),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("found_at", Instant, nullable=False),
    sa.Column("entry_id", sa.Text, nullable=False),
    info={"origin": "network"},
)
_PUT = Statement(
    upsert(
        telemetry_loss,
        keys=["site_id", "hash", "sensor_id", "from_at"],
        set_=["to_at", "zone_id", "readings", "found_at", "entry_id"],
    )
)
_DROP = Statement(
    telemetry_loss.delete().where(
        telemetry_loss.c.site_id == sa.bindparam("whose"), telemetry_loss.c.hash == sa.bindparam("name")
    )
)


@projects(ReadingsLost)
def _put_rows(tx: Tx, event: ReadingsLost) -> None:
    for block in event.blocks:
        fields = msgspec.structs.asdict(block)
        tx.write(_PUT, site_id=event.site_id, found_at=tx.entry.recorded_at, entry_id=tx.entry.id, **fields)


@projects(LostReadingsFound)
def _drop_rows(tx: Tx, event: LostReadingsFound) -> None:
    for name in event.hashes:
        tx.write(_DROP, whose=event.site_id, name=name)


# --- Decisions (pure) -------------------------------------------------------------


def decide_told(
    site_id: str, lost: Sequence[LostBlock], told: Sequence[Loss], wanted: set[str]
) -> list[ReadingsLost | LostReadingsFound]:
    """Return what is new: blocks that are lost and not told, and told ones that have come (L3)."""
    known = {(one.hash, one.sensor_id, one.from_at) for one in told}
    fresh = [one for one in lost if (one.hash, one.sensor_id, one.from_at) not in known]
    came = sorted({one.hash for one in told} - wanted)
    events: list[ReadingsLost | LostReadingsFound] = [
        ReadingsLost(site_id=site_id, blocks=fresh[start : start + TOLD_AT_ONCE])
        for start in range(0, len(fresh), TOLD_AT_ONCE)
    ]
    return [*events, LostReadingsFound(site_id=site_id, hashes=came)] if came else events


# --- Command --------------------------------------------------------------------


class TellLosses(Command, frozen=True, tag="telemetry.tell_losses"):
    """Tell of a site's sealed readings what was lost, and what came after all, since it was told last."""

    site_id: str


@handles(TellLosses, action="telemetry.tell_losses", owner=Owner.NETWORK)
def tell_losses(tx: Tx, command: TellLosses) -> int:
    """Record what is new of a site's losses; return how many facts that made."""
    site_id = get_site(tx, command.site_id).site_id
    told = losses_of_site(tx, site_id)
    known = {(one.hash, one.sensor_id) for one in told}
    missing = arriving.missing_blocks(tx, site_id)
    found = [
        loss
        for block in missing
        if block.lost_at is not None and (block.hash, block.sensor_id) not in known
        if not is_beside(block.sensor_id) and (loss := _loss(tx, site_id, block)).readings
    ]
    events = decide_told(site_id, found, told, {block.hash for block in missing})
    for event in events:
        tx.record(f"loss/{site_id}", event)
    return len(events)


def _loss(db: Reader, site_id: str, block: MissingBlock) -> LostBlock:
    first_us, end_us = block.first_us, block.last_us + 1
    parts = chunks.chunked(db, block.sensor_id, first_us, end_us)
    for flush in parcels.arrived_between(db, site_id, first_us, end_us):
        parts += flush.of(block.sensor_id)
    here = len(within(joined(parts), first_us, end_us)) if parts else 0
    return LostBlock(
        zone_id=_zone_of(db, block.sensor_id),
        sensor_id=block.sensor_id,
        from_at=from_micros(block.first_us),
        to_at=from_micros(block.last_us),
        readings=max(0, block.readings - here),
        hash=block.hash,
    )


def _zone_of(db: Reader, sensor_id: str) -> str:
    try:
        return get_sensor(db, sensor_id).zone_id
    except SensorNotFound:
        return ""


# --- Queries --------------------------------------------------------------------

_COLUMNS = sa.select(*(telemetry_loss.c[name] for name in Loss.__struct_fields__))
_ORDER = (telemetry_loss.c.from_at.desc(), telemetry_loss.c.sensor_id, telemetry_loss.c.hash)
_ALL = Statement(_COLUMNS.order_by(*_ORDER), into=Loss)
_OF_SITE = Statement(
    _COLUMNS.where(telemetry_loss.c.site_id == sa.bindparam("site_id")).order_by(*_ORDER), into=Loss
)
_TOUCHES = sa.and_(
    telemetry_loss.c.from_at < sa.bindparam("until_at", type_=Instant),
    telemetry_loss.c.to_at >= sa.bindparam("since_at", type_=Instant),
)
_BETWEEN = Statement(_COLUMNS.where(_TOUCHES).order_by(*_ORDER), into=Loss)
_OF_ZONE = Statement(
    _COLUMNS.where(telemetry_loss.c.zone_id == sa.bindparam("zone_id"), _TOUCHES).order_by(*_ORDER), into=Loss
)


def losses(db: Reader) -> list[Loss]:
    """Return what is lost of all sites, the newest first."""
    return db.all(_ALL)


def losses_of_site(db: Reader, site_id: str) -> list[Loss]:
    """Return what is lost of a site, the newest first."""
    return db.all(_OF_SITE, site_id=site_id)


def losses_between(db: Reader, since_at: datetime, until_at: datetime) -> list[Loss]:
    """Return what is lost of a time, its end not included, at all sites, the newest first."""
    return db.all(_BETWEEN, since_at=since_at, until_at=until_at)


def losses_of_zone(
    db: Reader, zone_id: str, since_at: datetime = LONG_AGO, until_at: datetime = LONG_AHEAD
) -> list[Loss]:
    """Return what is lost of a zone's time, its end not included, the newest first."""
    return db.all(_OF_ZONE, zone_id=zone_id, since_at=since_at, until_at=until_at)
