"""The chart: what it shows, what it leaves out, and that it never bends the data."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.evidence import chart
from coldgrid.evidence.parts import PackGap, PackLimit, PackSeries

START_S = datetime(2026, 3, 8, 4, 0, tzinfo=UTC).timestamp()


def line(values: list[float | None], title: str = "T1", role: str = "air", step_s: float = 60) -> PackSeries:
    at_s = [START_S + index * step_s for index in range(len(values))]
    return PackSeries(title, "°C", role, at_s, values)  # type: ignore[arg-type]


def drawn(*series: PackSeries, limits: tuple[PackLimit, ...] = (), zone: str = "UTC") -> str:
    picture = chart.draw(series, limits, ZoneInfo(zone))
    assert picture is not None
    return str(picture)


def paths(svg: str) -> list[str]:
    return re.findall(r'<path class="line[^"]*" d="([^"]*)"', svg)


def test_without_readings_there_is_no_chart() -> None:
    assert chart.draw([], []) is None
    assert chart.draw([line([None, None])], []) is None


def test_a_gap_is_drawn_as_a_gap_and_never_bridged() -> None:
    (path,) = paths(drawn(line([-20.0, -20.0, None, None, -19.0, -19.0])))
    assert path.count("M") == 2
    late = line([-20.0] * 5)
    broken = PackSeries("T1", "°C", "air", [*late.at_s[:4], late.at_s[4] + 3600], late.values)
    assert paths(drawn(broken))[0].count("M") == 2


def test_a_gap_that_has_a_name_is_shaded_within_the_chart_and_named_once() -> None:
    at = [datetime.fromtimestamp(START_S + minute * 60, UTC) for minute in (-60, 2, 4, 500, 600)]
    known = line([-20.0, -20.0, -20.0, -20.0, -20.0, -19.0])
    gaps = [PackGap("lost", *span) for span in ((at[0], at[1]), (at[0], at[2]), (at[3], at[4]))]
    picture = str(chart.draw([known], [], UTC, gaps))
    [shade] = re.findall(r'<rect class="gap" x="([0-9.]+)" y="16" width="([0-9.]+)"', picture)
    assert float(shade[0]) == chart.LEFT
    assert float(shade[1]) == pytest.approx((chart.WIDTH - chart.LEFT - chart.RIGHT) * 0.8)
    assert picture.count("readings lost") == 1


def test_an_estimate_may_be_drawn_with_few_points() -> None:
    sparse = PackSeries(
        "ICE", "°C", "product", [START_S, START_S + 60, START_S + 9000], [-20.0, -20.0, -18.0]
    )
    assert paths(drawn(sparse))[0].count("M") == 1


def test_of_each_role_the_warmest_are_shown() -> None:
    products = [line([-20.0, peak], f"P{peak:g}", "product") for peak in (-19.0, -15.0, -12.0, -18.0)]
    air = [line([-21.0, peak], f"A{peak:g}") for peak in (-10.0, 5.0)]
    assert [one.title for one in chart.shown([*products, *air])] == ["P-12", "P-15", "A5", "A-10"]
    assert [number for _, number in chart.numbered(chart.shown([*products, *air]))] == [0, 1, 0, 1]


def test_limits_that_were_crossed_are_drawn_and_the_next_on_either_side() -> None:
    limits = tuple(PackLimit(f"limit {level:g}", "manual", None, level) for level in (-30, -18, -15, -5, 8))
    svg = drawn(line([-22.0, -10.0]), limits=limits)
    assert svg.count('class="limit"') == 4
    assert "limit -30" in svg
    assert "limit -18" in svg
    assert "limit -15" in svg
    assert "limit -5" in svg
    assert "limit 8" not in svg


def test_limits_of_one_level_share_a_name() -> None:
    limits = tuple(PackLimit(f"{name} range", "manual", None, -18.0) for name in ("ICE", "PEA", "COD"))
    assert "−18 °C · ICE range and 2 more" in drawn(line([-22.0, -10.0]), limits=limits)


def test_times_read_in_the_sites_zone_on_the_night_the_clocks_change() -> None:
    svg = drawn(line([-20.0] * 300), zone="America/New_York")
    assert "23:00" in svg
    assert "00:00" in svg
    assert "08 Mar" in svg


def test_text_from_outside_is_escaped() -> None:
    assert "&lt;b&gt;" in drawn(line([-20.0, -19.0], "<b>"))


@given(count=st.integers(1, 3000), seed=st.integers(0, 1000))
def test_thinning_keeps_the_warmest_the_coldest_and_every_order(count: int, seed: int) -> None:
    chance = random.Random(seed)
    values = [None if chance.random() < 0.2 else chance.uniform(-40, 40) for _ in range(count)]
    points = list(zip(range(len(values)), values, strict=True))
    kept = chart.thinned([(float(at), value) for at, value in points])
    known = [0.0, *(value for _, value in kept if value is not None)]
    told = [0.0, *(value for value in values if value is not None)]
    assert len(kept) <= max(3 * chart.COLUMNS_MAX, len(values))
    assert (max(known), min(known)) == (max(told), min(told))
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


@pytest.mark.parametrize("values", [[-20.0], [-20.0, -20.0], [0.0, 1e-9], [-80.0, 80.0]])
def test_any_span_has_a_frame(values: list[float | None]) -> None:
    numbers = re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", drawn(line(values)))
    assert all(0 <= float(x) <= chart.WIDTH and 0 <= float(y) <= chart.HEIGHT for x, y in numbers)
