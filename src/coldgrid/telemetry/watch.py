"""Watch: the decider's hot state of telemetry: sensors, the rules' memory, each site's landing.

Invariants
    W1  It changes by projections of master data and by ingest, always with undo.
    W2  After a restart it is exactly what it was: checkpoint and the flushes after it (`landing.L3`).

Readings are not events, so ingest changes the rules' memory itself; before a change of settings takes
effect the memory of that site is written down, because flushes after it are replayed with the new ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone, ZoneDefined, list_zones
from coldgrid.telemetry import landing
from coldgrid.telemetry.defrosts import DefrostPlanned, list_schedules, schedule_of
from coldgrid.telemetry.engine import evaluate
from coldgrid.telemetry.landing import Head
from coldgrid.telemetry.memory import Memory
from coldgrid.telemetry.quantities import E4, SPELLINGS, UNIT_CODES, UNITS_OF, Ints, Unit
from coldgrid.telemetry.rules import Band, Tuning, tune
from coldgrid.telemetry.sensors import Sensor, SensorDefined, list_sensors


@hot_state
class Watch:
    """Everything ingest needs to know without asking the database."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.sensors: list[Sensor] = []  # by row of the memory
        self.zones: dict[str, Zone] = {}
        self.heads: dict[str, Head] = {}
        self.rows_of_site: dict[str, list[int]] = {}
        # Site → sensor → row, of the active ones.
        self.listening: dict[str, dict[str, int]] = {}
        # By row: what screening compares with.
        self.valid_low_e4: Ints = np.zeros(16, dtype=np.int64)
        self.valid_high_e4: Ints = np.zeros(16, dtype=np.int64)
        self.fahrenheit = np.zeros(16, dtype=np.bool_)
        self.units: Ints = np.zeros(16, dtype=np.int64)  # a bit for each code of a unit it may report in
        # When the next look for silent sensors of a site is due, in µs; unset after a restart.
        self.silence_due_us: dict[str, int] = {}
        # From when on this process counts a site's silence, in µs: what was before is in the memory.
        self.listening_since_us: dict[str, int] = {}
        # Sites whose hourly timer is set.
        self.hourly: set[str] = set()
        # Sites with a flush whose bytes were changed: it is kept as it is, and nothing is rolled.
        self.damaged: set[str] = set()

    @classmethod
    def load(cls, reader: Reader) -> Watch:
        """Build the state from the tables (W2)."""
        watch = cls()
        watch.zones = {zone.zone_id: zone for zone in list_zones(reader)}
        for sensor in list_sensors(reader):
            watch.define(sensor)
        for plan, timezone in list_schedules(reader):
            watch.memory.schedule(plan.zone_id, schedule_of(plan, timezone))
        for stored in landing.load_checkpoints(reader):
            watch.memory.restore(stored.body)
            watch.heads[stored.site_id] = Head(stored.landed_no, stored.digest)
        replayed_from = dict(watch.heads)
        for site_id, landed_no, digest, count, flush in landing.load_flushes(reader):
            head = watch.heads.get(site_id, Head())
            flushes = head.flushes + 1
            watch.heads[site_id] = Head(landed_no, digest, flushes, head.readings + count)
            live = flush.live_part(watch.memory.row_of)
            if live is not None and landed_no > replayed_from.get(site_id, Head()).landed_no:
                watch.memory.apply(evaluate(watch.memory, live, flush.seen_us).draft)
        return watch

    def tuning(self, sensor: Sensor) -> Tuning:
        """Resolve a sensor's rules with its zone's limits."""
        return tune(sensor.role, sensor.interval_s, sensor.rules, band_of(self.zones.get(sensor.zone_id)))

    def define(self, sensor: Sensor) -> Callable[[], None]:
        """Add a sensor or change a known one; return the inverse. A row once given stays its sensor's."""
        row = self.memory.row_of.get(sensor.sensor_id)
        if row is None:
            row = self.memory.define(sensor.sensor_id, sensor.zone_id, self.tuning(sensor))
            self.sensors.append(sensor)
            self.rows_of_site.setdefault(sensor.site_id, []).append(row)
            self._grow()
            self._listen(row, sensor)
            self._set_range(row, sensor)
            new = row
            # A sensor that was never defined after all keeps its row, unlistened to.
            return lambda: self.forget(new)
        old = self.sensors[row]
        undo_tuning = self.memory.retune(row, sensor.zone_id, self.tuning(sensor))
        self._place(row, sensor)

        def undo() -> None:
            undo_tuning()
            self._place(row, old)

        return undo

    def forget(self, row: int) -> None:
        """Stop listening to a sensor whose definition was taken back."""
        sensor = self.sensors[row]
        del self.memory.row_of[sensor.sensor_id]
        self.rows_of_site[sensor.site_id].remove(row)
        self.listening[sensor.site_id].pop(sensor.sensor_id, None)

    def retune(self, zone: Zone) -> Callable[[], None]:
        """Take a zone's new limits over to its sensors; return the inverse."""
        old = self.zones.get(zone.zone_id)
        self.zones[zone.zone_id] = zone
        of_site = self.rows_of_site.get(zone.site_id, [])
        rows = [row for row in of_site if self.sensors[row].zone_id == zone.zone_id]
        undos = [self.memory.retune(row, zone.zone_id, self.tuning(self.sensors[row])) for row in rows]

        def undo() -> None:
            for inverse in undos:
                inverse()
            if old is None:
                del self.zones[zone.zone_id]
            else:
                self.zones[zone.zone_id] = old

        return undo

    def calls_for_haste(self, site_id: str, sensor_id: str, value: float, unit: str = "") -> bool:
        """Tell whether a reading lies where a limit may be broken: a hint, which any thread may ask for.

        `unit`: as it was told, "" for the sensor's own. Nothing is decided by this but what goes first.
        """
        row = self.listening.get(site_id, {}).get(sensor_id)
        if row is None:
            return False
        if self.fahrenheit[row] if not unit else SPELLINGS.get(unit) is Unit.FAHRENHEIT:
            value = (value - 32.0) * (5.0 / 9.0)
        tuned = self.memory.tuned
        return not tuned["low_e4"][row] <= value * E4 <= tuned["approach_e4"][row]

    def active_rows(self, site_id: str) -> Ints:
        """Return the rows of a site's sensors that are listened to."""
        return np.array(list(self.listening.get(site_id, {}).values()), dtype=np.int64)

    def rows(self, site_id: str) -> Ints:
        """Return the rows of a site's sensors, the inactive ones too."""
        return np.array(self.rows_of_site.get(site_id, []), dtype=np.int64)

    def head(self, site_id: str) -> Head:
        """Return where a site's landing stands."""
        return self.heads.get(site_id, Head())

    def move_head(self, tx: Tx, head: Head) -> None:
        """Set where the site's landing stands."""
        site_id, old = tx.origin, self.heads.get(tx.origin)
        self.heads[site_id] = head

        def undo() -> None:
            if old is None:
                self.heads.pop(site_id, None)
            else:
                self.heads[site_id] = old

        tx.undo(undo)

    def checkpoint(self, tx: Tx, site_id: str) -> None:
        """Write down what the rules remember of a site; before its first flush there is nothing."""
        if site_id in self.heads:
            landing.keep_checkpoint(tx, site_id, self.head(site_id), self.memory.save(self.rows(site_id)))

    def _place(self, row: int, sensor: Sensor) -> None:
        old = self.sensors[row]
        self.rows_of_site[old.site_id].remove(row)
        self.listening[old.site_id].pop(old.sensor_id, None)
        self.rows_of_site.setdefault(sensor.site_id, []).append(row)
        self._listen(row, sensor)
        self.sensors[row] = sensor
        self._set_range(row, sensor)

    def _listen(self, row: int, sensor: Sensor) -> None:
        of_site = self.listening.setdefault(sensor.site_id, {})
        if sensor.active:
            of_site[sensor.sensor_id] = row

    def _set_range(self, row: int, sensor: Sensor) -> None:
        self.valid_low_e4[row] = round(sensor.valid_low * E4)
        self.valid_high_e4[row] = round(sensor.valid_high * E4)
        self.fahrenheit[row] = sensor.unit is Unit.FAHRENHEIT
        self.units[row] = sum(1 << UNIT_CODES[unit] for unit in UNITS_OF[sensor.quantity])

    def _grow(self) -> None:
        count = len(self.memory)
        if count > len(self.valid_low_e4):
            room = 2 * count + 16
            self.valid_low_e4 = np.resize(self.valid_low_e4, room)
            self.valid_high_e4 = np.resize(self.valid_high_e4, room)
            self.fahrenheit = np.resize(self.fahrenheit, room)
            self.units = np.resize(self.units, room)


def band_of(zone: Zone | None) -> Band | None:
    """Return what a zone asks of its air. Cold harms no frozen goods."""
    if zone is None:
        return None
    low_c = None if zone.temperature_class is TemperatureClass.FROZEN else zone.low_c
    return Band(setpoint_c=zone.setpoint_c, low_c=low_c, high_c=zone.high_c)


@projects(SensorDefined)
def _define_sensor(tx: Tx, event: SensorDefined) -> None:
    watch = tx.hot(Watch)
    if not tx.rebuilding:
        watch.checkpoint(tx, event.site_id)
    tx.undo(watch.define(event.sensor))


@projects(ZoneDefined)
def _retune_zone(tx: Tx, event: ZoneDefined) -> None:
    watch = tx.hot(Watch)
    if not tx.rebuilding:
        watch.checkpoint(tx, event.site_id)
    tx.undo(watch.retune(event.zone))


@projects(DefrostPlanned)
def _plan_defrosts(tx: Tx, event: DefrostPlanned) -> None:
    watch = tx.hot(Watch)
    if not tx.rebuilding:
        watch.checkpoint(tx, event.site_id)
    tx.undo(watch.memory.schedule(event.zone_id, schedule_of(event.plan, event.timezone)))
