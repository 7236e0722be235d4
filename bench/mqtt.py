"""MQTT: one reading a message at QoS 1, acknowledged after the commit, through a broker as it is installed.

Publishers are processes of their own; broker, publishers and decider share the machine. Skipped, saying
so, where there is no broker (COLDGRID_BENCH_MQTT, 127.0.0.1:1883).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench._cold_world import START_US, move, open_cold_world
from bench.result import Result
from coldgrid.adapters import mqtt_packets as packets
from coldgrid.adapters.mqtt import MqttIngest
from coldgrid.adapters.mqtt_links import MqttSettings
from coldgrid.kernel.service import DeciderService
from coldgrid.telemetry.ingest import IngestReadings

ADDRESS = urlsplit(os.environ.get("COLDGRID_BENCH_MQTT", "mqtt://127.0.0.1:1883"))
HOST, PORT = ADDRESS.hostname or "127.0.0.1", ADDRESS.port or 1883
PUBLISHERS = 2
SENSORS = 64
MESSAGES = 60_000
WAIT_S = 120.0


class Tally:
    """Counts what the decider stored, and how many commits it took."""

    def __init__(self, service: DeciderService) -> None:
        self.service = service
        self.stored = self.flushes = self.repeated = 0
        self.done = threading.Event()

    def submit(self, command: IngestReadings) -> Future[Any]:
        """Pass a flush on and count its answer."""
        future = self.service.submit(command)
        future.add_done_callback(self._count)
        return future

    def _count(self, future: Future[Any]) -> None:
        answer = future.result().result
        self.stored += answer.stored
        self.repeated += answer.duplicate
        self.flushes += 1
        if self.stored >= MESSAGES:
            self.done.set()


def run() -> list[Result]:
    """Publish as fast as the broker takes it, and count what became durable."""
    try:
        socket.create_connection((HOST, PORT), 2).close()
    except OSError as error:
        return [
            Result(f"MQTT, skipped: no broker at {HOST}:{PORT} ({error})", float("nan"), "", "≥ 15", ok=True)
        ]
    with tempfile.TemporaryDirectory() as folder:
        decider, host = open_cold_world(f"sqlite:///{Path(folder) / 'bench.db'}", PUBLISHERS * SENSORS)
        move(host, START_US + 86_400_000_000)
        service = DeciderService(decider, lambda due: 1.0, lambda: False)
        service.start()
        try:
            return _measure(service)
        finally:
            service.stop()
            decider.close()


def _measure(service: DeciderService) -> list[Result]:
    tally, session = Tally(service), f"bench-{os.getpid()}"
    settings = MqttSettings(host=HOST, port=PORT, client_id=session, group=session, prefix=session)
    ingest = MqttIngest(settings, tally.submit, time.monotonic)
    ingest.start()
    while ingest.connected < settings.connections:
        time.sleep(0.01)
    publishers = [_publisher(number, session) for number in range(PUBLISHERS)]
    for publisher in publishers:
        assert publisher.stdout is not None
        publisher.stdout.readline()
    start = time.perf_counter()
    for publisher in publishers:
        assert publisher.stdin is not None
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
    tally.done.wait(WAIT_S)
    took_s = time.perf_counter() - start
    for publisher in publishers:
        publisher.wait(timeout=10)
    ingest.stop()
    _forget(session, settings.connections)
    rate, lost = tally.stored / took_s, MESSAGES - tally.stored
    return [
        Result("MQTT, one reading a message, QoS 1, stored", rate / 1e3, "k/s", "≥ 15", rate >= 15e3),
        Result("MQTT, messages lost", lost, "messages", "0", lost == 0),
        Result(
            "MQTT, readings in one commit",
            tally.stored / max(1, tally.flushes),
            "readings",
            "reported",
            ok=True,
        ),
    ]


def _publisher(number: int, session: str) -> subprocess.Popen[str]:
    arguments = [HOST, str(PORT), f"{session}-p{number}", session, str(number * SENSORS), str(SENSORS)]
    return subprocess.Popen(
        [sys.executable, "-m", "bench._mqtt_publisher", *arguments, str(MESSAGES // PUBLISHERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _forget(session: str, connections: int) -> None:
    """Have the broker forget the sessions that it keeps for us."""
    for number in range(connections):
        with socket.create_connection((HOST, PORT), 5) as sock:
            sock.sendall(packets.connect(f"{session}-{number}", keepalive_s=5, keep_session=False))
            sock.recv(4)
            sock.sendall(packets.DISCONNECT)
