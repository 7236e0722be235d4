"""Copies put back, with real processes: a node whose disk is behind, a tower whose copy is behind."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from coldgrid.kernel import log
from coldgrid.kernel.reading import Reader
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

PORT, SYNC_PORT, NODE_PORT, SECOND_PORT = free_ports(4)
URL = f"https://127.0.0.1:{SYNC_PORT}"
SENSOR = "ATL1-FRZ1-T1"


def entries(db: Reader, origin: str) -> list[tuple[str, bytes]]:
    return [(e.id, e.leaf) for e in log.read_all(db) if e.origin == origin]


def cut_off(tower: Machine, reason: str) -> bool:
    return f'{{reason="{reason}"}}' in httpx.get(f"{tower.address}/metrics", timeout=30).text


def told_of(tower: Machine, code: str) -> bool:
    return f'code="{code}"' in httpx.get(f"{tower.address}/metrics", timeout=30).text


class Two:
    """A tower, and the node of ATL1 that joined it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        seed_tower(folder, ["ATL1"])
        self.tower = tower_machine(folder, PORT, SYNC_PORT)
        self.data = folder / "node"
        self.node = node_machine(self.data, NODE_PORT, folder / "node.log")
        self.minutes = 50

    def start(self) -> None:
        self.tower.start()
        self.join("code", "ATL1")
        self.node.start()
        self.news(2)

    def join(self, *code: str) -> None:
        made = self.tower.command("tower", *code)
        self.node.command("node", "join", URL, "--code", made, "--data", str(self.data))

    def news(self, minutes: int) -> None:
        """The freezer's room is too warm for some minutes: readings, and facts that follow from them."""
        self.minutes -= minutes
        until = datetime.now(UTC) - timedelta(minutes=self.minutes)
        send_readings(self.node, SENSOR, [-9.0 if self.minutes % 4 else -24.0] * minutes, until)

    def same_log(self) -> bool:
        there = read(self.folder / "tower.db", lambda db: entries(db, "ATL1"))
        return bool(there) and there == read(self.data / "node.db", lambda db: entries(db, "ATL1"))

    def last(self) -> str:
        return str(read(self.folder / "tower.db", lambda db: entries(db, "ATL1"))[-1][0])


@pytest.mark.timeout(600)
def test_a_node_put_back_from_an_older_copy_is_refused_and_comes_back_by_a_person_s_word(
    tmp_path: Path,
) -> None:
    two = Two(tmp_path)
    copy = tmp_path / "copy"
    with running(two.tower, two.node):
        two.start()
        eventually(two.same_log, "the tower has all")
        two.node.command("backup", str(copy), "--data", str(two.data))
        two.news(30)
        eventually(two.same_log, "the tower has all again")
        before = read(tmp_path / "tower.db", lambda db: entries(db, "ATL1"))
        two.node.kill()
        shutil.rmtree(two.data)
        two.data.mkdir(mode=0o700)

        two.node.command("restore", str(copy), "--data", str(two.data))
        behind = read(two.data / "node.db", lambda db: entries(db, "ATL1"))
        assert len(behind) < len(before)
        two.node.start()
        eventually(lambda: told_of(two.tower, "rewound"), "the tower notices")
        two.tower.command("tower", "choose", "ATL1", "--keep", "tower", "--reason", "the disk was put back")
        eventually(
            lambda: two.same_log() and two.last().startswith("ATL1/3/"),
            "the node takes the tower's copy and goes on in the next epoch",
            within_s=150,
        )
        after = read(two.data / "node.db", lambda db: entries(db, "ATL1"))
        assert after[: len(before)] == before, "nothing that the tower had is lost"
        assert after[-1][0].startswith("ATL1/3/"), "it goes on in the next epoch"
        two.news(18)  # too warm once more
        eventually(
            lambda: (
                two.same_log()
                and len(read(two.data / "node.db", lambda db: entries(db, "ATL1"))) > len(after)
            ),
            "it works on",
        )

        def agree() -> bool:  # both looked at anew each time: the node goes on deciding meanwhile
            here = read(two.data / "node.db", lambda db: picture(db, "ATL1"))
            return bool(here == read(tmp_path / "tower.db", lambda db: picture(db, "ATL1")))

        eventually(agree, "both agree")


@pytest.mark.timeout(600)
def test_a_node_put_back_beside_the_one_that_still_lives_is_found_out(tmp_path: Path) -> None:
    """Somebody starts the copy although the old computer works again."""
    two = Two(tmp_path)
    copy, second = tmp_path / "copy", tmp_path / "second"
    other = node_machine(second, SECOND_PORT, tmp_path / "second.log")
    with running(two.tower, two.node, other):
        two.start()
        eventually(two.same_log, "the tower has all")
        two.node.command("backup", str(copy), "--data", str(two.data))
        two.node.kill()
        two.node.start()
        eventually(two.same_log, "the tower has all again")
        other.command("restore", str(copy), "--data", str(second))
        other.start()
        eventually(
            lambda: cut_off(two.tower, "node_cloned") or told_of(two.tower, "cloned"), "the tower notices"
        )


@pytest.mark.timeout(600)
def test_a_tower_put_back_from_an_older_copy_gets_its_tail_from_the_node(tmp_path: Path) -> None:
    two = Two(tmp_path)
    copy = tmp_path / "copy"
    with running(two.tower, two.node):
        two.start()
        eventually(two.same_log, "the tower has all")
        two.tower.command("backup", str(copy))
        two.news(30)
        eventually(two.same_log, "the tower has all again")
        before = read(tmp_path / "tower.db", lambda db: entries(db, "ATL1"))
        two.tower.kill()
        for path in tmp_path.iterdir():
            if path.is_file() and path.name.startswith(("tower.db", "signing", "authority")):
                path.unlink()

        two.tower.command("restore", str(copy))
        assert len(read(tmp_path / "tower.db", lambda db: entries(db, "ATL1"))) < len(before)
        two.tower.command("tower", "recover")
        two.tower.start()
        eventually(two.same_log, "the tail comes from the node", within_s=150)
        assert read(tmp_path / "tower.db", lambda db: entries(db, "ATL1"))[: len(before)] == before
        assert read(tmp_path / "tower.db", log.heads)["network"][0] == 2
        two.news(4)
        eventually(two.same_log, "and what follows")
        assert not told_of(two.tower, "rewound")
        two.tower.command("backup", str(tmp_path / "next"))
