"""What pages and the API draw of readings: the air of a zone, and one sensor, as a line of few points."""

from __future__ import annotations

from datetime import datetime

import msgspec
import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.telemetry import store
from coldgrid.telemetry.quantities import E4, Ints, to_value
from coldgrid.telemetry.rules import LIMITED
from coldgrid.telemetry.sensors import sensors_of_zone
from coldgrid.telemetry.store import readings_of

POINTS_MAX = 720


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A point of a zone's line: the warmest and the coldest good reading of all its air sensors in that time.

    Without a reading both are None, so that a gap is drawn as a gap.
    """

    at: datetime
    high_c: float | None
    low_c: float | None


def zone_line(
    db: Reader, zone_id: str, from_at: datetime, to_at: datetime, points: int = POINTS_MAX
) -> list[Point]:
    """Return a zone's air between two instants as at most `POINTS_MAX` points at equal distances.

    Goods take the worst covering sensor, so the warmest reading counts, and a spike is never averaged away.

    Raises:
        ValueError: no time between the instants, or no points.
    """
    from_us, to_us = to_micros(from_at), to_micros(to_at)
    count = min(points, POINTS_MAX)
    if count < 1 or to_us - from_us < count:
        raise ValueError("a line needs points and time between its ends")
    edges = np.linspace(from_us, to_us, count + 1).astype(np.int64)
    high_e4 = np.full(count, np.iinfo(np.int64).min)
    low_e4 = np.full(count, np.iinfo(np.int64).max)
    sensors = [sensor for sensor in sensors_of_zone(db, zone_id) if sensor.active and sensor.role in LIMITED]
    if sensors:
        flushes = store.flushes_between(db, sensors[0].site_id, from_us, to_us)
        for sensor in sensors:
            readings = readings_of(db, sensor.site_id, sensor.sensor_id, from_us, to_us, flushes)
            good = ~readings.bad
            _widen(high_e4, low_e4, edges, readings.at_us[good], readings.value_e4[good])
    return [
        Point(
            from_micros(at), to_value(high) if high >= low else None, to_value(low) if high >= low else None
        )
        for at, high, low in zip(edges[:-1].tolist(), high_e4.tolist(), low_e4.tolist(), strict=True)
    ]


def _widen(high_e4: Ints, low_e4: Ints, edges: Ints, at_us: Ints, value_e4: Ints) -> None:
    """Take a sensor's readings into the envelope of the points they fall into."""
    if not len(at_us):
        return
    place = np.searchsorted(edges, at_us, side="right") - 1
    heads = np.flatnonzero(np.diff(place, prepend=-1))
    of = place[heads]
    high_e4[of] = np.maximum(high_e4[of], np.maximum.reduceat(value_e4, heads))
    low_e4[of] = np.minimum(low_e4[of], np.minimum.reduceat(value_e4, heads))


def sensor_line(
    db: Reader, sensor_id: str, from_at: datetime, to_at: datetime, points: int = POINTS_MAX
) -> list[tuple[datetime, float]]:
    """Return a sensor's good readings as at most so many points, each the one farthest from the mean."""
    times, values = store.series(db, sensor_id, from_at, to_at)
    step = max(1, -(-len(times) // min(points, POINTS_MAX)))
    at_us, value_e4 = times.view(np.int64), np.rint(values * E4).astype(np.int64)
    found = []
    for start in range(0, len(at_us), step):
        part = value_e4[start : start + step]
        index = start + int(np.abs(part - part.mean()).argmax())
        found.append((from_micros(int(at_us[index])), to_value(int(value_e4[index]))))
    return found
