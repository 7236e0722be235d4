"""Covering sensors: goods take the worst; silence is bridged by the grace, a second sensor or by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.quality.curves import NO_READINGS, Curve, Series, micros, worst_curve
from tests.quality.samples import at, series, trip


def unknown_min(curve: Curve) -> float:
    return float((np.diff(curve.at_us) * ~curve.known).sum() / 60e6)


def test_the_warmest_sensor_makes_the_hot_edge_and_the_coldest_the_cold_one() -> None:
    curve = worst_curve([trip(3, 6, 3), trip(4, 4, 4)], at(0), at(30), grace_min=15)
    assert curve.hot_c.tolist() == [4, 6, 4]
    assert curve.cold_c.tolist() == [3, 4, 3]
    assert curve.known.all()


@pytest.mark.parametrize(("grace_min", "unknown"), [(60, 0), (59.9, 60)])
def test_a_gap_as_long_as_the_grace_is_bridged(grace_min: float, unknown: float) -> None:
    curve = worst_curve([series((0, 4), (60, 4))], at(0), at(60), grace_min=grace_min)
    # Either end still stands for the grace when the gap is too long for a bridge.
    assert unknown_min(curve) == pytest.approx(unknown, abs=0.2)


def test_a_second_sensor_bridges_a_dead_one() -> None:
    dead = series((0, 4), (10, 4), (200, 4))
    healthy = trip(*[5] * 21, every_min=10)
    assert unknown_min(worst_curve([dead], at(0), at(200), grace_min=30)) == pytest.approx(190)
    bridged = worst_curve([dead, healthy], at(0), at(200), grace_min=30)
    assert bridged.known.all()
    assert set(bridged.hot_c) == {5.0}


def test_hand_readings_bridge_a_dead_sensor() -> None:
    dead = series((0, 4), (60, 4))
    hand = series((20, 4.5), (40, 4.5))
    curve = worst_curve([dead], at(0), at(60), grace_min=20, hand=hand)
    assert curve.known.all()
    assert curve.hot_c.max() == 4.5


def test_a_hand_reading_where_the_sensor_spoke_changes_nothing() -> None:
    spoken = trip(4, 4, 4)
    with_hand = worst_curve([spoken], at(0), at(30), grace_min=20, hand=series((20, 9)))
    assert with_hand.hot_c.max() == 4


def test_the_ends_stand_for_the_grace() -> None:
    curve = worst_curve([series((0, 4), (10, 4))], at(-30), at(60), grace_min=20)
    assert unknown_min(curve) == pytest.approx(10 + 30)


def test_no_sensor_at_all_is_unknown() -> None:
    for sensors in ([], [NO_READINGS]):
        assert unknown_min(worst_curve(sensors, at(0), at(60), grace_min=20)) == 60


def test_a_curve_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="end after"):
        worst_curve([trip(4, 4)], at(0), at(0), grace_min=20)


def test_a_series_needs_as_many_values_as_instants() -> None:
    with pytest.raises(ValueError, match="one instant"):
        Series(np.array([1, 2], dtype=np.int64), np.array([4.0]))


readings = st.lists(
    st.tuples(st.integers(0, 300), st.floats(-25, 25)), min_size=1, max_size=15, unique_by=lambda p: p[0]
)


@given(st.lists(readings.map(sorted), min_size=1, max_size=3), st.floats(1, 120))
def test_one_more_sensor_never_makes_less_known_nor_the_worst_milder(
    sensors: list[list[tuple[float, float]]], grace_min: float
) -> None:
    fewer = worst_curve([series(*each) for each in sensors[:-1]], at(0), at(300), grace_min=grace_min)
    more = worst_curve([series(*each) for each in sensors], at(0), at(300), grace_min=grace_min)
    assert unknown_min(more) <= unknown_min(fewer) + 1e-6
    seen = np.concatenate([fewer.known, [False]]) | np.concatenate([[False], fewer.known])
    hotter_c = np.interp(fewer.at_us, more.at_us, more.hot_c) - fewer.hot_c
    assert (hotter_c[seen] >= -1e-6).all()
    assert micros(at(300)) == more.at_us[-1]
