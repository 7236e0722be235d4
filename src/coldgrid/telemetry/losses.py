"""Losses: readings that were sealed at a site and are nowhere any more, for people to see.

Invariants
    L1  A loss is what the log vouches for, what is not here, and what its node says it does not have.
    L2  Readings that came unsealed before their block was lost are here, and are not counted as lost.

Nothing stands in for them: to the rules of exposure a loss is time without readings.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import from_micros
from coldgrid.telemetry import arriving, chunks, parcels
from coldgrid.telemetry.arriving import MissingBlock
from coldgrid.telemetry.landing import joined, within
from coldgrid.telemetry.reading_times import is_beside
from coldgrid.telemetry.sensors import SensorNotFound, get_sensor


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a sensor's time whose readings are lost, both ends included; `found_at`: known since."""

    site_id: str
    zone_id: str
    sensor_id: str
    from_at: datetime
    to_at: datetime
    readings: int
    found_at: datetime


def losses(db: Reader, site_id: str | None = None, from_day: int = 0, to_day: int = 2**31) -> list[Loss]:
    """Return what is lost of a site, or of all, the newest days first."""
    found = []
    for whose, block in arriving.lost_blocks(db, from_day, to_day):
        if site_id in (None, whose) and not is_beside(block.sensor_id):
            loss = _loss(db, whose, block)
            if loss.readings:
                found.append(loss)
    return found


def _loss(db: Reader, site_id: str, block: MissingBlock) -> Loss:
    first_us, end_us = block.first_us, block.last_us + 1
    parts = chunks.chunked(db, block.sensor_id, first_us, end_us)
    for flush in parcels.arrived_between(db, site_id, first_us, end_us):
        parts += flush.of(block.sensor_id)
    here = len(within(joined(parts), first_us, end_us)) if parts else 0
    assert block.lost_at is not None
    return Loss(
        site_id=site_id,
        zone_id=_zone_of(db, block.sensor_id),
        sensor_id=block.sensor_id,
        from_at=from_micros(block.first_us),
        to_at=from_micros(block.last_us),
        readings=max(0, block.readings - here),
        found_at=block.lost_at,
    )


def _zone_of(db: Reader, sensor_id: str) -> str:
    try:
        return get_sensor(db, sensor_id).zone_id
    except SensorNotFound:
        return ""
