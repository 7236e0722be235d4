"""Ingest: what becomes of each kind of reading, on a real decider and both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import msgspec
import numpy as np
import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.network.sites import SiteNotFound
from coldgrid.telemetry import alarms, health, store
from coldgrid.telemetry.alarm_rules import AlarmRaised, AlarmReturned, SensorRestored, SensorSilent
from coldgrid.telemetry.rules import Rule, Stage
from coldgrid.telemetry.screening import Fate
from tests.conftest import Kernel
from tests.network.master import put_in_force, site, zone
from tests.telemetry.cold_room import (
    AIR,
    AIR_2,
    COLD_C,
    at,
    cold_room,
    feed,
    micros,
    readings,
    sensor,
    steady,
)

E = TypeVar("E")


def events_of(kernel: Kernel, type_: type[E]) -> list[E]:
    return [event for _, event in kernel.events() if isinstance(event, type_)]


def test_readings_can_be_read_back(kernel: Kernel) -> None:
    cold_room(kernel)
    answer = feed(kernel, [*steady(0, 10), *steady(0, 10, -20.0, AIR_2)])
    assert (answer.received, answer.stored) == (20, 20)
    times, values = store.series(kernel.reader(), AIR, at(0), at(9))
    assert len(times) == 9
    assert values[:2] == pytest.approx([-21.5, -21.49])
    assert times[0] == np.datetime64(micros(0), "us")


def test_the_last_reading_is_the_newest(kernel: Kernel) -> None:
    cold_room(kernel)
    assert store.last_reading(kernel.reader(), AIR) is None
    feed(kernel, steady(0, 10))
    feed(kernel, [(AIR, 5.5, -21.0)], at_minute=10)
    last = store.last_reading(kernel.reader(), AIR)
    assert last is not None
    assert (last.at, last.value_c) == (at(9), -21.49)
    assert set(store.last_readings(kernel.reader(), "ATL1")) == {AIR}


def test_fahrenheit_is_stored_in_celsius(kernel: Kernel) -> None:
    cold_room(kernel, sensor("ATL1-CHL1-T1", unit="F"))
    feed(kernel, [("ATL1-CHL1-T1", 0, 39.2)])
    last = store.last_reading(kernel.reader(), "ATL1-CHL1-T1")
    assert last is not None
    assert last.value_c == 4.0


def test_a_reading_may_name_its_own_unit(kernel: Kernel) -> None:
    cold_room(kernel)
    command = msgspec.structs.replace(readings([(AIR, 0, -6.7)]), unit=bytes([2]))
    kernel.do(command, at=0)
    assert store.last_reading(kernel.reader(), AIR).value_c == -21.5  # type: ignore[union-attr]


def test_a_unit_that_does_not_fit_refuses_a_strict_flush_and_is_quarantined_in_another(
    kernel: Kernel,
) -> None:
    cold_room(kernel)
    command = msgspec.structs.replace(readings([(AIR, 0, 50.0), (AIR, 1, COLD_C)]), unit=bytes([3, 1]))
    with pytest.raises(Invalid) as caught:
        kernel.do(msgspec.structs.replace(command, strict=True), at=1)
    assert caught.value.problems[0].field == "readings[0].unit"
    assert store.last_reading(kernel.reader(), AIR) is None
    answer = kernel.do(command, at=1)
    assert (answer.stored, answer.refused) == (1, {Fate.WRONG_UNIT: 1})


def test_an_unknown_sensor_is_quarantined_and_counted(kernel: Kernel) -> None:
    cold_room(kernel)
    answer = feed(kernel, [("ATL1-FRZ1-T9", 0, -20.0), (AIR, 0, COLD_C)])
    assert (answer.stored, answer.refused) == (1, {Fate.UNKNOWN: 1})
    assert answer.told[0].sensor_id == "ATL1-FRZ1-T9"
    [caught] = health.quarantined(kernel.reader(), "ATL1")
    assert (caught.sensor_id, caught.reason) == ("ATL1-FRZ1-T9", "unknown")
    assert health.health_of_site(kernel.reader(), "ATL1") == {"ATL1-FRZ1-T9": {"unknown": 1}}


def test_the_quarantine_and_the_unknown_names_are_bounded(kernel: Kernel) -> None:
    cold_room(kernel)
    for part in range(3):
        kernel.do(readings([(f"strange-{part}-{i}", 0, 1.0) for i in range(500)]), at=0)
    assert len(health.quarantined(kernel.reader(), "ATL1", 10_000)) == health.QUARANTINE_MAX
    counted = health.health_of_site(kernel.reader(), "ATL1")
    assert len(counted) == health.UNKNOWN_MAX + 1
    assert sum(fates["unknown"] for fates in counted.values()) == 1500


def test_a_sensor_of_another_site_is_unknown_here(kernel: Kernel) -> None:
    cold_room(kernel)
    put_in_force(kernel, site("CLT1"), zone("CLT1-FRZ1"), change_id="change-clt")
    answer = kernel.do(readings([(AIR, 0, -20.0)], site_id="CLT1"), at=0)
    assert answer.refused == {Fate.UNKNOWN: 1}


def test_there_must_be_a_site(kernel: Kernel) -> None:
    with pytest.raises(SiteNotFound):
        kernel.do(readings([(AIR, 0, -20.0)], site_id="XXX1"), at=0)


def test_the_future_is_refused_but_for_a_slightly_fast_clock(kernel: Kernel) -> None:
    cold_room(kernel)
    answer = feed(kernel, [(AIR, 4, COLD_C), (AIR, 6, COLD_C)], at_minute=0)
    assert (answer.stored, answer.refused) == (1, {Fate.FUTURE: 1})
    assert "clock" in answer.told[0].fix


def test_a_device_that_does_not_know_the_time_is_refused(kernel: Kernel) -> None:
    cold_room(kernel)
    command = msgspec.structs.replace(readings([(AIR, 0, COLD_C)]), at_us=(12).to_bytes(8, "little"))
    assert kernel.do(command, at=0).refused == {Fate.CLOCK_UNSET: 1}


def test_what_no_probe_measures_is_stored_but_is_no_good_data(kernel: Kernel) -> None:
    cold_room(kernel)
    answer = feed(kernel, [(AIR, 0, COLD_C), (AIR, 1, 85.0)])
    assert (answer.stored, answer.out_of_range) == (2, 1)
    assert len(store.series(kernel.reader(), AIR, at(0), at(9))[0]) == 1
    last = store.last_reading(kernel.reader(), AIR)
    assert last is not None
    assert (last.value_c, last.good) == (85.0, False)
    [rollup] = store.rollups(kernel.reader(), [AIR], at(0), at(9))
    assert (rollup.readings, rollup.good, rollup.high_c) == (2, 1, -21.5)


def test_a_repeated_flush_changes_nothing_but_counts(kernel: Kernel) -> None:
    cold_room(kernel)
    feed(kernel, steady(0, 5))
    answer = feed(kernel, steady(0, 5))
    assert (answer.stored, answer.duplicate) == (0, 5)
    answer = feed(kernel, [(AIR, 3, -11.0), (AIR, 3, -11.0)], at_minute=5)
    assert (answer.stored, answer.conflicting) == (0, 2)
    times, values = store.series(kernel.reader(), AIR, at(0), at(9))
    assert len(times) == 5
    assert values.max() < -21
    assert health.health_of_site(kernel.reader(), "ATL1")[AIR] == {"duplicate": 5, "conflicting": 2}


def test_readings_twice_in_one_flush_are_told_apart(kernel: Kernel) -> None:
    cold_room(kernel)
    answer = feed(
        kernel, [(AIR, 0, -20.0), (AIR, 1, -20.0), (AIR, 1, -20.0), (AIR, 0, -19.0), (AIR, 0.5, -20.5)]
    )
    assert (answer.stored, answer.late, answer.duplicate, answer.conflicting) == (3, 1, 1, 1)


def test_late_readings_find_their_place(kernel: Kernel) -> None:
    cold_room(kernel)
    feed(kernel, [*steady(0, 3), *steady(6, 3)])
    answer = feed(kernel, steady(3, 3), at_minute=9)
    assert answer.late == 3
    times, _ = store.series(kernel.reader(), AIR, at(0), at(9))
    assert (np.diff(times) == np.timedelta64(60, "s")).all()
    assert len(times) == 9


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": b"123"}, "value"),
        ({"at_us": bytes(16)}, "sensor_no"),
        ({"sensor_no": (7).to_bytes(4, "little")}, "sensor"),
        ({"value": np.array([np.nan]).tobytes()}, "value[0]"),
        ({"value": np.array([np.inf]).tobytes()}, "value[0]"),
        ({"value": np.array([1e300]).tobytes()}, "value[0]"),
        ({"unit": b"\x63"}, "unit"),
    ],
)
def test_columns_that_do_not_fit_are_refused(kernel: Kernel, change: dict[str, bytes], field: str) -> None:
    cold_room(kernel)
    with pytest.raises(Invalid) as caught:
        kernel.do(msgspec.structs.replace(readings([(AIR, 0, -20.0)]), **change), at=0)
    assert field in {problem.field for problem in caught.value.problems}
    assert store.last_reading(kernel.reader(), AIR) is None


class TestAlarms:
    def test_an_excursion_is_an_event_at_its_own_time(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 10))
        feed(kernel, steady(10, 15, -12.0))
        raised = [event for event in events_of(kernel, AlarmRaised) if event.stage is Stage.EXCURSION]
        assert [(event.rule, event.at, event.last_good_at) for event in raised] == [
            (Rule.BAND_HIGH, at(20), at(9))
        ]
        assert raised[0].why.startswith("-12.0 °C, above -18.0 °C for 10 min")
        kernel.rebuild()

    def test_it_returns(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, [*steady(0, 10), *steady(10, 15, -12.0)])
        feed(kernel, steady(25, 5))
        returned = [event for event in events_of(kernel, AlarmReturned) if event.rule is Rule.BAND_HIGH]
        assert [event.at for event in returned] == [at(25)]
        states = {
            alarm.rule: alarm.state for alarm in alarms.open_alarms_of_zone(kernel.reader(), "ATL1-FRZ1")
        }
        assert states[Rule.BAND_HIGH] == "returned"
        kernel.rebuild()

    def test_the_rules_go_on_after_a_restart(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 10))
        feed(kernel, steady(10, 6, -12.0))
        kernel.restart()
        feed(kernel, steady(16, 6, -12.0))
        raised = [event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.BAND_HIGH]
        assert [(event.at, event.last_good_at) for event in raised] == [(at(20), at(9))]

    def test_new_limits_hold_from_the_next_flush_on_and_the_past_stays(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 30, -19.0))
        put_in_force(kernel, sensor(rules={"high_c": -20.0}), change_id="change-limit")
        kernel.restart()
        assert not [event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.BAND_HIGH]
        feed(kernel, steady(30, 15, -19.0))
        raised = [event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.BAND_HIGH]
        assert [event.since_at for event in raised] == [at(30)]

    def test_a_backfilled_alarm_still_fires(self, kernel: Kernel) -> None:
        """The gateway sent the newest readings first: the night came in late."""
        cold_room(kernel)
        feed(kernel, steady(0, 30))
        feed(kernel, steady(100, 30))
        feed(kernel, steady(30, 70, -12.0), at_minute=131)
        kernel.advance(1)
        raised = [event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.BAND_HIGH]
        assert [(event.at, event.last_good_at, event.backfilled) for event in raised] == [
            (at(40), at(29), True)
        ]
        returned = [event for event in events_of(kernel, AlarmReturned) if event.rule is Rule.BAND_HIGH]
        assert [event.at for event in returned] == [at(100)]
        kernel.rebuild()

    def test_late_readings_raise_nothing_that_stood_anyway(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, [*steady(0, 30), *steady(30, 30, -12.0)])
        feed(kernel, [(AIR, 45.5, -12.0)], at_minute=61)
        kernel.advance(1)
        assert len([event for event in events_of(kernel, AlarmRaised) if event.rule is Rule.BAND_HIGH]) == 1

    def test_silence_is_told_by_the_clock(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 5))
        kernel.advance(4)
        assert events_of(kernel, SensorSilent) == []
        kernel.advance(2)
        [silent] = events_of(kernel, SensorSilent)
        assert (silent.sensor_id, silent.last_at) == (AIR, at(4))
        assert silent.grace_until == at(4) + timedelta(minutes=48)  # a fifth of the zone's lag of 240 min
        [alarm] = alarms.open_alarms_of_site(kernel.reader(), "ATL1")
        assert (alarm.rule, alarm.stage) == (Rule.GAP, Stage.FAULT)
        kernel.advance(60)
        assert len(events_of(kernel, SensorSilent)) == 1

    def test_after_an_outage_of_ours_a_sensor_has_its_time_to_be_heard_again(self, kernel: Kernel) -> None:
        """The process was down for half an hour: what it could not hear was not silent."""
        cold_room(kernel)
        feed(kernel, [*steady(0, 5), *steady(0, 5, name=AIR_2)])
        kernel.host.instant = at(35)
        kernel.restart()
        kernel.advance(3)
        assert events_of(kernel, SensorSilent) == []
        feed(kernel, steady(5, 34))  # what waited at the gateway
        kernel.advance(3)
        assert [event.sensor_id for event in events_of(kernel, SensorSilent)] == [AIR_2]
        assert events_of(kernel, SensorSilent)[0].last_at == at(4)

    @pytest.mark.parametrize("others", [True, False])
    @pytest.mark.parametrize("lives_min", [0.5, 2.0, 4.0])
    def test_restarts_do_not_put_off_for_ever_that_a_sensor_is_silent(
        self, kernel: Kernel, lives_min: float, others: bool
    ) -> None:
        """The host never runs for the whole gap, whether it hears other sensors meanwhile or none."""
        cold_room(kernel)
        feed(kernel, [*steady(0, 5), *steady(0, 5, name=AIR_2)])
        minute = 4.0
        while minute < 60:
            kernel.restart()
            if others:
                feed(kernel, [(AIR, minute + 0.1, COLD_C)])
            kernel.advance(lives_min - (0.1 if others else 0.0))
            minute += lives_min
            if (AIR_2, at(4)) in [(one.sensor_id, one.last_at) for one in events_of(kernel, SensorSilent)]:
                break
        assert minute <= 4 + 5 + 5 + 2, "a gap, another one after the outage, and what a life leaves over"
        kernel.advance(30)
        assert len([one for one in events_of(kernel, SensorSilent) if one.sensor_id == AIR_2]) == 1

    def test_only_the_time_in_which_the_host_ran_counts_after_its_outages(self, kernel: Kernel) -> None:
        """It came up for a minute between two long outages: the sensor keeps nearly all of its gap."""
        cold_room(kernel)
        feed(kernel, [*steady(0, 5), *steady(0, 5, name=AIR_2)])
        kernel.host.instant = at(35)
        kernel.restart()
        kernel.advance(1)
        kernel.host.instant = at(95)
        kernel.restart()
        kernel.advance(3)
        assert events_of(kernel, SensorSilent) == []
        feed(kernel, steady(5, 94), at_minute=98)
        kernel.advance(1.5)
        assert [event.sensor_id for event in events_of(kernel, SensorSilent)] == [AIR_2]
        kernel.restart()
        feed(kernel, steady(99, 1, name=AIR_2), at_minute=100)
        kernel.host.instant = at(200)
        kernel.restart()
        kernel.advance(4.5)
        assert len(events_of(kernel, SensorSilent)) == 1, "heard since: the next outage gives the whole gap"

    @pytest.mark.parametrize("restarted", [False, True])
    def test_a_silent_sensor_is_restored_by_its_next_reading(self, kernel: Kernel, restarted: bool) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 5))
        kernel.advance(30)
        if restarted:
            kernel.restart()
        feed(kernel, steady(40, 5))
        assert [event.at for event in events_of(kernel, SensorRestored)] == [at(40)]
        assert len(events_of(kernel, AlarmRaised)) == 1
        assert len(events_of(kernel, AlarmReturned)) == 1
        kernel.advance(30)
        assert len(events_of(kernel, SensorSilent)) == 2
        kernel.rebuild()
