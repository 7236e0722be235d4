"""From what a driver hands over to facts: what is stored, listed or refused, and how it is answered."""

from __future__ import annotations

import math
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from coldgrid.adapters.driving import Haul, Heard, Note, Unreadable
from coldgrid.kernel.rejections import OriginElsewhere, Rejected, Unavailable
from coldgrid.node import hauls, heard_notes
from coldgrid.node.hauls import Bucket, Intake, problem_of
from coldgrid.node.heard_notes import Heeded
from coldgrid.telemetry import health
from coldgrid.telemetry.heard import Device, points_of_site
from coldgrid.telemetry.ingest import IngestReadings
from coldgrid.telemetry.reading_times import times_of
from coldgrid.telemetry.sources import sensors_by_source
from tests.conftest import T0, Kernel
from tests.network.master import put_in_force, small_network
from tests.telemetry.cold_room import AIR, at, micros, sensor
from tests.telemetry.test_gateways import gateway

GW = "ATL1-GW1"


class NotNow(Unavailable):
    """The store is away."""


class Bench:
    """An intake over a real decider; a test sets the clock, and what the store answers with."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.now_s = 0.0
        self.fails: Rejected | None = None
        self.shift_us = 0
        self.answers: list[bool] = []
        self.heeded = Heeded("ATL1", [], lambda: kernel.host.instant, lambda: self.now_s)
        sensors = sensors_by_source(kernel.reader(), "ATL1")
        self.intake = Intake(
            (GW, "ATL1"), lambda: sensors, self.heeded, self.submit, lambda: self.now_s, lambda: self.shift_us
        )
        self.before = {name: self.total(name) for name in OUTCOMES}

    def submit(self, command: IngestReadings) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            if self.fails is not None:
                raise self.fails
            done.set_result(self.kernel.do(command))
        except Rejected as rejected:
            done.set_exception(rejected)
        return done

    def deliver(self, *readings: Heard, **more: Any) -> bool:
        self.intake.deliver(Haul(list(readings), **more), self.answers.append)
        return self.answers[-1]

    @staticmethod
    def total(outcome: str) -> float:
        told = {"gateway": GW, "outcome": outcome}
        return REGISTRY.get_sample_value("coldgrid_device_readings_total", told) or 0.0

    def counted(self) -> dict[str, float]:
        found = {name: self.total(name) - before for name, before in self.before.items()}
        return {name: number for name, number in found.items() if number}

    def quarantined(self) -> list[str]:
        return [one.what for one in health.quarantined(self.kernel.reader(), "ATL1")]


OUTCOMES = (
    *("stored", "unregistered", "unreadable", "too_fast", "too_many_points"),
    *("refused", "elsewhere", "not_stored"),
)


@pytest.fixture
def bench(kernel: Kernel) -> Bench:
    small_network(kernel)
    put_in_force(kernel, gateway(), sensor(source=f"{GW}/R1/air"), change_id="change-gw")
    kernel.host.instant = at(60)
    return Bench(kernel)


def heard(minute: float = 0, value: Any = -21.5, point: Any = "R1/air", **fields: Any) -> Heard:
    told = {"unit": "C", "device_at_us": None, "heard_at_us": micros(minute), **fields}
    return Heard(point, value, **told)


def test_a_registered_point_is_its_sensor_and_answered_after_the_commit(bench: Bench) -> None:
    assert bench.deliver(heard(0), heard(1, 68.0, unit="F", device_at_us=micros(1) - 300_000))
    found = times_of(bench.kernel.reader(), AIR, at(-1), at(60))
    assert [(one.value, one.at_us) for one in found] == [(-21.5, micros(0)), (20.0, micros(1) - 300_000)]
    assert [one.heard_us for one in found] == [micros(0), micros(1)]
    assert bench.counted() == {"stored": 2}


def test_an_unregistered_point_goes_to_the_heard_list(bench: Bench) -> None:
    assert bench.deliver(heard(0, point="R1/new"), heard(1, point="R1/new", value=-20.0))
    assert bench.counted() == {"unregistered": 2}
    due = bench.heeded.due()
    assert due is not None
    bench.kernel.do(due)
    [point] = points_of_site(bench.kernel.reader(), "ATL1")
    assert (point.point, point.readings, point.value) == ("R1/new", 2, -20.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": 1e9},
        {"value": "warm"},
        {"value": None},
        {"point": ""},
        {"point": "x" * 200},
        {"point": "a\nb"},
        {"point": 7},
        {"unit": "furlong"},
        {"unit": []},
        {"heard_at_us": 2**70},
        {"heard_at_us": 1.5},
        {"device_at_us": -(2**62)},
        {"device_at_us": "now"},
    ],
    ids=str,
)
def test_what_cannot_be_a_reading_is_refused_and_told(bench: Bench, wrong: dict[str, Any]) -> None:
    assert bench.deliver(heard(**{"minute": 0, **wrong}), heard(1))
    assert bench.counted() == {"unreadable": 1, "stored": 1}
    assert len(bench.quarantined()) == 1


def test_a_haul_that_is_none_ends_nothing(bench: Bench) -> None:
    bench.intake.deliver(None, bench.answers.append)  # type: ignore[arg-type]
    bench.intake.deliver(Haul([None, 3]), bench.answers.append)  # type: ignore[list-item]
    assert bench.answers == [True, True]
    assert bench.deliver(heard(1))
    assert bench.counted()["stored"] == 1


def test_what_a_driver_could_not_read_is_in_the_quarantine(bench: Bench) -> None:
    assert bench.deliver(unreadable=[Unreadable("R1", "\\xff", "is no JSON")])
    assert bench.counted() == {"unreadable": 1}
    assert bench.quarantined() == ["is no JSON: \\xff"]


def test_a_flood_of_garbage_fills_no_quarantine_at_once(bench: Bench) -> None:
    bench.deliver(unreadable=[Unreadable("R1", f"x{n}", "is no JSON") for n in range(5_000)])
    assert bench.counted() == {"unreadable": 5_000}
    assert len(health.quarantined(bench.kernel.reader(), "ATL1", 1_000)) == hauls.POISON_BURST


def test_what_is_told_again_and_again_is_kept_once_an_hour_and_counted_each_time(bench: Bench) -> None:
    dead = Unreadable("RACK1/air", "32767", "the device says that it is not available")
    for poll in range(60):
        bench.now_s = 10.0 * poll
        assert bench.deliver(heard(poll / 6), unreadable=[dead])
    assert bench.deliver(unreadable=[Unreadable("RACK1/air", "701", "70.1 lies outside what the map allows")])
    assert len(bench.quarantined()) == 2
    assert bench.counted() == {"stored": 60, "unreadable": 61}
    bench.now_s = hauls.POISON_AGAIN_S
    assert bench.deliver(unreadable=[dead])
    assert len(bench.quarantined()) == 3


def test_what_could_not_be_read_and_not_be_stored_either_is_kept_when_it_comes_again(bench: Bench) -> None:
    bench.fails = NotNow()
    assert not bench.deliver(heard(0), unreadable=[Unreadable("RACK1/air", "NaN", "is no number")])
    bench.fails = None
    assert bench.deliver(heard(0), unreadable=[Unreadable("RACK1/air", "NaN", "is no number")])
    assert len(bench.quarantined()) == 1


def test_an_absurd_rate_is_refused_and_a_days_backlog_is_not(bench: Bench) -> None:
    backlog = [heard(-i / 60, -21.5 + i / 1e4) for i in range(20_000)]
    bench.deliver(*backlog)
    assert bench.counted() == {"stored": 20_000}
    bench.deliver(heard(10), heard(11))
    assert bench.counted()["too_fast"] == 2
    bench.now_s = 1.0
    bench.deliver(heard(10), heard(11))
    assert bench.counted()["stored"] == 20_002


def test_who_makes_up_names_is_not_heard_and_the_registered_still_are(bench: Bench) -> None:
    for start in range(0, 6_000, 1_000):
        bench.deliver(*(heard(0, point=f"made-up-{start + i}") for i in range(1_000)))
    told = bench.counted()
    assert (told["unregistered"], told["too_many_points"]) == (hauls.POINTS_MAX, 1_000)
    assert bench.deliver(heard(1))
    assert bench.counted()["stored"] == 1
    due = bench.heeded.due()
    assert due is not None
    assert len(due.points) == heard_notes.POINTS_MAX


@pytest.mark.parametrize(
    ("fails", "answer", "outcome"),
    [
        (NotNow(), False, "not_stored"),
        (OriginElsewhere(origin="ATL1"), True, "elsewhere"),
    ],
)
def test_only_what_may_succeed_later_is_asked_for_again(
    bench: Bench, fails: Rejected, answer: bool, outcome: str
) -> None:
    bench.fails = fails
    assert bench.deliver(heard(0)) is answer
    bench.fails = None
    assert bench.deliver(heard(0))
    assert bench.counted() == {outcome: 1, "stored": 1}


def test_in_the_demo_times_are_moved_to_the_business_clock(bench: Bench) -> None:
    bench.shift_us = -3_600_000_000
    bench.deliver(heard(60, device_at_us=micros(60) - 500_000))
    [one] = times_of(bench.kernel.reader(), AIR, at(-60), at(60))
    assert (one.at_us, one.heard_us) == (micros(0) - 500_000, micros(0))


@given(st.floats(), st.text(max_size=300), st.integers(), st.integers() | st.none(), st.text(max_size=10))
def test_any_reading_is_judged(
    value: float, point: str, heard_at: int, device_at: int | None, unit: str
) -> None:
    why = problem_of(Heard(point, value, unit, device_at, heard_at))
    assert why or (math.isfinite(value) and point.isprintable())


def test_a_bucket_holds_its_burst_and_fills_by_its_rate() -> None:
    bucket = Bucket(2.0, 5.0)
    assert [bucket.take(0.0) for _ in range(6)] == [True] * 5 + [False]
    assert [bucket.take(1.0) for _ in range(3)] == [True, True, False]
    assert sum(bucket.take(1_000.0) for _ in range(10)) == 5


class TestNotes:
    @pytest.fixture
    def clock(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def heeded(self, clock: list[float]) -> Heeded:
        return Heeded("ATL1", [], lambda: T0 + timedelta(seconds=clock[0]), lambda: clock[0])

    def take(self, heeded: Heeded) -> list[str]:
        due = heeded.due()
        if due is None:
            return []
        heeded.noted(due)
        return [one.point for one in due.points] + [f"device {one.device}" for one in due.devices]

    def test_a_point_is_noted_at_once_soon_again_and_then_hourly(
        self, heeded: Heeded, clock: list[float]
    ) -> None:
        noted = []
        for minute in range(130):
            clock[0] = minute * 60.0
            heeded.hear(GW, heard(minute, point="p"))
            if self.take(heeded):
                noted.append(minute)
        assert noted == [0, 5, 65, 125]

    def test_what_was_not_committed_is_due_again(self, heeded: Heeded, clock: list[float]) -> None:
        heeded.hear(GW, heard(0, point="p"))
        assert heeded.due() == heeded.due() is not None
        self.take(heeded)
        assert heeded.due() is None

    def test_a_device_that_flaps_is_told_once_a_minute(self, heeded: Heeded, clock: list[float]) -> None:
        told = 0
        for second in range(600):
            clock[0] = float(second)
            heeded.note(GW, Note("R1", None, None, second % 2 == 0, 0))
            told += len(self.take(heeded))
        assert told == 10

    @pytest.mark.parametrize(
        ("note", "kept"),
        [
            (Note("R1", 255.0, math.nan, None, 0), (None, None)),
            (Note("R1", 50, -88, True, 0), (50.0, -88.0)),
            (Note("R1", True, "x", None, 0), (None, None)),  # type: ignore[arg-type]
        ],
        ids=str,
    )
    def test_what_no_battery_or_radio_can_say_is_left_out(
        self, heeded: Heeded, note: Note, kept: tuple[float | None, float | None]
    ) -> None:
        heeded.note(GW, note)
        [device] = heeded.devices().values()
        assert (device.battery_pct, device.signal_dbm) == kept

    def test_what_the_log_knows_is_not_told_again(self, clock: list[float]) -> None:
        known = Device(gateway_id=GW, device="R1", battery_pct=50.0, online=True, told_at=T0, online_at=T0)
        heeded = Heeded("ATL1", [known], lambda: T0 + timedelta(minutes=1), lambda: clock[0])
        heeded.note(GW, Note("R1", 50.0, None, True, 0))
        assert heeded.due() is None
        heeded.note(GW, Note("R1", None, None, False, 0))
        due = heeded.due()
        assert due is not None
        assert (due.devices[0].battery_pct, due.devices[0].online) == (50.0, False)

    def test_memory_is_bounded_and_what_was_long_silent_makes_room(
        self, heeded: Heeded, clock: list[float]
    ) -> None:
        for i in range(heard_notes.POINTS_MAX + 10):
            heeded.hear(GW, heard(0, point=f"p{i}"))
            heeded.note(GW, Note(f"d{i}", 50.0, None, None, 0))
        assert len(heeded.points()) == heard_notes.POINTS_MAX
        assert len(heeded.devices()) == heard_notes.DEVICES_MAX
        clock[0] = 4_000.0
        heeded.hear(GW, heard(0, point="late"))
        assert f"{GW}/late" in heeded.points()
        assert len(heeded.points()) == heard_notes.POINTS_MAX
