"""The wall clock steps under the running tower: facts keep their order, timers stop, and health says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from litestar.testing import TestClient

from coldgrid.kernel import hosting, log, timers
from coldgrid.kernel.authorize import SYSTEM, AllowAll
from coldgrid.kernel.clock import JUMP_MAX, AcceptClock, ClockAccepted
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import WALL, LiveHost
from coldgrid.tower.application import build_tower, create
from tests.conftest import Kernel
from tests.system.served import TOKEN, Sent, System, seed
from tests.system.test_disk_full import order

STEPS = {"forward": timedelta(hours=3), "back": timedelta(hours=-3)}
NEVER = timedelta(minutes=1)


class SteppingHost(LiveHost):
    """The wall clock, moved by what somebody set it by."""

    def __init__(self) -> None:
        super().__init__(AllowAll())

    @property
    def step(self) -> timedelta:
        return WALL.wrong_by

    @step.setter
    def step(self, by: timedelta) -> None:
        WALL.wrong_by = by


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    database = str(tmp_path / "system.db")
    first = Kernel(open_database(database))
    seed(first)
    first.close()
    host = SteppingHost()
    settings = load_settings({}, database=database, signing_key=str(tmp_path / "signing.key"))
    tower = build_tower(settings, host)
    with TestClient(create(tower, {}), raise_server_exceptions=False) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        yield System(tower, host, client)  # type: ignore[arg-type]
    host.step = timedelta()


def place(system: System, number: int) -> None:
    (answer,) = system.post_all([Sent("/api/v1/orders", order(number))])
    assert answer.status_code == 200, answer.text


def settled(system: System) -> None:
    """Let the decider's thread have looked at the clock once more."""
    for _ in range(3):
        system.last_position()
        time.sleep(0.3)


def set_timer(system: System, name: str, due: timedelta) -> None:
    def work(decider: object) -> None:
        at = system.host.now() + due
        system.tower.decider.within(
            SYSTEM,
            "network",
            lambda tx: tx.set_timer(name, "network_flows.source_again", at, WAITING),
            "test",
        )

    system.tower.service.call(work).result(30)


KIND = "network_flows.source_again"
WAITING = {"orders": [], "cause_id": "a-test", "reason": "pause"}


def waits(system: System, name: str) -> bool:
    with system.tower.reader() as db:
        return name in {timer.timer_id for timer in timers.all_timers(db)}


@pytest.mark.parametrize("way", STEPS)
def test_facts_keep_their_order_and_timers_stand_still(system: System, way: str) -> None:
    place(system, 1)
    settled(system)
    set_timer(system, "an-hour", timedelta(hours=1))
    system.host.step = STEPS[way]  # type: ignore[attr-defined]
    settled(system)
    set_timer(system, "due-already", -NEVER)
    place(system, 2)
    place(system, 3)
    settled(system)
    assert waits(system, "an-hour")
    assert waits(system, "due-already"), "no timer fires while the clock is not believed"
    with system.tower.reader() as db:
        entries = list(log.read_all(db))
    assert [entry.position for entry in entries] == list(range(len(entries)))
    for origin in {entry.origin for entry in entries}:
        seqs = [entry.seq for entry in entries if entry.origin == origin]
        assert seqs == list(range(len(seqs)))
    page = system.client.get("/health", headers={"accept": "text/html"}).text
    assert "Timers stand still" in page
    assert "the wall clock jumped by" in page
    jumped_s = float(system.host.guard.frozen_why.split()[-2])
    assert jumped_s == pytest.approx(STEPS[way].total_seconds(), abs=60)
    ready, deciding = (system.client.get(path) for path in ("/readyz", "/deciding"))
    assert (ready.status_code, ready.json()["status"]) == (200, "frozen"), "the page to accept it is reached"
    assert (deciding.status_code, deciding.json()["status"]) == (503, "frozen")
    assert "coldgrid_timers_frozen 1.0" in system.client.get("/metrics").text


def test_a_step_as_small_as_clocks_are_put_right_by_freezes_nothing(system: System) -> None:
    set_timer(system, "soon", timedelta(seconds=30))
    system.host.step = JUMP_MAX - timedelta(minutes=1)  # type: ignore[attr-defined]
    settled(system)
    assert not waits(system, "soon")
    assert system.client.get("/deciding").status_code == 200


def test_a_person_who_accepts_the_clock_lets_timers_fire_by_it_without_a_restart(system: System) -> None:
    set_timer(system, "an-hour", timedelta(hours=1))
    system.host.step = STEPS["forward"]  # type: ignore[attr-defined]
    settled(system)
    assert waits(system, "an-hour")
    why = system.host.guard.frozen_why
    command = AcceptClock(reason="compared with two other clocks", why=why)
    system.tower.service.submit(command, SYSTEM).result(30)
    settled(system)
    assert not waits(system, "an-hour")
    assert system.client.get("/deciding").status_code == 200
    page = system.client.get("/health", headers={"accept": "text/html"}).text
    assert "Timers stand still" not in page
    with system.tower.reader() as db:
        accepted = [log.decode_entry(e) for e in log.read_all(db) if e.type == "kernel.clock_accepted"]
    assert accepted == [ClockAccepted(why=why, reason="compared with two other clocks")]


def test_what_is_said_of_the_clock_of_another_host_moves_nothing_here(system: System) -> None:
    system.host.step = STEPS["back"]  # type: ignore[attr-defined]
    settled(system)

    def elsewhere(decider: Decider) -> None:
        decider.take("network", lambda tx: hosting.place(tx, "CLT1", here=False, why="a node"), "test")

    system.tower.service.call(elsewhere).result(30)
    command = AcceptClock(reason="compared with two other clocks", origin="CLT1")
    with pytest.raises(Rejected):
        system.tower.service.submit(command, SYSTEM).result(30)
    settled(system)
    assert system.client.get("/deciding").status_code == 503
