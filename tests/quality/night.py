"""A freezer with goods and two sensors on the real kernel, for tests of quality and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

import coldgrid.site_flows  # noqa: F401  (what follows from alarms is part of the night)
from coldgrid.kernel.tables import to_micros
from coldgrid.quality.excursions import OpenExcursion
from coldgrid.telemetry.ingest import Ingested, columns_of
from tests.conftest import T0, Kernel
from tests.network import master
from tests.stock import world
from tests.stock.world import BULK, ICE, PALLET, PICK, SECOND, SITE, THIRD, receive

ZONE = world.FREEZER
FIRST_SENSOR, SECOND_SENSOR = f"{ZONE}-T1", f"{ZONE}-T2"
SENSORS = (FIRST_SENSOR, SECOND_SENSOR)
VACCINE = "VAX-FLU-10"


def sensor(sensor_id: str, **fields: Any) -> dict[str, Any]:
    zone_id = sensor_id.rsplit("-", 1)[0]
    raw = {
        "sensor_id": sensor_id,
        "site_id": sensor_id.split("-", 1)[0],
        "zone_id": zone_id,
        "role": "zone_air",
    }
    return {"kind": "sensor", **raw, "interval_s": 60, **fields}


def open_freezer(kernel: Kernel, *, sensors: tuple[dict[str, Any], ...] | None = None) -> None:
    """Two sites, the freezer's sensors, limits with their sources, and three pallets received at T0."""
    world.open_world(kernel)
    found = sensors if sensors is not None else tuple(sensor(each) for each in SENSORS)
    master.put_in_force(
        kernel,
        *found,
        master.lane(world.SITE, world.OTHER),
        master.limit(ICE),
        master.limit(
            ICE, limit_id=f"{ICE}.FREEZE", limit_kind="freeze", high_c=-5, source="stability study 7"
        ),
        master.limit(
            ICE,
            limit_id=f"{ICE}.CUMUL",
            limit_kind="cumulative",
            high_c=-18,
            minutes=120,
            source="stability study 7",
        ),
        change_id="change-sensors",
    )
    for code, place in ((PALLET, BULK), (SECOND, BULK), (THIRD, PICK)):
        kernel.do(receive(code, 100, location_id=place))


def tell(
    kernel: Kernel,
    air_c: Callable[[float], float],
    from_min: float,
    until_min: float,
    sensors: tuple[str, ...] = SENSORS,
) -> None:
    """Let the sensors report every minute, in flushes of three, as the clock goes on."""
    for start in np.arange(from_min, until_min, 3.0):
        minutes = np.arange(start, min(start + 3, until_min), 1.0)
        at = float(minutes[-1])
        kernel.advance(at - minutes_now(kernel))
        read(kernel, [(each, minute, air_c(minute)) for minute in minutes.tolist() for each in sensors])


def read(kernel: Kernel, readings: list[tuple[str, float, float]], site_id: str = SITE) -> Ingested:
    """Ingest readings of one site: sensor, minute after T0, °C."""
    names = sorted({each[0] for each in readings})
    answer: Ingested = kernel.do(
        columns_of(
            site_id,
            names,
            np.array([names.index(each[0]) for each in readings]),
            np.array([to_micros(T0) + round(each[1] * 60e6) for each in readings]),
            np.array([each[2] for each in readings]),
        ),
        actor="gateway",
    )
    return answer


def minutes_now(kernel: Kernel) -> float:
    return (kernel.host.instant - T0).total_seconds() / 60


def steady(minute: float) -> float:
    """Air at -22 °C that is never quite the same: a sensor that is would be stuck."""
    return -22.0 + 0.02 * (minute % 3)


def failing(from_min: float, c_per_min: float = 0.2, most_c: float = 10.0) -> Callable[[float], float]:
    """Air that is steady at -22 °C and then rises."""
    return lambda minute: min(steady(minute) + max(minute - from_min, 0.0) * c_per_min, most_c)


def recovering(from_min: float, top_c: float, c_per_min: float = 0.5) -> Callable[[float], float]:
    """Air that comes down again to -22 °C."""
    return lambda minute: max(top_c - max(minute - from_min, 0.0) * c_per_min, steady(minute))


def opening(excursion_id: str = "x1", from_min: float = 60, **fields: Any) -> OpenExcursion:
    since = T0 + timedelta(minutes=from_min)
    raw: dict[str, Any] = {"site_id": SITE, "zone_id": ZONE, "why": "air above -18 °C", "from_at": since}
    return OpenExcursion(excursion_id=excursion_id, **{**raw, **fields})


def told(kernel: Kernel, kind: type[Any]) -> list[Any]:
    """The events of one kind, oldest first."""
    return [event for _, event in kernel.events() if isinstance(event, kind)]
