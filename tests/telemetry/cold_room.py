"""A small site with sensors, and ways to feed it: for tests of telemetry and of what builds on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from coldgrid.telemetry.ingest import Ingested, IngestReadings, columns_of
from tests.conftest import T0, Kernel
from tests.network.master import Raw, put_in_force, small_network

AIR, AIR_2, DOOR = "ATL1-FRZ1-T1", "ATL1-FRZ1-T2", "ATL1-FRZ1-D1"
COLD_C = -21.5


def sensor(sensor_id: str = AIR, **fields: Any) -> Raw:
    site_id, zone, _ = sensor_id.split("-")
    raw = {
        "sensor_id": sensor_id,
        "site_id": site_id,
        "zone_id": f"{site_id}-{zone}",
        "role": "zone_air",
        "interval_s": 60,
    }
    return {"kind": "sensor", **raw, **fields}


def device(sensor_id: str = DOOR, role: str = "door") -> Raw:
    return sensor(sensor_id, role=role, quantity="state", unit="state", interval_s=86_400)


def cold_room(kernel: Kernel, *more: Raw) -> None:
    """Put a site in force with two sensors of air and a door in its freezer."""
    small_network(kernel)
    put_in_force(kernel, sensor(), sensor(AIR_2), device(), *more, change_id="change-sensors")


def readings(values: Iterable[tuple[str, float, float]], site_id: str = "ATL1") -> IngestReadings:
    """Return the command for (sensor, minute after T0, value)."""
    listed = list(values)
    names = sorted({name for name, _, _ in listed})
    return columns_of(
        site_id,
        names,
        np.array([names.index(name) for name, _, _ in listed], dtype=np.int64),
        np.array([micros(minute) for _, minute, _ in listed], dtype=np.int64),
        np.array([value for _, _, value in listed], dtype=np.float64),
    )


def micros(minute: float) -> int:
    return round((T0 + timedelta(minutes=minute)).timestamp() * 1_000_000)


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def feed(
    kernel: Kernel, values: Sequence[tuple[str, float, float]], at_minute: float | None = None
) -> Ingested:
    """Send readings in one flush, when the last of them was taken or at a given minute."""
    when = max(minute for _, minute, _ in values) if at_minute is None else at_minute
    answer = kernel.do(readings(values), at=when)
    assert isinstance(answer, Ingested)
    return answer


def steady(start: int, count: int, value: float = COLD_C, name: str = AIR) -> list[tuple[str, float, float]]:
    """One reading a minute; the odd hundredth keeps it from being stuck."""
    return [(name, start + i, value + 0.01 * (i % 2)) for i in range(count)]
