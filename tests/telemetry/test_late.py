"""Late readings, one sensor a turn: in which order, that nobody waits for ever, that nothing is missing."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from coldgrid.telemetry import late
from coldgrid.telemetry.alarm_rules import AlarmRaised
from coldgrid.telemetry.rules import Rule
from tests.conftest import Kernel
from tests.telemetry.cold_room import AIR, AIR_2, at, cold_room, feed, sensor, steady

THIRD = "ATL1-FRZ1-T3"
ALL = (AIR, AIR_2, THIRD)
WARM_C = -12.0
# The gateway sent the newest readings first: the night between comes late.
NIGHT_FROM, NIGHT_MIN, NOW_MIN = 30, 70, 131


def rooms(kernel: Kernel, names: Iterable[str] = ALL) -> None:
    """Sensors that were cold before a night of which nothing came, and are cold after it."""
    cold_room(kernel, sensor(THIRD))
    for start in (0, NIGHT_FROM + NIGHT_MIN):
        feed(kernel, [one for name in names for one in steady(start, 30, name=name)])


def night(kernel: Kernel, name: str, at_minute: float = NOW_MIN) -> None:
    feed(kernel, steady(NIGHT_FROM, NIGHT_MIN, WARM_C, name), at_minute=at_minute)


def raised(kernel: Kernel) -> list[str]:
    """The sensors whose warm nights were told, in that order."""
    return [
        event.sensor_id
        for _, event in kernel.events()
        if isinstance(event, AlarmRaised) and event.rule is Rule.BAND_HIGH
    ]


def waits_s(kernel: Kernel, seconds: float) -> None:
    kernel.advance(seconds / 60)


def turn(kernel: Kernel) -> None:
    """Carry out the timers that are due now, once."""
    kernel.decider.fire_due()
    kernel.decider.settle()


def due(kernel: Kernel) -> None:
    """Let the wait pass, without a turn."""
    kernel.host.instant += late.WAIT


def test_one_sensor_is_evaluated_in_a_turn_who_waited_longest_first(kernel: Kernel) -> None:
    rooms(kernel)
    for number, name in enumerate((THIRD, AIR, AIR_2)):
        night(kernel, name, NOW_MIN + number / 60)
    due(kernel)
    for told in range(3):
        assert raised(kernel) == [THIRD, AIR, AIR_2][:told]
        turn(kernel)
    assert raised(kernel) == [THIRD, AIR, AIR_2]
    before = len(kernel.events())
    turn(kernel)
    assert len(kernel.events()) == before, "nobody waits any more"
    kernel.rebuild()


def test_a_live_alarm_is_raised_between_two_turns(kernel: Kernel) -> None:
    rooms(kernel)
    for name in (AIR, AIR_2):
        night(kernel, name)
    due(kernel)
    turn(kernel)
    minute = (kernel.host.instant - at(0)).total_seconds() / 60
    feed(kernel, [(THIRD, 132 + i, WARM_C) for i in range(12)], at_minute=minute + 12)
    assert raised(kernel) == [AIR, THIRD], "the live one did not wait for the others' nights"
    turn(kernel)
    assert raised(kernel) == [AIR, THIRD, AIR_2]


def test_after_a_restart_in_the_middle_who_is_left_has_its_turn(kernel: Kernel) -> None:
    rooms(kernel)
    for name in ALL:
        night(kernel, name)
    due(kernel)
    turn(kernel)
    kernel.restart()
    assert raised(kernel) == [AIR]
    waits_s(kernel, 1)
    assert sorted(raised(kernel)) == sorted(ALL)
    kernel.rebuild()


def test_what_comes_late_of_one_sensor_is_evaluated_in_one_go(kernel: Kernel) -> None:
    rooms(kernel)
    whole = steady(NIGHT_FROM, NIGHT_MIN, WARM_C)
    for number, start in enumerate(range(0, NIGHT_MIN, 10)):  # the newest part first
        part = whole[NIGHT_MIN - start - 10 : NIGHT_MIN - start]
        feed(kernel, part, at_minute=NOW_MIN + number / 60)
        turn(kernel)
    assert raised(kernel) == []
    waits_s(kernel, 10)
    assert raised(kernel) == [AIR], "one alarm of one night, not one of each part"


def test_readings_that_come_while_their_sensor_is_evaluated_are_not_forgotten(kernel: Kernel) -> None:
    rooms(kernel)
    feed(kernel, steady(NIGHT_FROM, 5), at_minute=NOW_MIN)  # cold: nothing to tell
    due(kernel)
    turn(kernel)
    assert raised(kernel) == []
    feed(kernel, steady(NIGHT_FROM + 5, NIGHT_MIN - 5, WARM_C), at_minute=NOW_MIN + 1)
    waits_s(kernel, 10)
    assert raised(kernel) == [AIR]


@pytest.mark.parametrize("every_s", [1, 4])
def test_a_sensor_whose_readings_come_late_without_end_keeps_no_other_waiting(
    kernel: Kernel, every_s: float
) -> None:
    """A gateway sends a long past in small pieces, each of them older than all that waits."""
    rooms(kernel)
    night(kernel, AIR_2)
    seconds = 0.0
    while not raised(kernel):
        seconds += every_s
        assert seconds < 10, "the other sensor's night is not told"
        feed(kernel, [(AIR, -seconds / 60, -21.5)], at_minute=NOW_MIN + seconds / 60)
        turn(kernel)
    assert raised(kernel) == [AIR_2]


def test_a_sensor_whose_readings_come_late_without_end_is_evaluated_all_the_same(kernel: Kernel) -> None:
    rooms(kernel)
    night(kernel, AIR)
    for seconds in range(4, 700, 4):
        feed(kernel, [(AIR, -seconds / 60, -21.5)], at_minute=NOW_MIN + seconds / 60)
        turn(kernel)
        if raised(kernel):
            break
    assert seconds == late.LONGEST.total_seconds()
