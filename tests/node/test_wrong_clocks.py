"""A node whose wall clock is wrong, as a process: it talks, and its readings count."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from coldgrid.evidence.forks import open_forks
from coldgrid.kernel.reading import Reader
from coldgrid.telemetry import store
from tests.conftest import service_missing
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
URL = f"https://127.0.0.1:{SYNC_PORT}"
SENSOR = "ATL1-FRZ1-T1"
SENT_S = 4.0
WITHIN_S = 120.0


def clock_of(ahead: str) -> tuple[str, ...]:
    """What starts a process by a wall clock of its own.

    The clock that waiting goes by stays right, as where the time server is wrong; faked too, it would end no
    wait (`sem_clockwait` is given the faked deadline). There is no wrapper: killing it must kill the node.
    """
    found = glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not found:
        service_missing("libfaketime (Debian's faketime)")
    return ("env", f"LD_PRELOAD={found[0]}", f"FAKETIME={ahead}", "FAKETIME_DONT_FAKE_MONOTONIC=1")


class Network:
    """A tower and the node of ATL1, and what its gateway was told to have arrived."""

    def __init__(self, folder: Path) -> None:
        seed_tower(folder, ["ATL1"])
        self.tower = tower_machine(folder, TOWER_PORT, SYNC_PORT)
        self.home = folder / "atl1"
        self.node = node_machine(self.home, NODE_PORT, folder / "atl1.log")
        self.tower_db, self.node_db = folder / "tower.db", self.home / "node.db"
        self.at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
        self.acknowledged: list[int] = []

    def join(self) -> None:
        code = self.tower.command("tower", "code", "ATL1")
        self.node.command("node", "join", URL, "--code", code, "--data", str(self.home))

    def send(self, seconds: float = SENT_S) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.at += timedelta(seconds=1)
            reading = {"sensor_id": SENSOR, "at": self.at, "value": -24.0 + 0.01 * (self.at.second % 3)}
            answer = httpx.post(
                f"{self.node.address}/api/v1/readings",
                content=msgspec.json.encode(reading),
                headers={
                    "authorization": f"Bearer {GATEWAY_TOKEN}",
                    "content-type": "application/x-ndjson",
                },
                timeout=30,
            )
            if answer.status_code == 200 and answer.json()["result"]["stored"] == 1:
                self.acknowledged.append(round(self.at.timestamp() * 1e6))
            time.sleep(0.05)

    def arrived(self) -> None:
        """Both sides are the same, and every reading that was acknowledged is at the tower, once."""
        acknowledged = set(self.acknowledged)
        eventually(
            lambda: acknowledged <= set(read(self.tower_db, known)), "every reading is there", WITHIN_S
        )
        eventually(self.same, "both sides show the same", WITHIN_S)
        times = read(self.tower_db, known)
        assert len(times) == len(set(times))
        assert [read(db, open_forks) for db in (self.tower_db, self.node_db)] == [[], []]

    def same(self) -> bool:
        here, there = (
            read(db, lambda reader: picture(reader, "ATL1")) for db in (self.tower_db, self.node_db)
        )
        return here == there


def known(db: Reader) -> list[int]:
    until = datetime.now(UTC) + timedelta(days=1)
    at, _ = store.series(db, SENSOR, until - timedelta(days=3), until)
    return [int(one) for one in np.asarray(at).astype(np.int64)]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path)
    with running(made.tower, made.node):
        made.tower.start()
        yield made


def started(machine: Machine, ahead: str) -> None:
    machine.lead = clock_of(ahead) if ahead else ()
    machine.start()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "aheads",
    [["+12m", "+2h", "-3m", ""], ["-3m", ""]],
    ids=["joined-at-12-min-ahead", "joined-at-3-min-behind"],
)
def test_a_node_whose_clock_is_wrong_joins_and_talks_and_its_readings_count(
    network: Network, aheads: list[str]
) -> None:
    network.node.lead = clock_of(aheads[0])
    network.join()
    for ahead in aheads:
        started(network.node, ahead)
        network.send()
        network.arrived()
        network.node.kill()
    assert len(network.acknowledged) > 10 * len(aheads)
