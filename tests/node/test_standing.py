"""What people at a site see of the talk with the tower: nothing to see, a banner, and how much waits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import StorageFull
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.storage_watch import StorageWatch
from coldgrid.kernel.tables import to_micros
from coldgrid.node import pages
from coldgrid.node.standing import StandingTeller, standing_of
from coldgrid.sync.acts import Phase, State
from coldgrid.sync.messages import Place
from coldgrid.webkit.app import create_app
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.doors import Doorman, services_over
from tests.stock import world
from tests.stock.world import SITE
from tests.sync.office import ROLES

NOW = T0 + timedelta(minutes=30)


class Line:
    """A talk that stands however a test says."""

    def __init__(self, kernel: Kernel) -> None:
        world.open_world(kernel)
        kernel.do(world.receive(world.PALLET, 10))
        epoch, size = kernel.decider.heads[SITE]
        self.whole = Place(epoch, size)
        self.state = State(site_id=SITE, phase=Phase.UP, place=self.whole)

    def offline_since(self) -> Any:
        since_us = self.state.offline_since_us
        return None if since_us is None else T0 + timedelta(microseconds=since_us - to_micros(T0))

    def stands(self, **fields: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **fields)

    def cut(self, ago: timedelta = timedelta(minutes=12)) -> None:
        less = Place(self.whole.epoch, self.whole.seq - 1)
        self.stands(phase=Phase.DOWN, offline_since_us=to_micros(NOW - ago), place=less, why="timed out")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with sqlite_kernel() as made:
        yield made


@pytest.fixture
def line(kernel: Kernel) -> Line:
    return Line(kernel)


@pytest.fixture
def client(kernel: Kernel, line: Line) -> Iterator[TestClient[Litestar]]:
    state = {"talk": line, "home": SITE, "shell_topics": ("node",)}
    service = DeciderService(kernel.decider, lambda due: 1.0)
    services = services_over(kernel.database, service, Doorman(ROLES), lambda: NOW, state)
    with TestClient(create_app(services, pages.handlers)) as made:
        made.headers["accept"] = "text/html"
        yield made


def text(client: TestClient[Litestar], path: str = "/node") -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return " ".join(re.sub(r"</?time[^>]*>", "", answer.text).split())


def test_when_all_is_well_there_is_a_line_and_no_banner(client: TestClient[Litestar]) -> None:
    page = text(client)
    assert "Tower has everything" in page
    assert "The tower is not reached" not in page
    assert 'sse-connect="/stream?topics=node"' in page


def test_with_the_wan_down_a_banner_says_since_when_how_much_waits_and_who_decides(
    client: TestClient[Litestar], line: Line
) -> None:
    line.cut()
    page = text(client)
    assert "The tower is not reached since 03:18 (12 min)" in page
    assert "1 fact, 0 readings and 0 messages wait here" in page
    assert "Orders, promises, master data and people are decided at the tower" in page
    assert text(client, "/node/banner") in page


def test_a_lost_packet_raises_no_banner(client: TestClient[Litestar], line: Line) -> None:
    line.cut(timedelta(seconds=2))
    assert "The tower is not reached" not in text(client)


def test_a_tower_that_refuses_says_why_and_that_a_person_decides(
    client: TestClient[Litestar], line: Line
) -> None:
    why = "a person has to choose which copy is kept"
    line.cut()
    line.stands(phase=Phase.BARRED, code="quarantined", why=why)
    page = text(client)
    assert "The tower takes nothing from this node" in page
    assert why.capitalize() in page


def test_facts_that_wait_are_counted_over_epochs(kernel: Kernel, line: Line) -> None:
    reads = kernel.reader()
    line.stands(place=Place(line.whole.epoch, 0))
    assert standing_of(reads, line, SITE).facts == line.whole.seq  # type: ignore[arg-type]
    line.stands(place=Place())
    assert standing_of(reads, line, SITE).facts == line.whole.seq  # type: ignore[arg-type]


def test_pages_are_told_at_once_that_the_tower_went_and_of_counts_now_and_then(
    kernel: Kernel, line: Line
) -> None:
    told: list[str] = []
    at = [NOW]
    hub = SimpleNamespace(listening=lambda topic: True, publish=lambda *given, **more: told.append(given[0]))

    @contextmanager
    def reader() -> Iterator[Reader]:
        yield kernel.reader()

    guard, storage = SimpleNamespace(frozen_why=""), StorageWatch()
    host = SimpleNamespace(guard=guard)
    parts: Any = SimpleNamespace(hub=hub, reader=reader, host=host, storage=storage)
    talk: Any = line
    teller = StandingTeller(parts, talk, SITE, lambda: at[0])
    teller.look()
    teller.look()
    assert told == ["node"]
    line.cut(timedelta(minutes=1))
    teller.look()
    assert told == ["node"] * 2
    kernel.do(world.receive(world.SECOND, 10))
    teller.look()
    assert told == ["node"] * 2
    at[0] += timedelta(seconds=20)
    teller.look()
    assert told == ["node"] * 3
    guard.frozen_why = "the wall clock jumped by 600 s"
    teller.look()
    storage.see([StorageFull()], at[0])
    teller.look()
    teller.look()
    assert told == ["node"] * 5, "a stopped clock and a full disk are told at once, too"
