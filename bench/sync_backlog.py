"""The backlog: a node that was alone for long gives the tower its facts, another one its readings, by TLS.

Each is drained in a run of its own: together, the readings come while the facts do, and nothing is left to
measure. Both are real processes of the program on loopback. The facts lie in the node's log as if it had
recorded them; the tower takes them in, projects them, and reacts to them. A rate is told of the wall, and of
a core: without the time in which threads of the two were ready but had none, for the machine has other work.

`COLDGRID_BENCH_BACKLOG` says how many facts, and how many sensors have a day of readings each.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bench._cold_world import freezer_c
from bench._sync_machines import SITE, Pair, Passed, Spent, paired, spent
from bench._sync_night import Night
from bench.result import Result
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.tables import to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.node.application import build_node
from coldgrid.node.folder import settings_in
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import system_now
from coldgrid.sync import readings
from coldgrid.sync.desk import HandDesk
from coldgrid.telemetry import arriving
from coldgrid.telemetry.ingest import columns_of
from coldgrid.telemetry.parcels import ParcelHeads
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.telemetry.sensors import SensorDefined
from coldgrid.tower.application import build_tower
from coldgrid.tower.world.places import Places, read_places

EVENTS, SENSORS = (int(number) for number in os.environ.get("COLDGRID_BENCH_BACKLOG", "50000,300").split(","))
EVERY_US = 10_000_000
STEPS = 8_640
TAKEN_AT_ONCE = 500
LOOK_EVERY_S = 0.05
WITHIN_S = 300.0


@dataclass
class Phase:
    """A part of the backlog: how much of it was drained, what that took, what went over the line."""

    count: int
    wall_s: float
    tower: Spent
    node: Spent
    passed: Passed

    @property
    def core_s(self) -> float:
        """Seconds that it would have taken with cores of its own."""
        return max(self.wall_s - self.tower.waited_s - self.node.waited_s, self.tower.work_s)


# --- Before ----------------------------------------------------------------------------


def _seed(night: Night, events: int) -> Callable[[Path, datetime], Places]:
    def seed(database: Path, began: datetime) -> Places:
        settings = load_settings({}, database=str(database), signing_key=str(database.parent / "signing.key"))
        tower = build_tower(settings, LiveHost(CedarAuthorizer()))
        entries = night.network_log(events)
        for start in range(0, len(entries), TAKEN_AT_ONCE):
            chunk = entries[start : start + TAKEN_AT_ONCE]
            tower.decider.take("network", partial(take_in, entries=chunk), "bench")
        tower.decider.within(SYSTEM, "network", _more_sensors, "bench")
        with tower.reader() as db:
            places = read_places(db, [SITE])
        tower.decider.close()
        return places

    return seed


def _more_sensors(tx: Tx) -> None:
    """As many more probes of air as it takes, each like one that is there."""
    air = next(s for s in read_places(tx, [SITE]).sensors if s.role is Role.ZONE_AIR)
    for name in _names():
        one = msgspec.structs.replace(air, sensor_id=name, interval_s=10.0, covers=[], calibration=None)
        tx.record(f"sensor/{name}", SensorDefined(sensor=one))


def _names() -> list[str]:
    return [f"{SITE}-AMB1-X{number}" for number in range(1, SENSORS + 1)]


def fill_facts(pair: Pair, night: Night, events: int) -> tuple[int, int]:
    """Put facts into the log of the node's database; return where it ends."""
    with _filling(pair) as decider:
        epoch, seq = decider.heads[SITE]
        entries = night.site_log(events, (epoch, seq))
        for start in range(0, len(entries), 2_000):
            chunk = entries[start : start + 2_000]

            def append(tx: Tx, some: list[Entry] = chunk) -> None:
                for entry in some:
                    log.append_verbatim(tx.batch, entry)

            decider.within(SYSTEM, SITE, append, "bench")
        return epoch, seq + len(entries)


def fill_readings(pair: Pair) -> int:
    """Put a day of readings into the node's database; return the number of the last parcel.

    Half of the sensors' readings are sealed blocks, half are parcels.
    """
    with _filling(pair) as decider:
        desk = HandDesk(decider, system_now)
        readings.turn_on(desk, SITE)
        _read_a_day(decider)
        readings.cut(desk, SITE)
        sealed = _names()[: SENSORS // 2]
        for start in range(0, len(sealed), 50):
            some = tuple(sealed[start : start + 50])
            decider.do(SealBlocks(site_id=SITE, cause_id="bench", sensor_ids=some))
        return readings.cut(desk, SITE)


@contextmanager
def _filling(pair: Pair) -> Iterator[Decider]:
    parts = build_node(settings_in(pair.node_folder, {}), LiveHost(CedarAuthorizer()))
    try:
        yield parts.decider
    finally:
        parts.decider.close()


def _read_a_day(decider: Decider) -> None:
    names, no = _names(), np.arange(SENSORS)
    end_us = to_micros(datetime.now(UTC) - timedelta(minutes=5)) // EVERY_US * EVERY_US
    at_us = end_us - np.arange(STEPS, dtype=np.int64)[::-1] * EVERY_US
    value_c = np.stack([freezer_c(at_us, seed) for seed in range(SENSORS)])
    at_once = 30
    for first in range(0, STEPS, at_once):
        times = at_us[first : first + at_once]
        command = columns_of(
            SITE,
            names,
            np.tile(no, len(times)),
            np.repeat(times, SENSORS),
            value_c[:, first : first + at_once].T.reshape(-1),
        )
        answer = decider.do(command)
        assert answer.result.stored == SENSORS * len(times), answer


# --- Draining -------------------------------------------------------------------------


class Watch:
    """Looks at the tower's database from outside."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._database = open_database(str(pair.tower_db))

    def until(self, done: Callable[[Reader], bool]) -> float:
        """Wait until something is so; return when it was seen."""
        ends_s = time.monotonic() + WITHIN_S
        while True:
            with self._database.reader() as connection:
                if done(Reads(connection)):
                    return time.perf_counter()
            assert time.monotonic() < ends_s, "the backlog does not drain"
            time.sleep(LOOK_EVERY_S)

    def phase(self, count: int, begins: Callable[[Reader], bool], ends: Callable[[Reader], bool]) -> Phase:
        """Measure from one state of the tower to another."""
        began_s = self.until(begins)
        pair = self.pair
        tower, node, passed = spent(pair.tower), spent(pair.node), pair.line.passed()
        took_s = self.until(ends) - began_s
        now = pair.line.passed()
        went = Passed(now.tls_bytes - passed.tls_bytes, now.segments - passed.segments)
        return Phase(count, took_s, spent(pair.tower).since(tower), spent(pair.node).since(node), went)

    def close(self) -> None:
        """Look no more."""
        self._database.close()


def end_of(db: Reader) -> tuple[int, int]:
    """Where the site's log ends here: its epoch, which is another one since the node has it, and the size."""
    return log.heads(db).get(SITE, (0, 0))


def drained_facts(events: int = EVENTS) -> Phase:
    """Drain a node that has facts alone; return how they went."""
    night = Night()
    with _alone(night, events) as pair:
        end = fill_facts(pair, night, events)
        with _watching(pair) as watch:
            before = pair.tower_end()
            pair.line.is_up = True
            first = TAKEN_AT_ONCE * 4  # as much as the first frame holds was taken in when the first is seen
            return watch.phase(events - first, lambda db: end_of(db) > before, lambda db: end_of(db) >= end)


def drained_readings() -> Phase:
    """Drain a node that has readings alone; return how they went."""
    with _alone(Night(), 0) as pair:
        last = fill_readings(pair)
        with _watching(pair) as watch:
            before = pair.tower_end()
            pair.line.is_up = True
            # The manifests come first: from then on the line is up, and the tower asks for blocks.
            return watch.phase(
                SENSORS * STEPS, lambda db: end_of(db) > before, lambda db: _has_readings(db, last)
            )


@contextmanager
def _alone(night: Night, events: int) -> Iterator[Pair]:
    """Yield a pair of which the node has joined, and does not run."""
    with paired(_seed(night, events)) as pair:
        pair.join()
        yield pair


@contextmanager
def _watching(pair: Pair) -> Iterator[Watch]:
    """Start the node with its line down, and watch the tower."""
    pair.line.is_up = False
    pair.node.start(pair.node_address)
    watch = Watch(pair)
    try:
        yield watch
    finally:
        watch.close()


def _has_readings(db: Reader, last: int) -> bool:
    head = ParcelHeads.load(db).of.get(SITE)
    return head is not None and head.parcel_no >= last and arriving.missing(db, SITE)[0] == 0


def run() -> list[Result]:
    """Measure and judge."""
    return [
        *_rates("backlog, facts", drained_facts(), 20e3, 1e3, "k/s"),
        *_rates("backlog, readings", drained_readings(), 2e6, 1e6, "M/s"),
    ]


def _rates(name: str, phase: Phase, target: float, unit: float, told: str) -> list[Result]:
    core = phase.count / phase.core_s
    return [
        Result(name, core / unit, told, f"≥ {target / unit:g}", ok=core >= target),
        Result(f"{name}, on the wall", phase.count / phase.wall_s / unit, told, "", ok=True),
        Result(f"{name}, tower's processor", phase.tower.work_s / phase.count * 1e6, "µs each", "", ok=True),
        Result(f"{name}, node's processor", phase.node.work_s / phase.count * 1e6, "µs each", "", ok=True),
        Result(f"{name}, on the wire", phase.passed.wire_bytes / phase.count, "bytes each", "", ok=True),
    ]
