"""The tower of the alarm benchmark: `python -m bench._alarm_world FOLDER HOST PORT WEB_PORT`.

The demo's network with 34 more cold rooms at each site, each with ten pallets and half a day of good
readings. One sensor of each such room calls any reading above its limit an excursion at once, so that a
single bad reading makes alarm, pause, incident, excursion and hold. It tells its rooms as one JSON line,
serves until its input ends, and then tells when each trial passed which stage (`perf_counter` seconds,
which all processes of a machine share).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.dispatcher import Rehearsal
from coldgrid.adapters.mqtt import MqttIngest
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.tables import to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import Location, LocationDefined, Zone, ZoneDefined
from coldgrid.node.host import LiveHost
from coldgrid.node.serve import serve
from coldgrid.orchestration.incidents import IncidentOpened
from coldgrid.stock.hold_facts import HoldPlaced
from coldgrid.telemetry.ingest import IngestReadings, columns_of, roll
from coldgrid.telemetry.quantities import Quantity
from coldgrid.telemetry.rules import Role, RuleSettings
from coldgrid.telemetry.sensors import Sensor, SensorDefined
from coldgrid.tower.application import Tower, build_tower, create
from coldgrid.tower.demo.people import add_people
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.world.places import Places, read_places
from coldgrid.tower.world.plan import Plan
from coldgrid.tower.world.run import World

ROOMS_PER_SITE = 34
PALLETS = 10
# A room that others are built like: big enough for the pallets.
LEAST_PALLETS = 40
PAST = timedelta(hours=12)
EVERY = timedelta(minutes=1)
STAGES = ("arrived", "submitted", "begun", "committed", "told", "delivered")


class Room(msgspec.Struct):
    """A room that a trial may spoil: its alarming sensor, the value that is bad."""

    site_id: str
    zone_id: str
    sensor_id: str
    bad_c: float


class Marks:
    """When each trial passed which stage, by the sensor's or the zone's name; nothing is ever overwritten."""

    def __init__(self, rooms: Sequence[Room], prefix: str) -> None:
        self.zone_of = {room.sensor_id: room.zone_id for room in rooms}
        self.bad = {f"{prefix}/{room.site_id}/{room.sensor_id}".encode(): room.zone_id for room in rooms}
        self.at: dict[str, dict[str, float]] = {room.zone_id: {} for room in rooms}
        self.last = ""

    def mark(self, zone_id: str, stage: str) -> None:
        """Note that a trial is at a stage now, the first time that it is."""
        self.at[zone_id].setdefault(stage, perf_counter())

    def watch(self, tower: Tower, readings: MqttIngest) -> None:
        """Listen at every stage."""
        self._listen(readings, "_take_in", lambda told: self._arrived(told[1]))
        self._listen(tower.service, "submit", lambda told: self._at(told[0], "submitted"))
        self._listen(tower.decider, "_run_call", lambda told: self._at(told[1].command, "begun"))
        self._listen(tower.hub, "_deliver", lambda told: self._last("delivered"))
        tower.decider.listeners.insert(0, self._committed)
        tower.decider.listeners.append(lambda recorded: self._last("told"))

    def _listen(self, part: Any, name: str, note: Callable[[Any], None]) -> None:
        """Note that a part of the tower begins something, and let it go on."""
        work = getattr(part, name)

        def noted(*told: Any) -> Any:
            note(told)
            return work(*told)

        setattr(part, name, noted)

    def _arrived(self, messages: Sequence[Any]) -> None:
        for message in messages:
            if message.topic in self.bad:
                self.mark(self.bad[message.topic], "arrived")

    def _at(self, command: Any, stage: str) -> None:
        for zone_id in self._trials(command):
            self.mark(zone_id, stage)

    def _last(self, stage: str) -> None:
        if self.last:
            self.mark(self.last, stage)

    def _trials(self, command: Any) -> list[str]:
        if not isinstance(command, IngestReadings):
            return []
        return [self.zone_of[name] for name in command.sensor_ids if name in self.zone_of]

    def _committed(self, recorded: Sequence[tuple[Any, Any]]) -> None:
        """Both in one commit: the incident, and the hold on the goods."""
        held = {event.zone_id for _, event in recorded if isinstance(event, HoldPlaced)}
        for _, event in recorded:
            if isinstance(event, IncidentOpened) and event.zone_id in held:
                self.last = event.zone_id
                self.mark(event.zone_id, "committed")


def build(folder: Path, host: str, port: int, web_port: int) -> tuple[Tower, list[Room], Places]:
    """Put the tower together and fill it."""
    own: dict[str, Any] = {"database": str(folder / "t.db"), "signing_key": str(folder / "k")}
    own |= {"mqtt_url": f"mqtt://{host}:{port}", "port": web_port}
    tower = build_tower(load_settings({}, **own), LiveHost(CedarAuthorizer()))
    decider = tower.decider
    seed_master(decider.do)
    add_people(decider.do)
    with tower.reader() as db:
        demo = read_places(db, [])
    rooms = decider.within(SYSTEM, "network", lambda tx: _more_rooms(tx, demo), "bench")
    with tower.reader() as db:
        places = read_places(db, [])
    plan = Plan(name="b", title="b", seed=1, starts_at=datetime.now(UTC), minutes=1, pallets_per_zone=PALLETS)
    World(plan, places, decider.execute, tower.reader).fill()
    decider.settle()
    _read_in_past(tower, places)
    return tower, rooms, demo


def _more_rooms(tx: Tx, demo: Places) -> list[Room]:
    like = [
        zone
        for zone in demo.zones
        if zone.temperature_class != "ambient" and zone.capacity_pallets >= LEAST_PALLETS
    ]
    rooms = []
    for site in demo.sites:
        for number in range(ROOMS_PER_SITE):
            zone = like[number % len(like)]
            rooms.append(room_like(tx, demo, zone, site.site_id, 20 + number))
    return rooms


def room_like(tx: Tx, demo: Places, like: Zone, site_id: str, number: int) -> Room:
    """Define a room like another: its places, its sensors, and one that alarms without delay."""
    kind = like.zone_id.rpartition("-")[2].rstrip("0123456789")
    zone_id = f"{site_id}-{kind}{number}"
    replace = msgspec.structs.replace
    tx.record(
        f"zone/{zone_id}", ZoneDefined(zone=replace(like, zone_id=zone_id, site_id=site_id, asset_id=""))
    )

    def here(name: str) -> str:
        return zone_id + name.removeprefix(like.zone_id)

    for place in demo.locations:
        if place.zone_id == like.zone_id:
            own: Location = replace(
                place, location_id=here(place.location_id), zone_id=zone_id, site_id=site_id
            )
            tx.record(f"location/{own.location_id}", LocationDefined(location=own))
    alarming = ""
    for sensor in demo.sensors:
        if sensor.zone_id != like.zone_id:
            continue
        rules = sensor.rules
        if sensor.role is Role.ZONE_AIR and not alarming:
            alarming, rules = here(sensor.sensor_id), RuleSettings(band_min=0.0)
        covers = [here(name) for name in sensor.covers]
        told = {"sensor_id": here(sensor.sensor_id), "zone_id": zone_id, "site_id": site_id, "covers": covers}
        one: Sensor = replace(sensor, **told, rules=rules, calibration=None)
        tx.record(f"sensor/{one.sensor_id}", SensorDefined(sensor=one))
    return Room(site_id, zone_id, alarming, like.high_c + 8)


def _read_in_past(tower: Tower, places: Places) -> None:
    """Half a day of good readings of every probe, a minute apart, as the site would have rolled them."""
    now = datetime.now(UTC)
    count = PAST // EVERY
    at_us = to_micros(now - EVERY / 2) - np.arange(count, dtype=np.int64)[::-1] * (
        EVERY // timedelta(microseconds=1)
    )
    random = np.random.default_rng(1)
    setpoint_c = {zone.zone_id: zone.setpoint_c for zone in places.zones}
    for site in places.sites:
        probes = [
            s for s in places.sensors if s.site_id == site.site_id and s.quantity is Quantity.TEMPERATURE
        ]
        value_c = [setpoint_c[s.zone_id] + random.normal(0, 0.05, count).round(1) for s in probes]
        numbers = np.repeat(np.arange(len(probes)), count)
        ids = [s.sensor_id for s in probes]
        command = columns_of(site.site_id, ids, numbers, np.tile(at_us, len(probes)), np.concatenate(value_c))
        answer = tower.decider.do(command)
        assert answer.result.stored == count * len(probes), answer
        tower.decider.within(SYSTEM, site.site_id, roll, "bench")


def main() -> None:
    """Build, serve, tell."""
    folder, host, port, web_port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    configure_logs("error", json=False)
    tower, rooms, demo = build(folder, host, port, web_port)
    prefix = f"bench-{os.getpid()}"
    marks = Marks(rooms, prefix)
    app = create(tower, {name: Rehearsal() for name in ("email", "sms", "voice", "webhook", "siren")})
    readings = app.state.background.readings
    marks.watch(tower, readings)
    # A stream of our own: whoever else listens to this broker would take a share of it.
    alone = msgspec.structs.replace(readings.settings, prefix=prefix, group=prefix, client_id=prefix)
    readings.settings = vars(readings)["_opener"].settings = alone
    zones = {zone.zone_id: zone.setpoint_c for zone in demo.zones}
    air = [s for s in demo.sensors if s.role is Role.ZONE_AIR]
    load = [f"{s.site_id}/{s.sensor_id}={zones[s.zone_id]}" for s in air]
    print(
        msgspec.json.encode(
            {"rooms": rooms, "load": load, "prefix": prefix, "links": alone.connections}
        ).decode(),
        flush=True,
    )
    threading.Thread(target=_tell_at_the_end, args=(marks,), daemon=True).start()
    serve(app, tower.settings)


def _tell_at_the_end(marks: Marks) -> None:
    sys.stdin.readline()
    print(msgspec.json.encode(marks.at).decode(), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
