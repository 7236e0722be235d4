"""What the quality tests share: a night's instant, limits of food, ice cream and a vaccine, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from coldgrid.quality.curves import Curve, Series, micros
from coldgrid.quality.limits import Limit, LimitKind, StorageLimits

T0 = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)

FOOD_CODE = "FDA Food Code 2022, 3-501.16 and 3-501.19"
LABEL = "label of the product"
STUDY = "stability study"

FOOD = StorageLimits(
    product_id="YOG-STR-500",
    rows=(
        Limit(limit_id="range", kind=LimitKind.RANGE, low_c=0, high_c=5, source=LABEL),
        Limit(
            limit_id="four-hours", kind=LimitKind.SINGLE_EXCURSION, high_c=5, minutes=240, source=FOOD_CODE
        ),
        Limit(limit_id="life", kind=LimitKind.CUMULATIVE, high_c=5, minutes=300, source=STUDY),
    ),
)
ICE = StorageLimits(
    product_id="ICE-VAN-1L",
    rows=(
        Limit(limit_id="range", kind=LimitKind.RANGE, high_c=-18, source=LABEL),
        Limit(limit_id="short", kind=LimitKind.SINGLE_EXCURSION, high_c=-15, minutes=30, source=STUDY),
        Limit(limit_id="thaw", kind=LimitKind.FREEZE, high_c=-5, source=STUDY),
    ),
)
# The fridge of the house-style example: within 2 to 8 °C, up to 15 °C, never frozen, mean kinetic 8 °C.
VACCINE = StorageLimits(
    product_id="VAX-10",
    pharma=True,
    rows=(
        Limit(limit_id="range", kind=LimitKind.RANGE, low_c=2, high_c=8, source=LABEL),
        Limit(limit_id="excursion", kind=LimitKind.SINGLE_EXCURSION, high_c=15, minutes=0, source=STUDY),
        Limit(limit_id="freeze", kind=LimitKind.FREEZE, low_c=0, source=LABEL),
        Limit(limit_id="mkt", kind=LimitKind.MKT, high_c=8, minutes=24 * 60, source="USP <1160>"),
    ),
)


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def series(*points: tuple[float, float]) -> Series:
    """Minutes after T0, each with its temperature."""
    return Series(
        np.array([micros(at(minute)) for minute, _ in points], dtype=np.int64),
        np.array([value for _, value in points], dtype=np.float64),
    )


def trip(*temperatures_c: float, every_min: float = 15) -> Series:
    return series(*((i * every_min, value) for i, value in enumerate(temperatures_c)))


def known_curve(readings: Series, grace_min: float | None = None) -> Curve:
    """The curve that a product probe shows; pieces longer than `grace_min` are unknown."""
    lengths_min = np.diff(readings.at_us) / 60e6
    known = np.ones(len(lengths_min), dtype=np.bool_) if grace_min is None else lengths_min <= grace_min
    return Curve(readings.at_us, readings.value_c, readings.value_c, known)


def curve_of(points: Sequence[tuple[float, float]], grace_min: float | None = None) -> Curve:
    return known_curve(series(*points), grace_min)
