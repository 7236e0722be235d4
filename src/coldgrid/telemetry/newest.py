"""Newest: the last reading of every sensor, out of the rules' memory, for a look at the whole network.

Reading it from the store would take a query for each sensor; here it is a copy of two columns, and of what
arrived from hosts that read their sites themselves. Readings that came late are not in it: they went past the
rules in event time, and are never the newest.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
import numpy as np

from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.telemetry.arrivals import Arrivals
from coldgrid.telemetry.quantities import Ints, to_value
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor
from coldgrid.telemetry.watch import Watch


class ZoneReading(msgspec.Struct, frozen=True):
    """The warmest of the newest readings of a zone's sensors, °C."""

    value_c: float
    at: datetime


class Newest(msgspec.Struct, frozen=True):
    """A copy of what every sensor measured last; columns by sensor. `last_us` 0: never heard of."""

    sensors: list[Sensor]
    last_us: Ints
    good_us: Ints
    good_e4: Ints


def copy_newest(watch: Watch, arrivals: Arrivals) -> Newest:
    """Copy the columns; on the decider's thread, so it only copies."""
    count, memory, row_of = len(watch.sensors), watch.memory, watch.memory.row_of
    newest = Newest(
        sensors=list(watch.sensors),
        last_us=memory.last_at[:count].copy(),
        good_us=memory.good_at[:count].copy(),
        good_e4=memory.good_e4[:count].copy(),
    )
    told = [(row_of[name], one) for of in arrivals.of.values() for name, one in of.items() if name in row_of]
    if told:
        rows = np.array([row for row, _ in told])
        arrived = np.array([msgspec.structs.astuple(one) for _, one in told], dtype=np.int64)
        later = arrived[:, 0] > newest.last_us[rows]  # a site that came back here has newer ones of its own
        for column, values in zip((newest.last_us, newest.good_us, newest.good_e4), arrived.T, strict=True):
            column[rows[later]] = values[later]
    return newest


def warmest_by_zone(newest: Newest, roles: Collection[Role], since: datetime) -> dict[str, ZoneReading]:
    """Return by zone the warmest newest reading of its sensors of some roles.

    A sensor counts if it is active, its newest reading is good and not before `since`.
    """
    sensors, since_us = newest.sensors, to_micros(since)
    fresh = (newest.last_us >= since_us) & (newest.good_us == newest.last_us)
    rows = [row for row in np.flatnonzero(fresh).tolist() if _counts(sensors[row], roles)]
    values = newest.good_e4[rows].tolist()
    warmest: dict[str, tuple[int, int]] = {}
    for row, value_e4 in zip(rows, values, strict=True):
        zone_id = sensors[row].zone_id
        known = warmest.get(zone_id)
        if known is None or value_e4 > known[1]:
            warmest[zone_id] = (row, value_e4)
    return {
        zone_id: ZoneReading(to_value(value_e4), from_micros(int(newest.last_us[row])))
        for zone_id, (row, value_e4) in warmest.items()
    }


def _counts(sensor: Sensor, roles: Collection[Role]) -> bool:
    return sensor.active and sensor.role in roles
