"""A live site moves: to a node, to its replacement, back to the tower, away from a node that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.outbox import EffectStatus, effects_of_status
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.timers import all_timers
from coldgrid.sync.enrolled import list_nodes
from coldgrid.sync.handover import packed
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

TOWER_PORT, SYNC_PORT, FIRST_PORT, SECOND_PORT = free_ports(4)
WARMING_C = [-27.0] * 5 + [-26.0 + 1.5 * minute for minute in range(16)]


@dataclass
class Moves:
    folder: Path
    tower: Machine
    first: Machine
    second: Machine

    @property
    def tower_db(self) -> Path:
        return self.folder / "tower.db"

    def join(self, node: Machine, name: str, *more: str) -> None:
        code = self.tower.command("tower", "code", "ATL1")
        tower, folder = f"https://127.0.0.1:{SYNC_PORT}", str(self.folder / name)
        node.command("node", "join", tower, "--code", code, "--data", folder, *more)

    def at_tower(self) -> bool:
        return read(self.tower_db, lambda db: Hosting.load(db).here("ATL1"))

    def same(self, name: str) -> bool:
        databases = (self.folder / name / "node.db", self.tower_db)
        here, there = (read(database, lambda db: picture(db, "ATL1")) for database in databases)
        return here == there


@pytest.fixture(scope="module")
def moves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moves]:
    folder = tmp_path_factory.mktemp("moves")
    seed_tower(folder)
    tower = tower_machine(folder, TOWER_PORT, SYNC_PORT)
    first = node_machine(folder / "first", FIRST_PORT, folder / "first.log")
    second = node_machine(folder / "second", SECOND_PORT, folder / "second.log")
    with running(tower, first, second):
        tower.start()
        yield Moves(folder, tower, first, second)


def waiting(db: Reader) -> tuple[list[str], list[str]]:
    """What waits for ATL1: timers by id, effects by key."""
    pending = effects_of_status(db, EffectStatus.PENDING)
    timers = [timer.timer_id for timer in all_timers(db) if timer.origin == "ATL1"]
    return sorted(timers), sorted(effect.key for effect in pending if effect.origin == "ATL1")


@pytest.mark.timeout(300)
def test_a_running_night_moves_with_its_timers_and_its_unsent_messages(moves: Moves) -> None:
    send_readings(moves.tower, "ATL1-FRZ1-T1", WARMING_C, datetime.now(UTC) - timedelta(minutes=1))
    eventually(lambda: bool(read(moves.tower_db, waiting)[0]), "a playbook waits at the tower")
    moves.join(moves.first, "first")
    timers, _ = read(moves.folder / "first" / "node.db", waiting)
    assert timers, "what waited at the tower waits at the node"
    assert read(moves.tower_db, waiting) == ([], []), "and nowhere else"
    moves.first.start()
    eventually(lambda: moves.same("first"), "the tower follows the node")
    assert not moves.at_tower()


@pytest.mark.timeout(300)
def test_a_replacement_takes_the_place_of_a_living_node(moves: Moves) -> None:
    incidents = read(moves.tower_db, lambda db: picture(db, "ATL1"))["incidents"]
    with pytest.raises(AssertionError, match="join with --replace"):
        moves.join(moves.second, "second")
    assert moves.same("first"), "who does not ask to replace takes nothing away"
    moves.join(moves.second, "second", "--replace")
    moves.second.start()
    eventually(lambda: moves.same("second"), "the tower follows the replacement")
    assert read(moves.tower_db, lambda db: picture(db, "ATL1"))["incidents"] == incidents
    assert read(moves.folder / "second" / "node.db", waiting)[0], "the night goes on there"
    assert read(moves.folder / "first" / "node.db", waiting) == ([], [])
    nodes = read(moves.tower_db, list_nodes)
    eventually(lambda: sum(n.revoked_at is None for n in read(moves.tower_db, list_nodes)) == 1, str(nodes))
    moves.first.kill()


@pytest.mark.timeout(300)
def test_the_tower_takes_a_site_back_from_its_node(moves: Moves) -> None:
    before = read(moves.tower_db, lambda db: picture(db, "ATL1"))
    moves.tower.command("tower", "take-back", "ATL1")
    eventually(moves.at_tower, "the site is at the tower again")
    after = read(moves.tower_db, lambda db: picture(db, "ATL1"))
    assert {name: after[name] for name in ("balances", "holds")} == {
        name: before[name] for name in ("balances", "holds")
    }
    assert read(moves.tower_db, waiting)[0], "the night goes on at the tower"
    send_readings(moves.tower, "ATL1-FRZ1-T1", [-3.0], datetime.now(UTC))
    moves.second.kill()


@pytest.mark.timeout(300)
def test_a_site_whose_node_is_lost_comes_back_with_what_the_tower_has(moves: Moves) -> None:
    third = node_machine(moves.folder / "third", FIRST_PORT, moves.folder / "third.log")
    moves.join(third, "third")
    with running(third):
        third.start()
        eventually(lambda: moves.same("third"), "the tower follows the node")
        eventually(lambda: bool(read(moves.tower_db, lambda db: packed(db, "ATL1"))), "a copy of what waits")
    moves.tower.command("tower", "take-back", "ATL1", "--lost")
    assert moves.at_tower()
    assert read(moves.tower_db, waiting)[0], "and with what waited at the node when it was heard last"
    send_readings(moves.tower, "ATL1-FRZ1-T1", [-3.0], datetime.now(UTC))
