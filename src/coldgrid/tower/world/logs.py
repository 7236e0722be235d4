"""Real freezer and fridge logs as a pattern: how air really wanders about its own mean over a day."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400
STEP_S = 60
DATA = Path(__file__).parent / "data"


@cache
def pattern_c(kind: str) -> NDArray[np.float64]:
    """Return a day's deviation from the mean, in kelvin, one value a minute.

    The log's gaps (up to two hours) are filled linearly; its end is blended into its start over the
    last hour, so that the pattern can repeat.

    Args:
        kind: `freezer` or `fridge`.
    """
    with (DATA / f"{kind}.csv").open() as file:
        rows = [(float(row["offset_s"]), float(row["temperature_c"])) for row in csv.DictReader(file)]
    at_s, value_c = np.array(rows).T
    grid_s = np.arange(0, DAY_S, STEP_S)
    day_c = np.interp(grid_s, at_s, value_c)
    blend = np.clip((grid_s - (DAY_S - 3600)) / 3600, 0, 1)
    day_c = day_c * (1 - blend) + day_c[0] * blend
    deviation: NDArray[np.float64] = day_c - day_c.mean()
    return deviation


def deviation_c(kind: str, at_s: float) -> float:
    """Return the deviation at a moment of the repeating day, interpolated between minutes."""
    pattern = pattern_c(kind)
    place = (at_s % DAY_S) / STEP_S
    index = int(place)
    share = place - index
    return float(pattern[index % len(pattern)] * (1 - share) + pattern[(index + 1) % len(pattern)] * share)
