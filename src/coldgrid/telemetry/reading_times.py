"""Reading times: beside each reading of a driver, when it was heard and how its device's clock was corrected.

Invariants
    T1  For every stored reading that a driver handed over, the gateway's time, the device's time and the
        offset applied can be told for as long as the reading itself is kept, to the millisecond.
    T2  A reading that came without them costs nothing for it.

They are readings themselves, of two series beside the sensor's own: under `SENSOR~heard` how many ms after
its time a reading was heard, under `SENSOR~offset` its time minus its device's, where the device has a clock.
So they land, are sealed, vouched for, sent to the tower and carried with a moving site as every reading is,
and no rule sees them. Their names are no sensors' (`names.SENSOR` has no `~`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import to_micros
from coldgrid.telemetry import store
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.device_clocks import GATEWAY_TIME, MS_US
from coldgrid.telemetry.flush import Grouped
from coldgrid.telemetry.quantities import Ints, to_value
from coldgrid.telemetry.sensors import get_sensor

BESIDE = "~"
HEARD, OFFSET = "~heard", "~offset"
TOLD_MAX = 10_000


class Times(msgspec.Struct, frozen=True):
    """What is known of the times of a flush's readings, columns in order of arrival; `how`: `Claimed.how`."""

    heard_us: Ints
    offset_us: Ints
    how: Ints


def is_beside(name: str) -> bool:
    """Tell whether a series stands beside a sensor's own."""
    return BESIDE in name


def sensor_of(name: str) -> str:
    """Return the sensor that a series is of or stands beside."""
    return name.partition(BESIDE)[0]


def beside(sensor_id: str) -> tuple[str, str]:
    """Return the names of the series beside a sensor's."""
    return sensor_id + HEARD, sensor_id + OFFSET


def series_beside(
    parts: Sequence[Grouped], sensor_ids: Sequence[str], times: Times
) -> list[tuple[str, Readings]]:
    """Return the series beside what is stored of a flush (T1). `sensor_ids`: by row of the memory."""
    rows = np.concatenate([part.row for part in parts])
    at_us = np.concatenate([part.at_us for part in parts])
    pos = np.concatenate([part.pos for part in parts])
    order = np.lexsort((at_us, rows))
    rows, at_us, pos = rows[order], at_us[order], pos[order]
    heads = np.flatnonzero(np.diff(rows, prepend=-1))
    found: list[tuple[str, Readings]] = []
    for start, end in zip(heads.tolist(), [*heads[1:].tolist(), len(rows)], strict=True):
        sensor_id, of, when = sensor_ids[int(rows[start])], pos[start:end], at_us[start:end]
        lag_ms = _to_ms(times.heard_us[of] - when)
        found.append((sensor_id + HEARD, _plain(when, lag_ms)))
        clocked = times.how[of] != GATEWAY_TIME
        if clocked.any():
            offset_ms = _to_ms(times.offset_us[of][clocked])
            found.append((sensor_id + OFFSET, _plain(when[clocked], offset_ms)))
    return found


def _to_ms(micros: Ints) -> Ints:
    return np.floor_divide(micros + MS_US // 2, MS_US)


def _plain(at_us: Ints, numbers: Ints) -> Readings:
    return Readings(at_us, numbers, np.zeros(len(at_us), dtype=np.bool_))


# --- Queries --------------------------------------------------------------------


class ReadingTime(msgspec.Struct, frozen=True):
    """A reading with its times, µs since 1970: its own, by which rules ran, the gateway's and the device's.

    `heard_us` None: it came by a way that tells no other times. `device_us` None: its device has no clock.
    `offset_us`: what was added to the device's time.
    """

    at_us: int
    value: float
    good: bool
    heard_us: int | None
    device_us: int | None
    offset_us: int | None


def times_of(
    db: Reader, sensor_id: str, from_at: datetime, to_at: datetime, limit: int = TOLD_MAX
) -> list[ReadingTime]:
    """Return a sensor's readings from `from_at` on and before `to_at`, the first `limit`, with their times.

    Raises:
        SensorNotFound: there is no such sensor.
    """
    site_id = get_sensor(db, sensor_id).site_id
    from_us, to_us = to_micros(from_at), to_micros(to_at)
    flushes = store.flushes_between(db, site_id, from_us, to_us)
    own, lags, offsets = (
        store.readings_of(db, site_id, name, from_us, to_us, flushes)
        for name in (sensor_id, *beside(sensor_id))
    )
    lag_of = dict(zip(lags.at_us.tolist(), lags.value_e4.tolist(), strict=True))
    offset_of = dict(zip(offsets.at_us.tolist(), offsets.value_e4.tolist(), strict=True))
    return [
        _told(at_us, value_e4, bad, lag_of.get(at_us), offset_of.get(at_us))
        for at_us, value_e4, bad in zip(
            own.at_us[:limit].tolist(), own.value_e4[:limit].tolist(), own.bad[:limit].tolist(), strict=True
        )
    ]


def _told(at_us: int, value_e4: int, bad: bool, lag_ms: int | None, offset_ms: int | None) -> ReadingTime:
    return ReadingTime(
        at_us=at_us,
        value=to_value(value_e4),
        good=not bad,
        heard_us=None if lag_ms is None else at_us + lag_ms * MS_US,
        device_us=None if offset_ms is None else at_us - offset_ms * MS_US,
        offset_us=None if offset_ms is None else offset_ms * MS_US,
    )
