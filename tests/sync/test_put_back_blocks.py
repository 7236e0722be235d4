"""A disk that was put back, and blocks sealed on both sides of it: what the tower had of them it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coldgrid.kernel import log
from coldgrid.sync.abiding import abide
from coldgrid.telemetry import archive, arriving
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.seal import SealBlocks
from tests.conftest import Kernel
from tests.sync.disks import disk_put_back
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, told_to_choose
from tests.sync.test_readings import same, shown
from tests.telemetry.cold_room import AIR, AIR_2, at, feed, steady

SENSORS = (AIR, AIR_2)


def seal(node: Node, cause_id: str) -> None:
    node.kernel.do(SealBlocks(site_id="ATL1", cause_id=cause_id, sensor_ids=SENSORS))


@pytest.fixture
def put_back(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A node sent ten readings, then ten more, and sealed all; its disk was put back to the first ten."""

    def lived(tower: Tower, node: Node) -> None:
        feed(node.kernel, steady(10, 10))
        seal(node, "inc-1")
        node.talk()
        node.talk()
        assert arriving.missing(tower.kernel.reader(), "ATL1") == (0, 0)
        assert times(tower.kernel) == minutes(range(20))

    with disk_put_back(kernel, tmp_path, lived, later_min=35) as found:
        yield found


def times(kernel: Kernel) -> list[datetime]:
    """When a sensor measured, by what is kept here; sums count each of these once."""
    told: Any = shown(kernel.reader())
    lines, [sums, _], _ = told
    found: list[datetime] = lines[AIR][0]
    assert len(found) == len(set(found)) == sums.readings
    return found


def minutes(which: Iterable[int]) -> list[datetime]:
    return [at(minute).replace(tzinfo=None) for minute in which]


def ended(tower: Tower, node: Node, keep: str) -> None:
    """A person chose a copy, the node carried it out, and both have talked."""
    node.talk()
    choose(tower, keep)
    told_to_choose(node)
    assert abide(node.desk, "ATL1", ask_of(tower)) == keep
    node.carrier.begin_anew()
    node.talk()
    node.talk()
    assert node.up, node.carrier.state.why
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")


def vouched_are_there(kernel: Kernel) -> int:
    """Every block that the log vouches for is in the archive, as it was vouched for; return how many."""
    db, count = kernel.reader(), 0
    for entry in log.read_all(db, -1, ["telemetry.blocks_manifested"]):
        event = log.decode_entry(entry)
        assert isinstance(event, BlocksManifested)
        for block in event.blocks:
            rows = archive.block_rows(db, block.sensor_id, block.day, block.day)
            assert [row.hash for row in rows if row.block_no == block.block_no] == [block.hash]
            assert archive.damaged_blocks(db, block.sensor_id, block.day, block.day) == []
            count += 1
    return count


@pytest.mark.parametrize("keep", ["tower", "node"])
@pytest.mark.parametrize("sealed_before", [True, False])
def test_blocks_of_the_same_number_from_both_sides_lose_no_reading(
    put_back: tuple[Tower, Node], keep: str, sealed_before: bool
) -> None:
    tower, node = put_back
    feed(node.kernel, steady(40, 10))
    if sealed_before:
        seal(node, "inc-2")
    ended(tower, node, keep)
    everything = minutes([*range(20), *range(40, 50)])
    assert times(tower.kernel) == everything
    feed(node.kernel, steady(60, 5))
    seal(node, "inc-3")
    node.talk()
    node.talk()
    assert times(tower.kernel) == [*everything, *minutes(range(60, 65))]
    assert vouched_are_there(tower.kernel) > 0
    if keep == "tower":
        same(tower, node)
        assert vouched_are_there(node.kernel) == vouched_are_there(tower.kernel)
    for one in (tower.kernel, node.kernel):
        one.restart()
        one.rebuild()


def test_a_block_whose_bytes_were_let_go_keeps_no_number_from_another(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    feed(node.kernel, steady(40, 10))
    seal(node, "inc-2")
    tower.kernel.decider.connection.command("DELETE FROM telemetry_block_body")
    ended(tower, node, "node")
    assert times(tower.kernel) == minutes([*range(10), *range(40, 50)])
    assert vouched_are_there(tower.kernel) > 0


def test_blocks_that_the_tower_lacks_as_well_are_not_asked_for_for_ever(
    put_back: tuple[Tower, Node],
) -> None:
    tower, node = put_back
    feed(node.kernel, steady(40, 10))
    tower.kernel.decider.connection.command("DELETE FROM telemetry_block_body")
    ended(tower, node, "tower")
    assert times(node.kernel) == minutes([*range(10), *range(40, 50)])
