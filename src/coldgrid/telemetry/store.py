"""Store: readings of a sensor wherever they are kept now: in blocks, in chunks, in flushes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain

import msgspec
import numpy as np
from numpy.typing import NDArray

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.telemetry import archive, chunks, landing, parcels
from coldgrid.telemetry.blocks import DAY_US, Readings, Summary, added, mean_kinetic_c, summarise
from coldgrid.telemetry.landing import Flush, filled, joined, within
from coldgrid.telemetry.quantities import E4, Floats, to_value
from coldgrid.telemetry.sensors import get_sensor, sensors_of_site

ROLLUP_SENSORS_MAX = 10_000

Times = NDArray[np.datetime64]


class LastReading(msgspec.Struct, frozen=True):
    """The newest reading of a sensor, in its stored unit; `good`: its probe can measure that."""

    sensor_id: str
    at: datetime
    value_c: float
    good: bool


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a sensor's readings added up; of good ones only, in the stored unit.

    `mkt_c` is the mean kinetic temperature of equally spaced readings: for pharma only.
    """

    sensor_id: str
    readings: int
    good: int
    low_c: float | None
    high_c: float | None
    mean_c: float | None
    mkt_c: float | None


def readings_of(
    db: Reader,
    site_id: str,
    sensor_id: str,
    from_us: int,
    to_us: int,
    flushes: Sequence[Flush] | None = None,
) -> Readings:
    """Return all stored readings of a sensor, good and bad, from `from_us` on and before `to_us`.

    `flushes` spares reading those again where the caller has all that overlap the range.
    """
    if flushes is None:
        flushes = flushes_between(db, site_id, from_us, to_us)
    open_parts = [
        *chunks.chunked(db, sensor_id, from_us, to_us),
        *(part for flush in flushes for part in flush.of(sensor_id)),
    ]
    sealed_count, blocks = archive.sealed(db, sensor_id, from_us // DAY_US, (to_us - 1) // DAY_US)
    count = sealed_count + sum(len(part) for part in open_parts)
    return within(filled(chain(blocks, open_parts), count), from_us, to_us)


def series(db: Reader, sensor_id: str, from_at: datetime, to_at: datetime) -> tuple[Times, Floats]:
    """Return the good readings of a sensor from `from_at` on and before `to_at`: UTC times, stored unit.

    Raises:
        SensorNotFound: there is no such sensor.
    """
    sensor = get_sensor(db, sensor_id)
    readings = readings_of(db, sensor.site_id, sensor_id, to_micros(from_at), to_micros(to_at))
    at_us, value_e4 = readings.at_us, readings.value_e4
    if readings.bad.any():
        at_us, value_e4 = at_us[~readings.bad], value_e4[~readings.bad]
    return at_us.view("datetime64[us]"), value_e4 / E4


def last_reading(db: Reader, sensor_id: str) -> LastReading | None:
    """Return the newest reading of a sensor, or None where it never sent one.

    Raises:
        SensorNotFound: there is no such sensor.
    """
    sensor = get_sensor(db, sensor_id)
    flushes = flushes_between(db, sensor.site_id, 0, 2**62)
    return _last(db, sensor_id, flushes)


def last_readings(db: Reader, site_id: str) -> dict[str, LastReading]:
    """Return the newest reading of every sensor of a site that ever sent one."""
    flushes = flushes_between(db, site_id, 0, 2**62)
    found = (
        (sensor.sensor_id, _last(db, sensor.sensor_id, flushes)) for sensor in sensors_of_site(db, site_id)
    )
    return {sensor_id: reading for sensor_id, reading in found if reading is not None}


def flushes_between(db: Reader, site_id: str, from_us: int, to_us: int) -> list[Flush]:
    """Return what is not rolled yet: flushes of a site that is hosted here, parcels of one that is not."""
    arrived = parcels.arrived_between(db, site_id, from_us, to_us)
    return [*landing.flushes_between(db, site_id, from_us, to_us), *arrived]


def _last(db: Reader, sensor_id: str, flushes: Sequence[Flush]) -> LastReading | None:
    parts = [part for flush in flushes for part in flush.of(sensor_id)]
    parts += chunks.newest_chunk(db, sensor_id)
    if not parts:
        parts = archive.newest_block(db, sensor_id)
    if not parts:
        return None
    newest = max(parts, key=lambda part: int(part.at_us.max()))
    index = int(newest.at_us.argmax())
    at_us, value_e4 = int(newest.at_us[index]), int(newest.value_e4[index])
    return LastReading(sensor_id, from_micros(at_us), to_value(value_e4), not bool(newest.bad[index]))


def rollups(db: Reader, sensor_ids: Sequence[str], from_at: datetime, to_at: datetime) -> list[Rollup]:
    """Add up the readings of sensors from `from_at` on and before `to_at`.

    Whole UTC days come from the sums of blocks and chunks; only the edges, and what came in within the hour,
    are opened. Sensors that are not registered are left out.

    Raises:
        ValueError: more than `ROLLUP_SENSORS_MAX` sensors.
    """
    if len(sensor_ids) > ROLLUP_SENSORS_MAX:
        raise ValueError(f"at most {ROLLUP_SENSORS_MAX} sensors at once")
    from_us, to_us = to_micros(from_at), to_micros(to_at)
    first_day, end_day = -(-from_us // DAY_US), to_us // DAY_US
    sums: dict[str, list[Summary]] = {sensor_id: [] for sensor_id in sensor_ids}
    if first_day < end_day:
        for found in (
            archive.block_sums(db, sensor_ids, first_day, end_day),
            chunks.chunk_sums(db, sensor_ids, first_day, end_day),
        ):
            for sensor_id, summary in found.items():
                sums[sensor_id].append(summary)
    _add_edges(db, sums, from_us, to_us, (first_day * DAY_US, end_day * DAY_US))
    return [_rollup(sensor_id, summaries) for sensor_id, summaries in sums.items()]


def _add_edges(
    db: Reader, sums: dict[str, list[Summary]], from_us: int, to_us: int, whole: tuple[int, int]
) -> None:
    """Add what whole days leave out: their edges, and the flushes that are not rolled yet."""
    edges = [(from_us, whole[0]), (whole[1], to_us)] if whole[0] < whole[1] else [(from_us, to_us)]
    for sensor_id, summaries in sums.items():
        for edge_from_us, edge_to_us in edges:
            if edge_from_us < edge_to_us:
                _, blocks = archive.sealed(db, sensor_id, edge_from_us // DAY_US, (edge_to_us - 1) // DAY_US)
                parts = [
                    *blocks,
                    *chunks.chunked(db, sensor_id, edge_from_us, edge_to_us),
                ]
                summaries.append(summarise(within(joined(parts), edge_from_us, edge_to_us)))
    arrived = parcels.all_arrived_between(db, from_us, to_us)
    for flush in [*landing.all_flushes_between(db, from_us, to_us), *arrived]:
        for sensor_id, summary in landing.flush_sums(flush, from_us, to_us):
            if sensor_id in sums:
                sums[sensor_id].append(summary)


def _rollup(sensor_id: str, summaries: Sequence[Summary]) -> Rollup:
    total = added(summaries)
    return Rollup(
        sensor_id=sensor_id,
        readings=total.readings,
        good=total.good,
        low_c=None if total.low_e4 is None else to_value(total.low_e4),
        high_c=None if total.high_e4 is None else to_value(total.high_e4),
        mean_c=total.sum_e4 / total.good / E4 if total.good else None,
        mkt_c=mean_kinetic_c(total.kinetic_sum, total.good),
    )
