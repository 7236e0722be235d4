"""A tower and a node as processes: a site moves out, works on with the WAN down, and everything arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldgrid.adapters.wan_switch import WanSwitch
from coldgrid.evidence import tiles
from coldgrid.evidence.forks import open_forks
from coldgrid.node.folder import settings_in
from tests.node.machines import (
    Machine,
    node_machine,
    picture,
    read,
    running,
    seed_tower,
    send_readings,
    tower_machine,
)
from tests.patience import eventually
from tests.ports import free_ports

TOWER_PORT, SYNC_PORT, WAN_PORT, NODE_PORT = free_ports(4)
COLD_C, WARMING_C = [-27.0] * 5, [-26.0 + 1.5 * minute for minute in range(16)]


@dataclass
class Network:
    folder: Path
    tower: Machine
    node: Machine
    wan: WanSwitch

    @property
    def tower_db(self) -> Path:
        return self.folder / "tower.db"

    @property
    def node_db(self) -> Path:
        return self.folder / "atl1" / "node.db"

    def incidents(self) -> int:
        """How many incidents are open at the node."""
        return len(read(self.node_db, lambda db: picture(db, "ATL1"))["incidents"])

    def same(self) -> bool:
        """Tell whether both sides show the same of the site, to the last entry."""
        here, there = (read(db, lambda r: picture(r, "ATL1")) for db in (self.node_db, self.tower_db))
        return here == there


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A tower with goods and readings of two sites, and an empty machine at one of them."""
    folder = tmp_path_factory.mktemp("network")
    seed_tower(folder)
    tower = tower_machine(folder, TOWER_PORT, SYNC_PORT)
    node = node_machine(folder / "atl1", NODE_PORT, folder / "atl1.log")
    wan = WanSwitch(("127.0.0.1", WAN_PORT), ("127.0.0.1", SYNC_PORT))
    wan.start()
    with running(tower, node):
        tower.start()
        yield Network(folder, tower, node, wan)
    wan.stop()


@pytest.mark.timeout(300)
def test_a_site_moves_to_its_node_with_one_command_and_loses_nothing(network: Network) -> None:
    before = read(network.tower_db, lambda db: picture(db, "ATL1"))
    assert before["balances"]
    code = network.tower.command("tower", "code", "ATL1")
    tower, folder = f"https://127.0.0.1:{WAN_PORT}", str(network.folder / "atl1")
    network.node.command("node", "join", tower, "--code", code, "--data", folder)
    here = read(network.node_db, lambda db: picture(db, "ATL1"))
    past = before.pop("log")
    assert here.pop("log")[: len(past)] == past, "the past is the same, leaf for leaf"
    assert here == before
    assert settings_in(network.folder / "atl1", {}).mqtt_client_id == "coldgrid-atl1"

    network.node.start()
    eventually(network.same, "the tower has the node's first facts")
    signed = {head.origin for head in read(network.node_db, tiles.heads)}
    assert signed <= {"ATL1"}, "of other logs a node has only what it is told, and signs none"
    assert read(network.node_db, open_forks) == []


@pytest.mark.timeout(300)
def test_what_happens_at_the_node_is_at_the_tower_at_once(network: Network) -> None:
    now = datetime.now(UTC)
    send_readings(network.node, "ATL1-FRZ1-T1", COLD_C + WARMING_C, now - timedelta(minutes=1))
    eventually(lambda: network.incidents() > 0, "an incident")
    eventually(network.same, "both sides show the same")
    assert read(network.tower_db, lambda db: picture(db, "ATL1")["incidents"])


@pytest.mark.timeout(300)
def test_with_the_wan_down_the_site_works_on_and_then_everything_arrives(network: Network) -> None:
    network.wan.cut()
    known = read(network.tower_db, lambda db: picture(db, "ATL1"))
    now = datetime.now(UTC)
    send_readings(network.node, "ATL1-CHL1-T1", [2.0 + minute for minute in range(20)], now)
    eventually(lambda: network.incidents() > len(known["incidents"]), "another incident at the node")
    assert read(network.tower_db, lambda db: picture(db, "ATL1")) == known, "nothing gets through"
    network.node.kill()
    network.node.start()
    network.wan.mend()
    eventually(network.same, "after the cut both sides show the same", within_s=90)
