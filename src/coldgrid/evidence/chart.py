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

from coldgrid.evidence.parts import PackGap, PackLimit, PackSeries

WIDTH, HEIGHT = 960, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 40
SHOWN_MAX = {"product": 2, "probe": 2, "air": 3, "other": 2}  # more lines than these say less
LEVELS_MAX = 4
LABEL_HEIGHT = 13.0
GAP_NAME_WIDTH = 80.0
SPAN_MIN = 1.0  # of the value axis, in the series' unit
COLUMNS_MAX = 400
GAP_FACTOR = 4.0  # a step this many times the usual one is a gap, and the line breaks there
_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
_TICKS_MAX = 9
_ROLES = tuple(SHOWN_MAX)

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
    """Return the series that the chart shows: of one unit, and of each role those that went highest."""
    filled = [one for one in series if any(value is not None for value in one.values)]
    unit = min(filled, key=lambda one: _ROLES.index(one.role)).unit if filled else ""
    found = []
    for role, most in SHOWN_MAX.items():
        of_role = [one for one in filled if one.role == role and one.unit == unit]
        found += sorted(of_role, key=_peak, reverse=True)[:most]
    return found


def numbered(lines: Sequence[PackSeries]) -> list[tuple[PackSeries, int]]:
    """Return each line with its number among those of its role: the first is solid, the others dashed."""
    roles = [one.role for one in lines]
    return [(one, roles[:index].count(one.role)) for index, one in enumerate(lines)]


def _peak(series: PackSeries) -> float:
    return max(value for value in series.values if value is not None)


def draw(
    series: Sequence[PackSeries],
    limits: Sequence[PackLimit],
    zone: tzinfo = UTC,
    gaps: Sequence[PackGap] = (),
) -> Markup | None:
    """Return the chart, or None where there is nothing to show. A gap is shaded and named."""
    lines = shown(series)
    if not lines:
        return None
    levels = _levels(limits, lines)
    frame = _frame(lines, [level for level, _ in levels])
    parts = [_time_axis(frame, zone), _value_axis(frame, lines[0].unit)]
    parts += [_gap(frame, *span) for span in _spans(gaps, frame)]
    parts += [_limit(frame, level) for level, _ in levels]
    parts += [_series(frame, one, number) for one, number in reversed(numbered(lines))]
    parts += _limit_names(frame, levels)
    label = escape("; ".join([*(f"{one.title}: {_told(one)}" for one in lines), *map(str, gaps)]))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _spans(gaps: Sequence[PackGap], frame: Frame) -> list[tuple[float, float]]:
    """Return the stretches of the frame that gaps touch, joined where they overlap."""
    found: list[tuple[float, float]] = []
    for gap in sorted(gaps, key=lambda gap: gap.from_at):
        from_s = max(gap.from_at.timestamp(), frame.from_s)
        until_s = min(gap.until_at.timestamp(), frame.until_s)
        if from_s > until_s:
            continue
        if found and from_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until_s))
        else:
            found.append((from_s, until_s))
    return found


def _gap(frame: Frame, from_s: float, until_s: float) -> str:
    x, width = frame.x(from_s), max(2.0, frame.x(until_s) - frame.x(from_s))
    shade = f'<rect class="gap" x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
    middle = min(max(x + width / 2, LEFT + GAP_NAME_WIDTH / 2), WIDTH - RIGHT - GAP_NAME_WIDTH / 2)
    return shade + _text("gap-name", middle, HEIGHT - BOTTOM - 8, "middle", "readings lost")


def _levels(limits: Sequence[PackLimit], lines: Sequence[PackSeries]) -> list[tuple[float, str]]:
    """Return the limits worth a line: those that were crossed, and the next on either side."""
    names: dict[float, list[str]] = {}
    for limit in limits:
        for level in (limit.low_c, limit.high_c):
            if level is not None:
                names.setdefault(level, []).append(limit.title)
    known = [value for one in lines for value in one.values if value is not None]
    low, high = min(known), max(known)
    crossed = sorted(level for level in names if low <= level <= high)
    above = sorted(level for level in names if high < level <= high + (high - low) + 4)[:1]
    below = sorted(level for level in names if low - (high - low) - 4 <= level < low)[-1:]
    chosen = [*below, *(crossed + above)[: LEVELS_MAX - len(below)]]
    return [(level, _named(list(dict.fromkeys(names[level])))) for level in chosen]


def _named(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{titles[0]} and {len(titles) - 1} more"


def _told(series: PackSeries) -> str:
    known = [value for value in series.values if value is not None]
    return f"{min(known):.1f} to {max(known):.1f} {series.unit}"


def _frame(lines: Sequence[PackSeries], levels: Sequence[float]) -> Frame:
    times = [
        at_s for one in lines for at_s, value in zip(one.at_s, one.values, strict=True) if value is not None
    ]
    edges = [value for one in lines for value in (*one.values, *one.low, *one.high) if value is not None]
    low, high = min(edges), max(edges)
    low, high = min([low, *levels]), max([high, *levels])
    if high - low < SPAN_MIN:  # a flat line stands in the middle of something
        low, high = low - SPAN_MIN / 2, high + SPAN_MIN / 2
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


def _limit_names(frame: Frame, levels: Sequence[tuple[float, str]]) -> list[str]:
    """Name the limits from the top down; a name that would cover the one above it moves under its line."""
    found, last_y = [], -math.inf
    for level, label in reversed(levels):
        y = frame.y(level) - 6
        if y - last_y < LABEL_HEIGHT:
            y = last_y + LABEL_HEIGHT
        found.append(_text("limit-name", LEFT + 6, y, "start", f"{_number(level)} °C · {label}"))
        last_y = y
    return found


def _text(class_: str, x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="{class_}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _series(frame: Frame, series: PackSeries, number: int) -> str:
    band = _band(frame, series) if series.low and series.high else ""
    points = thinned(list(zip(series.at_s, series.values, strict=True)))
    # Readings come in steps: a long one is a gap. An estimate is drawn with as few points as it needs.
    gap_s = math.inf if series.role == "product" else _usual_step_s(points) * GAP_FACTOR
    return f'{band}<path class="line {series.role} s{number}" d="{_path(frame, points, gap_s)}"/>'


def _path(frame: Frame, points: Sequence[Point], gap_s: float) -> str:
    parts, last_s = [], None
    for at_s, value in points:
        if value is None:
            last_s = None
            continue
        joined = last_s is not None and at_s - last_s <= gap_s
        parts.append(f"{'L' if joined else 'M'}{frame.x(at_s):.1f},{frame.y(value):.1f}")
        last_s = at_s
    return "".join(parts)


def _usual_step_s(points: Sequence[Point]) -> float:
    steps = sorted(after[0] - before[0] for before, after in pairwise(points))
    return steps[len(steps) // 2] if steps else 0.0


def _band(frame: Frame, series: PackSeries) -> str:
    edges = [
        (at_s, low, high)
        for at_s, value, low, high in zip(series.at_s, series.values, series.low, series.high, strict=True)
        if value is not None and low is not None and high is not None
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
