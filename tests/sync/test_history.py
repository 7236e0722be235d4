"""The tower's history of a site with a node: written when its blocks have come, proven by the node's log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from coldgrid.telemetry import history
from coldgrid.telemetry.history_files import path_of
from coldgrid.telemetry.history_proof import verify_file
from tests.conftest import Kernel, sqlite_kernel
from tests.sync.pair import Node, Tower
from tests.telemetry.cold_room import AIR, AIR_2, feed, steady
from tests.telemetry.test_history import Duty
from tests.telemetry.test_seal import MIDNIGHT_MIN, TODAY


@pytest.fixture
def pair(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Duty, Tower, Node]]:
    tower = Tower(kernel)
    tower.lets_go_of("ATL1")
    with sqlite_kernel() as own:
        node = Node(tower, own)
        node.talk()
        yield Duty(kernel, tmp_path / "history"), tower, node


def a_day_at(tower: Tower, node: Node) -> None:
    """Past midnight and the grace, so that the node seals the day; nothing is told yet."""
    feed(node.kernel, steady(0, 60) + steady(0, 60, name=AIR_2))
    feed(node.kernel, steady(MIDNIGHT_MIN + 10, 5))
    node.kernel.advance(5 * 60)
    tower.kernel.advance((node.kernel.host.instant - tower.kernel.host.instant) / timedelta(minutes=1))


def tell_facts_only(node: Node) -> None:
    """The line fails before the blocks go: what the node says next begins with another greeting."""
    queue = [*node.carrier.look(node.now_us)]
    while queue:
        request = queue.pop(0)
        if request.lane == "facts":
            answer = node.answer(request)
            assert isinstance(answer, bytes)
            queue += node.carrier.receive(request, answer, node.now_us)
    node.wake()


def test_a_day_waits_for_the_blocks_that_its_manifests_name(pair: tuple[Duty, Tower, Node]) -> None:
    duty, tower, node = pair
    a_day_at(tower, node)
    tell_facts_only(node)
    duty.look()
    assert history.waiting(tower.kernel.reader(), duty.name) == 2
    assert duty.ready() == []
    node.talk()
    [planned] = duty.round()
    assert (planned.site_id, planned.day, len(planned.blocks)) == ("ATL1", TODAY, 2)
    verdict = verify_file(tower.kernel.reader(), duty.store.path(path_of(planned, "readings")))
    assert (verdict.ok, verdict.proven, verdict.readings) == (True, 2, 120)
    assert verify_file(node.kernel.reader(), duty.store.path(path_of(planned, "readings"))).ok


def test_what_never_comes_keeps_waiting_and_no_empty_file_is_written(pair: tuple[Duty, Tower, Node]) -> None:
    duty, tower, node = pair
    a_day_at(tower, node)
    tell_facts_only(node)
    duty.look()
    tower.kernel.host.instant += history.WAIT_MAX
    assert duty.ready() == []
    plan = partial(history.plan, store=duty.name, site_id="ATL1", day=TODAY)
    assert duty.take(plan).blocks == []
    assert history.waiting(tower.kernel.reader(), duty.name) == 2
    assert history.unwritten(tower.kernel.reader(), duty.name) == []
    assert AIR in {block.sensor_id for _, _, block in history.look(tower.kernel.reader(), "elsewhere").blocks}
