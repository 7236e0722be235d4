"""Resending: a node whose parcels are not those that the tower knows cuts its unsealed readings anew.

Invariants
    N1  Parcels go on under numbers that neither side has used: nothing new hides behind an old number.
    N2  Every reading of the site that is in no block is in one of them. What the tower has of these already
        counts once all the same (`arriving`, A2); what is in blocks is asked for by its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import chunks, landing, parcels
from coldgrid.telemetry.blocks import DAY_US, Readings
from coldgrid.telemetry.ingest import READINGS_MAX, IngestReadings, columns_of
from coldgrid.telemetry.landing import Flush, joined
from coldgrid.telemetry.parcel_form import pack_parcel
from coldgrid.telemetry.parcel_marks import UNMARKED
from coldgrid.telemetry.parcels import ParcelHead, ParcelHeads
from coldgrid.telemetry.quantities import E4, OWN_UNIT, UNIT_CODES, Unit
from coldgrid.telemetry.sensors import sensors_of_site
from coldgrid.telemetry.watch import Watch

DAYS_MAX = 1_000_000
LAST_DAY = 2**31
# The unit that a value is stored in, where it is not the one that the sensor reports in.
STORED = {Unit.FAHRENHEIT: Unit.CELSIUS}


def goes_on(tx: Tx, site_id: str, parcel_no: int, mark: bytes) -> bool:
    """Tell whether parcels go on behind the tower's last one as they are.

    They do not where the tower has forgotten which one that was, or has less than was sent. One with another
    mark is another history: that is for the tower to refuse, and for a person to settle.
    """
    if parcel_no:
        return mark != UNMARKED
    head = tx.hot(ParcelHeads).of.get(site_id) or ParcelHead()
    waiting = parcels.parcels_after(tx, site_id, 0, 1)
    return not head.parcel_no or bool(waiting and waiting[0].parcel_no == 1)


def cut_anew(tx: Tx, site_id: str, parcel_no: int) -> int:
    """Cut all unsealed readings of the unit's site into parcels behind the tower's last; return the last.

    Args:
        tx: The unit of work, of the site's origin.
        site_id: The site.
        parcel_no: The number of the last parcel that the tower has.
    """
    head = tx.hot(ParcelHeads).of.get(site_id) or ParcelHead()
    last = max(head.parcel_no, parcel_no)
    parcels.drop_parcels(tx, site_id, head.parcel_no)
    landed = tx.hot(Watch).head(site_id).landed_no
    parcels.move_head(tx, site_id, ParcelHead(last, landed))
    return parcels.put_own(tx, unsealed(tx, site_id), again=True)


def unsealed(db: Reader, site_id: str) -> list[Flush]:
    """Return the readings of a site that are in no block: its chunks, sensor by sensor, then its flushes."""
    found = []
    for sensor_id, day in chunks.waiting_days(db, site_id, LAST_DAY, DAYS_MAX):
        parts = chunks.chunked(db, sensor_id, day * DAY_US, (day + 1) * DAY_US)
        found.append(parcels.as_flush([(sensor_id, joined(parts))]))
    return [*found, *landing.flushes_of(db, site_id)]


def unsealed_parcels(db: Reader, site_id: str) -> Iterator[bytes]:
    """Yield what is here of another host's readings and in no block, as bytes of parcels."""
    for parts in parcels.portions(unsealed(db, site_id)):
        yield pack_parcel(parts)
    for parcel in parcels.parcels_after(db, site_id, 0, DAYS_MAX):
        yield parcel.body


def backfills_of(db: Reader, site_id: str, parts: Sequence[tuple[str, Readings]]) -> Iterator[IngestReadings]:
    """Yield the commands that take such readings in where they are lacking, in their stored units."""
    stored = {
        sensor.sensor_id: STORED.get(sensor.unit, sensor.unit) for sensor in sensors_of_site(db, site_id)
    }
    codes = np.array([UNIT_CODES.get(stored.get(name, Unit.CELSIUS), OWN_UNIT) for name, _ in parts])
    numbers = np.repeat(np.arange(len(parts), dtype=np.int64), [len(readings) for _, readings in parts])
    at_us = np.concatenate([readings.at_us for _, readings in parts])
    value = np.concatenate([readings.value_e4 for _, readings in parts]) / E4
    for start in range(0, len(at_us), READINGS_MAX):
        some = slice(start, start + READINGS_MAX)
        command = columns_of(site_id, [name for name, _ in parts], numbers[some], at_us[some], value[some])
        unit = codes[numbers[some]].astype(np.uint8).tobytes()
        yield msgspec.structs.replace(command, unit=unit)
