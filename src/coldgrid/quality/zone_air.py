"""Zone air: what is known of the temperature in a zone, location by location, from sensors and by hand.

Goods take the worst of the sensors that cover their location. A product probe there is believed before any
estimate; otherwise the air and the product's lag give one.

Invariants
    Z1  Sensors of the goods' own air count; a buffered probe or the supply air only where there is no other.
    Z2  A location that no sensor covers takes all sensors of its zone; a probe speaks only for what it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone
from coldgrid.quality.curves import US_PER_MIN, Curve, Series, bridged, micros, worst_curve
from coldgrid.quality.estimate import (
    SENSOR_UNCERTAINTY_C,
    Estimate,
    Lag,
    estimate_at_end,
    grace_min,
    probed,
    product_band,
)
from coldgrid.quality.hand_readings import HandReading, Target, hand_readings_of
from coldgrid.telemetry.quantities import E4, Quantity
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor, sensors_of_zone
from coldgrid.telemetry.store import flushes_between, readings_of
from coldgrid.telemetry.watch import Watch

# The warmest that air without any cooling gets: a dock or a loading bay in summer.
WORST_AIR_C = 30.0
# A sensor counts as silent after five minutes or three intervals; twice as long is always bridged.
GRACE_LEAST_MIN = 10.0
# An estimate is started this many lags before the time that is asked about, so that its start is forgotten.
WARM_UP_LAGS = 3.0
WARM_UP_MAX = timedelta(days=2)

OWN_AIR = frozenset({Role.ZONE_AIR, Role.RETURN_AIR})
OTHER_AIR = frozenset({Role.BUFFERED, Role.SUPPLY_AIR})


class Body(msgspec.Struct, frozen=True):
    """Goods that follow the air alike: their lag, and the warm limit that silence is measured against."""

    lag: Lag
    limit_c: float


class ZoneAir:
    """The readings of one zone over one time, read once and joined as they are asked for.

    Args:
        db: Where to read.
        zone: The zone.
        from_at: First instant that is asked about; readings before it start the estimates.
        until_at: Last instant.
        corrections_c: What to add to a sensor's readings, by sensor id, when its calibration was found off.
    """

    def __init__(
        self,
        db: Reader,
        zone: Zone,
        from_at: datetime,
        until_at: datetime,
        corrections_c: Mapping[str, float] | None = None,
    ) -> None:
        self.zone = zone
        self.from_at = from_at
        self.until_at = until_at
        self.start_at = from_at - min(timedelta(minutes=WARM_UP_LAGS * zone.lag_min), WARM_UP_MAX)
        self._db = db
        self._corrections_c = corrections_c or {}
        self.sensors = _thermometers(db, zone.zone_id)
        self._hand = hand_readings_of(db, zone.zone_id, self.start_at, until_at)
        # The last instant itself counts; what waits to be rolled is read once for all sensors.
        self._first_us, self._end_us = micros(self.start_at), micros(until_at) + 1
        self._flushes = flushes_between(db, zone.site_id, self._first_us, self._end_us)
        self._series: dict[str, Series] = {}
        self._air: dict[tuple[tuple[str, ...], float], Curve] = {}
        self._estimates: dict[tuple[str, str, Lag, float], Estimate | None] = {}

    def sensors_at(self, location_id: str) -> list[Sensor]:
        """The air sensors that goods at a location are judged by (Z1, Z2)."""
        return air_sensors(self.sensors, location_id)

    def cover_of(self, location_id: str) -> str:
        """What is known of a location, by name: places of the same cover have the same temperatures."""
        sensors = [*self.sensors_at(location_id), *self._probes_at(location_id)]
        by_hand = [one.reading_id for one in self._hand if one.location_id == location_id]
        return ",".join([*(sensor.sensor_id for sensor in sensors), *by_hand])

    def grace_min(self, location_id: str, body: Body) -> float:
        """How long silence is bridged for goods at a location, minutes."""
        intervals_s = [sensor.interval_s for sensor in self.sensors_at(location_id)]
        least_min = max([GRACE_LEAST_MIN, *(6 * interval_s / 60 for interval_s in intervals_s)])
        return max(grace_min(self.zone.setpoint_c, body.limit_c, body.lag), least_min)

    def air(self, location_id: str, grace: float) -> Curve:
        """The worst air at a location, from `start_at` on; silence longer than `grace` minutes is unknown."""
        sensors = self.sensors_at(location_id)
        key = (tuple(sensor.sensor_id for sensor in sensors), round(grace, 1))
        if key not in self._air:
            found = [self.readings_of(sensor) for sensor in sensors]
            hand = _as_series([reading for reading in self._hand if reading.target is Target.AIR])
            self._air[key] = worst_curve(found, self.start_at, self.until_at, grace_min=grace, hand=hand)
        return self._air[key]

    def product(self, location_id: str, body: Body, sscc: str = "") -> Curve:
        """The band of the temperature of goods at a location: a probe's, or the estimate.

        Hand probes of this unit, or of the location where no unit was named, start the estimate again and
        bridge silence.
        """
        grace = self.grace_min(location_id, body)
        probes = [self.readings_of(probe) for probe in self._probes_at(location_id)]
        if probes:
            return _widened(worst_curve(probes, self.start_at, self.until_at, grace_min=grace))
        taken = _as_series([reading for reading in self._hand if reading.is_about(location_id, sscc)])
        return product_band(bridged(self.air(location_id, grace), taken.at_us, grace), body.lag, probes=taken)

    def estimate(self, location_id: str, body: Body, sscc: str = "") -> Estimate | None:
        """What is known of goods at a location at the last instant; None where nobody knows the air now."""
        grace = self.grace_min(location_id, body)
        # Goods under the same sensors that follow the air alike share an estimate.
        key = (self.cover_of(location_id), sscc, body.lag, round(grace, 1))
        if key not in self._estimates:
            self._estimates[key] = self._estimate(location_id, body.lag, grace, sscc)
        return self._estimates[key]

    def _estimate(self, location_id: str, lag: Lag, grace: float, sscc: str) -> Estimate | None:
        taken = _as_series([reading for reading in self._hand if reading.is_about(location_id, sscc)])
        air = bridged(self.air(location_id, grace), taken.at_us, grace)
        if not air.known[-1]:
            return None
        state = estimate_at_end(air, lag, taken)
        probes = [self.readings_of(probe) for probe in self._probes_at(location_id)]
        heard = [probe.value_c[-1] for probe in probes if len(probe.at_us)]
        return probed(state, float(max(heard))) if heard else state

    def probed_by_hand(self) -> frozenset[str]:
        """The units that were probed by hand one by one, so that each has a curve of its own."""
        return frozenset(reading.sscc for reading in self._hand if reading.sscc)

    def _probes_at(self, location_id: str) -> list[Sensor]:
        return [
            sensor
            for sensor in self.sensors
            if sensor.role is Role.PRODUCT_PROBE and location_id in sensor.covers
        ]

    def readings_of(self, sensor: Sensor) -> Series:
        """A sensor's readings over the whole time, corrected."""
        if sensor.sensor_id not in self._series:
            found = readings_of(
                self._db, sensor.site_id, sensor.sensor_id, self._first_us, self._end_us, self._flushes
            )
            value_c = found.value_e4[~found.bad] / E4 + self._corrections_c.get(sensor.sensor_id, 0.0)
            self._series[sensor.sensor_id] = Series(found.at_us[~found.bad], value_c)
        return self._series[sensor.sensor_id]

    def has_trend(self, grace: float) -> bool:
        """Tell whether a sensor's last two readings are at most `grace` minutes apart: one is no trend."""
        spans_us = [self.readings_of(sensor).at_us[-2:] for sensor in self.sensors_at("")]
        return any(len(at_us) == 2 and at_us[1] - at_us[0] <= grace * US_PER_MIN for at_us in spans_us)


def _thermometers(db: Reader, zone_id: str) -> list[Sensor]:
    return [
        sensor
        for sensor in sensors_of_zone(db, zone_id)
        if sensor.active and sensor.quantity is Quantity.TEMPERATURE
    ]


def air_sensors(sensors: Sequence[Sensor], location_id: str) -> list[Sensor]:
    """Return the air sensors that goods at a location are judged by (Z1, Z2)."""
    for roles in (OWN_AIR, OTHER_AIR):
        of_role = [sensor for sensor in sensors if sensor.role in roles]
        covering = [sensor for sensor in of_role if not sensor.covers or location_id in sensor.covers]
        if of_role:
            return covering or of_role
    return []


def is_out_of_band(tx: Tx, zone: Zone, now: datetime) -> bool:
    """Tell from the rules' memory alone whether a zone's air surely is out of its band.

    False: it is not, or only its readings can tell (`zone_now`).
    """
    memory, now_us, low_c = tx.hot(Watch).memory, micros(now), band_low_c(zone)
    for sensor in air_sensors(_thermometers(tx, zone.zone_id), ""):
        row = memory.row_of[sensor.sensor_id]
        heard_us, value_c = int(memory.good_at[row]), int(memory.good_e4[row]) / E4
        is_fresh = 0 <= now_us - heard_us <= GRACE_LEAST_MIN * US_PER_MIN
        if is_fresh and (value_c > zone.high_c or (low_c is not None and value_c < low_c)):
            return True
    return False


def band_low_c(zone: Zone) -> float | None:
    """The coldest that a zone's air may be; cold harms no frozen goods."""
    return None if zone.temperature_class is TemperatureClass.FROZEN else zone.low_c


def in_band_min(known: ZoneAir) -> float:
    """How long a zone has been in its band without a break, minutes, as far back as was asked about.

    Zero where nobody knows its air at the end: cold that is not measured is not proven.
    """
    air, zone, back = known.air("", GRACE_LEAST_MIN), known.zone, known.until_at - known.from_at
    low_c = band_low_c(zone)
    warm = (air.hot_c[1:] > zone.high_c) | (air.hot_c[:-1] > zone.high_c)
    cold = np.zeros_like(warm) if low_c is None else (air.cold_c[1:] < low_c) | (air.cold_c[:-1] < low_c)
    broken = np.flatnonzero(warm | cold | ~air.known)
    since_us = air.at_us[broken[-1] + 1] if len(broken) else air.at_us[0]
    return float(min((air.at_us[-1] - since_us) / US_PER_MIN, back.total_seconds() / 60))


def sensors_heard(db: Reader, zone: Zone, now: datetime) -> dict[str, list[str]]:
    """Return the air sensors and probes that speak now, with the locations they cover (none named: all)."""
    known = ZoneAir(db, zone, now - timedelta(minutes=1), now)
    silent_us = round(GRACE_LEAST_MIN * US_PER_MIN)
    return {
        sensor.sensor_id: sensor.covers
        for sensor in known.sensors
        if len(heard := known.readings_of(sensor).at_us)
        and micros(now) - heard[-1] <= max(silent_us, round(3e6 * sensor.interval_s))
    }


def _widened(curve: Curve) -> Curve:
    """A probe's curve with its uncertainty."""
    edge_c = SENSOR_UNCERTAINTY_C
    return Curve(curve.at_us, curve.hot_c + edge_c, curve.cold_c - edge_c, curve.known)


def _as_series(taken: Sequence[HandReading]) -> Series:
    """Hand readings as a series; of two at one instant the later written counts."""
    by_us = {micros(reading.taken_at): reading.value_c for reading in taken}
    at_us = sorted(by_us)
    return Series(
        np.array(at_us, dtype=np.int64), np.array([by_us[each] for each in at_us], dtype=np.float64)
    )
