"""Sealed blocks that a node's disk lost: others come all the same, and people are told until they come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest

from coldgrid import site_flows
from coldgrid.network.zones import get_zone
from coldgrid.node.carrier import Talk
from coldgrid.node.zone_charts import LOST, told, zone_frame
from coldgrid.orchestration.incidents import Incident, Severity, closed_incidents, open_incidents
from coldgrid.quality.zone_air import GRACE_LEAST_MIN, ZoneAir
from coldgrid.sync import handover, readings
from coldgrid.sync.messages import Blocks
from coldgrid.telemetry import archive, arriving
from coldgrid.telemetry.losses import asset_of, losses, losses_between, losses_of_site, losses_of_zone
from coldgrid.telemetry.seal import SealBlocks
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower
from tests.sync.test_put_back_readings import counted
from tests.telemetry.cold_room import AIR, at, feed, micros, steady

__all__ = ["site_flows"]  # what becomes of a loss at its site


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
    [loss] = losses_of_site(db, "ATL1")
    assert (loss.zone_id, loss.sensor_id, loss.readings) == ("ATL1-FRZ1", AIR, 10)
    assert (loss.from_at, loss.to_at) == (at(20), at(29))
    assert losses_of_site(db, "SEA1") == []
    assert losses_between(db, at(29), at(30)) == losses_between(db, at(0), at(21)) == [loss]
    assert losses_between(db, at(0), at(20)) == losses_between(db, at(30), at(60)) == []
    assert losses_of_zone(db, "ATL1-FRZ1", at(0), at(50)) == [loss]
    assert losses_of_zone(db, "ATL1-CHL1") == []


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


# --- What people are told ---------------------------------------------------------


def told_of(kernel: Kernel) -> list[str]:
    return [tag for _, event in kernel.events() if "lost" in (tag := type(event).__struct_config__.tag)]


def talk(node: Node, times: int = 4) -> None:
    for _ in range(times):
        node.talk()


def incidents(kernel: Kernel) -> list[Incident]:
    return [one for one in open_incidents(kernel.reader()) if one.asset_id == asset_of("ATL1")]


def put_back(node: Node, gone: dict[str, bytes]) -> None:
    for name, body in gone.items():
        node.kernel.decider.connection.command(
            f"INSERT INTO telemetry_block_body (hash, body) VALUES ('{name}', x'{body.hex()}')"
        )


def a_day_later(tower: Tower, node: Node) -> None:
    for one in (tower.kernel, node.kernel):
        one.advance(60 * 25)
    node.wake()
    talk(node)


def test_a_loss_is_one_incident_of_its_site_however_many_blocks_are_lost(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    loses(node, 0, 1)
    talk(node)
    assert told_of(tower.kernel) == ["telemetry.readings_lost"]
    for kernel in (node.kernel, tower.kernel):
        [incident] = incidents(kernel)
        assert incident.severity is Severity.OPERATOR_ACTIONABLE
        assert incident.title == "Sealed readings of ATL1 are lost"
        assert incident.facts["lost_readings"] == 20
        assert incident.facts["zones"] == ["ATL1-FRZ1"]
        assert incident.picture.fault == (
            f"20 readings of {AIR} between 2026-03-01 08:00 and 2026-03-01 08:29 UTC are lost"
        )
        assert losses_of_zone(kernel.reader(), "ATL1-FRZ1") == losses_of_site(tower.kernel.reader(), "ATL1")
        kernel.rebuild()


def test_a_block_that_is_asked_for_in_vain_every_day_is_told_once(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    loses(node, 0)
    talk(node)
    for _ in range(2):
        a_day_later(tower, node)
    assert told_of(tower.kernel) == ["telemetry.readings_lost"]
    assert len(incidents(node.kernel)) == 1


def test_a_further_loss_joins_the_incident_that_is_open(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    loses(node, 0)
    talk(node)
    feed(node.kernel, steady(60, 10))
    node.kernel.do(SealBlocks(site_id="ATL1", cause_id="inc-4", sensor_ids=(AIR,)))
    node.kernel.decider.connection.command("DELETE FROM telemetry_parcel")
    loses(node, 3)
    talk(node)
    [incident] = incidents(tower.kernel)
    assert incident.facts["lost_readings"] == 20
    assert told_of(tower.kernel) == ["telemetry.readings_lost"] * 2


def test_the_incident_ends_when_another_disk_had_all_of_them(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    gone = loses(node, 0, 1)
    talk(node)
    first, *rest = gone.items()
    put_back(node, dict([first]))
    a_day_later(tower, node)
    assert len(losses(tower.kernel.reader())) == 1
    assert len(incidents(tower.kernel)) == 1, "some of them are lost yet"
    put_back(node, dict(rest))
    a_day_later(tower, node)
    for kernel in (node.kernel, tower.kernel):
        assert incidents(kernel) == []
        assert asset_of("ATL1") in [one.asset_id for one in closed_incidents(kernel.reader())]
        assert losses(kernel.reader()) == []
        kernel.rebuild()


def test_blocks_that_never_came_from_a_node_that_is_gone_for_good_are_lost(
    lossy: tuple[Tower, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, node = lossy
    monkeypatch.setattr(arriving, "wanted", lambda db, site_id: [])
    node.talk()
    assert losses(tower.kernel.reader()) == []
    assert handover.take_back(tower.kernel.decider, "ATL1", lost=True)
    assert [one.readings for one in losses_of_site(tower.kernel.reader(), "ATL1")] == [10, 10, 10]
    [incident] = incidents(tower.kernel)
    assert incident.facts["lost_readings"] == 30


def test_a_hole_of_lost_readings_has_a_name_on_the_zones_chart(lossy: tuple[Tower, Node]) -> None:
    tower, node = lossy
    loses(node, 1)
    talk(node)
    db = tower.kernel.reader()
    zone = get_zone(db, "ATL1-FRZ1")
    frame = zone_frame(db, zone, at(50), unit="c", timezone="UTC")
    marks = [(one.t, one.label) for one in frame.marks if one.state == "warn"]
    assert marks[:2] == [(at(20).timestamp(), LOST), (at(29).timestamp(), "")]
    assert told(frame, zone, "Forest Park").endswith(". Some of its readings are lost")
    later = zone_frame(db, zone, at(30) + timedelta(hours=6), unit="c", timezone="UTC")
    assert LOST not in [one.label for one in later.marks]
