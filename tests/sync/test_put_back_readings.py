"""A disk that was put back and lacks nothing but parcels of readings: it is noticed, and nothing is mixed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldgrid.evidence import forks
from coldgrid.kernel.database import open_database
from coldgrid.sync import readings
from coldgrid.sync.abiding import abide
from coldgrid.sync.messages import Code
from coldgrid.sync.receiving import forget_link
from coldgrid.telemetry import parcels
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.tower.recovery import recover
from tests.conftest import Kernel
from tests.sync.disks import disk_put_back
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, told_to_choose
from tests.sync.test_readings import same, shown
from tests.sync.test_refusals import send
from tests.telemetry.cold_room import AIR, AIR_2, feed, steady


@pytest.fixture
def put_back(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A node that sent three parcels; its disk was put back to when it had sent one, with the same log."""

    def lived(tower: Tower, node: Node) -> None:
        before = own_log(node.kernel, "ATL1")
        for start in (10, 20):
            feed(node.kernel, steady(start, 10))
            node.talk()
        assert own_log(tower.kernel, "ATL1") == before == own_log(node.kernel, "ATL1"), "only readings came"
        assert parcels.head_of(tower.kernel.reader(), "ATL1").parcel_no == 3

    with disk_put_back(kernel, tmp_path, lived, later_min=35) as found:
        yield found


@pytest.mark.parametrize("cut_before_greeting", [0, 1, 2, 3, 5])
def test_fewer_or_other_parcels_than_were_sent_are_noticed_and_refused(
    put_back: tuple[Tower, Node], cut_before_greeting: int
) -> None:
    tower, node = put_back
    for turn in range(cut_before_greeting):
        feed(node.kernel, steady(40 + turn * 10, 10, -20.0))
        readings.cut(node.desk, "ATL1")
    before = shown(tower.kernel.reader())
    node.talk()
    if cut_before_greeting == 2:  # as many as the tower has: told apart by their marks
        assert parcels.head_of(node.kernel.reader(), "ATL1").parcel_no == 3
    assert node.code == Code.REWOUND
    assert "its disk was put back" in node.carrier.state.why
    [fork] = forks.open_forks(tower.kernel.reader())
    assert fork.signed != fork.found
    assert "parcel" in fork.why
    assert shown(tower.kernel.reader()) == before, "nothing was mixed in"


@pytest.mark.parametrize("keep", ["tower", "node"])
@pytest.mark.parametrize("cut_before_greeting", [0, 1, 2, 3, 5])
def test_once_a_person_chose_both_have_every_reading(
    put_back: tuple[Tower, Node], keep: str, cut_before_greeting: int
) -> None:
    tower, node = put_back
    for turn in range(cut_before_greeting):
        feed(node.kernel, steady(40 + turn * 10, 10, -20.0))
        readings.cut(node.desk, "ATL1")
    node.talk()
    choose(tower, keep)
    told_to_choose(node)
    assert abide(node.desk, "ATL1", ask_of(tower)) == keep
    node.carrier.begin_anew()
    node.talk()
    assert node.up, node.carrier.state.why
    feed(node.kernel, steady(100, 5))
    node.talk()
    same(tower, node)
    assert counted(tower) == 30 + cut_before_greeting * 10 + 5
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")
    assert forks.open_forks(tower.kernel.reader()) == []
    for kernel in (tower.kernel, node.kernel):
        kernel.restart()
        kernel.rebuild()


def counted(tower: Tower) -> int:
    lines: Any = shown(tower.kernel.reader())
    times = lines[0][AIR][0]
    assert len(times) == len(set(times))
    return len(times)


def test_readings_of_a_node_in_quarantine_are_not_taken(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    node.talk()
    feed(node.kernel, steady(40, 10))
    readings.cut(node.desk, "ATL1")
    sent = readings.parcels_to_send(node.kernel.reader(), "ATL1", 1)
    answer = send(tower, sent)
    assert getattr(answer, "code", "") == Code.QUARANTINED


def test_a_host_that_takes_the_place_of_another_sends_its_first_parcels(
    put_back: tuple[Tower, Node],
) -> None:
    """Its count begins anew, and the tower has had three of the host before."""
    tower, node = put_back
    tower.kernel.decider.take("ATL1", lambda tx: forget_link(tx, "ATL1"), "test")
    feed(node.kernel, steady(40, 10))
    node.talk()
    node.talk()  # with the next parcel due
    assert node.up
    assert counted(tower) == 40


def test_a_node_whose_readings_were_all_sealed_since_comes_to_rest(put_back: tuple[Tower, Node]) -> None:
    """Its parcels go on behind numbers that hold nothing any more; it does not ask for ever."""
    tower, node = put_back
    for start in (40, 50, 60):
        feed(node.kernel, steady(start, 10))
        readings.cut(node.desk, "ATL1")
    node.talk()
    choose(tower, "node")
    told_to_choose(node)
    abide(node.desk, "ATL1", ask_of(tower))
    node.kernel.do(SealBlocks(site_id="ATL1", cause_id="inc-1", sensor_ids=(AIR, AIR_2)))
    node.carrier.begin_anew()
    node.talk()
    node.talk()
    same(tower, node)
    feed(node.kernel, steady(100, 5))
    node.talk()
    same(tower, node)
    last = [readings.last_parcel(one.kernel.reader(), "ATL1") for one in (tower, node)]
    assert last[0] == last[1]


def test_a_tower_that_was_put_back_is_sent_again_what_it_lost(kernel: Kernel, tmp_path: Path) -> None:
    tower_kernel = Kernel(open_database(str(tmp_path / "tower.db")))
    tower = Tower(tower_kernel)
    tower.lets_go_of("ATL1")
    node = Node(tower, kernel)
    node.talk()
    feed(node.kernel, steady(0, 10))
    node.talk()
    tower.kernel.close()
    shutil.copy(tmp_path / "tower.db", tmp_path / "backup.db")
    tower.kernel = Kernel(open_database(str(tmp_path / "tower.db")))
    tower.open_post()
    for start in (10, 20, 30):
        feed(node.kernel, steady(start, 10))
        node.talk()
    tower.kernel.close()
    tower.kernel = Kernel(open_database(str(tmp_path / "backup.db")))
    tower.kernel.advance(35)
    recover(tower.kernel.decider)
    tower.open_post()
    node.wake()
    node.talk()
    assert node.up, node.carrier.state.why
    same(tower, node)
    feed(node.kernel, steady(40, 5))
    node.talk()
    same(tower, node)
    assert counted(tower) == 45
    tower.kernel.close()
