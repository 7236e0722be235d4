"""A disk that was put back, and alarms: what the log that is kept does not tell of is raised, holes too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from coldgrid.network.zones import get_zone
from coldgrid.quality.zone_air import GRACE_LEAST_MIN, ZoneAir
from coldgrid.sync.abiding import abide
from coldgrid.telemetry.alarm_rules import STANDING, Alarm
from coldgrid.telemetry.alarms import alarms_of_sensor
from coldgrid.telemetry.rules import Rule
from tests.conftest import T0, Kernel
from tests.sync.disks import disk_put_back
from tests.sync.pair import Node, Tower, own_log
from tests.sync.test_choosing import ask_of, choose, told_to_choose
from tests.sync.test_refusals import bump
from tests.telemetry.cold_room import AIR, at, feed, micros, steady

WARM_C = -5.0


@pytest.fixture
def put_back(kernel: Kernel, tmp_path: Path) -> Iterator[tuple[Tower, Node]]:
    """A node sent ten readings and lost ten more: its disk was put back to the first ten."""

    def lived(tower: Tower, node: Node) -> None:
        bump(node)  # which the tower has, and the copy lacks
        node.talk()
        feed(node.kernel, steady(10, 10))

    with disk_put_back(kernel, tmp_path, lived) as found:
        yield found


def told(kernel: Kernel, rule: Rule) -> list[Alarm]:
    found = alarms_of_sensor(kernel.reader(), AIR, T0 - timedelta(days=1), T0 + timedelta(days=1))
    return [alarm for alarm in found if alarm.rule is rule]


def ended(tower: Tower, node: Node, keep: str) -> None:
    """A person chose a copy, the node carried it out, and both have talked."""
    node.talk()
    choose(tower, keep)
    told_to_choose(node)
    assert abide(node.desk, "ATL1", ask_of(tower)) == keep
    node.carrier.begin_anew()
    node.talk()
    assert node.up, node.carrier.state.why
    assert own_log(tower.kernel, "ATL1") == own_log(node.kernel, "ATL1")


@pytest.mark.parametrize("keep", ["tower", "node"])
@pytest.mark.parametrize("began", [40, 400])
def test_a_hole_that_a_disk_left_is_an_alarm_on_both_sides_and_unknown_air(
    put_back: tuple[Tower, Node], keep: str, began: int
) -> None:
    tower, node = put_back
    feed(node.kernel, steady(began, 10))
    ended(tower, node, keep)
    for kernel in (tower.kernel, node.kernel):
        [alarm] = told(kernel, Rule.GAP)
        assert (alarm.since_at, alarm.returned_at) == (at(9), at(began))
        air = ZoneAir(kernel.reader(), get_zone(kernel.reader(), "ATL1-FRZ1"), T0, at(began + 9)).air(
            "", GRACE_LEAST_MIN
        )
        pieces = np.searchsorted(air.at_us, [micros(5), micros(25), micros(began + 5)], side="right") - 1
        assert air.known[pieces].tolist() == [True, False, True]
        kernel.restart()
        kernel.rebuild()


@pytest.mark.parametrize("keep", ["tower", "node"])
def test_a_sensor_that_is_silent_since_stays_an_alarm_whichever_log_is_kept(
    put_back: tuple[Tower, Node], keep: str
) -> None:
    tower, node = put_back
    node.kernel.advance(60)
    ended(tower, node, keep)
    for kernel in (tower.kernel, node.kernel):
        [alarm] = told(kernel, Rule.GAP)
        assert alarm.state in STANDING
    feed(node.kernel, steady(120, 5))
    node.talk()
    [alarm] = told(tower.kernel, Rule.GAP)
    assert alarm.returned_at == at(120)


@pytest.mark.parametrize("over", [True, False])
def test_an_excursion_whose_alarm_was_set_aside_is_raised_again_once(
    put_back: tuple[Tower, Node], over: bool
) -> None:
    tower, node = put_back
    feed(node.kernel, steady(12, 40, WARM_C))
    if over:
        feed(node.kernel, steady(52, 30))
    [before] = told(node.kernel, Rule.BAND_HIGH)
    assert (before.returned_at is not None) == over
    ended(tower, node, "tower")
    for kernel in (tower.kernel, node.kernel):
        [after] = told(kernel, Rule.BAND_HIGH)
        assert (after.since_at, after.returned_at) == (before.since_at, before.returned_at)
        assert (after.state in STANDING) != over


def test_what_was_broken_off_raises_nothing_twice(put_back: tuple[Tower, Node]) -> None:
    tower, node = put_back
    feed(node.kernel, steady(12, 40, WARM_C))
    feed(node.kernel, steady(90, 10))
    node.talk()
    choose(tower, "tower")
    told_to_choose(node)

    def breaking(message):  # type: ignore[no-untyped-def]
        if getattr(message, "kind", "") == "copy.done":
            raise ConnectionError("the line broke")
        return ask_of(tower)(message)

    for _ in range(2):
        with pytest.raises(ConnectionError):
            abide(node.desk, "ATL1", breaking)
        node.kernel.restart()
        node.wake()
    assert abide(node.desk, "ATL1", ask_of(tower)) == "tower"
    node.carrier.begin_anew()
    node.talk()
    assert len(told(tower.kernel, Rule.GAP)) == len(told(tower.kernel, Rule.BAND_HIGH)) == 1
