"""A disk that was put back and lacks nothing but parcels of readings: it is noticed, and nothing is mixed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coldgrid.evidence import forks
from coldgrid.kernel.database import open_database
from coldgrid.network.zones import get_zone
from coldgrid.node.carrier import Talk
from coldgrid.quality.zone_air import GRACE_LEAST_MIN, ZoneAir
from coldgrid.sync import readings
from coldgrid.sync.abiding import abide
from coldgrid.sync.messages import Blocks, Code
from coldgrid.sync.receiving import forget_link
from coldgrid.telemetry import archive, arriving, parcels
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.losses import losses
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.tower.recovery import recover
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, restarted, told_to_choose
from tests.sync.test_readings import same, shown
from tests.sync.test_refusals import send
from tests.telemetry.cold_room import AIR, AIR_2, at, feed, micros, steady


@pytest.fixture
def put_back(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A node that sent three parcels; its disk was put back to when it had sent one, with the same log."""
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    node = Node(tower, Kernel(open_database(str(tmp_path / "node.db"))))
    node.talk()
    feed(node.kernel, steady(0, 10))
    node.talk()
    with (
        closing(sqlite3.connect(tmp_path / "node.db")) as now,
        closing(sqlite3.connect(tmp_path / "old.db")) as copy,
    ):
        now.backup(copy)
    before = own_log(node.kernel, "ATL1")
    for start in (10, 20):
        feed(node.kernel, steady(start, 10))
        node.talk()
    assert own_log(tower.kernel, "ATL1") == before == own_log(node.kernel, "ATL1"), "only readings came"
    assert parcels.head_of(tower.kernel.reader(), "ATL1").parcel_no == 3
    node.kernel.close()
    restarted(node, tmp_path / "old.db", drawn=10)
    node.kernel.advance(35)
    yield tower, node
    node.kernel.close()


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


def test_a_block_that_is_lost_holds_up_no_fresh_readings(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        feed(node.kernel, steady(0, 10))
        node.kernel.do(SealBlocks(site_id="ATL1", cause_id="inc-1", sensor_ids=(AIR,)))
        for name in ("telemetry_block", "telemetry_block_body"):
            own.decider.connection.command(f"DELETE FROM {name}")  # a disk that lost them
        node.talk()
        assert arriving.missing(tower.kernel.reader(), "ATL1") == (1, 10)
        for start in (20, 30, 40):
            feed(node.kernel, steady(start, 10))
            node.talk()
            assert counted(tower) == start, "at once, not after a minute each"
        link: Any = None
        talk = Talk("ATL1", node.desk, node.carrier, link, 60.0, lambda: False)
        assert talk.told() == "1 sealed blocks of readings that the tower lacks are not on this disk"


@pytest.fixture
def lossy(kernel: Kernel) -> Iterator[tuple[Tower, Node]]:
    """A node sealed three blocks before the tower heard of them, and its disk lost the first two."""
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        for start, cause_id in ((0, "inc-1"), (20, "inc-2"), (40, "inc-3")):
            feed(own, steady(start, 10))
            own.do(SealBlocks(site_id="ATL1", cause_id=cause_id, sensor_ids=(AIR,)))
        own.decider.connection.command("DELETE FROM telemetry_parcel")  # it has them in blocks alone
        yield tower, node


def loses(node: Node, *block_nos: int) -> dict[str, bytes]:
    """Take blocks off a node's disk; return their bytes by name."""
    rows = archive.block_rows(node.kernel.reader(), AIR, 0, 2**30)
    gone = {row.hash: bytes(row.body) for row in rows if row.block_no in block_nos}
    for name in gone:
        node.kernel.decider.connection.command(f"DELETE FROM telemetry_block_body WHERE hash = '{name}'")
    return gone


def test_blocks_that_a_node_has_no_more_make_room_for_the_next_ones(
    lossy: tuple[Tower, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, node = lossy
    monkeypatch.setattr(arriving, "wanted", partial(arriving.wanted, limit=2))
    gone = loses(node, 0, 1)
    assert len(gone) == 2
    node.talk()
    node.talk()
    db = tower.kernel.reader()
    assert arriving.missing(db, "ATL1") == (2, 20)
    assert {one.hash for one in arriving.missing_blocks(db, "ATL1", 9) if one.lost_at} == set(gone)
    assert arriving.wanted(db, "ATL1") == []
    assert counted(tower) == 10, "the third one came though two are named before it"
    assert node.carrier.state.missing == 2
    tower.kernel.rebuild()


def test_what_was_given_up_is_asked_for_again_when_another_disk_may_have_it(
    lossy: tuple[Tower, Node],
) -> None:
    tower, node = lossy
    gone = loses(node, 0, 1)
    node.talk()
    node.talk()
    for name, body in gone.items():
        node.kernel.decider.connection.command(
            f"INSERT INTO telemetry_block_body (hash, body) VALUES ('{name}', x'{body.hex()}')"
        )
    node.wake()
    node.talk()
    assert arriving.count_lost(tower.kernel.reader(), "ATL1") == 2, "not with each greeting"
    for one in (tower.kernel, node.kernel):
        one.advance(60 * 25)
    node.wake()
    node.talk()
    node.talk()
    assert arriving.missing(tower.kernel.reader(), "ATL1") == (0, 0)
    assert counted(tower) == 30


def test_a_block_whose_bytes_the_disk_changed_holds_up_nothing(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    [name] = loses(node, 1)
    node.kernel.decider.connection.command(
        f"INSERT INTO telemetry_block_body (hash, body) VALUES ('{name}', x'00')"
    )
    node.talk()
    node.talk()
    assert arriving.count_lost(tower.kernel.reader(), "ATL1") == 1
    assert counted(tower) == 20


def test_a_node_of_the_release_before_that_cannot_say_so_is_served_as_before(
    lossy: tuple[Tower, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, node = lossy
    loses(node, 0, 1)
    honest = readings.blocks_to_send
    monkeypatch.setattr(readings, "blocks_to_send", lambda db, hashes: Blocks(honest(db, hashes).blocks))
    node.talk()
    node.talk()
    assert counted(tower) == 10
    assert arriving.count_lost(tower.kernel.reader(), "ATL1") == 0
    assert len(node.carrier.state.lost) == 2


def test_air_of_a_lost_block_is_unknown(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    loses(node, 1)
    node.talk()
    node.talk()
    zone = get_zone(tower.kernel.reader(), "ATL1-FRZ1")
    air = ZoneAir(tower.kernel.reader(), zone, at(0), at(50)).air("", GRACE_LEAST_MIN)
    there = air.known[np.searchsorted(air.at_us, [micros(5), micros(25), micros(45)], side="right") - 1]
    assert there.tolist() == [True, False, True]


def test_a_loss_is_told_with_its_sensor_its_time_and_its_readings(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    db = tower.kernel.reader()
    assert losses(db) == []
    loses(node, 1)
    node.talk()
    node.talk()
    [loss] = losses(db, "ATL1")
    assert (loss.zone_id, loss.sensor_id, loss.readings) == ("ATL1-FRZ1", AIR, 10)
    assert (loss.from_at, loss.to_at) == (at(20), at(29))
    assert losses(db, "SEA1") == []
    day = micros(0) // DAY_US
    assert losses(db, None, day, day) == [loss]
    assert losses(db, None, day + 1, day + 1) == []


def test_readings_that_came_before_their_block_was_lost_are_no_loss(kernel: Kernel) -> None:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        feed(own, steady(0, 10))
        node.talk()
        own.do(SealBlocks(site_id="ATL1", cause_id="inc-1", sensor_ids=(AIR,)))
        loses(node, 0)
        node.talk()
        node.talk()
        assert arriving.count_lost(tower.kernel.reader(), "ATL1") == 1
        assert losses(tower.kernel.reader()) == []
