"""Rules: what nights look like to them, and the law that a stream may be cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.telemetry.engine import evaluate, find_silent
from coldgrid.telemetry.flush import group_by_sensor
from coldgrid.telemetry.memory import Memory
from coldgrid.telemetry.quantities import E4
from coldgrid.telemetry.rules import DEVICES, Band, Role, Rule, RuleSettings, tune
from coldgrid.telemetry.runs import Kind, Turn

T0_US = 1_772_352_000_000_000
MINUTE_US = 60_000_000
FROZEN = Band(setpoint_c=-22.0, low_c=-35.0, high_c=-18.0)
AIR, PROBE, DOOR, COMPRESSOR, DEFROST = range(5)
ROLES = (Role.ZONE_AIR, Role.RETURN_AIR, Role.DOOR, Role.COMPRESSOR, Role.DEFROST)

# (sensor, minute, value): one arrival
Arrival = tuple[int, float, float]


def memory(settings: RuleSettings | None = None) -> Memory:
    made = Memory()
    for place, role in enumerate(ROLES):
        interval_s = 86_400 if role in DEVICES else 60
        made.define(f"S{place}", "Z", tune(role, interval_s, settings or RuleSettings(), FROZEN))
    return made


def feed(rules: Memory, arrivals: list[Arrival]) -> list[Turn]:
    """Run one flush and apply it."""
    if not arrivals:
        return []
    rows = np.array([arrival[0] for arrival in arrivals], dtype=np.int64)
    at_us = T0_US + np.rint(np.array([arrival[1] for arrival in arrivals]) * MINUTE_US).astype(np.int64)
    value_e4 = np.rint(np.array([arrival[2] for arrival in arrivals]) * E4).astype(np.int64)
    order = np.argsort(rows, kind="stable")
    pos = np.arange(len(rows))
    bad = np.abs(value_e4) > 80 * E4
    flush = group_by_sensor(rows[order], at_us[order], value_e4[order], bad[order], pos[order])
    outcome = evaluate(rules, flush, seen_us=int(at_us.max()))
    rules.apply(outcome.draft)
    return outcome.turns


def told(turns: list[Turn]) -> list[tuple[Rule, Kind, float]]:
    """Return the turns with minutes after T0."""
    return [(turn.rule, turn.kind, (turn.at_us - T0_US) / MINUTE_US) for turn in turns]


def air(*values: float, start: int = 0, sensor: int = AIR) -> list[Arrival]:
    """One reading a minute; the odd hundredth keeps it from being stuck."""
    return [(sensor, start + i, value + 0.01 * (i % 2)) for i, value in enumerate(values)]


COLD = [-21.5] * 60


class TestBand:
    def test_outside_for_its_duration_is_raised_once(self) -> None:
        turns = feed(memory(), air(*COLD, *[-15.0] * 30))
        assert (Rule.BAND_HIGH, Kind.RAISED, 70) in told(turns)
        assert sum(turn.rule is Rule.BAND_HIGH for turn in turns) == 1

    def test_it_names_the_last_good_reading_before_the_trouble(self) -> None:
        turns = feed(memory(), air(*COLD, *[-15.0] * 30))
        raised = next(turn for turn in turns if turn.rule is Rule.BAND_HIGH)
        assert (raised.last_good_us - T0_US) / MINUTE_US == 59
        assert (raised.since_us - T0_US) / MINUTE_US == 60

    def test_a_shorter_spike_is_not(self) -> None:
        turns = feed(memory(), air(*COLD, *[-15.0] * 9, *COLD))
        assert Rule.BAND_HIGH not in {turn.rule for turn in turns}

    def test_the_limit_itself_is_inside(self) -> None:
        turns = feed(memory(), [(AIR, minute, -18.0 - 0.01 * (minute % 2)) for minute in range(60)])
        assert Rule.BAND_HIGH not in {turn.rule for turn in turns}

    def test_it_returns_inside_the_limit_by_the_hysteresis(self) -> None:
        turns = feed(memory(), air(*COLD, *[-15.0] * 20, *[-18.2] * 20, *[-18.6] * 5))
        assert (Rule.BAND_HIGH, Kind.RETURNED, 100) in told(turns)

    def test_too_cold_is_seen_too(self) -> None:
        turns = feed(memory(), air(*COLD, *[-36.0] * 30))
        assert (Rule.BAND_LOW, Kind.RAISED, 70) in told(turns)


class TestTrend:
    def test_a_failing_freezer_is_a_pre_alarm_before_the_air_is_out_of_limits(self) -> None:
        warming = [-21.5 + 6.5 * minute / 60 for minute in range(60)]
        turns = told(feed(memory(), air(*COLD, *warming)))
        first = {rule: at for rule, kind, at in reversed(turns) if kind is Kind.RAISED}
        assert first[Rule.RATE] < first[Rule.BAND_HIGH]
        assert first[Rule.RATE] < 60 + 60 * 3.5 / 6.5  # before the air crosses the limit

    def test_a_slow_drift_is_caught_an_hour_before_the_limit(self) -> None:
        drifting = [-21.5 + 0.6 * minute / 60 for minute in range(8 * 60)]
        turns = told(feed(memory(), air(*COLD * 6, *drifting)))
        first = {rule: at for rule, kind, at in reversed(turns) if kind is Kind.RAISED}
        crossing = 360 + 60 * 3.5 / 0.6
        assert first[Rule.RATE_SLOW] < crossing - 60

    def test_warming_far_below_the_limit_alarms_nobody(self) -> None:
        drifting = [-31.0 + 0.7 * minute / 60 for minute in range(8 * 60)]
        assert feed(memory(), air(*drifting)) == []

    def test_a_compressor_that_cycles_alarms_nobody(self) -> None:
        cycle = [-21.5 + np.sin(2 * np.pi * minute / 30) for minute in range(24 * 60)]
        assert feed(memory(), air(*cycle)) == []

    def test_the_rate_is_told(self) -> None:
        warming = [-21.5 + 6.5 * minute / 60 for minute in range(60)]
        turns = feed(memory(), air(*COLD, *warming))
        raised = next(turn for turn in turns if turn.rule is Rule.RATE)
        assert raised.rate_e4_per_h == pytest.approx(6.5 * E4, rel=0.1)


class TestCumulative:
    def test_many_short_spikes_add_up(self) -> None:
        spiky = ([-16.0] * 8 + [-21.5] * 22) * 9
        turns = told(feed(memory(), air(*COLD, *spiky)))
        raised = [at for rule, kind, at in turns if rule is Rule.CUMULATIVE and kind is Kind.RAISED]
        assert raised == [60 + 30 * 7 + 4]  # 8 minutes each: the 60th falls into the eighth spike

    def test_what_is_a_day_old_no_longer_counts(self) -> None:
        rules = memory()
        turns = feed(rules, air(*COLD, *([-16.0] * 8 + [-21.5] * 22) * 9))
        assert Rule.CUMULATIVE in {turn.rule for turn in turns}
        later = feed(rules, air(*[-21.5] * 1500, start=60 + 270))
        assert Kind.RETURNED in {turn.kind for turn in later if turn.rule is Rule.CUMULATIVE}
        assert rules.hours_above == {}


class TestFaults:
    def test_a_stuck_probe_is_a_fault(self) -> None:
        turns = feed(memory(), [*air(*COLD), *[(AIR, 60.0 + i, -21.37) for i in range(150)]])
        assert told(turns) == [(Rule.STUCK, Kind.RAISED, 180)]

    def test_values_no_probe_measures_are_a_fault_and_never_an_excursion(self) -> None:
        turns = feed(
            memory(), [*air(*COLD), *[(AIR, 60.0 + i, 85.0) for i in range(60)], *air(*COLD, start=120)]
        )
        assert (
            told(turns)
            == [
                (Rule.OUT_OF_RANGE, Kind.RAISED, 65),
                (Rule.OUT_OF_RANGE, Kind.RETURNED, 120),
                (Rule.GAP, Kind.RAISED, 0),
            ][:2]
        )

    def test_a_gap_is_seen_when_readings_come_back(self) -> None:
        turns = feed(memory(), [*air(*COLD), *air(*COLD, start=90)])
        assert told(turns) == [(Rule.GAP, Kind.RAISED, 64), (Rule.GAP, Kind.RETURNED, 90)]

    def test_silence_is_found_without_a_reading(self) -> None:
        rules = memory()
        feed(rules, air(*COLD))
        rows = np.arange(len(rules))
        assert find_silent(rules, rows, T0_US + 63 * MINUTE_US).turns == []
        silent = find_silent(rules, rows, T0_US + 64 * MINUTE_US)
        rules.apply(silent.draft)
        assert told(silent.turns) == [(Rule.GAP, Kind.RAISED, 64)]
        assert find_silent(rules, rows, T0_US + 70 * MINUTE_US).turns == []
        assert told(feed(rules, air(*COLD, start=90))) == [(Rule.GAP, Kind.RETURNED, 90)]


class TestDevices:
    def test_a_defrost_explains_its_spike(self) -> None:
        spike = [-21.5 + 0.5 * minute for minute in range(20)] + [
            -11.5 - 0.6 * minute for minute in range(15)
        ]
        arrivals = [(DEFROST, 59.5, 1.0), (DEFROST, 80.5, 0.0), *air(*COLD, *spike, *COLD * 3)]
        turns = feed(memory(), sorted(arrivals, key=lambda arrival: arrival[1]))
        assert Kind.RAISED not in {turn.kind for turn in turns}
        assert Rule.BAND_HIGH in {turn.rule for turn in turns}

    def test_a_door_that_closes_again_explains_its_spike(self) -> None:
        spike = [-15.0] * 12
        arrivals = [(DOOR, 59.5, 1.0), (DOOR, 68.5, 0.0), *air(*COLD, *spike, *COLD * 3)]
        turns = feed(memory(), sorted(arrivals, key=lambda arrival: arrival[1]))
        assert Kind.RAISED not in {turn.kind for turn in turns}

    def test_a_door_left_open_explains_nothing_for_long(self) -> None:
        arrivals = [(DOOR, 59.5, 1.0), *air(*COLD, *[-15.0] * 30)]
        turns = told(feed(memory(), sorted(arrivals, key=lambda arrival: arrival[1])))
        assert (Rule.BAND_HIGH, Kind.SUPPRESSED, 70) in turns
        assert (Rule.BAND_HIGH, Kind.RAISED, 75) in turns

    def test_a_chattering_door_contact_explains_no_more_than_one_opening(self) -> None:
        chatter = [(DOOR, 59.5 + minute / 2, float(minute % 2 == 0)) for minute in range(80)]
        turns = told(
            feed(memory(), sorted([*air(*COLD, *[-15.0] * 40), *chatter], key=lambda arrival: arrival[1]))
        )
        assert (Rule.BAND_HIGH, Kind.RAISED, 75) in turns

    def test_a_compressor_fault_with_rising_air_is_a_pre_alarm(self) -> None:
        warming = [-21.5 + 0.1 * minute for minute in range(15)]
        arrivals = [(COMPRESSOR, 59.5, 2.0), *air(*COLD, *warming)]
        turns = told(feed(memory(), sorted(arrivals, key=lambda arrival: arrival[1])))
        assert (Rule.COMPRESSOR, Kind.RAISED, 68) in turns

    def test_a_compressor_that_recovers_alarms_nobody(self) -> None:
        warming = [-21.5 + 0.1 * minute for minute in range(7)]
        arrivals = [(COMPRESSOR, 59.5, 2.0), (COMPRESSOR, 66.5, 1.0), *air(*COLD, *warming, *COLD)]
        assert feed(memory(), sorted(arrivals, key=lambda arrival: arrival[1])) == []


class TestStuckGate:
    def test_a_stuck_sensor_raises_nothing_else(self) -> None:
        settings = RuleSettings(stuck_min=15, band_min=20)
        arrivals = [*air(*COLD), *[(AIR, 60.0 + i, -10.0) for i in range(60)]]
        rules = {rule for rule, _, _ in told(feed(memory(settings), arrivals))}
        assert Rule.STUCK in rules
        assert Rule.BAND_HIGH not in rules


def ramp(steps: list[tuple[int, int, int]]) -> list[Arrival]:
    """Turn drawn steps into arrivals: time goes on for each sensor, in whole half minutes."""
    clock = [0.0] * len(ROLES)
    arrivals = []
    for sensor, wait, level in steps:
        clock[sensor] += wait / 2
        if sensor in {DOOR, DEFROST}:
            value = float(level % 2)
        elif sensor == COMPRESSOR:
            value = float(level % 3)
        else:
            value = 99.0 if level == 40 else -24.0 + level / 2
        arrivals.append((sensor, clock[sensor], value))
    return arrivals


streams = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 2, 4, 9, 30, 130]), st.integers(0, 40)), max_size=120
).map(ramp)
BRISK = RuleSettings(
    band_min=3,
    approach_min=2,
    cumulative_min=6,
    stuck_min=8,
    bad_min=1,
    compressor_min=1,
    rate_slow_c_per_h=0.1,
)


@given(streams, st.lists(st.integers(0, 120), max_size=6))
def test_a_stream_gives_the_same_turns_however_it_is_cut(arrivals: list[Arrival], cuts: list[int]) -> None:
    whole = feed(memory(BRISK), arrivals)
    rules, parts = memory(BRISK), []
    edges = sorted({0, *(min(cut, len(arrivals)) for cut in cuts), len(arrivals)})
    for start, end in pairwise(edges):
        parts += [(turn, start) for turn in feed(rules, arrivals[start:end])]
    assert [(turn, turn.pos) for turn in whole] == [
        (_moved(turn, start), turn.pos + start) for turn, start in parts
    ]


def _moved(turn: Turn, start: int) -> Turn:
    return type(turn)(
        **{name: getattr(turn, name) for name in turn.__struct_fields__} | {"pos": turn.pos + start}
    )


@given(streams, st.integers(0, 120))
def test_a_restart_from_a_checkpoint_goes_on_exactly(arrivals: list[Arrival], cut: int) -> None:
    live = memory(BRISK)
    feed(live, arrivals[:cut])
    restarted = memory(BRISK)
    restarted.restore(live.save(np.arange(len(live))))
    assert feed(restarted, arrivals[cut:]) == feed(live, arrivals[cut:])


@given(streams, st.integers(0, 120))
def test_undoing_a_flush_leaves_no_trace(arrivals: list[Arrival], cut: int) -> None:
    rules = memory(BRISK)
    feed(rules, arrivals[:cut])
    rows = np.arange(len(rules))
    before = rules.save(rows)
    if arrivals[cut:]:
        flush = [(row, minute, value) for row, minute, value in arrivals[cut:]]
        undone = _apply_and_undo(rules, flush)
        assert undone == before


def _apply_and_undo(rules: Memory, arrivals: list[Arrival]) -> bytes:
    applied = rules.apply
    undos = []
    rules.apply = lambda draft: undos.append(applied(draft))  # type: ignore[method-assign,assignment,return-value]
    feed(rules, arrivals)
    rules.apply = applied  # type: ignore[method-assign]
    for undo in reversed(undos):
        undo()
    return rules.save(np.arange(len(rules)))


def test_a_checkpoint_names_no_column_that_the_release_before_lacks_unless_it_says_something() -> None:
    live = memory(BRISK)
    rows = np.arange(len(live))
    columns = msgspec.msgpack.decode(live.save(rows))[1]
    assert "left_us" not in columns
    live.left_us[0] = 7
    assert "left_us" in msgspec.msgpack.decode(live.save(rows))[1]


def test_a_checkpoint_of_a_newer_release_is_read_without_what_is_not_known() -> None:
    live = memory(BRISK)
    live.left_us[0] = 7
    sensor_ids, columns, *rest = msgspec.msgpack.decode(live.save(np.arange(len(live))))
    restarted = memory(BRISK)
    restarted.restore(msgspec.msgpack.encode([sensor_ids, {**columns, "later": b"x"}, *rest]))
    assert restarted.left_us[: len(live)].tolist() == live.left_us[: len(live)].tolist()
