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
# Of a label beside a mark, in units of the map: pins on a narrow screen are this much larger (pages.css).
SMALL_SCALE = 1.5
_HEIGHT = 22.0
_MARK, _RING = 10.0, 14.5
_GAP = 13.0
_PADDING, _PER_LETTER = 30.0, 6.6
_WORST_FIRST = {"crit": 0, "warn": 1, "off": 2, "ok": 3}
_Box = tuple[float, float, float, float]


class Label(msgspec.Struct, frozen=True):
    """Where a pin's label is: its left upper corner from the pin, and its width, in units of the map.

    `shown`: it covers no other label and no mark. One that is not shown appears while its pin is looked at.
    """

    x: float
    y: float
    width: float
    shown: bool


NO_LABEL = Label(0.0, 0.0, 0.0, False)


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """A place on the map. `state` is ok, warn, crit or off; `figure` is the short text after the code.

    `beyond`: it lies outside the base map, so it is listed below it and not drawn. `small`: the label on a
    narrow screen, where pins are drawn larger.
    """

    code: str
    place: str
    x: float
    y: float
    state: str
    figure: str
    told: str
    href: str
    selected: bool = False
    beyond: bool = False
    label: Label = NO_LABEL
    small: Label = NO_LABEL


def project(lat: float, lon: float) -> tuple[float, float]:
    """Return the point of the base map (its units) of a latitude and longitude in degrees.

    Source: Snyder, Map Projections: A Working Manual (USGS 1395), Albers equal-area conic.
    """
    base = basemap()
    x, y = _raw(radians(lon + 96), radians(lat))
    centre_x, centre_y = _raw(radians(-0.6), radians(38.7))
    left, top = base.translate
    return round(left + base.scale * (x - centre_x), 1), round(top - base.scale * (y - centre_y), 1)


def is_beyond(x: float, y: float) -> bool:
    """Return whether a point lies outside the base map: a mark there would be seen by nobody."""
    base = basemap()
    return not (0 <= x <= base.width and 0 <= y <= base.height)


def _raw(longitude: float, latitude: float) -> tuple[float, float]:
    rho = sqrt(_C - 2 * _N * sin(latitude)) / _N
    return rho * sin(_N * longitude), _RHO_0 - rho * cos(_N * longitude)


def lane_path(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return the SVG path of a lane between two (latitude, longitude) places, bent: both ways differ."""
    (x1, y1), (x2, y2) = project(*start), project(*end)
    bend_y = (y1 + y2) / 2 - _LANE_BEND * hypot(x2 - x1, y2 - y1)
    return f"M{x1:.1f},{y1:.1f}Q{(x1 + x2) / 2:.1f},{bend_y:.1f} {x2:.1f},{y2:.1f}"


def labelled(pins: Sequence[Pin]) -> list[Pin]:
    """Return the pins with their labels placed, for a wide screen and for a narrow one.

    On a narrow screen only the selected site and those with trouble are named.
    """
    wide = place_labels(pins, 1.0, [not pin.beyond for pin in pins])
    small = place_labels(
        pins, SMALL_SCALE, [not pin.beyond and (pin.selected or pin.state != "ok") for pin in pins]
    )
    return [
        msgspec.structs.replace(pin, label=one, small=other)
        for pin, one, other in zip(pins, wide, small, strict=True)
    ]


def place_labels(pins: Sequence[Pin], scale: float, wanted: Sequence[bool]) -> list[Label]:
    """Return a label for each pin, drawn `scale` times as large. None that is shown covers another or a mark.

    The selected pin is placed first, then the worst; whose label fits nowhere is named when it is looked at.
    Greedy, so deterministic, and good enough for some dozens of places.
    """
    drawn = [number for number, pin in enumerate(pins) if not pin.beyond]
    marks = [_around(pin, (_RING if pin.selected else _MARK) * scale) for pin in pins]
    taken: list[_Box] = []
    found: dict[int, Label] = {}
    for number in sorted(drawn, key=lambda n: _urgency(pins[n])):
        pin = pins[number]
        width = _PADDING + _PER_LETTER * (len(pin.code) + len(pin.figure))
        corners = _corners(width)
        boxes = [_box(pin, corner, width, scale) for corner in corners]
        others = [*taken, *(marks[other] for other in drawn if other != number)]
        free = next((n for n, box in enumerate(boxes) if not _hits(box, others)), None)
        at = next((n for n, box in enumerate(boxes) if _on_map(box)), 0) if free is None else free
        shown = free is not None and wanted[number]
        found[number] = Label(round(corners[at][0], 1), corners[at][1], round(width, 1), shown)
        if shown:
            taken.append(boxes[at])
    return [found.get(number, NO_LABEL) for number in range(len(pins))]


def _urgency(pin: Pin) -> tuple[bool, int, str]:
    return not pin.selected, _WORST_FIRST.get(pin.state, len(_WORST_FIRST)), pin.code


def _corners(width: float) -> list[tuple[float, float]]:
    """Where a label may have its left upper corner, best first: beside its mark, over or under it, both."""
    left, middle, above, below = -_GAP - width, -_HEIGHT / 2, -_GAP - _HEIGHT, _GAP
    beside = [(_GAP, middle), (left, middle)]
    return [
        *beside,
        *((-width / 2, y) for y in (above, below)),
        *((x, y) for y in (above + _GAP, below - _GAP) for x, _ in beside),
    ]


def _around(pin: Pin, half: float) -> _Box:
    return pin.x - half, pin.y - half, pin.x + half, pin.y + half


def _box(pin: Pin, corner: tuple[float, float], width: float, scale: float) -> _Box:
    left, top = pin.x + corner[0] * scale, pin.y + corner[1] * scale
    return left, top, left + width * scale, top + _HEIGHT * scale


def _on_map(box: _Box) -> bool:
    base = basemap()
    return box[0] >= 0 and box[1] >= 0 and box[2] <= base.width and box[3] <= base.height


def _hits(box: _Box, others: Sequence[_Box]) -> bool:
    """Tell whether a box leaves the map or covers another."""
    left, top, right, bottom = box
    return not _on_map(box) or any(
        left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in others
    )
