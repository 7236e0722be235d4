"""A network upgraded one machine after the other, with real processes that say another release."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from coldgrid.kernel import log
from tests.node.machines import (
    Machine,
    node_machine,
    read,
    running,
    seed_tower,
    send_readings,
    tower_machine,
)
from tests.patience import eventually
from tests.ports import free_ports

PORT, SYNC_PORT, NODE_PORT = free_ports(3)
SENSOR = "ATL1-FRZ1-T1"
# Read by each process at its start: the same program under another number.
OTHER = """
import os
import coldgrid.kernel.schema as schema
if os.environ.get("OTHER_RELEASE"):
    schema.RELEASE = os.environ["OTHER_RELEASE"]
    import coldgrid.sync.releases as releases
    releases.SERVES = ("0.2", "0.1")
"""


class Two:
    """A tower and a node of ATL1; each is started as the release that is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.sent = folder, folder / "node", 0
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(OTHER)
        seed_tower(folder, ["ATL1"])
        self.tower, self.node = self.machines("", "")

    def machines(self, tower: str, node: str) -> tuple[Machine, Machine]:
        path = os.pathsep.join([str(self.folder / "site"), os.environ.get("PYTHONPATH", "")])
        more = {"PYTHONPATH": path}
        return (
            tower_machine(self.folder, PORT, SYNC_PORT, more | {"OTHER_RELEASE": tower}),
            node_machine(self.data, NODE_PORT, self.folder / "node.log", more | {"OTHER_RELEASE": node}),
        )

    def join(self) -> None:
        self.tower.start()
        code = self.tower.command("tower", "code", "ATL1")
        url = f"https://127.0.0.1:{SYNC_PORT}"
        self.node.command("node", "join", url, "--code", code, "--data", str(self.data))
        self.node.start()

    def restart_tower(self, release: str) -> None:
        self.tower.kill()
        self.tower = self.machines(release, "")[0]
        self.tower.start()

    def restart_node(self, release: str) -> None:
        self.node.kill()
        self.node = self.machines("", release)[1]
        self.node.start()

    def news(self) -> None:
        self.sent += 3
        until = datetime.now(UTC) - timedelta(minutes=50 - self.sent)
        send_readings(self.node, SENSOR, [-9.0] * 3, until)

    def size(self, host: str) -> int:
        path = self.folder / "tower.db" if host == "tower" else self.data / "node.db"
        return read(path, lambda db: sum(1 for entry in log.read_all(db) if entry.origin == "ATL1"))

    def same(self) -> bool:
        return self.size("tower") == self.size("node") > 0


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    try:
        made.join()
        eventually(made.same, "the tower has all")
        yield made
    finally:
        made.node.kill()
        made.tower.kill()


@pytest.mark.timeout(400)
def test_the_tower_first_its_nodes_behind_it_and_nobody_stands_still(two: Two) -> None:
    two.restart_tower("0.2.0")
    two.news()
    eventually(two.same, "a node of the release before is served", within_s=120)
    two.restart_node("0.2.0")
    two.news()
    eventually(two.same, "and so is one of the same release", within_s=120)
    assert [path.name for path in two.folder.iterdir() if "before-0.2.0" in path.name]
    assert [path.name for path in two.data.iterdir() if "before-0.2.0" in path.name]


@pytest.mark.timeout(400)
def test_a_node_upgraded_before_its_tower_keeps_its_queue_and_says_why(two: Two) -> None:
    two.restart_node("0.2.0")
    before = two.size("tower")
    two.news()

    def told() -> bool:
        answer = httpx.get(f"{two.tower.address}/metrics", timeout=30).text
        return 'coldgrid_sync_refused_total{code="version",site="ATL1"}' in answer

    eventually(told, "the tower says no")
    eventually(lambda: two.size("node") > before, "the node works on")
    assert two.size("tower") == before
    assert "upgrade the tower" in two.tower.log.read_text()
    two.restart_tower("0.2.0")
    eventually(two.same, "all of it arrives", within_s=150)
    with running(two.node):
        two.node.kill()
        older = two.machines("", "")[1]
        with pytest.raises(AssertionError, match="newer release"):
            older.start()
