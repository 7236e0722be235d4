"""Readings: decode → validate → rules → durable, in batches and one by one; their weight; reading them.

Throughput is that of one thread that decodes and decides, with every group durable on SQLite
(synchronous=FULL); callers keep some batches in flight, as gateways do, so a commit is shared. What a core
does later for a reading counts too: all flushes are rolled within the time, and the steady day also seals
them and vouches for the blocks. Each figure is the best of some runs, in three clocks: of a core (the wall's,
less what the kernel made the thread wait for a core that others used; the disk's time is in it), of the wall,
of the processor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np

from bench._cold_world import SITE, START, START_US, freezer_c, move, open_cold_world, sensor_ids
from bench.result import Result
from coldgrid.adapters.mqtt import Batch
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Call, Decider
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import archive, ingest, seal, store
from coldgrid.telemetry.blocks import DAY_US, Readings
from coldgrid.telemetry.decoding import decode_payload, read_columns_json, read_lines, read_packed
from coldgrid.telemetry.ingest import IngestReadings

SENSORS = 1_000
BATCH = 10_000
BATCHES = 120
FLUSH = 1_000
FLUSHES = 512
RUNS = 3
IN_FLIGHT = 8
STEP_US = 10_000_000


def run() -> list[Result]:
    """Measure everything."""
    return [*_throughput(), *_weights(), *_reads()]


# --- Throughput -----------------------------------------------------------------


class Clocks(NamedTuple):
    """Seconds on the wall, of work, and in which the thread was ready but had no core."""

    wall_s: float
    work_s: float
    waited_s: float

    @property
    def core_s(self) -> float:
        """Seconds that it would have taken with a core of its own."""
        return self.wall_s - self.waited_s

    def since(self, start: Clocks) -> Clocks:
        """Return what went by."""
        return Clocks(*(now - then for now, then in zip(self, start, strict=True)))

    def plus(self, other: Clocks) -> Clocks:
        """Return the sum."""
        return Clocks(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = Clocks(0.0, 0.0, 0.0)


def _clocks() -> Clocks:
    try:
        waited_s = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # not on Linux: then waiting counts
        waited_s = 0.0
    return Clocks(time.perf_counter(), time.thread_time(), waited_s)


class Rate(NamedTuple):
    """Readings in a second of a core, of the wall, of the processor; and of a core before they are rolled."""

    core: float
    wall: float
    work: float
    unrolled: float


def _throughput() -> list[Result]:
    packed = _best(lambda: _rate(SENSORS, BATCH, BATCHES, _packed, read_packed))
    columns = _best(lambda: _rate(SENSORS, BATCH, BATCHES // 2, _columns, read_columns_json))
    single = _best(lambda: _rate(200, FLUSH, FLUSHES, _payloads, _read_payloads))
    lines = _best(lambda: _rate(200, FLUSH, FLUSHES // 2, _lines, read_lines))
    return [
        *_rates("readings, packed columns of 10,000", packed, 2e6),
        *_rates("readings, JSON columns of 10,000", columns, None),
        *_rates("readings, one JSON each, flushes of 1,000", single, 0.7e6),
        *_rates("readings, NDJSON of 1,000 lines", lines, None),
        *_rates(f"a day of {SENSORS} sensors, packed, sealed and vouched for", _steady(), 2e6),
    ]


def _best(measure: Callable[[], Rate]) -> Rate:
    return max(measure() for _ in range(RUNS))


def _rates(name: str, rate: Rate, target: float | None) -> list[Result]:
    told = "reported" if target is None else f"≥ {target / 1e6:g}"
    return [
        Result(name, rate.core / 1e6, "M/s", told, ok=target is None or rate.core >= target),
        *(
            Result(f"{name}, {clock}", value / 1e6, "M/s", "reported", ok=True)
            for clock, value in (
                ("before rolling", rate.unrolled),
                ("on the wall", rate.wall),
                ("a second of CPU", rate.work),
            )
        ),
    ]


Encode = Callable[[Sequence[str], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]], Any]


class _Meter:
    """Times parts of a run, and apart from them the rolls, which happen inside."""

    def __init__(self) -> None:
        self.took = self.rolled = NOTHING
        self._roll = ingest.roll
        self._patches = ExitStack()

    def __enter__(self) -> _Meter:
        for module in (ingest, seal):
            self._patches.enter_context(patch.object(module, "roll", self.roll))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def roll(self, tx: Tx) -> None:
        """Roll, and remember how long it took."""
        start = _clocks()
        self._roll(tx)
        self.rolled = self.rolled.plus(_clocks().since(start))

    def time(self, work: Callable[[], Any]) -> Any:
        """Do a part of what is measured."""
        start = _clocks()
        result = work()
        self.took = self.took.plus(_clocks().since(start))
        return result

    def rate(self, count: int) -> Rate:
        """Return the rate of so many readings."""
        took, rolled = self.took, self.rolled
        return Rate(
            count / took.core_s,
            count / took.wall_s,
            count / took.work_s,
            count / (took.core_s - rolled.core_s),
        )


def _rate(
    sensors: int, size: int, count: int, encode: Encode, decode: Callable[[Any], IngestReadings]
) -> Rate:
    """Return readings per second from encoded bodies to durable, and rolled."""
    names, per = sensor_ids(sensors), size // sensors
    bodies = []
    for number in range(count):
        no = np.tile(np.arange(sensors), per)
        at_us = START_US + np.repeat((number * per + np.arange(per)) * STEP_US, sensors)
        bodies.append(encode(names, no, at_us, freezer_c(at_us, number)))
    with tempfile.TemporaryDirectory() as folder, _Meter() as meter:
        decider, host = open_cold_world(f"sqlite:///{Path(folder) / 'bench.db'}", sensors)
        with closing(decider):
            move(host, START_US + count * per * STEP_US)
            stored = 0
            for first in range(0, count, IN_FLIGHT):
                group = bodies[first : first + IN_FLIGHT]
                stored += meter.time(partial(_take, decider, group, decode))
            meter.time(lambda: decider.within(SYSTEM, SITE, meter.roll, "bench"))
    assert stored == size * count, f"{stored} of {size * count} readings were stored"
    return meter.rate(stored)


def _steady() -> Rate:
    """Return readings per second over a day and the hours in which it is sealed, all timers included."""
    names, per = sensor_ids(SENSORS), BATCH // SENSORS
    no, stored = np.tile(np.arange(SENSORS), per), 0
    with tempfile.TemporaryDirectory() as folder, _Meter() as meter:
        decider, host = open_cold_world(f"sqlite:///{Path(folder) / 'bench.db'}", SENSORS)
        with closing(decider):
            for first in range(0, 27 * 360 // per, IN_FLIGHT):
                steps = (first + np.arange(IN_FLIGHT)[:, None]) * per + np.arange(per)
                times = START_US + np.repeat(steps * STEP_US, SENSORS, axis=1) + STEP_US // 2
                bodies = [_packed(names, no, at_us, freezer_c(at_us, first)) for at_us in times]
                move(host, int(times[-1, -1]) + 1)
                stored += meter.time(partial(_take, decider, bodies, read_packed))
                meter.time(lambda: _fire(decider))
            day = START_US // DAY_US
            rows = archive.block_rows(Reads(decider.connection), names[0], day, day)
    assert sum(row.readings for row in rows) == 8_640, "the day was not sealed"
    return meter.rate(stored)


def _take(decider: Decider, bodies: Sequence[Any], decode: Callable[[Any], IngestReadings]) -> int:
    """Decode some bodies and store them in one commit; return how many readings."""
    outcomes = decider.execute([Call(decode(body)) for body in bodies])
    return sum(_stored(outcome) for outcome in outcomes)


def _stored(outcome: Any) -> int:
    if isinstance(outcome, Rejected):
        raise outcome
    stored: int = outcome.result.stored
    return stored


def _packed(names: Sequence[str], no: Any, at_us: Any, value: Any) -> bytes:
    return msgspec.msgpack.encode(
        {
            "site_id": SITE,
            "sensors": names,
            "sensor": no.astype("<u4").tobytes(),
            "at": at_us.astype("<i8").tobytes(),
            "value": value.astype("<f8").tobytes(),
        }
    )


def _columns(names: Sequence[str], no: Any, at_us: Any, value: Any) -> bytes:
    at_ms, values = (at_us // 1_000).tolist(), value.tolist()
    return msgspec.json.encode(
        {"site_id": SITE, "sensors": names, "sensor": no.tolist(), "at": at_ms, "value": values}
    )


def _payloads(names: Sequence[str], no: Any, at_us: Any, value: Any) -> list[tuple[str, bytes]]:
    return [
        (names[number], msgspec.json.encode({"at": at // 1_000, "value": read}))
        for number, at, read in zip(no.tolist(), at_us.tolist(), value.tolist(), strict=True)
    ]


def _read_payloads(messages: list[tuple[str, bytes]]) -> IngestReadings:
    batch = Batch(SITE)
    batch.payloads = [decode_payload(payload) for _, payload in messages]
    number = batch.number
    batch.sensor_no = [number.setdefault(name, len(number)) for name, _ in messages]
    return batch.command()


def _lines(names: Sequence[str], no: Any, at_us: Any, value: Any) -> bytes:
    return b"\n".join(
        msgspec.json.encode({"sensor_id": names[number], "at": at // 1_000, "value": read})
        for number, at, read in zip(no.tolist(), at_us.tolist(), value.tolist(), strict=True)
    )


# --- Weight ---------------------------------------------------------------------


def _weights() -> list[Result]:
    regular = _bytes_a_reading(0)
    jittered = _bytes_a_reading(500_000)
    return [
        Result("sealed, regular 10 s grid, manifests included", regular, "bytes", "≤ 0.35", regular <= 0.35),
        Result("sealed, clocks jitter by ±0.5 s", jittered, "bytes", "≤ 1.8", jittered <= 1.8),
    ]


def _bytes_a_reading(jitter_us: int, sensors: int = 10, days: int = 3) -> float:
    """Feed some days, let the timers seal them, and weigh blocks and manifests."""
    random = np.random.default_rng(3)
    names = sensor_ids(sensors)
    with tempfile.TemporaryDirectory() as folder:
        decider, host = open_cold_world(f"sqlite:///{Path(folder) / 'bench.db'}", sensors)
        with closing(decider):
            for hour in range(24 * days):
                first_us = START_US + hour * 3_600_000_000
                base_us = first_us + np.arange(360) * STEP_US + STEP_US // 2
                at_us = np.concatenate(
                    [
                        base_us + 1_000 * (random.integers(-jitter_us, jitter_us + 1, 360) // 1_000)
                        for _ in names
                    ]
                )
                no = np.repeat(np.arange(sensors), 360)
                value = np.concatenate(
                    [freezer_c(base_us, hour * sensors + place) for place in range(sensors)]
                )
                move(host, first_us + 3_600_000_000)
                decider.do(read_packed(_packed(names, no, at_us, value)))
                _fire(decider)
            move(host, START_US + days * DAY_US + 4 * 3_600_000_000)
            _fire(decider)
            reads = Reads(decider.connection)
            rows = [
                row
                for name in names
                for row in archive.block_rows(reads, name, START_US // DAY_US, START_US // DAY_US + days)
            ]
            manifests = log.read_all(reads, -1, ["telemetry.blocks_manifested"])
            weight = sum(len(row.body) for row in rows) + sum(len(entry.body) for entry in manifests)
            count = sum(row.readings for row in rows)
    assert count == sensors * days * 8_640, f"{count} readings were sealed"
    return weight / count


def _fire(decider: Decider) -> None:
    while decider.fire_due():
        decider.settle()


# --- Reads ----------------------------------------------------------------------


def _reads() -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        decider, _ = open_cold_world(f"sqlite:///{Path(folder) / 'bench.db'}", SENSORS)
        with closing(decider):
            _month(decider)
            reads, end = Reads(decider.connection), START + timedelta(days=30)
            name = sensor_ids(1)[0]
            one_ms = _median_ms(lambda: store.series(reads, name, START, end), 30)
            assert len(store.series(reads, name, START, end)[0]) == 30 * 8_640
            names = sensor_ids(SENSORS)
            all_ms = _median_ms(lambda: store.rollups(reads, names, START, end), 15)
            assert len(store.rollups(reads, names, START, end)) == SENSORS
    return [
        Result("30 days of one sensor, 259,200 readings", one_ms, "ms", "≤ 5", one_ms <= 5),
        Result("min, max, mean, MKT of 1,000 sensors × 30 days", all_ms, "ms", "≤ 50", all_ms <= 50),
    ]


def _month(decider: Decider) -> None:
    """Seal a month of one sensor, and give the others blocks with the same sums: only those are added up."""
    at_us = START_US + np.arange(8_640) * STEP_US
    first_day = START_US // DAY_US
    name, *others = sensor_ids(SENSORS)

    def seal(tx: Any) -> None:
        for day in range(30):
            shifted = at_us + day * DAY_US
            value_e4 = np.rint(freezer_c(shifted, day) * 1e4).astype(np.int64)
            readings = Readings(shifted, value_e4, np.zeros(len(shifted), dtype=np.bool_))
            archive.store_block(tx, name, first_day + day, readings)

    decider.within(SYSTEM, SITE, seal, "bench")
    table = archive.telemetry_block
    rows = decider.connection.query(Statement(table.select()), ())
    insert = Statement(table.insert())
    copies = [(other, *row[1:]) for other in others for row in rows]
    decider.connection.run_many(insert, copies)


def _median_ms(work: Callable[[], Any], times: int) -> float:
    took = []
    for _ in range(times):
        start = _clocks()
        work()
        took.append(_clocks().since(start).core_s * 1e3)
    return median(took)
