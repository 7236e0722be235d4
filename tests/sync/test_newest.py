"""What the sensors of a node's site measured last, as the tower's map and pages of sites show it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from coldgrid.node.overview import look
from coldgrid.sync import handover
from coldgrid.telemetry.arrivals import Arrivals
from coldgrid.telemetry.newest import copy_newest
from coldgrid.telemetry.watch import Watch
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower
from tests.telemetry.cold_room import AIR, AIR_2, at, feed, steady


@pytest.fixture
def pair(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield tower, node


def shown(kernel: Kernel) -> tuple[str, float | None, datetime | None]:
    """How the freezer stands on the pages, by the host's clock."""
    hot = kernel.decider.shared.hot
    picture = look(kernel.reader(), copy_newest(hot[Watch], hot[Arrivals]), kernel.host.instant, {})
    [zone] = [one for one in picture.sites["ATL1"].zones if one.zone.zone_id == "ATL1-FRZ1"]
    return zone.state, zone.air_c, zone.at


def talk(tower: Tower, node: Node) -> None:
    tower.kernel.host.instant = node.kernel.host.instant
    node.talk()


def test_the_tower_shows_the_newest_reading_of_a_nodes_site(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30, -20.0))
    talk(tower, node)
    assert shown(tower.kernel) == ("ok", -19.99, at(29)) == shown(node.kernel)
    feed(node.kernel, [*steady(30, 5, -20.0), (AIR_2, 32, -12.0)])
    talk(tower, node)
    assert shown(tower.kernel) == ("warn", -12.0, at(32)) == shown(node.kernel)


def test_the_tower_knows_it_after_a_restart_too(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30, -20.0))
    talk(tower, node)
    before = shown(tower.kernel)
    tower.kernel.restart()
    assert shown(tower.kernel) == before


def test_a_site_of_which_nothing_comes_any_more_is_unknown(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30, -20.0))
    talk(tower, node)
    tower.kernel.host.instant = at(29 + 11)
    assert shown(tower.kernel) == ("off", None, None)


def test_a_newest_reading_that_is_no_good_is_shown_as_unknown(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, [*steady(0, 30, -20.0), (AIR, 30, 900.0)])
    talk(tower, node)
    assert shown(tower.kernel) == ("off", None, None) == shown(node.kernel)


def test_a_site_that_came_home_is_shown_by_what_the_tower_reads_itself(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    feed(node.kernel, steady(0, 30, -20.0))
    talk(tower, node)
    assert handover.take_back(tower.kernel.decider, "ATL1", lost=True)
    assert shown(tower.kernel) == ("ok", -19.99, at(29))
    feed(tower.kernel, steady(30, 5, -22.0))
    assert shown(tower.kernel) == ("ok", -22.0, at(34))
