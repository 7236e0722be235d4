"""A tower and its nodes: facts go up, what a site must know comes down, both exactly once."""

from __future__ import annotations

import pytest

from coldgrid.sync import feeds, receiving
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Tell
from tests.network.master import put_in_force
from tests.sync.pair import Node, Tower, network_of, own_log
from tests.telemetry.cold_room import sensor


def test_a_nodes_facts_reach_the_tower_verbatim_and_the_network_answers_them(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        for number in range(5):
            own.do(Bump(site_id="ATL1", name="a", by=number + 1))
        node.talk()
        assert own_log(kernel, "ATL1") == own_log(own, "ATL1")
        assert rooms.count_of(kernel.reader(), "a") == 15
        assert rooms.told_of(kernel.reader(), "a") == 5
        assert rooms.told_of(own.reader(), "a") == 0
        node.talk()
        assert rooms.told_of(kernel.reader(), "a") == 5, "nothing is taken twice"
        kernel.rebuild()
        own.rebuild()


@pytest.mark.parametrize("gathered_from", [1, 10_000])
def test_a_long_log_leaves_at_the_tower_what_its_facts_say_and_its_reactions_run(
    kernel: Kernel, gathered_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "GATHERED_FROM", gathered_from)
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        for number in range(120):
            own.do(Bump(site_id="ATL1", name="ab"[number % 2], by=1))
        node.talk()
        assert own_log(kernel, "ATL1") == own_log(own, "ATL1")
        assert rooms.count_of(kernel.reader(), "a") == rooms.count_of(own.reader(), "a")
        assert rooms.told_of(kernel.reader(), "b") == 60
        kernel.rebuild()


def test_a_node_is_told_of_its_site_and_of_master_data_and_of_no_other_site() -> None:
    with network_of("ATL1", "CLT1") as (tower, nodes):
        for node in nodes:
            node.talk()
        for node in nodes:
            told = own_log(node.kernel, "network")
            assert told
            assert all({node.site_id, "*"} & set(entry.audience.split(",")) for entry in told)
            named = [entry for entry in own_log(tower.kernel, "network") if entry.audience]
            mine = [entry for entry in named if {node.site_id, "*"} & set(entry.audience.split(","))]
            assert told == mine
            node.kernel.rebuild()


def test_what_the_tower_changes_comes_down_while_a_poll_is_held() -> None:
    with network_of("ATL1") as (tower, [node]):
        node.talk()
        assert len(node.held) == 1
        before = len(own_log(node.kernel, "network"))
        put_in_force(tower.kernel, sensor("ATL1-FRZ1-T9"), change_id="change-more")
        node.talk()
        assert len(own_log(node.kernel, "network")) == before + 1


def test_feeds_go_through_the_whole_log_however_little_of_it_is_for_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "READ_AT_ONCE", 3)
    with network_of("ATL1") as (tower, [node]):
        for number in range(20):
            tower.kernel.do(Tell(name=f"n{number}"))
        put_in_force(tower.kernel, sensor("ATL1-FRZ1-T9"), change_id="change-more")
        node.talk()
        told = own_log(tower.kernel, "network")
        mine = [entry for entry in told if {"ATL1", "*"} & set(entry.audience.split(","))]
        assert own_log(node.kernel, "network") == mine
