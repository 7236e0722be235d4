"""A node whose disk was lost: it takes its past from the tower, opens the next epoch and goes on."""

from __future__ import annotations

import pytest

from coldgrid.evidence.forks import SettleFork
from coldgrid.sync import messages as m
from coldgrid.sync.acts import Phase
from coldgrid.sync.messages import Code, Place
from coldgrid.sync.recovering import recover
from coldgrid.sync.wire import Refusal
from tests.conftest import sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump
from tests.sync.pair import Node, desk_of, network_of, own_log
from tests.sync.test_refusals import send


def test_a_wiped_node_gets_its_past_back_and_goes_on_in_the_next_epoch() -> None:
    with network_of("ATL1") as (tower, [node]), sqlite_kernel() as fresh:
        for _ in range(5):
            node.kernel.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        place = recover(desk_of(fresh), "ATL1", lambda message: send(tower, message))
        assert place == tower.place("ATL1")
        assert own_log(fresh, "ATL1") == own_log(node.kernel, "ATL1")
        assert own_log(fresh, "network") == own_log(node.kernel, "network")
        fresh.decider.reopen("ATL1")
        for _ in range(10):
            fresh.host.entropy(8)  # no two hosts draw the same
        other = Node(tower, fresh)
        fresh.do(Bump(site_id="ATL1", name="a"))
        other.talk()
        assert other.code == Code.CLONED, "a person has to say that this is the node now"
        tower.kernel.do(SettleFork(log_origin="ATL1", log_epoch=1, reason="its disk was lost"))
        fresh.advance(2)
        other.talk()
        assert other.carrier.state.phase is Phase.UP
        assert own_log(tower.kernel, "ATL1") == own_log(fresh, "ATL1")
        assert rooms.count_of(tower.kernel.reader(), "a") == 6
        fresh.rebuild()
        # The old one comes back to life: it has missed an epoch.
        node.kernel.advance(5)
        node.wake()
        node.talk()
        assert node.code == Code.REWOUND


def test_an_empty_node_is_told_to_take_its_past_first() -> None:
    with network_of("ATL1") as (tower, [node]), sqlite_kernel() as fresh:
        node.kernel.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        for _ in range(10):
            fresh.host.entropy(8)  # no two hosts draw the same
        empty = Node(tower, fresh)
        empty.talk()
        assert empty.code == Code.PAST


def test_a_recovery_that_was_broken_off_goes_on_where_it_was() -> None:
    with network_of("ATL1") as (tower, [node]), sqlite_kernel() as fresh:
        for _ in range(5):
            node.kernel.do(Bump(site_id="ATL1", name="a"))
        node.talk()
        asked = 0

        def breaking(message: m.Message) -> m.Message:
            nonlocal asked
            asked += 1
            if asked in (2, 5):
                raise ConnectionError("the line broke")
            return send(tower, message)

        for _ in range(20):
            try:
                recover(desk_of(fresh), "ATL1", breaking)
                break
            except ConnectionError:
                fresh.restart()
        assert own_log(fresh, "ATL1") == own_log(node.kernel, "ATL1")


def test_somebody_elses_entries_are_no_past_of_ours() -> None:
    with network_of("ATL1", "CLT1") as (tower, [_, other]), sqlite_kernel() as fresh:
        other.kernel.do(Bump(site_id="CLT1", name="a"))
        other.talk()

        def wrong(message: m.Message) -> m.Message:
            return send(tower, message, "CLT1" if isinstance(message, m.PastAsk) else "ATL1")

        with pytest.raises(Refusal) as refused:
            recover(desk_of(fresh), "ATL1", wrong)
        assert refused.value.code == Code.NOT_YOURS
        assert Place(*fresh.decider.heads.get("CLT1", (0, 0))) == Place()
