"""Climate: what every sensor of the network reads at an instant, from real logs and the plan's faults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from math import exp
from zlib import crc32

import msgspec

from coldgrid.network.zones import Zone
from coldgrid.telemetry.rules import SUPPLIES, Role
from coldgrid.telemetry.sensors import Sensor
from coldgrid.tower.world.faults import Fault, FaultKind, warmth_c
from coldgrid.tower.world.logs import deviation_c

# Real logs are of small household cabinets; a walk-in room wanders about a third as far.
SCALE = {"frozen": 0.3, "chilled": 0.35, "ambient": 0.5}
PATTERN = {"frozen": "freezer", "chilled": "fridge", "ambient": "fridge"}
PROBE_RESOLUTION_C = 0.05
UPS_LOAD_W, UPS_WH = 300.0, 400.0
# Devices report 1 while their own trouble lasts.
REPORTS = {
    Role.DOOR: FaultKind.DOOR,
    Role.DEFROST: FaultKind.DEFROST,
    Role.COMPRESSOR: FaultKind.COMPRESSOR,
}


class Sample(msgspec.Struct, frozen=True):
    """One reading on its way in."""

    sensor_id: str
    at: datetime
    value: float


class Climate:
    """The physical state of all zones. `sample` must be called with growing instants.

    Product probes follow the air with the zone's own lag, as a pallet does.
    """

    def __init__(self, zones: Iterable[Zone], sensors: Iterable[Sensor], faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        self._zones = {zone.zone_id: zone for zone in zones}
        self._sensors = [sensor for sensor in sensors if sensor.zone_id in self._zones]
        self._product_c: dict[str, tuple[datetime, float]] = {}
        self._stuck: dict[str, float] = {}
        self._plant = {one.zone_id: one.circuit for one in self._sensors if one.role is Role.COMPRESSOR}

    def repair(self, zone_id: str, minute: float) -> None:
        """End every fault of a zone at a minute of the plan."""
        self.faults = [
            msgspec.structs.replace(fault, for_min=max(0.0, minute - fault.at_min))
            if fault.zone_id == zone_id and fault.active(minute)
            else fault
            for fault in self.faults
        ]

    def air_c(self, zone: Zone, at: datetime, minute: float) -> float:
        """Return the air temperature of a zone."""
        phase_s = crc32(zone.zone_id.encode()) % 86_400
        wander_c = SCALE[zone.temperature_class] * deviation_c(
            PATTERN[zone.temperature_class], at.timestamp() + phase_s
        )
        added_c = sum(
            warmth_c(fault, minute, zone.setpoint_c) for fault in self.faults if self._warms(fault, zone)
        )
        return zone.setpoint_c + wander_c + added_c

    def _warms(self, fault: Fault, zone: Zone) -> bool:
        """Whether a fault warms a zone: its own; and a power cut every room whose compressor it takes."""
        if fault.kind is not FaultKind.POWER_CUT:
            return fault.zone_id == zone.zone_id
        circuit = self._plant.get(zone.zone_id, "")
        return fault.cuts(zone.site_id, circuit, fault.at_min)

    def sample(self, at: datetime, minute: float) -> list[Sample]:
        """Return what every sensor reports at an instant; a silent probe reports nothing."""
        air_c = {zone_id: self.air_c(zone, at, minute) for zone_id, zone in self._zones.items()}
        for zone_id, zone in self._zones.items():
            self._follow(zone, at, air_c[zone_id])
        found = []
        for sensor in self._sensors:
            value = self._value(sensor, air_c[sensor.zone_id], minute)
            if value is not None and (sensor.role in SUPPLIES or not self._dead(sensor, minute)):
                found.append(Sample(sensor.sensor_id, at, value))
        return found

    def _follow(self, zone: Zone, at: datetime, air_c: float) -> None:
        last_at, product_c = self._product_c.get(zone.zone_id, (at, zone.setpoint_c))
        minutes = (at - last_at).total_seconds() / 60
        product_c = air_c + (product_c - air_c) * exp(-minutes / zone.lag_min)
        self._product_c[zone.zone_id] = (at, product_c)

    def _value(self, sensor: Sensor, air_c: float, minute: float) -> float | None:
        active = [
            fault.kind
            for fault in self.faults
            if fault.zone_id == sensor.zone_id
            and fault.active(minute)
            and fault.sensor_id in ("", sensor.sensor_id)
        ]
        if sensor.role in SUPPLIES:
            return self._supply(sensor, minute, FaultKind.LINE_DOWN in active)
        if sensor.role in REPORTS:
            return float(REPORTS[sensor.role] in active)
        if sensor.role is Role.PRODUCT_PROBE:
            return _rounded(self._product_c[sensor.zone_id][1])
        # Spread the sensors of one room a little, each always by the same.
        value = _rounded(air_c + (crc32(sensor.sensor_id.encode()) % 7 - 3) * 0.05)
        if FaultKind.SILENT_PROBE in active:
            return None
        if FaultKind.STUCK_PROBE in active:
            return self._stuck.setdefault(sensor.sensor_id, value)
        self._stuck.pop(sensor.sensor_id, None)
        return value

    def _dead(self, sensor: Sensor, minute: float) -> bool:
        return any(fault.cuts(sensor.site_id, sensor.circuit, minute) for fault in self.faults)

    def _supply(self, sensor: Sensor, minute: float, down: bool) -> float:
        """What a UPS or a line reports; a battery is full again when the mains are back."""
        cut = next((f for f in self.faults if f.cuts(sensor.site_id, sensor.circuit, minute)), None)
        if sensor.role is Role.UPS_LOAD:
            return UPS_LOAD_W + 5 * (round(minute) % 3)
        if sensor.role is Role.UPS_ENERGY:
            drawn_wh = 0.0 if cut is None else (minute - cut.at_min) / 60 * UPS_LOAD_W
            return round(max(0.0, (UPS_WH if cut is None else cut.battery_wh) - drawn_wh), 1)
        return float(cut is None and not down)


def _rounded(value_c: float) -> float:
    return round(round(value_c / PROBE_RESOLUTION_C) * PROBE_RESOLUTION_C, 2)
