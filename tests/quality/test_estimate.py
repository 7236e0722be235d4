"""The product's estimate: worked numbers, and the laws of a first-order body."""

from __future__ import annotations

import csv
from itertools import pairwise
from math import exp, inf, log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coldgrid
from coldgrid.quality.curves import Series
from coldgrid.quality.estimate import (
    SENSOR_UNCERTAINTY_C,
    WORST_RISE_C_PER_MIN,
    Lag,
    advance,
    begin,
    grace_min,
    lag_of,
    probed,
    product_band,
    time_left,
)
from coldgrid.quality.fit import fit_lag
from coldgrid.quality.lag import advance_c, end_c, follow_c, reach_min, settle_min
from tests.quality.samples import T0, at, known_curve, series, trip

PALLET = lag_of(240)
FRIDGE = Path(coldgrid.__file__).parent / "tower/world/data/fridge.csv"
FRUITS = Path(__file__).parent / "data/fruits.csv"

celsius = st.floats(-30, 30)
lags = st.floats(0.5, 2000)
spans = st.floats(0.01, 3000)


class TestOneStep:
    def test_air_that_jumps(self) -> None:
        """After one lag of air at 0 °C a body at -20 °C has come 1 - 1/e of the way: -20/e = -7.358."""
        assert advance_c(-20, 0, 0, 240, 240) == pytest.approx(-7.358, abs=0.001)

    def test_air_that_rises_straight(self) -> None:
        """Air from -20 to 0 °C in 240 min: T = air - r·lag + r·lag·e^(-1) = 0 - 20 + 7.358."""
        assert advance_c(-20, -20, 0, 240, 240) == pytest.approx(-12.642, abs=0.001)

    def test_without_a_lag_it_is_the_air(self) -> None:
        assert advance_c(-20, -20, 3, 1, 0) == 3

    @given(celsius, celsius, celsius, spans, lags)
    def test_it_lies_between_its_start_and_the_air(
        self, start_c: float, before_c: float, after_c: float, minutes: float, lag_min: float
    ) -> None:
        found_c = advance_c(start_c, before_c, after_c, minutes, lag_min)
        assert min(start_c, before_c, after_c) - 1e-9 <= found_c <= max(start_c, before_c, after_c) + 1e-9

    @given(celsius, celsius, celsius, spans, lags, st.floats(0.01, 0.99))
    def test_two_steps_along_one_line_of_air_are_one(
        self, start_c: float, before_c: float, after_c: float, minutes: float, lag_min: float, part: float
    ) -> None:
        middle_c = before_c + (after_c - before_c) * part
        halfway_c = advance_c(start_c, before_c, middle_c, minutes * part, lag_min)
        twice_c = advance_c(halfway_c, middle_c, after_c, minutes * (1 - part), lag_min)
        assert twice_c == pytest.approx(advance_c(start_c, before_c, after_c, minutes, lag_min), abs=1e-6)

    @given(celsius, celsius, celsius, spans, lags, st.floats(0, 10))
    def test_warmer_air_never_makes_a_colder_product(
        self, start_c: float, before_c: float, after_c: float, minutes: float, lag_min: float, rise_c: float
    ) -> None:
        cool_c = advance_c(start_c, before_c, after_c, minutes, lag_min)
        assert advance_c(start_c, before_c + rise_c, after_c, minutes, lag_min) >= cool_c - 1e-9
        assert advance_c(start_c, before_c, after_c + rise_c, minutes, lag_min) >= cool_c - 1e-9


class TestASeries:
    @given(
        st.lists(st.tuples(st.floats(0.01, 500), celsius), min_size=1, max_size=40), celsius, celsius, lags
    )
    def test_all_at_once_is_one_by_one(
        self, steps: list[tuple[float, float]], first_c: float, start_c: float, lag_min: float
    ) -> None:
        at_min = np.concatenate([[0.0], np.cumsum([minutes for minutes, _ in steps])])
        air_c = np.array([first_c, *(value for _, value in steps)])
        one_by_one = [start_c]
        for (before_min, before_c), (after_min, after_c) in pairwise(zip(at_min, air_c, strict=True)):
            one_by_one.append(advance_c(one_by_one[-1], before_c, after_c, after_min - before_min, lag_min))
        assert follow_c(at_min, air_c, start_c, lag_min).tolist() == pytest.approx(one_by_one, abs=1e-6)
        assert end_c(at_min, air_c, start_c, lag_min) == pytest.approx(one_by_one[-1], abs=1e-6)

    @given(st.lists(celsius, min_size=2, max_size=40), st.floats(0.5, 600))
    def test_reading_by_reading_matches_the_band_of_the_whole(
        self, values: list[float], lag_min: float
    ) -> None:
        lag = Lag(lag_min, lag_min / 2, lag_min * 1.5)
        state = begin(T0, values[0])
        for i, value in enumerate(values[1:], 1):
            state = advance(state, at(i * 15), value, lag)
        band = product_band(known_curve(trip(*values)), lag)
        assert state.high_c == pytest.approx(band.hot_c[-1], abs=1e-6)
        assert state.low_c == pytest.approx(band.cold_c[-1], abs=1e-6)
        assert state.low_c <= state.product_c <= state.high_c

    def test_a_door_left_open_for_ten_minutes_hardly_warms_a_pallet(self) -> None:
        air = trip(-22, -22, -10, -10, -22, -22, -22, every_min=5)
        band = product_band(known_curve(air), PALLET, start_half_c=0)
        assert band.hot_c.max() - SENSOR_UNCERTAINTY_C < -20.5

    def test_the_band_narrows_as_the_start_is_forgotten(self) -> None:
        band = product_band(known_curve(trip(*[4] * 200)), PALLET)
        width_c = band.hot_c - band.cold_c
        assert width_c[0] == pytest.approx(3)
        assert width_c[-1] == pytest.approx(2 * SENSOR_UNCERTAINTY_C, abs=0.01)

    def test_a_hand_probe_starts_the_estimate_again(self) -> None:
        air = known_curve(trip(*[5] * 20))
        band = product_band(air, PALLET, probes=series((150, 1), (999, 9)))
        probe = 150 // 15
        assert band.hot_c[probe] == pytest.approx(1 + SENSOR_UNCERTAINTY_C)
        assert band.cold_c[probe] == pytest.approx(1 - SENSOR_UNCERTAINTY_C)
        assert band.hot_c[probe + 1] > band.hot_c[probe]

    def test_a_late_reading_does_not_turn_the_estimate_back(self) -> None:
        state = advance(begin(at(0), -22), at(10), -20, PALLET)
        assert advance(state, at(5), 30, PALLET) == state

    def test_a_probe_corrects_the_running_estimate(self) -> None:
        corrected = probed(advance(begin(at(0), -22), at(10), -20, PALLET), -19.5)
        assert (corrected.product_c, corrected.start_half_c, corrected.air_c) == (-19.5, 0, -20)


class TestTimeLeft:
    def test_in_warm_air_that_stands(self) -> None:
        """From -22 °C to -18 °C in air at 10 °C: lag · ln(32/28), and the same for the band's edges."""
        left = time_left(begin(T0, 10, -22), PALLET, -18, 25)
        assert left.left_min == pytest.approx(240 * log(32 / 28))
        assert left.earliest_min == pytest.approx(120 * log(31.5 / 28))
        assert left.latest_min == pytest.approx(360 * log(32.5 / 28))

    def test_in_air_that_rises_then_stands_at_the_ambient(self) -> None:
        state = begin(T0, -20, -20)
        for minute in range(1, 61):
            state = advance(state, at(minute), -20 + minute * 0.5, PALLET)
        left = time_left(state, PALLET, 0, 10)
        assert left.left_min == pytest.approx(240 * log((10 - state.product_c) / 10), rel=0.01)

    def test_it_is_the_products_time_not_the_airs(self) -> None:
        state = begin(T0, -22, -22)
        for minute in range(1, 31):
            state = advance(state, at(minute), -22 + minute * 0.2, PALLET)
        air_left_min = max((-18 - state.air_c) / 0.2, 0)
        left = time_left(state, PALLET, -18, 25)
        assert left.left_min is not None
        assert left.left_min > air_left_min + 60

    def test_cold_air_leaves_time_without_end(self) -> None:
        assert time_left(begin(T0, -22, -22), PALLET, -18, 25).left_min is None

    def test_none_is_left_at_the_limit(self) -> None:
        assert time_left(begin(T0, -10, -18), PALLET, -18, 25).left_min == 0

    def test_a_compressor_that_recovered_leaves_time_without_end(self) -> None:
        assert reach_min(-21, -18, -16, -0.5, 240) == inf

    @given(celsius, celsius, st.floats(-0.5, 1), st.floats(10, 600), st.floats(0, 5))
    def test_warmer_air_never_lengthens_it(
        self, product_c: float, air_c: float, rate: float, lag_min: float, rise_c: float
    ) -> None:
        limit_c = product_c + 3
        cool = reach_min(product_c, limit_c, air_c, rate, lag_min)
        assert reach_min(product_c, limit_c, air_c + rise_c, rate, lag_min) <= cool + 1e-6
        assert reach_min(product_c, limit_c, air_c, rate + rise_c / 10, lag_min) <= cool + 1e-6

    @given(celsius, st.floats(0.5, 20), celsius, st.floats(-0.5, 1), st.floats(10, 600))
    def test_the_product_is_at_its_limit_when_it_has_passed(
        self, product_c: float, headroom_c: float, air_c: float, rate: float, lag_min: float
    ) -> None:
        left_min = reach_min(product_c, product_c + headroom_c, air_c, rate, lag_min)
        if left_min < 1e5:
            then_c = advance_c(product_c, air_c, air_c + rate * left_min, left_min, lag_min)
            assert then_c == pytest.approx(product_c + headroom_c, abs=0.01)


class TestGrace:
    def test_it_is_the_time_to_the_limit_in_air_that_rises_at_its_worst(self) -> None:
        """The quickest body (lag 120 min) in air that rises 0.5 °C a minute from -22 °C is at -18 °C when
        0.5 (t - 120 (1 - e^(-t/120))) = 4: after 46.65 min.
        """
        assert grace_min(-22, -18, PALLET) == pytest.approx(46.65, abs=0.01)

    def test_none_is_left_at_the_limit_and_never_more_than_a_lag(self) -> None:
        assert grace_min(-18, -18, PALLET) == 0
        assert grace_min(-22, 100, PALLET) == 240

    @given(st.floats(-30, -18.1), st.floats(0, WORST_RISE_C_PER_MIN))
    def test_within_it_the_quickest_body_cannot_cross(self, product_c: float, rise: float) -> None:
        minutes = grace_min(product_c, -18, PALLET)
        then_c = advance_c(product_c, product_c, product_c + rise * minutes, minutes, PALLET.quick_min)
        assert then_c <= -18 + 1e-6


class TestLag:
    def test_smaller_and_emptier_loads_are_quicker(self) -> None:
        assert lag_of(240, "case").lag_min < lag_of(240, "layer").lag_min < lag_of(240, "pallet").lag_min
        assert lag_of(240, "pallet", 0.5).lag_min == pytest.approx(180)
        assert lag_of(240, "barrel") == lag_of(240, "case")

    @pytest.mark.parametrize("zone_lag_min", [0, -5])
    def test_a_lag_is_positive(self, zone_lag_min: float) -> None:
        with pytest.raises(ValueError, match="positive"):
            lag_of(zone_lag_min)

    def test_a_lag_lies_between_its_bounds(self) -> None:
        with pytest.raises(ValueError, match="between"):
            Lag(100, 120, 150)

    def test_settling_needs_air_beyond_the_target(self) -> None:
        assert settle_min(-22, -18, -18, 240) == inf
        assert settle_min(-22, -18, -30, 240) == inf
        assert settle_min(4, 4, 4, 240) == 0
        assert settle_min(-20, -20 / exp(1), 0, 240) == pytest.approx(240)


class TestFit:
    @pytest.mark.parametrize("true_min", [12, 95, 420])
    def test_it_finds_the_lag_that_made_the_probe(self, true_min: float) -> None:
        minutes = np.arange(0, 2880, 5.0)
        air_c = 3 + 3 * np.sin(minutes / 300) + np.where((minutes > 900) & (minutes < 1200), 6, 0)
        product_c = follow_c(minutes, air_c, 3, true_min) + 0.02 * np.sin(minutes * 7)
        found = fit_lag(_series(minutes, air_c), _series(minutes[::3], product_c[::3] + 0.4))
        assert found.lag.lag_min == pytest.approx(true_min, rel=0.03)
        assert found.lag.quick_min < true_min < found.lag.slow_min
        assert found.offset_c == pytest.approx(0.4, abs=0.1)
        assert found.lag.fitted

    def test_a_few_readings_or_steady_air_tell_nothing(self) -> None:
        with pytest.raises(ValueError, match="at least ten"):
            fit_lag(trip(*range(30)), trip(*range(9)))
        with pytest.raises(ValueError, match="steady"):
            fit_lag(trip(*[4] * 30), trip(*[4] * 30))

    def test_a_logger_in_the_air_of_a_real_fridge_is_not_taken_for_a_product(self) -> None:
        with pytest.raises(ValueError, match="does not lag"):
            fit_lag(_log(FRIDGE), _log(FRUITS))


def _series(
    minutes: np.ndarray[tuple[int], np.dtype[np.float64]],
    value_c: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Series:
    return Series((minutes * 60e6).astype(np.int64), value_c)


def _log(path: Path) -> Series:
    with path.open() as file:
        rows = {int(row["offset_s"]) * 1_000_000: float(row["temperature_c"]) for row in csv.DictReader(file)}
    at_us = sorted(rows)
    return Series(np.array(at_us, dtype=np.int64), np.array([rows[each] for each in at_us]))
