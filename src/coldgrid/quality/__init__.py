"""Quality: what temperature did to goods, and what becomes of them."""

from __future__ import annotations

from coldgrid.quality import (
    calibration,
    deviations,
    dispositions,
    excursions,
    hand_readings,
    journeys,
    lines,
    pack,
)

__all__ = [
    "calibration",
    "deviations",
    "dispositions",
    "excursions",
    "hand_readings",
    "journeys",
    "lines",
    "pack",
]
