"""Blocks: what comes out is what went in, small enough to keep for ever."""

from __future__ import annotations

import csv
import tracemalloc
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.telemetry import blocks
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.quantities import E4

T0_US = 1_772_352_000_000_000
DAY_10S = 8_640
FREEZER = Path(__file__).parents[1] / "telemetry" / "data" / "freezer.csv"


def readings(at_us: list[int], value_e4: list[int], bad: list[bool] | None = None) -> Readings:
    return Readings(
        np.array(at_us, dtype=np.int64),
        np.array(value_e4, dtype=np.int64),
        np.array(bad or [False] * len(at_us), dtype=np.bool_),
    )


def freezer_day(resolution_c: float) -> Readings:
    """A day of a real freezer, every 10 s, as a probe of this resolution tells it."""
    with FREEZER.open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    known_s = np.array([datetime.fromisoformat(row["at"]).timestamp() for row in rows])
    known_c = np.array([float(row["temperature_c"]) for row in rows])
    at_s = np.arange(DAY_10S) * 10.0
    noise_c = np.random.default_rng(1).normal(0, 0.02, DAY_10S)
    values_c = np.interp(at_s, known_s - known_s[0], known_c) + noise_c
    value_e4 = np.rint(np.round(values_c / resolution_c) * resolution_c * E4).astype(np.int64)
    return Readings(T0_US + (at_s * 1e6).astype(np.int64), value_e4, np.zeros(DAY_10S, dtype=np.bool_))


columns = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(1, 10**12), min_size=count, max_size=count),
        st.lists(st.integers(-(2**31), 2**31 - 1), min_size=count, max_size=count),
        st.lists(st.booleans(), min_size=count, max_size=count),
    )
)


@given(columns, st.sampled_from([1, 1_000, 10_000_000]))
def test_a_block_gives_back_what_was_sealed(
    drawn: tuple[list[int], list[int], list[bool]], unit_us: int
) -> None:
    steps, values, bad = drawn
    at_us = np.cumsum(np.array(steps, dtype=np.int64) % 10**9) + np.arange(len(steps)) + 1
    sealed = Readings(at_us * unit_us, np.array(values, dtype=np.int64), np.array(bad))
    opened = blocks.decode_block(blocks.encode_block(sealed))
    assert (opened.at_us == sealed.at_us).all()
    assert (opened.value_e4 == sealed.value_e4).all()
    assert (opened.bad == sealed.bad).all()


@given(st.binary(max_size=200))
def test_bytes_that_are_no_block_are_refused(data: bytes) -> None:
    with pytest.raises(blocks.BlockDamaged):
        blocks.decode_block(data)


@given(st.integers(0, 199), st.integers(1, 255))
def test_a_damaged_block_is_refused_or_has_another_name(at: int, flip: int) -> None:
    block = blocks.encode_block(freezer_day(0.1))
    damaged = bytearray(block)
    damaged[at] ^= flip
    assert blocks.block_hash(bytes(damaged)) != blocks.block_hash(block)


@pytest.mark.parametrize(
    ("at_us", "values"), [([], []), ([5, 5], [1, 2]), ([5, 4], [1, 2])], ids=["empty", "twice", "backwards"]
)
def test_a_block_needs_readings_in_order(at_us: list[int], values: list[int]) -> None:
    with pytest.raises(ValueError, match=r"block|increasing"):
        blocks.encode_block(readings(at_us, values))


@pytest.mark.parametrize("resolution_c", [0.1, 0.0625])
def test_a_regular_day_of_a_real_freezer_takes_little(resolution_c: float) -> None:
    assert len(blocks.encode_block(freezer_day(resolution_c))) / DAY_10S <= 0.25


def test_a_jittered_clock_takes_what_its_noise_weighs() -> None:
    day = freezer_day(0.1)
    jitter_us = np.random.default_rng(2).integers(-500, 500, DAY_10S) * 1_000
    block = blocks.encode_block(Readings(day.at_us + jitter_us, day.value_e4, day.bad))
    assert len(block) / DAY_10S <= 1.7


def test_only_good_readings_count_in_a_summary() -> None:
    summary = blocks.summarise(readings([1, 2, 3], [50_000, 850_000, 30_000], [False, True, False]))
    assert (summary.readings, summary.good, summary.low_e4, summary.high_e4) == (3, 2, 30_000, 50_000)
    assert summary.sum_e4 == 80_000


def test_a_summary_without_good_readings_says_nothing() -> None:
    summary = blocks.summarise(readings([1], [850_000], [True]))
    assert (summary.low_e4, summary.high_e4) == (None, None)
    assert blocks.mean_kinetic_c(summary.kinetic_sum, summary.good) is None


def test_mean_kinetic_temperature_of_twenty_hours_cold_and_four_warm() -> None:
    """10000 / −ln((20·e^(−10000/278.15) + 4·e^(−10000/285.15)) / 24) − 273.15 = 6.650 °C."""
    cold = blocks.summarise(readings(list(range(1, 21)), [5 * E4] * 20))
    warm = blocks.summarise(readings(list(range(1, 5)), [12 * E4] * 4))
    mkt_c = blocks.mean_kinetic_c(cold.kinetic_sum + warm.kinetic_sum, cold.good + warm.good)
    assert mkt_c == pytest.approx(6.650, abs=0.0005)


def test_blocks_of_release_1_decode_for_ever() -> None:
    """Bytes that were sealed once. Add lines; never edit one."""
    stored = bytes.fromhex(FROZEN)
    opened = blocks.decode_block(stored)
    assert opened.at_us.tolist() == [T0_US, T0_US + 10_000_000, T0_US + 20_003_000, T0_US + 30_000_000]
    assert opened.value_e4.tolist() == [-210_000, -209_000, -209_000, 850_000]
    assert opened.bad.tolist() == [False, False, False, True]


FROZEN = (
    "434742310200010004000000008060dbf14b0600e8030000000000001027000000000000b0cbfcff"
    "ffffffffe80300000000000028b52ffd2013990000021f0006054e00000002000101240000000410"
)


def test_a_block_that_unfolds_to_more_than_it_says_is_refused_before_it_fills_the_memory() -> None:
    honest = blocks.encode_block(readings([10, 20, 30], [1, 2, 3]))
    bomb = honest[: honest.index(b"\x28\xb5\x2f\xfd")] + zstandard.compress(b"\0" * (64 << 20))
    tracemalloc.start()
    with pytest.raises(blocks.BlockDamaged):
        blocks.decode_block(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20
