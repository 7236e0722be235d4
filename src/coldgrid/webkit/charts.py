"""Charts: the data of the zone chart that the browser draws, and small pictures drawn here as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from markupsafe import Markup

SPARK_WIDTH = 64


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected next: instants in epoch seconds, and the middle and edges of the fan in °C."""

    t: Sequence[float] = ()
    lo: Sequence[float] = ()
    mid: Sequence[float] = ()
    hi: Sequence[float] = ()


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """An instant worth a line on the chart, such as an alarm. `state` picks its colour."""

    t: float
    label: str
    state: str = "off"


class ZoneFrame(msgspec.Struct, frozen=True, kw_only=True):
    """One zone's chart: equal columns over epoch seconds, temperatures in °C, None where data is missing.

    `air` is the measured air, `product` the estimate of the product with its uncertainty `product_lo`
    to `product_hi`, `probe` a product probe where there is one. `low_c`, `high_c`: the zone's band;
    `limit_c`: the product limit that counts. `unit` is the reader's, `timezone` the site's.
    """

    topic: str
    label: str
    low_c: float | None
    high_c: float | None
    limit_c: float | None = None
    unit: str = "c"
    timezone: str = "UTC"
    t: Sequence[float] = ()
    air: Sequence[float | None] = ()
    product: Sequence[float | None] = ()
    product_lo: Sequence[float | None] = ()
    product_hi: Sequence[float | None] = ()
    probe: Sequence[float | None] = ()
    forecast: Forecast = Forecast()
    marks: Sequence[Mark] = ()


class ZoneReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new point of a zone's chart, published as event `reading` on the zone's topic."""

    topic: str
    t: float
    air: float | None = None
    product: float | None = None
    product_lo: float | None = None
    product_hi: float | None = None
    probe: float | None = None


def json_data(value: Any) -> Markup:
    """Return JSON that may stand inside a `<script type="application/json">` of a page."""
    text = msgspec.json.encode(value).decode()
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(safe)


def spark(values: Sequence[float | None], state: str = "") -> Markup:
    """Return a sparkline: a line over equal steps with a dot on the last value. Screen readers skip it."""
    known = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(v for _, v in known), max(v for _, v in known)
    span, last = (high - low) or 1.0, len(values) - 1
    points = [(i / last * SPARK_WIDTH, 25 - (v - low) / span * 22) for i, v in known]
    line = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return Markup(
        '<svg class="sp {}" viewBox="0 0 64 28" aria-hidden="true">'
        '<path d="{}"/><circle cx="{:.1f}" cy="{:.1f}" r="2.8"/></svg>'
    ).format(state, line, x, y)
