"""A node as a process: it comes back with a code of its own, and one that was revoked is cut off."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.sync.enrolled import list_nodes, seen_nodes
from coldgrid.sync.node_words import RevokeNode
from coldgrid.tower.application import build_tower
from coldgrid.tower.demo.seeding import seed_master
from tests.node.machines import node_machine, read, running, tower_machine
from tests.patience import eventually
from tests.ports import free_ports

TOWER_PORT, SYNC_PORT, NODE_PORT = free_ports(3)
URL = f"https://127.0.0.1:{SYNC_PORT}"
ADMIN = Principal("ada", frozenset({"admin"}))


def offline(folder: Path, work: str) -> None:
    """Do something to the tower's database while nobody serves it: seed it, or revoke its nodes."""
    settings = load_settings({}, database=str(folder / "tower.db"), signing_key=str(folder / "signing.key"))
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    try:
        if work == "seed":
            seed_master(tower.decider.do)
            return
        with tower.reader() as db:
            nodes = list_nodes(db)
        for node in nodes:
            tower.decider.do(RevokeNode(node_id=node.node_id, reason="stolen"), ADMIN)
    finally:
        tower.decider.close()


def refused(address: str, reason: str) -> bool:
    return f'refused_total{{reason="{reason}"}}' in httpx.get(f"{address}/metrics", timeout=30).text


def runs(db: Reader) -> list[int]:
    return [seen.starts for seen in seen_nodes(db).values()]


@pytest.mark.timeout(300)
def test_a_node_comes_back_with_a_code_of_its_own_and_a_revoked_one_is_cut_off(tmp_path: Path) -> None:
    offline(tmp_path, "seed")
    tower = tower_machine(tmp_path, TOWER_PORT, SYNC_PORT)
    node = node_machine(tmp_path / "node", NODE_PORT, tmp_path / "node.log")
    database, data = tmp_path / "tower.db", str(tmp_path / "node")
    with running(tower, node):
        tower.start()
        first = tower.command("tower", "code", "ATL1")
        told = node.command("node", "join", URL, "--code", first, "--data", data)
        (enrolled,) = read(database, list_nodes)
        node.start()
        eventually(lambda: max(read(database, runs)) >= 3, "the node talks")
        node.kill()

        code = tower.command("tower", "code", "ATL1", "--node", enrolled.node_id)
        node.command("node", "join", URL, "--code", code, "--data", data)
        (again,) = read(database, list_nodes)
        assert again.node_id == enrolled.node_id
        assert again.serial != enrolled.serial
        before = max(read(database, runs))
        node.start()
        eventually(lambda: max(read(database, runs)) > before, "the node talks again")
        assert not any(found.suspected_why for found in read(database, list_nodes))
        assert not re.search(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){7}", told), "a code is no matter for the screen"

        tower.kill()
        offline(tmp_path, "revoke")
        tower.start()
        eventually(lambda: refused(tower.address, "node_cut_off"), "the node is refused")
