"""Sealing: each site's hourly round, and sealing on demand for an incident or an evidence pack.

The hourly round rolls the flushes, seals the days that are over, `SEAL_AT_ONCE` at a time so that the
decider is never held up for long, and writes the manifest when none is left.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, on_timer
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.tables import to_micros
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import chunks
from coldgrid.telemetry.archive import store_block, write_manifests
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.ingest import roll
from coldgrid.telemetry.landing import joined
from coldgrid.telemetry.manifests import Why
from coldgrid.telemetry.reading_times import beside
from coldgrid.telemetry.sensors import sensors_of_site, sensors_of_zone
from coldgrid.telemetry.watch import Watch

SEAL_GRACE = timedelta(hours=2)
SEAL_AT_ONCE = 4
SENSORS_MAX = 100
HOUR = timedelta(hours=1)
# Days of all sensors of a site that wait, at most.
ALL_DAYS_MAX = 100_000


class SealBlocks(Command, frozen=True, tag="telemetry.seal_blocks"):
    """Seal what is there of some sensors now, and vouch for it. No sensors: those of the zone."""

    site_id: str
    cause_id: str
    zone_id: str = ""
    sensor_ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=SENSORS_MAX)] = ()


class Sealed(msgspec.Struct, frozen=True):
    """How many blocks were sealed and vouched for."""

    blocks: int


@handles(SealBlocks, action="telemetry.seal_blocks", owner=Owner.SITE, direct=True)
def seal_blocks(tx: Tx, command: SealBlocks) -> Sealed:
    """Roll, seal the named sensors up to their newest reading, and write the manifest (archive.K2)."""
    here = {sensor.sensor_id for sensor in sensors_of_site(tx, command.site_id)}
    asked = command.sensor_ids or tuple(s.sensor_id for s in sensors_of_zone(tx, command.zone_id))
    strange = [sensor_id for sensor_id in asked if sensor_id not in here]
    if strange or not asked:
        message = f"no sensors of {command.site_id}: {', '.join(strange) or 'none named'}"
        raise Invalid(
            [Problem(field="sensor_ids", message=message, fix="name sensors or a zone of the site")]
        )
    roll(tx)
    wanted = {name for sensor_id in asked for name in (sensor_id, *beside(sensor_id))}
    for sensor_id, day in chunks.waiting_days(tx, command.site_id, _today(tx), ALL_DAYS_MAX):
        if sensor_id in wanted:
            _seal(tx, sensor_id, day)
    head = tx.hot(Watch).head(command.site_id)
    return Sealed(write_manifests(tx, head, Why.ON_DEMAND, command.cause_id))


@on_timer("telemetry.hourly")
def hourly(tx: Tx, timer: Timer) -> None:
    """Begin a site's hourly round."""
    roll(tx)
    _go_on(tx)


@on_timer("telemetry.seal")
def go_on(tx: Tx, timer: Timer) -> None:
    """Go on with a site's hourly round."""
    _go_on(tx)


def _go_on(tx: Tx) -> None:
    upto = (to_micros(tx.now - SEAL_GRACE) // DAY_US) - 1
    due = chunks.waiting_days(tx, tx.origin, upto, SEAL_AT_ONCE)
    for sensor_id, day in due:
        _seal(tx, sensor_id, day)
    if len(due) == SEAL_AT_ONCE:
        tx.set_timer(f"telemetry.seal/{tx.origin}", "telemetry.seal", tx.now, {})
        return
    watch = tx.hot(Watch)
    write_manifests(tx, watch.head(tx.origin), Why.HOURLY)
    site_id = tx.origin
    if chunks.waiting_days(tx, site_id, _today(tx), 1):
        tx.set_timer(f"telemetry.hourly/{site_id}", "telemetry.hourly", _next_hour(tx), {})
    elif site_id in watch.hourly:
        watch.hourly.discard(site_id)
        tx.undo(lambda: watch.hourly.add(site_id))


def _seal(tx: Tx, sensor_id: str, day: int) -> None:
    parts = chunks.chunked(tx, sensor_id, day * DAY_US, (day + 1) * DAY_US)
    store_block(tx, sensor_id, day, joined(parts))
    chunks.drop_chunks(tx, sensor_id, day)


def _today(tx: Tx) -> int:
    # A reading may be some minutes ahead of the business clock, and so in tomorrow.
    return to_micros(tx.now + HOUR) // DAY_US


def _next_hour(tx: Tx) -> datetime:
    return tx.now.replace(minute=0, second=0, microsecond=0) + HOUR
