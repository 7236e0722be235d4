"""A tower and a node as processes in networks of their own: partitions and kill -9."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx
import msgspec
import numpy as np
import pytest

from coldgrid.evidence.forks import open_forks
from coldgrid.kernel.reading import Reader
from coldgrid.telemetry import store
from tests.faults.namespaces import Site, site
from tests.node.machines import (
    GATEWAY_TOKEN,
    Machine,
    node_machine,
    picture,
    read,
    running,
    seed_tower,
    tower_machine,
)
from tests.patience import eventually
from tests.ports import free_ports

TOWER_PORT, SYNC_PORT, NODE_PORT = free_ports(3)
SENSOR = "ATL1-FRZ1-T1"
ROUNDS = 4
SENT_S = 4.0


class Gateway:
    """Sends readings to the node, and keeps what was acknowledged: the ledger."""

    def __init__(self, node: Machine) -> None:
        self.node = node
        self.at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
        self.acknowledged: list[int] = []
        # One for all: making a client reads the certificates of all the world.
        self._web = httpx.Client(timeout=5, trust_env=False)

    def send(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.at += timedelta(seconds=1)
            reading = {"sensor_id": SENSOR, "at": self.at, "value": -24.0 + 0.01 * (self.at.second % 3)}
            headers = {
                "authorization": f"Bearer {GATEWAY_TOKEN}",
                "content-type": "application/x-ndjson",
            }
            try:
                answer = self._web.post(
                    f"{self.node.address}/api/v1/readings",
                    content=msgspec.json.encode(reading),
                    headers=headers,
                )
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 200 and answer.json()["result"]["stored"] == 1:
                self.acknowledged.append(round(self.at.timestamp() * 1e6))
            time.sleep(0.05)


def known(db: Reader) -> list[int]:
    until = datetime.now(UTC) + timedelta(days=1)
    at, _ = store.series(db, SENSOR, until - timedelta(days=3), until)
    return [int(one) for one in np.asarray(at).astype(np.int64)]


def same(tower_db: Path, node_db: Path) -> bool:
    here, there = (read(db, lambda reader: picture(reader, "ATL1")) for db in (tower_db, node_db))
    return here == there


class Network:
    """A tower on this host, and a node in a network of its own, which has joined with its site."""

    def __init__(self, folder: Path, line: Site) -> None:
        seed_tower(folder)
        self.line = line
        self.tower = tower_machine(folder, TOWER_PORT, SYNC_PORT, {"COLDGRID_SYNC_HOST": line.tower})
        self.home = folder / "atl1"
        self.node = node_machine(self.home, NODE_PORT, folder / "atl1.log", {"COLDGRID_HOST": line.node})
        self.node.address = f"http://{line.node}:{NODE_PORT}"
        self.node.lead = line.lead
        self.tower_db, self.node_db = folder / "tower.db", self.home / "node.db"
        self.gateway = Gateway(self.node)

    def join(self) -> None:
        self.tower.start()
        code = self.tower.command("tower", "code", "ATL1")
        address = f"https://{self.line.tower}:{SYNC_PORT}"
        self.node.command("node", "join", address, "--code", code, "--data", str(self.home))

    def arrived(self) -> None:
        """Both sides are the same, and every reading that was acknowledged is at the tower, once."""
        eventually(lambda: same(self.tower_db, self.node_db), "both sides show the same", within_s=120)
        acknowledged = set(self.gateway.acknowledged)
        eventually(
            lambda: acknowledged <= set(read(self.tower_db, known)), "every reading is there", within_s=120
        )
        times = read(self.tower_db, known)
        assert len(times) == len(set(times))
        assert [read(db, open_forks) for db in (self.tower_db, self.node_db)] == [[], []]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    # By the process: what a killed run left, and a run beside this one, have addresses of their own.
    with site(f"cg{os.getpid() % 10_000}", 1 + os.getpid() % 250) as line:
        made = Network(tmp_path, line)
        with running(made.tower, made.node):
            made.join()
            yield made


@pytest.mark.timeout(600)
def test_partitions_and_kills_lose_nothing_that_was_acknowledged(network: Network) -> None:
    chance, line, gateway = Random(5), network.line, network.gateway
    network.node.start()
    gateway.send(SENT_S)
    for turn in range(ROUNDS):
        (line.cut, line.deafen)[turn % 2]()
        gateway.send(chance.uniform(1, SENT_S))
        victim = (network.node, network.tower, network.node)[turn % 3]
        victim.kill()
        gateway.send(0.5)
        if turn % 2:
            line.mend()
        victim.start()
        gateway.send(SENT_S)
        line.mend()
    network.arrived()
    assert len(gateway.acknowledged) > 10 * ROUNDS
