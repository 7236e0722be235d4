"""A site moves between a tower and a node that hear one broker: no reading falls between the two."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldgrid.kernel import log
from coldgrid.kernel.reading import Reader
from tests.conftest import service_missing
from tests.node.machines import node_machine, read, running, seed_tower, tower_machine
from tests.node.test_wrong_clocks import SENSOR, known
from tests.patience import eventually
from tests.ports import free_ports
from tests.telemetry.broker import Publisher

TOWER_PORT, SYNC_PORT, NODE_PORT, BROKER_PORT = free_ports(4)
URL = f"https://127.0.0.1:{SYNC_PORT}"
EVERY_S = 0.02


@contextmanager
def private_broker(folder: Path) -> Iterator[None]:
    """A Mosquitto of this test's own, with its default limits."""
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if found is None:
        service_missing("mosquitto (Debian's mosquitto)")
    with (folder / "broker.log").open("w") as log_file:
        process = subprocess.Popen([str(found), "-p", str(BROKER_PORT)], stdout=log_file, stderr=log_file)
        try:
            eventually(listens, "the broker listens")
            yield
        finally:
            process.terminate()
            process.wait(10)


def listens() -> bool:
    try:
        socket.create_connection(("127.0.0.1", BROKER_PORT), 1).close()
    except OSError:
        return False
    return True


class Gateway(threading.Thread):
    """Publishes a reading every so often, from half an hour ago on, and keeps what the broker confirmed."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
        self.confirmed: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        with closing(Publisher("gateway", ("127.0.0.1", BROKER_PORT))) as publisher:
            while not self.over.wait(EVERY_S):
                self.at += timedelta(milliseconds=500)
                body = {"at": self.at.isoformat(), "value": -24.0 + 0.01 * (len(self.confirmed) % 3)}
                publisher.publish([(f"coldgrid/ATL1/{SENSOR}", json.dumps(body).encode())])
                self.confirmed.append(round(self.at.timestamp() * 1e6))

    def goes_on(self) -> None:
        """Wait until the broker has many more of its readings."""
        before = len(self.confirmed)
        eventually(lambda: len(self.confirmed) > before + 100, "the gateway goes on")

    def is_heard(self, database: Path) -> None:
        """Wait until a reading of from now on is in a database."""
        before = len(self.confirmed)
        eventually(lambda: bool(set(self.confirmed[before:]) & set(read(database, known))), "it is heard")


class SlowLine:
    """Stands between a node and its tower; while it is not `up`, what the node sends waits."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.up.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", SYNC_PORT))
            for source, sink, waits in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._carry, args=(source, sink, waits), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, waits: bool) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65_536):
                if waits:
                    self.up.wait()
                sink.sendall(data)


def is_closed(db: Reader) -> bool:
    return [entry.type for entry in log.read_all(db) if entry.origin == "ATL1"][-1:] == ["origin.closed"]


@pytest.mark.timeout(300)
def test_no_reading_is_lost_between_the_close_at_the_tower_and_the_nodes_first_start(tmp_path: Path) -> None:
    seed_tower(tmp_path, ["ATL1"])
    shared = {"COLDGRID_MQTT_URL": f"mqtt://127.0.0.1:{BROKER_PORT}"}
    tower = tower_machine(tmp_path, TOWER_PORT, SYNC_PORT, shared)
    node = node_machine(tmp_path / "atl1", NODE_PORT, tmp_path / "atl1.log", shared)
    gateway = Gateway()
    with private_broker(tmp_path), running(tower, node):
        tower.start()
        gateway.start()
        gateway.is_heard(tmp_path / "tower.db")
        code = tower.command("tower", "code", "ATL1")
        node.command("node", "join", URL, "--code", code, "--data", str(tmp_path / "atl1"))
        gateway.goes_on()  # though the site has no host that listens
        node.start()
        gateway.is_heard(tmp_path / "atl1" / "node.db")
        gateway.over.set()
        gateway.join(10)
        confirmed = set(gateway.confirmed)
        for database in (tmp_path / "atl1" / "node.db", tmp_path / "tower.db"):
            eventually(
                lambda database=database: confirmed <= set(read(database, known)),  # type: ignore[misc]
                f"every reading is in {database.name}",
                within_s=60,
            )
            times = read(database, known)
            assert len(times) == len(set(times))


@pytest.mark.timeout(300)
def test_no_reading_is_lost_between_the_close_at_the_node_and_the_towers_taking_over(tmp_path: Path) -> None:
    seed_tower(tmp_path, ["ATL1"])
    shared = {"COLDGRID_MQTT_URL": f"mqtt://127.0.0.1:{BROKER_PORT}"}
    tower = tower_machine(tmp_path, TOWER_PORT, SYNC_PORT, shared)
    line = SlowLine()
    node = node_machine(tmp_path / "atl1", NODE_PORT, tmp_path / "atl1.log", shared)
    gateway = Gateway()
    with private_broker(tmp_path), running(tower, node):
        tower.start()
        code = tower.command("tower", "code", "ATL1")
        node.command(
            "node", "join", f"https://127.0.0.1:{line.port}", "--code", code, "--data", str(tmp_path / "atl1")
        )
        node.start()
        gateway.start()
        gateway.is_heard(tmp_path / "tower.db")
        line.up.clear()  # what the node sends waits, so the tower hears late that it closed its log
        assert "asked to close" in tower.command("tower", "take-back", "ATL1")
        eventually(lambda: read(tmp_path / "atl1" / "node.db", is_closed), "the node closes its log")
        gateway.goes_on()
        line.up.set()
        eventually(lambda: "ATL1 is at the tower" in tower.command("tower", "take-back", "ATL1"), "it came")
        gateway.is_heard(tmp_path / "tower.db")
        gateway.over.set()
        gateway.join(10)
        confirmed = set(gateway.confirmed)
        eventually(
            lambda: confirmed <= set(read(tmp_path / "tower.db", known)), "every reading is at the tower"
        )
        times = read(tmp_path / "tower.db", known)
        assert len(times) == len(set(times))
