"""Mean kinetic temperature: the one temperature that would have done the same Arrhenius damage.

Pure functions only, for pharmaceuticals above freezing: never food, never frozen goods. Freezing does not
follow Arrhenius, and a mean hides a spike, so limits on those are judged apart.

Source: Haynes, J. D. (1971), J. Pharm. Sci. 60(6), 927-929; constants and windows from USP <1160>
(controlled room 30 days, 2 to 8 °C 24 h). The equal-interval sum is generalised to uneven spacing by the
trapezoid rule.
"""

from __future__ import annotations

import numpy as np

from coldgrid.quality.curves import Floats
from coldgrid.quality.grid import Grid

KELVIN_AT_0_C = 273.15
# Activation energy over gas constant, 83.144 kJ/mol / 8.3144e-3 kJ/(mol K), in kelvin.
# USP <1160>: use this unless the product has its own measured value.
ACTIVATION_TEMPERATURE_K = 10_000.0


class Kinetics:
    """Running totals of the damage along a grid's hot edge; its unknown pieces are left out of the mean."""

    def __init__(self, grid: Grid, activation_temperature_k: float = ACTIVATION_TEMPERATURE_K) -> None:
        self._at_min = grid.at_min
        self._known = grid.known
        self._activation_k = activation_temperature_k
        self._rate = np.exp(-activation_temperature_k / (grid.hot_c + KELVIN_AT_0_C))
        length_min = np.diff(grid.at_min)
        self._damage = _running(length_min * (self._rate[:-1] + self._rate[1:]) / 2 * grid.known)
        self._minutes = _running(length_min * grid.known)

    def mean_c(self, start_min: Floats, end_min: Floats) -> Floats:
        """The mean kinetic temperature of each window, °C; NaN where nothing of it is known."""
        minutes = np.interp(end_min, self._at_min, self._minutes) - np.interp(
            start_min, self._at_min, self._minutes
        )
        damage = self._damage_until(end_min) - self._damage_until(start_min)
        safe = np.where(minutes > 0, damage / np.where(minutes > 0, minutes, 1.0), 1.0)
        mean_k = self._activation_k / -np.log(np.where(safe < 1.0, safe, 0.5))
        return np.where(minutes > 0, mean_k - KELVIN_AT_0_C, np.nan)

    def worst_c(self, start_min: float, end_min: float, window_min: float) -> float:
        """The worst window that lies in one stay, °C; a stay shorter than the window is one window.

        Windows are tried that begin or end at a point of the grid or an end of the stay, where the worst lies
        to within one piece. NaN where nothing is known.
        """
        if end_min - start_min <= window_min:
            return float(self.mean_c(np.array([start_min]), np.array([end_min]))[0])
        points = self._at_min[(self._at_min > start_min) & (self._at_min < end_min)]
        starts = np.concatenate([[start_min, end_min - window_min], points, points - window_min])
        starts = np.clip(starts, start_min, end_min - window_min)
        means_c = self.mean_c(starts, starts + window_min)
        return float(np.nanmax(means_c)) if np.isfinite(means_c).any() else float("nan")

    def _damage_until(self, at_min: Floats) -> Floats:
        """The total at any minute: inside a piece the rate is linear, so its integral is a parabola."""
        i = np.clip(np.searchsorted(self._at_min, at_min, side="right") - 1, 0, len(self._known) - 1)
        length_min = self._at_min[i + 1] - self._at_min[i]
        into_min = np.clip(at_min - self._at_min[i], 0.0, length_min)
        slope = (self._rate[i + 1] - self._rate[i]) / length_min
        part = (self._rate[i] * into_min + slope * into_min**2 / 2) * self._known[i]
        return np.asarray(self._damage[i] + part)


def _running(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])
