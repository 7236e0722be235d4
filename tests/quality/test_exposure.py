"""Exposure: tables of boundary cases, hand-worked numbers, laws."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldgrid.quality.curves import Curve, Series
from coldgrid.quality.exposure import Exposure, Stay, Verdict, assess_exposure, assess_stays
from coldgrid.quality.limits import Limit, LimitKind, StorageLimits
from tests.quality.samples import FOOD, ICE, LABEL, T0, VACCINE, at, curve_of, known_curve, trip


def stay(from_min: float, until_min: float, sscc: str = "u1") -> Stay:
    return Stay(sscc, at(from_min), at(until_min))


def one(curve: Curve, limits: StorageLimits, from_min: float, until_min: float) -> Exposure:
    return assess_stays(curve, [stay(from_min, until_min)], limits)[0]


@pytest.mark.parametrize(
    ("readings", "verdict"),
    [
        (trip(5, 5, 5), Verdict.WITHIN_LIMITS),
        (trip(2, 8, 2), Verdict.WITHIN_LIMITS),  # label bounds are inclusive
        (trip(5, 15, 5, 5, 5, 5, 5, 5, 5, 5, 5), Verdict.WITHIN_LIMITS),  # spike, tolerated by MKT
        (trip(5, 0, 5), Verdict.ASSESS),  # no row allows time below 2 °C
        (trip(5, 15.1, 5), Verdict.ASSESS),  # above the excursion bound
        (trip(5, -0.1, 5), Verdict.ASSESS),  # froze
        (trip(9, 9, 9), Verdict.ASSESS),  # never far out, but MKT is 9
        (trip(5, 5, every_min=60), Verdict.WITHIN_LIMITS),  # gap bound is inclusive
        (trip(5, 5, every_min=61), Verdict.UNKNOWN),  # silence is not safety
        (trip(5, 5, 16, 5, every_min=61), Verdict.UNKNOWN),  # what lies in silence proves nothing
        (
            Series(np.array([0, 61, 71]) * 60_000_000, np.array([5.0, 16, 16])),
            Verdict.ASSESS,
        ),  # harm is proved
    ],
)
def test_verdict_on_a_vaccine(readings: Series, verdict: Verdict) -> None:
    assert assess_exposure(known_curve(readings, grace_min=60), VACCINE).verdict is verdict


@pytest.mark.parametrize(
    ("minutes", "verdict"),
    [(240, Verdict.WITHIN_LIMITS), (240.01, Verdict.ASSESS), (10, Verdict.WITHIN_LIMITS)],
)
def test_food_may_stand_above_five_degrees_for_four_hours(minutes: float, verdict: Verdict) -> None:
    seen = assess_exposure(curve_of([(0, 7), (minutes, 7)]), FOOD)
    assert seen.verdict is verdict
    assert seen.outside_min == pytest.approx(minutes)


def test_two_short_excursions_are_judged_apart_but_spend_one_life() -> None:
    curve = curve_of([(0, 7), (160, 7), (160.01, 4), (200, 4), (200.01, 7), (360, 7)])
    seen = assess_exposure(curve, FOOD)
    assert seen.outside_longest_min == pytest.approx(160, abs=0.1)
    assert [(finding.limit_id, finding.broken) for finding in seen.findings if finding.broken] == [
        ("life", True)
    ]
    assert seen.why == "above 5 °C for 320 min over its life, 300 min allowed"


def test_earlier_places_count_towards_the_life() -> None:
    curve = curve_of([(0, 7), (60, 7)])
    fresh, travelled = assess_stays(curve, [stay(0, 60), Stay("u2", at(0), at(60), {"life": 250.0})], FOOD)
    assert fresh.verdict is Verdict.WITHIN_LIMITS
    assert travelled.verdict is Verdict.ASSESS


def test_thawing_is_dated_and_final() -> None:
    seen = assess_exposure(curve_of([(0, -20), (100, 0), (200, -20)]), ICE)
    assert seen.thawed_at == at(75)
    assert seen.verdict is Verdict.ASSESS
    assert seen.why.startswith("above -5 °C")


def test_a_unit_that_came_after_the_thaw_did_not_thaw() -> None:
    curve = curve_of([(0, -20), (100, 0), (200, -20), (300, -20)])
    early, late = assess_stays(curve, [stay(0, 200), stay(210, 300)], ICE)
    assert early.thawed_at is not None
    assert late.thawed_at is None
    assert late.verdict is Verdict.WITHIN_LIMITS


def test_minutes_are_counted_from_crossing_to_crossing() -> None:
    assert assess_exposure(curve_of([(0, 5), (15, 9), (30, 5)]), VACCINE).outside_min == pytest.approx(7.5)


def test_a_unit_is_judged_only_while_it_stood_there() -> None:
    curve = curve_of([(0, 4), (60, 4), (61, 9), (360, 9)])
    gone, there = assess_stays(curve, [stay(0, 60), stay(30, 360)], FOOD)
    assert (gone.verdict, gone.outside_min, gone.peak_c) == (Verdict.WITHIN_LIMITS, 0, 4)
    assert there.verdict is Verdict.ASSESS
    assert there.outside_min == pytest.approx(299.8)


def test_what_the_curve_does_not_span_is_unknown() -> None:
    seen = one(curve_of([(0, 4), (60, 4)]), FOOD, -30, 100)
    assert (seen.verdict, seen.unknown_min, seen.gap_longest_min) == (Verdict.UNKNOWN, 70, 40)
    nothing = one(curve_of([(0, 4), (60, 4)]), FOOD, 100, 200)
    assert (nothing.peak_c, nothing.unknown_min) == (None, 100)


def test_silence_does_not_end_a_run_and_does_not_lengthen_it() -> None:
    curve = curve_of([(0, 7), (130, 7), (330, 7), (450, 7)], grace_min=150)
    seen = assess_exposure(curve, FOOD)
    assert seen.outside_longest_min == pytest.approx(250)
    assert seen.gap_longest_min == pytest.approx(200)
    assert seen.verdict is Verdict.ASSESS


class TestMeanKineticTemperature:
    def test_worked_by_hand(self) -> None:
        """20 h at 5 °C and 4 h at 12 °C: 10000 / -ln((20 e^(-10000/278.15) + 4 e^(-10000/285.15)) / 24)."""
        day = [(0, 5.0), (20 * 60, 5.0), (20 * 60 + 1e-5, 12.0), (24 * 60, 12.0)]
        assert assess_exposure(curve_of(day), VACCINE).mkt_c == pytest.approx(6.650, abs=0.0005)

    def test_half_near_5_half_near_15(self) -> None:
        """10000 / -ln((e^(-10000/278.15) + e^(-10000/288.15)) / 2) - 273.15 = 11.39."""
        day = [(0, 5.0), (720, 5.0), (720 + 1e-5, 15.0), (1440, 15.0)]
        assert assess_exposure(curve_of(day), VACCINE).mkt_c == pytest.approx(11.39, abs=0.005)

    def test_the_worst_day_counts_not_the_mean_of_the_week(self) -> None:
        week = [
            (0, 4.0),
            (3 * 1440, 4.0),
            (3 * 1440 + 1e-5, 9.0),
            (4 * 1440, 9.0),
            (4 * 1440 + 1e-5, 4.0),
            (10080, 4.0),
        ]
        seen = assess_exposure(curve_of(week), VACCINE)
        assert seen.mkt_c == pytest.approx(9.0, abs=0.001)
        assert seen.verdict is Verdict.ASSESS

    def test_silence_is_left_out_of_the_mean(self) -> None:
        curve = curve_of([(0, 5), (60, 5), (600, 14), (600.001, 5), (660, 5)], grace_min=60)
        assert assess_exposure(curve, VACCINE).mkt_c == pytest.approx(5.0, abs=0.01)

    def test_food_has_none(self) -> None:
        assert assess_exposure(curve_of([(0, 4), (60, 4)]), FOOD).mkt_c is None

    @pytest.mark.parametrize(("pharma", "high_c"), [(False, 8), (True, -18)])
    def test_it_is_refused_for_food_and_frozen_goods(self, pharma: bool, high_c: float) -> None:
        rows = (
            Limit(limit_id="range", kind=LimitKind.RANGE, high_c=high_c, source=LABEL),
            Limit(limit_id="mkt", kind=LimitKind.MKT, high_c=high_c, minutes=1440, source="none"),
        )
        with pytest.raises(ValueError, match="does not apply"):
            StorageLimits(product_id="p", pharma=pharma, rows=rows)


def test_limits_without_a_range_are_refused() -> None:
    with pytest.raises(ValueError, match="no range"):
        StorageLimits(product_id="p", rows=())


def test_every_finding_names_its_source() -> None:
    seen = assess_exposure(curve_of([(0, 7), (300, 7)]), FOOD)
    assert {finding.source for finding in seen.findings} == {row.source for row in FOOD.rows}


@pytest.mark.parametrize(
    "points", [[], [(0.0, 5.0)], [(0, 5), (0, 5)], [(0, 5), (-15, 5)], [(0, float("nan")), (1, 5)]]
)
def test_bad_readings_are_an_error(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="reading"):
        assess_exposure(curve_of(points), FOOD)


def test_a_stay_that_ends_before_it_begins_is_an_error() -> None:
    with pytest.raises(ValueError, match="end after"):
        one(curve_of([(0, 5), (60, 5)]), FOOD, 30, 30)


def known(value: float | None) -> float:
    assert value is not None
    return value


# --- Laws -----------------------------------------------------------------------

temperatures = st.lists(st.floats(-25, 20).map(lambda value: round(value, 2)), min_size=3, max_size=30)
cuts = st.floats(0.01, 0.99)


@given(temperatures, cuts, st.sampled_from([FOOD, ICE]))
def test_cutting_a_stay_never_changes_its_exposure(
    values: list[float], cut: float, limits: StorageLimits
) -> None:
    curve = known_curve(trip(*values))
    last_min = (len(values) - 1) * 15
    whole, before, after = assess_stays(
        curve, [stay(0, last_min), stay(0, cut * last_min), stay(cut * last_min, last_min)], limits
    )
    assert before.outside_min + after.outside_min == pytest.approx(whole.outside_min, abs=1e-4)
    assert max(known(before.peak_c), known(after.peak_c)) == pytest.approx(whole.peak_c)
    assert min(known(before.coldest_c), known(after.coldest_c)) == pytest.approx(whole.coldest_c)


@given(temperatures, st.lists(cuts, max_size=4), st.sampled_from([FOOD, ICE, VACCINE]))
def test_cutting_the_series_never_changes_exposure(
    values: list[float], at_fractions: list[float], limits: StorageLimits
) -> None:
    readings = trip(*values)
    extra = np.array(
        [readings.at_us[0] + round(f * (readings.at_us[-1] - readings.at_us[0])) for f in at_fractions]
    )
    at_us = np.union1d(readings.at_us, extra.astype(np.int64))
    finer = Series(at_us, np.interp(at_us, readings.at_us, readings.value_c))
    coarse, fine = (assess_exposure(known_curve(each), limits) for each in (readings, finer))
    assert fine.verdict is coarse.verdict
    assert fine.outside_min == pytest.approx(coarse.outside_min, abs=1e-4)
    assert fine.peak_c == pytest.approx(coarse.peak_c)


@given(temperatures, st.floats(0.1, 5), st.sampled_from([ICE, VACCINE]))
def test_warming_never_shortens_the_time_too_warm(
    values: list[float], rise_c: float, limits: StorageLimits
) -> None:
    cool, warm = (
        assess_exposure(known_curve(trip(*(v + rise for v in values))), limits) for rise in (0, rise_c)
    )
    for before, after in zip(cool.findings, warm.findings, strict=True):
        if before.why.startswith(("above", "mean")):
            assert known(after.value) >= known(before.value) - 1e-6
    assert known(warm.peak_c) == pytest.approx(known(cool.peak_c) + rise_c)


@given(temperatures)
def test_mkt_lies_between_the_coldest_and_the_hottest(values: list[float]) -> None:
    seen = assess_exposure(known_curve(trip(*values)), VACCINE)
    assert min(values) - 1e-6 <= known(seen.mkt_c) <= max(values) + 1e-6


@settings(max_examples=50)
@given(
    temperatures,
    st.lists(st.tuples(st.floats(0, 0.9), st.floats(0.01, 1)), min_size=1, max_size=8),
    st.booleans(),
)
def test_many_units_at_once_are_judged_as_each_alone(
    values: list[float], spans: list[tuple[float, float]], gappy: bool
) -> None:
    curve = known_curve(trip(*values, every_min=30), grace_min=None)
    if gappy:
        curve = Curve(curve.at_us, curve.hot_c, curve.cold_c, np.arange(len(curve.known)) % 3 != 1)
    last_min = (len(values) - 1) * 30
    stays = [stay(a * last_min, a * last_min + max(b * last_min, 0.1)) for a, b in spans]
    for limits in (FOOD, VACCINE):
        together = assess_stays(curve, stays, limits)
        assert together == [assess_stays(curve, [each], limits)[0] for each in stays]


def test_no_stays_no_exposures() -> None:
    assert assess_stays(curve_of([(0, 5), (60, 5)]), [], FOOD) == []


def test_ten_thousand_units_share_a_month_of_readings() -> None:
    month = known_curve(trip(*np.sin(np.arange(30 * 96)) * 3 + 4))
    stays = [
        Stay(str(i), T0 + timedelta(minutes=i), T0 + timedelta(days=29, minutes=i % 977))
        for i in range(10_000)
    ]
    assert len(assess_stays(month, stays, FOOD)) == 10_000
