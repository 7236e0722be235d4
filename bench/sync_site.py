"""One site with a node of its own: what it costs while nothing happens, and how soon the tower knows.

Tower and node are processes of the program on loopback, with the line between them counted. First the site is
quiet: a gateway sends every sensor's reading each ten seconds, and bytes and memory are told. Then one room
after another gets a single bad reading over the node's API, which makes alarm, pause and incident in one
commit there; a trial is timed from sending it until the tower has the incident durably, and until a page
that listens to the tower is told.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from bench import _alarm_world, alarm
from bench._alarm_world import Room
from bench._sync_machines import SITE, TOWER_PORT, Pair, demo, paired, pid_of
from bench.result import Result
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.tx import Tx
from coldgrid.node.host import LiveHost
from coldgrid.telemetry.rules import Role
from coldgrid.tower.application import build_tower
from coldgrid.tower.world.climate import Sample
from coldgrid.tower.world.places import Places, read_places

ROOMS = 120
APART_S = 0.6
WITHIN_S = 10.0
LOOK_EVERY_S = 0.001
READ_EVERY_S = 10.0
# Parcels go every 5 minutes, polls every 4, copies of what waits every 10.
QUIET_S = float(os.environ.get("COLDGRID_BENCH_QUIET_S", "600"))
SETTLE_S = 30.0
MONTH_S = 30 * 86_400
FIRST_ROOM = 20


def run() -> list[Result]:
    """Measure."""
    rooms: list[Room] = []
    with paired(lambda database, began: _seed(database, began, rooms)) as pair:
        pair.start()
        quiet = _quiet(pair)
        memory = _memory(pair)
        return [*quiet, *memory, *_live(pair, rooms)]


def _seed(database: Path, began: datetime, rooms: list[Room]) -> Places:
    """The demo's network, with more rooms at the site, each with a sensor that alarms without delay."""
    places = demo(database, began)
    settings = load_settings({}, database=str(database), signing_key=str(database.parent / "signing.key"))
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    with tower.reader() as db:
        everywhere = read_places(db, [SITE])
    like = next(zone for zone in everywhere.zones if zone.temperature_class == "frozen")
    bare = msgspec.structs.replace(
        everywhere, sensors=[s for s in everywhere.sensors if s.role is Role.ZONE_AIR], locations=[]
    )

    def more(tx: Tx) -> None:
        numbers = range(FIRST_ROOM, FIRST_ROOM + ROOMS)
        rooms.extend(_alarm_world.room_like(tx, bare, like, SITE, number) for number in numbers)

    tower.decider.within(SYSTEM, "network", more, "bench")
    tower.decider.close()
    return places


# --- Quiet ----------------------------------------------------------------------------


def _quiet(pair: Pair) -> list[Result]:
    _read_for(pair, SETTLE_S)
    before, size = pair.line.passed(), pair.tower_size()
    began_s = time.monotonic()
    _read_for(pair, QUIET_S)
    took_s = time.monotonic() - began_s
    passed = pair.line.passed()
    month_mb = (passed.wire_bytes - before.wire_bytes) / took_s * MONTH_S / 1e6
    name = f"quiet site, {took_s / 60:.0f} minutes as a month"
    return [
        Result(f"{name}: TLS, TCP and IP", month_mb, "MB", "≤ 30", ok=month_mb <= 30),
        Result(
            f"{name}: bytes of TLS", (passed.tls_bytes - before.tls_bytes) / took_s * 60, "/min", "", True
        ),
        Result(f"{name}: segments", (passed.segments - before.segments) / took_s * 60, "/min", "", True),
        Result(f"{name}: facts meanwhile", pair.tower_size() - size, "", "", True),
    ]


def _read_for(pair: Pair, seconds: float) -> None:
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        why = pair.read()
        assert not why, why
        time.sleep(min(READ_EVERY_S, left_s))


def _memory(pair: Pair) -> list[Result]:
    text = Path(f"/proc/{pid_of(pair.node)}/smaps_rollup").read_text()
    told = {name: int(kb) / 1e3 for name, kb in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return [
        Result("node idle: resident memory", told["Rss"], "MB", "≤ 120", ok=told["Rss"] <= 120),
        Result("node idle: of it its own", told["Pss_Anon"], "MB", "", ok=True),
    ]


# --- Live -----------------------------------------------------------------------------


class Incidents:
    """Looks at the tower's log from outside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reader() as connection:
            self._position = log.last_position(Reads(connection))

    def opened_in(self, zone_id: str) -> float | None:
        """Wait for the incident of a room; return when it was seen, or None."""
        ends_s = time.monotonic() + WITHIN_S
        with self._database.reader() as connection:
            db = Reads(connection)
            while time.monotonic() < ends_s:
                for entry in log.read(db, self._position, 1_000):
                    seen_s = time.perf_counter()
                    self._position = entry.position
                    opened = entry.type == "orchestration.incident_opened"
                    if opened and b'"%s"' % zone_id.encode() in entry.body:
                        return seen_s
                time.sleep(LOOK_EVERY_S)
        return None


def _live(pair: Pair, rooms: Sequence[Room]) -> list[Result]:
    page = alarm.Page(TOWER_PORT)
    durable: list[float] = []
    shown: list[float] = []
    with closing(open_database(str(pair.tower_db))) as database:
        incidents = Incidents(database)
        for room in rooms:
            sent_s = time.perf_counter()
            why = pair.gateway.send([Sample(room.sensor_id, datetime.now(UTC), room.bad_c)])
            assert not why, why
            seen_s = incidents.opened_in(room.zone_id)
            threading.Event().wait(APART_S)
            # The page is told by the commit's listeners, at about the time when the commit is seen.
            told_s = None if seen_s is None else page.first_after(seen_s - 0.02)
            if seen_s is not None and told_s is not None:
                durable.append(seen_s - sent_s)
                shown.append(max(seen_s, told_s) - sent_s)
    lost = len(rooms) - len(shown)
    p99_s = alarm.percentile(shown, 0.99) if shown else float("nan")
    return [
        *(_spread(name, values) for name, values in (("durable", durable), ("on a page", shown))),
        Result(
            f"reading at a node → incident on a page of the tower, p99, {lost} of {len(rooms)} lost",
            p99_s * 1e3,
            "ms",
            "≤ 150",
            ok=p99_s <= 0.15 and not lost,
        ),
    ]


def _spread(name: str, values: Sequence[float]) -> Result:
    told = " / ".join(f"{float(np.quantile(values, share)) * 1e3:.1f}" for share in (0.5, 0.9, 1.0))
    return Result(
        f"→ {name}: p50 / p90 / max {told}", alarm.percentile(values, 0.5) * 1e3, "ms p50", "", True
    )
