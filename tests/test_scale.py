"""The scale model: its page says what the script computes, and the computation is checked by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import scale

PAGE = scale.PAGE.read_text()
PERFORMANCE = (Path(__file__).parents[1] / "docs" / "performance.md").read_text()


def test_the_page_shows_what_the_model_computes() -> None:
    found = scale.MARKED.search(PAGE)
    assert found is not None
    shown = found[0].removeprefix(found[1]).removesuffix(found[2])
    assert shown == scale.tables(), "run tools/scale.py --write"


def test_a_thousand_sites_by_hand() -> None:
    of = scale.Scale(1_000)
    assert of.facts_per_s == pytest.approx(5_000_000 / 86_400)
    assert of.busiest_per_s == pytest.approx(5_000_000 * 0.15 / 3_600)
    assert of.readings_a_day == pytest.approx(1_000 * 23 * 8_640)
    assert of.facts_gb_a_day == pytest.approx(11.0)
    assert of.parquet_gb_a_day == pytest.approx(198.72e6 * 0.45 / 1e9)
    assert of.disk_usd_a_month == pytest.approx((11.0 + 198.72e6 * 0.266 / 1e9) * 365 * 0.10)
    assert of.report_s == pytest.approx(19.872 * 0.57)


def test_everything_grows_with_the_number_of_sites() -> None:
    for name in ("facts_per_s", "readings_a_day", "disk_usd_a_month", "live_cores", "report_s"):
        assert getattr(scale.Scale(10_000), name) == pytest.approx(10 * getattr(scale.Scale(1_000), name))


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("stream_per_s", r"every entry to NATS JetStream.*\| ([\d,]+) / "),
        ("report_s", r"the fleet's daily excursion report.*warm \| ([\d.]+) s"),
        ("parquet_bytes", r"their weight, limits and metadata included \| ([\d.]+) bytes"),
        ("sealed_bytes", r"sealed, regular 10 s grid, manifests included \| ([\d.]+) bytes"),
    ],
)
def test_measured_figures_are_those_of_the_page_on_performance(field: str, row: str) -> None:
    told = re.search(row, PERFORMANCE)
    assert told is not None, row
    measured = float(told[1].replace(",", ""))
    assert getattr(scale.Measured(), field) == pytest.approx(measured, abs=0.005)
