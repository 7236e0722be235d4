"""The chart of a report: air, product and limits over time, as an SVG that needs no script.

Pure: series and limits in, markup out. Colours are classes, so that the page's theme and print decide them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from itertools import pairwise

import msgspec
from markupsafe import Markup, escape

from coldgrid.evidence.parts import PackLimit, PackSeries

WIDTH, HEIGHT = 960, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 40
SERIES_MAX = 8
COLUMNS_MAX = 400
GAP_FACTOR = 4.0  # a step this many times the usual one is a gap, and the line breaks there
_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
_TICKS_MAX = 9
_ROLES = {"product": 0, "probe": 1, "air": 2, "other": 3}

Point = tuple[float, float | None]


class Frame(msgspec.Struct, frozen=True):
    """What part of time and temperature is shown, in epoch seconds and in the series' unit."""

    from_s: float
    until_s: float
    low: float
    high: float

    def x(self, at_s: float) -> float:
        """Return where an instant stands."""
        return LEFT + (at_s - self.from_s) / (self.until_s - self.from_s) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return where a value stands."""
        return TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def shown(series: Sequence[PackSeries]) -> list[PackSeries]:
    """Return the series that the chart shows: those of one unit, products first, at most `SERIES_MAX`."""
    filled = [one for one in series if any(value is not None for value in one.values)]
    if not filled:
        return []
    ordered = sorted(filled, key=lambda one: _ROLES[one.role])
    return [one for one in ordered if one.unit == ordered[0].unit][:SERIES_MAX]


def draw(series: Sequence[PackSeries], limits: Sequence[PackLimit], zone: tzinfo = UTC) -> Markup | None:
    """Return the chart, or None where there is nothing to show."""
    lines = shown(series)
    if not lines:
        return None
    levels = _levels(limits)
    frame = _frame(lines, [level for level, _ in levels])
    parts = [_time_axis(frame, zone), _value_axis(frame, lines[0].unit)]
    parts += [_limit(frame, level) for level, _ in levels if frame.low <= level <= frame.high]
    for number, one in reversed(list(enumerate(lines))):
        parts.append(_series(frame, one, number))
    parts += [_limit_name(frame, level, label) for level, label in levels if frame.low <= level <= frame.high]
    label = escape("; ".join(f"{one.title}: {_told(one)}" for one in lines))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _levels(limits: Sequence[PackLimit]) -> list[tuple[float, str]]:
    found: dict[float, str] = {}
    for limit in limits:
        for level in (limit.low_c, limit.high_c):
            if level is not None:
                found.setdefault(level, limit.title)
    return sorted(found.items())


def _told(series: PackSeries) -> str:
    known = [value for value in series.values if value is not None]
    return f"{min(known):.1f} to {max(known):.1f} {series.unit}"


def _frame(lines: Sequence[PackSeries], levels: Sequence[float]) -> Frame:
    times = [at for one in lines for at in (one.at_s[0], one.at_s[-1])]
    edges = [value for one in lines for value in (*one.values, *one.low, *one.high) if value is not None]
    low, high = min(edges), max(edges)
    # A limit near what was measured belongs in the picture, a far one would flatten it.
    reach = max(high - low, 4.0)
    near = [level for level in levels if low - reach <= level <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    step = _nice((high - low) / 5 or 1.0)
    until_s = max(times)
    return Frame(
        min(times),
        until_s if until_s > min(times) else until_s + 60,
        math.floor(low / step - 0.2) * step,
        math.ceil(high / step + 0.2) * step,
    )


def _nice(step: float) -> float:
    scale: float = 10 ** math.floor(math.log10(step))
    return next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= step)


def _time_axis(frame: Frame, zone: tzinfo) -> str:
    span_s = frame.until_s - frame.from_s
    step_s = next((step for step in _STEPS_S if span_s / step <= _TICKS_MAX), span_s / _TICKS_MAX)
    offset = datetime.fromtimestamp(frame.from_s, zone).utcoffset()
    shift_s = offset.total_seconds() if offset else 0.0
    at_s = math.ceil((frame.from_s + shift_s) / step_s) * step_s - shift_s
    parts, day = [], ""
    while at_s <= frame.until_s:
        local = datetime.fromtimestamp(at_s, zone)
        x = frame.x(at_s)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(_text("tick", x, HEIGHT - BOTTOM + 16, "middle", f"{local:%H:%M}"))
        if (today := f"{local:%d %b}") != day:
            parts.append(_text("tick", x, HEIGHT - 8, "middle", today))
            day = today
        at_s += step_s
    return "".join(parts)


def _value_axis(frame: Frame, unit: str) -> str:
    step = _nice((frame.high - frame.low) / 6)
    parts = []
    level = math.ceil(frame.low / step) * step
    while level <= frame.high + step / 1000:
        y = frame.y(level)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text("tick", LEFT - 8, y + 4, "end", _number(level)))
        level = round(level + step, 6)
    parts.append(_text("tick", 4, TOP + 4, "start", unit))
    return "".join(parts)


def _limit(frame: Frame, level: float) -> str:
    y = frame.y(level)
    return f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _limit_name(frame: Frame, level: float, label: str) -> str:
    return _text("limit-name", WIDTH - RIGHT - 6, frame.y(level) - 6, "end", f"{_number(level)} °C · {label}")


def _text(class_: str, x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="{class_}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _series(frame: Frame, series: PackSeries, number: int) -> str:
    band = _band(frame, series) if series.low and series.high else ""
    points = thinned(list(zip(series.at_s, series.values, strict=True)))
    return f'{band}<path class="line {series.role} s{number}" d="{_path(frame, points)}"/>'


def _path(frame: Frame, points: Sequence[Point]) -> str:
    usual_s = _usual_step_s(points)
    parts, last_s = [], None
    for at_s, value in points:
        if value is None:
            last_s = None
            continue
        joined = last_s is not None and at_s - last_s <= usual_s * GAP_FACTOR
        parts.append(f"{'L' if joined else 'M'}{frame.x(at_s):.1f},{frame.y(value):.1f}")
        last_s = at_s
    return "".join(parts)


def _usual_step_s(points: Sequence[Point]) -> float:
    steps = sorted(after[0] - before[0] for before, after in pairwise(points))
    return steps[len(steps) // 2] if steps else 0.0


def _band(frame: Frame, series: PackSeries) -> str:
    edges = [
        (at_s, low, high)
        for at_s, low, high in zip(series.at_s, series.low, series.high, strict=True)
        if low is not None and high is not None
    ]
    every = max(1, len(edges) // COLUMNS_MAX)
    edges = edges[::every]
    upper = [f"{frame.x(at_s):.1f},{frame.y(high):.1f}" for at_s, _, high in edges]
    lower = [f"{frame.x(at_s):.1f},{frame.y(low):.1f}" for at_s, low, _ in reversed(edges)]
    return f'<polygon class="band {series.role}" points="{" ".join(upper + lower)}"/>' if edges else ""


def thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most a few points for each column of the chart: its first, lowest, highest; gaps stay."""
    if len(points) <= 2 * COLUMNS_MAX:
        return list(points)
    size = len(points) / COLUMNS_MAX
    kept: list[Point] = []
    for column in range(COLUMNS_MAX):
        part = points[int(column * size) : int((column + 1) * size)]
        known = [(at_s, value) for at_s, value in part if value is not None]
        if not known:
            kept.append((part[0][0], None))
            continue
        ends = {min(known, key=lambda point: point[1]), max(known, key=lambda point: point[1]), known[0]}
        kept += sorted(ends)
    return kept
