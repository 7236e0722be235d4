"""Planned defrosts: what a plan may say, when it explains warm air, for how long, and what it never hides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.kernel.rejections import Invalid
from coldgrid.network.calendars import WEEKDAYS
from coldgrid.network.change_rules import DraftChange
from coldgrid.telemetry.alarm_rules import AlarmState, By
from coldgrid.telemetry.alarms import alarms_of_sensor
from coldgrid.telemetry.defrosts import DefrostPlan, plans_of_site, problems_of
from coldgrid.telemetry.rules import MINUTE_US, Rule
from coldgrid.telemetry.schedules import Schedule
from tests.conftest import Kernel
from tests.network.master import Raw, put_in_force
from tests.telemetry.cold_room import AIR, at, cold_room, feed, micros, sensor, steady

# T0 is 08:00 UTC, 03:00 in Atlanta: a plan of 04:00 begins at minute 60.
START = 60
WARM_C = -14.0


def plan(**fields: Any) -> Raw:
    told = {"zone_id": "ATL1-FRZ1", "site_id": "ATL1", "times": ["04:00", "16:00"], "lasts_min": 30}
    return {"kind": "defrost", **told, **fields}


def warm(start: int, minutes: int) -> list[tuple[str, float, float]]:
    return steady(start, minutes, WARM_C)


def states(kernel: Kernel, until: int = 300) -> dict[Rule, AlarmState]:
    """The state of each rule's newest alarm."""
    found = alarms_of_sensor(kernel.reader(), AIR, at(0), at(until))
    return {alarm.rule: alarm.state for alarm in sorted(found, key=lambda alarm: alarm.since_at)}


class TestPlan:
    @pytest.mark.parametrize(
        ("fields", "field", "told"),
        [
            ({"times": ["04:00", "05:30"]}, "times", "04:00 and 05:30 are less than 120 min apart"),
            ({"times": ["23:30", "00:30"]}, "times", "23:30 and 00:30 are less than 120 min apart"),
            ({"times": ["04:00", "04:00"]}, "times", "less than 120 min apart"),
            ({"times": []}, "times", "is empty"),
            ({"times": ["4 pm"]}, "times[0]", "regex"),
            ({"lasts_min": 90}, "lasts_min", "at most 45"),
            ({"days": []}, "days", "names no day"),
            ({"zone_id": "ATL1-FRZ9"}, "zone_id", "there is no zone"),
            ({"zone_id": "atl1 freezer 1"}, "zone_id", "naming standard"),
            ({"site_id": "CLT1"}, "zone_id", "not named after its site"),
        ],
    )
    def test_what_would_keep_alarms_quiet_for_long_or_means_nothing_is_refused(
        self, kernel: Kernel, fields: dict[str, Any], field: str, told: str
    ) -> None:
        cold_room(kernel)
        with pytest.raises(Invalid) as caught:
            kernel.do(DraftChange(change_id="c", items=[plan(**fields)], reason="try"))
        said = [p.message for p in caught.value.problems if p.field == f"items[0].{field}"]
        assert told in " ".join(said), caught.value.problems

    @given(st.lists(st.integers(0, 1_439), min_size=1, max_size=8), st.floats(1, 45))
    @settings(max_examples=100, deadline=None)
    def test_whatever_plan_is_allowed_half_of_every_day_at_least_is_not_explained(
        self, minutes: list[int], lasts_min: float
    ) -> None:
        times = [f"{minute // 60:02d}:{minute % 60:02d}" for minute in minutes]
        wanted = DefrostPlan(zone_id="ATL1-FRZ1", site_id="ATL1", times=times, lasts_min=lasts_min)
        if problems_of(wanted):
            return
        schedule = Schedule("America/New_York", times, wanted.days, round(lasts_min * MINUTE_US))
        day = np.array([micros(minute) for minute in range(1_440)], dtype=np.int64)
        inside = schedule.covers(day, 45 * MINUTE_US, 15 * MINUTE_US)
        assert inside is not None
        assert int(inside.sum()) <= 720


class TestTime:
    def test_it_is_local_time_also_on_the_nights_that_clocks_change(self) -> None:
        schedule = Schedule("America/New_York", ["02:30", "12:00"], list(WEEKDAYS), 30 * MINUTE_US)
        # 8 March 2026: 02:30 is skipped and means 03:00 EDT, 07:00 UTC; noon is 16:00 UTC from then on.
        minutes = {"07:00": 6 * 1_440 + 1_380, "16:00": 7 * 1_440 + 480}
        for told, minute in minutes.items():
            around = np.array([micros(minute - 1), micros(minute), micros(minute + 44), micros(minute + 45)])
            inside = schedule.covers(around, 45 * MINUTE_US, 15 * MINUTE_US)
            assert inside is not None, told
            assert inside.tolist() == [False, True, True, False], told

    def test_only_on_its_days(self) -> None:
        schedule = Schedule(
            "America/New_York", ["04:00"], list(WEEKDAYS)[:1], 30 * MINUTE_US
        )  # T0 is a Sunday
        assert schedule.covers(np.array([micros(START)]), 45 * MINUTE_US, 0) is None
        assert schedule.covers(np.array([micros(START + 1_440)]), 45 * MINUTE_US, 0) is not None


class TestSuppression:
    def test_warm_air_of_a_planned_defrost_is_suppressed_by_design_and_says_so(self, kernel: Kernel) -> None:
        cold_room(kernel)
        put_in_force(kernel, plan(), change_id="change-defrost")
        feed(kernel, [*steady(0, START), *warm(START, 25), *steady(START + 25, 60)])
        assert set(states(kernel).values()) <= {AlarmState.SUPPRESSED, AlarmState.NORMAL}
        told = [event for _, event in kernel.events() if type(event).__name__ == "AlarmSuppressed"]
        assert told
        assert {event.by for event in told} == {By.DEFROST}
        kernel.rebuild()

    def test_what_still_holds_when_its_time_is_over_is_raised(self, kernel: Kernel) -> None:
        cold_room(kernel)
        put_in_force(kernel, plan(), change_id="change-defrost")
        feed(kernel, [*steady(0, START), *warm(START, 45)])
        assert AlarmState.UNACKNOWLEDGED not in states(kernel).values()
        feed(kernel, warm(START + 45, 1))
        assert states(kernel)[Rule.BAND_HIGH] is AlarmState.UNACKNOWLEDGED

    def test_without_a_plan_or_outside_of_it_or_when_it_is_over_nothing_is_explained(
        self, kernel: Kernel
    ) -> None:
        cold_room(kernel)
        put_in_force(kernel, plan(times=["09:00"]), change_id="change-defrost")
        feed(kernel, [*steady(0, START), *warm(START, 20)])
        assert states(kernel)[Rule.BAND_HIGH] is AlarmState.UNACKNOWLEDGED
        put_in_force(kernel, plan(active=False), change_id="change-over")
        (kept,) = plans_of_site(kernel.reader(), "ATL1")
        assert not kept.active

    def test_a_sensors_own_bound_is_the_longer_explanations_end(self, kernel: Kernel) -> None:
        cold_room(kernel)
        short = sensor(AIR, rules={"defrost_max_min": 5, "recovery_min": 5})
        put_in_force(kernel, plan(), short, change_id="change-defrost")
        feed(kernel, [*steady(0, START), *warm(START, 25)])
        assert states(kernel)[Rule.BAND_HIGH] is AlarmState.UNACKNOWLEDGED

    @pytest.mark.parametrize("cut", [1, 7, 30, 200])
    def test_however_the_stream_is_cut_and_whenever_the_host_restarts_it_says_the_same(
        self, kernel: Kernel, cut: int
    ) -> None:
        cold_room(kernel)
        put_in_force(kernel, plan(), change_id="change-defrost")
        stream = [*steady(0, START), *warm(START, 70), *steady(START + 70, 40)]
        for index in range(0, len(stream), cut):
            feed(kernel, stream[index : index + cut])
            if cut == 30:
                kernel.restart()
        told = {rule: state.value for rule, state in states(kernel).items()}
        assert told[Rule.BAND_HIGH] == "returned"
        assert told.get(Rule.APPROACHING, "returned") == "returned"

    def test_late_readings_are_judged_by_the_plan_too(self, kernel: Kernel) -> None:
        cold_room(kernel)
        put_in_force(kernel, plan(), change_id="change-defrost")
        feed(kernel, [*steady(0, START), *steady(START + 60, 20)])
        feed(kernel, warm(START + 1, 59), at_minute=START + 90)
        kernel.advance(5)
        found = alarms_of_sensor(kernel.reader(), AIR, at(0), at(300))
        high = [alarm for alarm in found if alarm.rule is Rule.BAND_HIGH]
        assert [alarm.backfilled for alarm in high] == [True]
        assert high[0].raised_at == at(START + 45), "raised when the plan's time was over, not before"
