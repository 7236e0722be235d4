"""Packing: columns come back as they were, and small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.telemetry.packing import (
    pack_column,
    pack_flags,
    spread,
    squeezed,
    unpack_column,
    unpack_flags,
)

T0_US = 1_772_352_000_000_000


@given(
    st.lists(st.integers(-(2**40), 2**40), max_size=80),
    st.sampled_from([1, 3, 1_000, 625]),
    st.sampled_from([0, T0_US]),
)
def test_a_column_gives_back_what_was_packed(numbers: list[int], step: int, base: int) -> None:
    column = np.array(numbers, dtype=np.int64) * step + base
    assert (unpack_column(pack_column(column)) == column).all()


@given(st.lists(st.booleans(), max_size=40))
def test_flags_come_back(flags: list[bool]) -> None:
    assert unpack_flags(pack_flags(np.array(flags, dtype=np.bool_)), len(flags)).tolist() == flags


@pytest.mark.parametrize("length", [1, 511, 512, 100_000])
def test_bytes_come_back(length: int) -> None:
    body = b"\x98" + bytes(range(256)) * (length // 256 + 1)
    assert spread(squeezed(body[:length])) == body[:length]


def test_a_grid_of_time_and_the_steps_of_a_probe_take_a_byte_each() -> None:
    at_us = T0_US + np.arange(200) * 10_000_000
    value_e4 = -215_000 + 625 * (np.arange(200) % 40)
    assert [pack_column(column).width for column in (at_us, value_e4)] == [1, 1]
    assert [pack_column(column).step for column in (at_us, value_e4)] == [10_000_000, 625]


def test_one_reading_off_the_grid_is_exact_too() -> None:
    at_us = T0_US + np.arange(200) * 10_000_000
    at_us[150] += 7
    assert (unpack_column(pack_column(at_us)) == at_us).all()
