"""The map: places on the base map that the asset build projected, so a browser carries no map library."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, radians, sin, sqrt

import msgspec

from coldgrid.webkit.assets import basemap

# d3.geoAlbersUsa, lower 48: conic equal-area, parallels 29.5° and 45.5°, rotated 96°, centre (-0.6°, 38.7°).
_SIN_1 = sin(radians(29.5))
_N = (_SIN_1 + sin(radians(45.5))) / 2
_C = 1 + _SIN_1 * (2 * _N - _SIN_1)
_RHO_0 = sqrt(_C) / _N
_LANE_BEND = 0.16
_LABEL_RIGHT_MARGIN = 110.0


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A place on the map. `state` is ok, warn, crit or off; `figure` is the short text after the code."""

    code: str
    place: str
    x: float
    y: float
    state: str
    figure: str
    told: str
    href: str
    selected: bool = False
    side: int = 1


def project(lat: float, lon: float) -> tuple[float, float]:
    """Return the point of the base map (its units) of a latitude and longitude in degrees.

    Source: Snyder, Map Projections: A Working Manual (USGS 1395), Albers equal-area conic.
    """
    base = basemap()
    x, y = _raw(radians(lon + 96), radians(lat))
    centre_x, centre_y = _raw(radians(-0.6), radians(38.7))
    left, top = base.translate
    return round(left + base.scale * (x - centre_x), 1), round(top - base.scale * (y - centre_y), 1)


def _raw(longitude: float, latitude: float) -> tuple[float, float]:
    rho = sqrt(_C - 2 * _N * sin(latitude)) / _N
    return rho * sin(_N * longitude), _RHO_0 - rho * cos(_N * longitude)


def lane_path(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return the SVG path of a lane between two (latitude, longitude) places, bent: both ways differ."""
    (x1, y1), (x2, y2) = project(*start), project(*end)
    bend_y = (y1 + y2) / 2 - _LANE_BEND * hypot(x2 - x1, y2 - y1)
    return f"M{x1:.1f},{y1:.1f}Q{(x1 + x2) / 2:.1f},{bend_y:.1f} {x2:.1f},{y2:.1f}"


def label_sides(
    points: Sequence[tuple[float, float]], width: float = 100.0, height: float = 22.0
) -> list[int]:
    """Return for each point the side (1 right, -1 left) on which its label covers the fewest others.

    Greedy, in the order given: deterministic, and good enough for some dozens of places.
    """
    edge = basemap().width
    taken: list[tuple[float, float]] = []
    sides = []
    for x, y in points:
        costs = []
        for side in (1, -1):
            left = x + 13 if side == 1 else x - 13 - width
            hits = sum(_overlap((left, y - height / 2), other, width, height) for other in taken)
            marks = sum(
                left - 8 < px < left + width + 8 and abs(py - y) < height / 2 + 6 for px, py in points
            )
            outside = 10 if left < 0 or left + width > edge + 20 else 0
            costs.append((hits * 2 + marks + outside, -side, left))
        _, minus_side, left = min(costs)
        taken.append((left, y - height / 2))
        sides.append(-minus_side)
    return sides


def _overlap(a: tuple[float, float], b: tuple[float, float], width: float, height: float) -> bool:
    return abs(a[0] - b[0]) < width and abs(a[1] - b[1]) < height
