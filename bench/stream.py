"""Stream: the log's events to NATS JetStream: how many a second, in order of each node, and what comes twice.

A log of 100,000 facts of 20 nodes (the definition of a sensor each) is published to the machine's own broker,
file storage, by the adapter that the program uses. What the stream holds is read back and compared. The rate
is that of the wall and of a core (the wall's less what the kernel made the thread wait for a core that others
used).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats

from bench._cold_world import open_cold_world
from bench.result import Result
from coldgrid.adapters.stream import FanOut, broker_of
from coldgrid.adapters.stream_form import MSG_ID
from coldgrid.adapters.stream_publisher import Broker, Means
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reader, Reads

URL = os.environ.get("COLDGRID_TEST_NATS", "nats://127.0.0.1:4222")
ENTRIES = 100_000
NODES = 20


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'log.db'}"
        _fill(url)
        broker = broker_of(URL, f"bench{secrets.token_hex(4)}")
        database = open_database(url)
        try:
            wall_s, core_s = _publish(database, broker)
            held = asyncio.run(_held(broker))
            with database.reader() as connection:
                expected = [entry.id for entry in log.read_all(Reads(connection))]
        finally:
            database.close()
            asyncio.run(_delete(broker))
    in_order = held == expected
    twice = len(held) - len(set(held))
    rate, of_core = len(expected) / wall_s, len(expected) / core_s
    return [
        Result(
            "fan-out to JetStream, confirmed, of a core", of_core, "events/s", "≥ 20,000", of_core >= 20_000
        ),
        Result("the same, on the wall", rate, "events/s", "reported", True),
        Result("in the log's order and complete, of each node", float(in_order), "", "1", in_order),
        Result("stored twice", twice, "", "0", twice == 0),
    ]


def _fill(url: str) -> None:
    """Write a log of facts of 20 nodes as they are taken in: their own entries, verbatim."""
    decider, _ = open_cold_world(url, 23)
    try:
        with_bodies = log.read(Reads(decider.connection), -1, 100)
        facts = [entry for entry in with_bodies if entry.type == "telemetry.sensor_defined"]
        for start in range(0, ENTRIES, 1_000):
            decider.take("network", lambda tx, start=start: _append(tx, facts, start), "bench")  # type: ignore[misc]
    finally:
        decider.close()


def _append(tx: Any, facts: list[Any], start: int) -> None:
    import msgspec  # noqa: PLC0415

    for number in range(start, start + 1_000):
        fact = facts[number % len(facts)]
        log.append_verbatim(
            tx.batch,
            msgspec.structs.replace(
                fact, origin=f"N{number % NODES:02}", epoch=1, seq=number // NODES, stream=f"alarm/{number}"
            ),
        )


def _publish(database: Any, broker: Broker) -> tuple[float, float]:
    """Publish all of it; return seconds on the wall and of a core."""

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    with reader() as db:
        last = log.last_position(db)
    kept = [-1]
    fan_out = FanOut(Means(broker, reader, lambda: kept[0], lambda position: kept.__setitem__(0, position)))
    waited = _Waited(fan_out)
    begun = time.perf_counter()
    fan_out.start()
    while fan_out.state.confirmed < last:
        assert fan_out.state.ok, fan_out.state.detail
        waited.look()
        time.sleep(0.01)
    wall_s = time.perf_counter() - begun
    waited.look()
    fan_out.stop()
    return wall_s, wall_s - waited.seconds


class _Waited:
    """How long the publishing thread was ready and had no core."""

    def __init__(self, fan_out: FanOut) -> None:
        self._name = "stream of events"
        self.seconds = 0.0

    def look(self) -> None:
        for thread in threading.enumerate():
            if thread.name == self._name and thread.native_id:
                path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
                self.seconds = int(path.read_text().split()[1]) / 1e9


async def _held(broker: Broker) -> list[str]:
    """Return the ids of what the stream holds, in its order."""
    client = await nats.connect(broker.servers)
    js = client.jetstream()
    found: list[str] = []
    subscription = await js.subscribe(f"{broker.prefix}.>", ordered_consumer=True)
    info = await js.stream_info(broker.stream)
    while len(found) < info.state.messages:
        message = await subscription.next_msg(timeout=10)
        found.append((message.headers or {})[MSG_ID])
    await client.close()
    return found


async def _delete(broker: Broker) -> None:
    client = await nats.connect(broker.servers)
    await client.jetstream().delete_stream(broker.stream)
    await client.close()
