"""Device clocks: when a reading was taken, and what stays known of its times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.evidence.parts import PackFile, is_path
from coldgrid.kernel.rejections import Invalid
from coldgrid.telemetry import device_clocks, health, history, pack, store
from coldgrid.telemetry.device_clocks import (
    CORRECTED_MAX_US,
    NOWHEN_US,
    STEPS_MAX,
    TOLERANCE_US,
    ClockState,
    DeviceClockJudged,
    Placed,
    Standing,
    Trial,
)
from coldgrid.telemetry.ingest import Ingested, IngestReadings
from coldgrid.telemetry.landing import load_flushes
from coldgrid.telemetry.parcel_form import pack_parcel, unpack_parcel
from coldgrid.telemetry.parcels import as_flush
from coldgrid.telemetry.reading_times import ReadingTime, is_beside, times_of
from coldgrid.telemetry.seal import SealBlocks
from tests.conftest import Kernel
from tests.telemetry.cold_room import AIR, AIR_2, DOOR, at, cold_room, feed, micros, steady
from tests.telemetry.test_ingest import events_of

S, MIN, H = 1_000_000, 60_000_000, 3_600_000_000
NOW = 1_772_352_000 * S
GATEWAY, DEVICE, KEPT = device_clocks.GATEWAY_TIME, device_clocks.DEVICE_TIME, device_clocks.KEPT_TIME


class Clock:
    """A device's clock as it is heard, reading after reading."""

    def __init__(self) -> None:
        self.state = ClockState()
        self.trial: Trial | None = None
        self.steps: list[ClockState] = []

    def hear(self, heard_us: int, device_us: int, *, kept: bool = False) -> Placed:
        placed = device_clocks.place(self.state, self.trial, device_us, heard_us, kept=kept)
        if placed.state != self.state:
            self.steps.append(placed.state)
        self.state, self.trial = placed.state, placed.trial
        return placed


class TestTheRule:
    @pytest.mark.parametrize("skew_us", [-TOLERANCE_US, -S, 0, S, TOLERANCE_US])
    def test_a_clock_within_the_tolerance_is_believed(self, skew_us: int) -> None:
        clock = Clock()
        placed = clock.hear(NOW, NOW - skew_us)
        assert (placed.at_us, placed.offset_us, clock.steps) == (NOW - skew_us, 0, [])

    @pytest.mark.parametrize("ahead_us", [TOLERANCE_US + 1_000, 10 * MIN, CORRECTED_MAX_US])
    def test_a_clock_ahead_is_corrected_at_once(self, ahead_us: int) -> None:
        clock = Clock()
        placed = clock.hear(NOW, NOW + ahead_us)
        assert (placed.at_us, placed.offset_us) == (NOW, -ahead_us)
        assert clock.state.standing is Standing.CORRECTED
        assert clock.hear(NOW + MIN, NOW + MIN + ahead_us).at_us == NOW + MIN

    def test_a_clock_behind_is_believed_until_it_has_settled(self) -> None:
        clock, behind = Clock(), 10 * MIN
        found = [clock.hear(NOW + i * MIN, NOW + i * MIN - behind).at_us for i in range(4)]
        assert found == [NOW - behind, NOW + MIN - behind, NOW + 2 * MIN, NOW + 3 * MIN]
        assert clock.state == ClockState(Standing.CORRECTED, behind, 1, NOW + 2 * MIN)

    def test_a_backlog_of_messages_that_waited_moves_no_clock(self) -> None:
        """Two hours of messages, delivered in ten seconds after the line came back."""
        clock = Clock()
        for i in range(120):
            device_us = NOW - 2 * H + i * MIN
            assert clock.hear(NOW + i * S // 12, device_us).at_us == device_us
        assert clock.hear(NOW + 10 * S, NOW + 10 * S).at_us == NOW + 10 * S
        assert clock.steps == []

    def test_time_on_the_way_counts_least(self) -> None:
        clock = Clock()
        for i, late in enumerate([2 * S, S, S // 2]):
            clock.hear(NOW + i * MIN + late, NOW + i * MIN - 10 * MIN)
        assert clock.state.offset_us == 10 * MIN + S // 2

    def test_a_clock_that_was_set_right_is_believed_again(self) -> None:
        clock = Clock()
        clock.hear(NOW, NOW + H)
        for i in range(1, 4):
            clock.hear(NOW + i * MIN, NOW + i * MIN)
        assert clock.state.standing is Standing.TRUSTED
        assert clock.hear(NOW + 5 * MIN, NOW + 5 * MIN).offset_us == 0

    def test_a_clock_off_by_more_than_a_day_is_distrusted_and_the_gateway_counts(self) -> None:
        clock = Clock()
        placed = clock.hear(NOW, NOW + CORRECTED_MAX_US + S)
        assert (clock.state.standing, placed.at_us) == (Standing.DISTRUSTED, NOW)
        assert placed.offset_us == -(CORRECTED_MAX_US + S)

    def test_a_clock_that_is_not_set_is_distrusted_until_it_is(self) -> None:
        clock = Clock()
        assert clock.hear(NOW, 5 * S).at_us == NOW
        assert clock.hear(NOW + MIN, 65 * S).at_us == NOW + MIN
        assert [state.standing for state in clock.steps] == [Standing.DISTRUSTED]
        for i in range(2, 5):
            assert clock.hear(NOW + i * MIN, NOW + i * MIN).at_us == NOW + i * MIN
        assert clock.state.standing is Standing.TRUSTED

    def test_a_clock_that_is_set_again_and_again_is_distrusted_for_a_day(self) -> None:
        clock = Clock()
        for i in range(100):
            assert clock.hear(NOW + i * MIN, NOW + i * MIN + (i + 1) * 5 * MIN).at_us == NOW + i * MIN
        assert clock.state.standing is Standing.DISTRUSTED
        assert len(clock.steps) == STEPS_MAX + 1
        for i in range(4):
            clock.hear(NOW + 24 * H + i * MIN, NOW + 24 * H + i * MIN)
        assert clock.state == ClockState(Standing.TRUSTED, 0, 1, NOW + 24 * H + 2 * MIN)

    def test_what_was_kept_is_corrected_too_and_teaches_nothing(self) -> None:
        clock = Clock()
        clock.hear(NOW, NOW + H)
        assert clock.hear(NOW + MIN, NOW - 5 * H, kept=True).at_us == NOW - 6 * H
        assert len(clock.steps) == 1

    @pytest.mark.parametrize("device_us", [NOW + MIN, 5 * S], ids=["from the future", "unset"])
    def test_what_was_kept_at_a_time_that_cannot_be_is_refused(self, device_us: int) -> None:
        assert Clock().hear(NOW, device_us, kept=True).at_us == NOWHEN_US

    def test_what_a_distrusted_clock_kept_is_refused(self) -> None:
        clock = Clock()
        clock.hear(NOW, NOW + 30 * 24 * H)
        assert clock.hear(NOW + MIN, NOW - H, kept=True).at_us == NOWHEN_US

    @given(
        st.lists(st.tuples(st.integers(1, 2 * H), st.integers(-(10**17), 10**17), st.booleans()), max_size=60)
    )
    def test_nothing_is_later_than_it_was_heard_and_facts_are_few(
        self, heard: list[tuple[int, int, bool]]
    ) -> None:
        clock, now_us = Clock(), NOW
        steps_at: list[int] = []
        for wait_us, off_us, kept in heard:
            now_us += wait_us
            before = len(clock.steps)
            placed = clock.hear(now_us, now_us + off_us, kept=kept)
            steps_at += [now_us] * (len(clock.steps) - before)
            assert placed.at_us == NOWHEN_US or placed.at_us <= now_us + TOLERANCE_US
            if placed.at_us != NOWHEN_US:
                assert placed.at_us - placed.offset_us == now_us + off_us
        for start in steps_at:
            assert sum(start <= one < start + 24 * H for one in steps_at) <= 2 * (STEPS_MAX + 2)


def hear(
    kernel: Kernel, rows: Sequence[tuple[str, float, int, int | None, int]], at_minute: float | None = None
) -> Ingested:
    """Hand over (sensor, value, heard µs, device µs, how) as a driver's runner does."""
    names = sorted({row[0] for row in rows})
    command = IngestReadings(
        site_id="ATL1",
        sensor_ids=names,
        sensor_no=np.array([names.index(row[0]) for row in rows], dtype="<u4").tobytes(),
        at_us=np.array([row[2] if row[3] is None else row[3] for row in rows], dtype="<i8").tobytes(),
        value=np.array([row[1] for row in rows], dtype="<f8").tobytes(),
        heard_us=np.array([row[2] for row in rows], dtype="<i8").tobytes(),
        how=bytes(row[4] for row in rows),
    )
    newest = max(row[2] for row in rows)
    minute = (newest - micros(0)) / MIN if at_minute is None else at_minute
    answer: Ingested = kernel.do(command, at=minute)
    return answer


def told(kernel: Kernel, sensor_id: str = AIR, until: float = 3_000) -> list[ReadingTime]:
    return times_of(kernel.reader(), sensor_id, at(-60 * 24 * 40), at(until))


class TestTheBook:
    def test_all_three_times_of_a_reading_are_kept_for_its_whole_life(self, kernel: Kernel) -> None:
        """In a flush, in chunks, in a sealed block, and after a restart, they are the same."""
        cold_room(kernel)
        ahead = 10 * MIN
        rows = [(AIR, -21.5 + i / 100, micros(i) + 137_000, micros(i) + ahead, DEVICE) for i in range(50)]
        hear(kernel, [*rows, *[(AIR_2, -20.0 + i / 100, micros(i), None, GATEWAY) for i in range(50)]])
        before = told(kernel)
        assert len(before) == 50
        first = before[0]
        assert first.device_us == micros(0) + ahead
        assert abs((first.heard_us or 0) - (micros(0) + 137_000)) <= 500
        assert first.at_us == first.device_us + (first.offset_us or 0)
        assert abs(first.at_us - micros(0)) <= 137_000
        assert all(one.device_us == micros(i) + ahead for i, one in enumerate(before))
        without = told(kernel, AIR_2)
        assert [(one.device_us, one.offset_us) for one in without] == [(None, None)] * 50
        assert [one.heard_us for one in without] == [one.at_us for one in without]
        kernel.restart()
        assert told(kernel) == before
        kernel.do(SealBlocks(site_id="ATL1", cause_id="incident-1", sensor_ids=(AIR,)))
        assert told(kernel) == before
        assert not list(load_flushes(kernel.reader()))
        assert {block.sensor_id for *_, block in history.look(kernel.reader(), "archive").blocks} == {AIR}
        kernel.advance(60 * 30)
        assert told(kernel) == before
        assert told(kernel, AIR_2) == without
        kernel.rebuild()

    def test_an_evidence_pack_holds_the_sealed_times(self, kernel: Kernel) -> None:
        cold_room(kernel)
        hear(kernel, [(AIR, -21.5, micros(i), micros(i) + H, DEVICE) for i in range(5)])
        kernel.do(SealBlocks(site_id="ATL1", cause_id="incident-1", zone_id="ATL1-FRZ1"))
        parts = pack.zone_parts(kernel.reader(), "ATL1-FRZ1", at(-10), at(10))
        files = [part for part in parts if isinstance(part, PackFile)]
        day = micros(0) // 86_400_000_000
        assert {file.path for file in files} == {
            f"blocks/{AIR}.{day}.0.cgb",
            f"blocks/{AIR}.heard.{day}.0.cgb",
            f"blocks/{AIR}.offset.{day}.0.cgb",
        }
        assert all(file.attested_by and is_path(file.path) for file in files)

    def test_readings_by_other_ways_have_no_other_times_and_cost_nothing(self, kernel: Kernel) -> None:
        cold_room(kernel)
        feed(kernel, steady(0, 20))
        assert {(one.heard_us, one.device_us) for one in told(kernel)} == {(None, None)}
        [(_, _, _, count, flush)] = list(load_flushes(kernel.reader()))
        assert count == 20
        assert not any(is_beside(name) for name in flush.sensor_ids)

    def test_the_rules_run_on_corrected_time(self, kernel: Kernel) -> None:
        """A device two hours ahead would be refused as the future; corrected, it is in its place."""
        cold_room(kernel)
        answer = hear(kernel, [(AIR, -21.5, micros(i), micros(i) + 2 * H, DEVICE) for i in range(10)])
        assert (answer.stored, answer.late, answer.refused) == (10, 0, {})
        times, _ = store.series(kernel.reader(), AIR, at(0), at(10))
        assert times.view(np.int64).tolist() == [micros(i) for i in range(10)]
        [judged] = events_of(kernel, DeviceClockJudged)
        assert (judged.standing, judged.offset_ms) == (Standing.CORRECTED, -7_200_000)
        assert judged.device_ms == (micros(0) + 2 * H) // 1_000
        [clock] = device_clocks.clocks_of_site(kernel.reader(), "ATL1").values()
        assert (clock.sensor_id, clock.offset_us) == (AIR, -2 * H)

    def test_a_correction_outlives_a_restart(self, kernel: Kernel) -> None:
        cold_room(kernel)
        hear(kernel, [(AIR, -21.5, micros(0), micros(0) + H, DEVICE)])
        kernel.restart()
        hear(kernel, [(AIR, -21.4, micros(1), micros(1) + H, DEVICE)])
        assert [one.at_us for one in told(kernel)] == [micros(0), micros(1)]
        assert len(events_of(kernel, DeviceClockJudged)) == 1
        kernel.rebuild()

    def test_what_cannot_be_placed_in_time_is_refused_and_counted(self, kernel: Kernel) -> None:
        cold_room(kernel)
        answer = hear(kernel, [(AIR, -21.5, micros(5), 5 * S, KEPT), (AIR, -21.5, micros(5), None, GATEWAY)])
        assert (answer.stored, answer.refused) == (1, {"clock_unset": 1})
        assert health.health_of_site(kernel.reader(), "ATL1")[AIR] == {"clock_unset": 1}

    def test_a_refused_flush_leaves_no_trace_in_what_is_known_of_clocks(self, kernel: Kernel) -> None:
        cold_room(kernel)
        with pytest.raises(Invalid):
            hear(kernel, [(AIR, -21.5, micros(0), micros(0) + H, DEVICE), (AIR, -21.5, micros(1), 2**62, 2)])
        assert device_clocks.clocks_of_site(kernel.reader(), "ATL1") == {}
        answer = hear(kernel, [(AIR, -21.5, micros(2), micros(2), DEVICE)])
        assert answer.stored == 1
        assert events_of(kernel, DeviceClockJudged) == []

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"how": b"\1"}, "how"),
            ({"heard_us": b""}, "how"),
            ({"how": b""}, "how"),
            ({"how": b"\3\3"}, "how"),
            ({"heard_us": bytes(8)}, "heard_us"),
            ({"heard_us": bytes(16)}, "heard_us"),
            ({"heard_us": b"\xff" * 7 + b"\x7f" + bytes(8)}, "heard_us"),
            ({"at_us": bytes(15) + b"\x80"}, "at_us"),
        ],
        ids=str,
    )
    def test_columns_that_do_not_fit_are_refused(
        self, kernel: Kernel, change: dict[str, Any], field: str
    ) -> None:
        cold_room(kernel)
        heard_us = np.array([micros(0), micros(0)], dtype="<i8").tobytes()
        fields: dict[str, Any] = {"at_us": heard_us, "heard_us": heard_us, "how": b"\1\1", **change}
        with pytest.raises(Invalid) as caught:
            kernel.do(
                IngestReadings(
                    site_id="ATL1", sensor_ids=[AIR], sensor_no=bytes(8), value=bytes(16), **fields
                )
            )
        assert field in {problem.field for problem in caught.value.problems}

    def test_repeated_and_late_readings_keep_their_first_times(self, kernel: Kernel) -> None:
        cold_room(kernel)
        rows = [(AIR, -21.5, micros(i), micros(i) - S, DEVICE) for i in range(10)]
        hear(kernel, rows)
        again = [(AIR, -21.5, micros(12), micros(i) - S, KEPT) for i in range(10)]
        kept = (AIR, -21.0, micros(12), micros(3) + 30 * S, KEPT)
        answer = hear(kernel, [*again, kept])
        assert (answer.duplicate, answer.late, answer.stored) == (10, 1, 1)
        found = told(kernel)
        assert [one.heard_us for one in found if one.at_us == micros(3) + 30 * S] == [micros(12)]
        assert [one.heard_us for one in found if one.at_us != micros(3) + 30 * S] == [
            micros(i) for i in range(10)
        ]

    def test_a_parcel_carries_the_times_of_a_clock_that_was_never_set(self, kernel: Kernel) -> None:
        """A door that stays shut: nothing in the parcel differs but the times."""
        cold_room(kernel)
        hear(kernel, [(DOOR, 0.0, micros(i), i * MIN, DEVICE) for i in range(40)])
        flushes = [flush for *_, flush in load_flushes(kernel.reader())]
        parts = [(name, flush.part(i)) for flush in flushes for i, name in enumerate(flush.sensor_ids)]
        back = as_flush(unpack_parcel(pack_parcel(sorted(parts))))
        [offsets] = list(back.of(f"{DOOR}~offset"))
        assert offsets.value_e4.tolist() == [micros(0) // 1_000] * 40
