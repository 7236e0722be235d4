"""Charts: what the goods of an excursion had, beside the air and the limit they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import get_zone
from coldgrid.quality.assessing import goods_of
from coldgrid.quality.curves import Bools, Floats
from coldgrid.quality.estimate import lag_of
from coldgrid.quality.excursions import Excursion, ExposedUnit
from coldgrid.quality.zone_air import Body, ZoneAir, band_low_c
from coldgrid.webkit.charts import Mark, ZoneFrame
from coldgrid.webkit.formats import temperature

BEFORE = timedelta(hours=2)
POINTS_MAX = 360


def excursion_frame(
    db: Reader, excursion: Excursion, units: Sequence[ExposedUnit], *, unit: str, timezone: str
) -> ZoneFrame | None:
    """Return the temperatures of the most valuable goods of an excursion; None where it names none."""
    if not units:
        return None
    dearest = max(units, key=lambda one: (one.value_cents, one.sscc))
    zone, goods = get_zone(db, excursion.zone_id), goods_of(db, dearest.product_id)
    from_at, until_at = excursion.from_at - BEFORE, excursion.closed_at or excursion.until_at
    known = ZoneAir(db, zone, from_at, until_at)
    body = Body(lag_of(zone.lag_min), goods.limit_c)
    air = known.air(dearest.location_id, known.grace_min(dearest.location_id, body))
    product = known.product(dearest.location_id, body)
    first = int(np.searchsorted(product.at_us, round(from_at.timestamp() * 1e6)))
    step = max((len(product.at_us) - first) // POINTS_MAX, 1)
    shown = slice(first, None, step)
    gap = np.append(~product.known, ~product.known[-1:])[shown]
    air_c = np.interp(product.at_us, air.at_us, air.hot_c)
    return ZoneFrame(
        topic=f"excursion/{excursion.excursion_id}",
        label=f"{goods.product.name}, {zone.name}",
        low_c=band_low_c(zone),
        high_c=zone.high_c,
        limit_c=goods.limits.range_high_c if goods.limits else None,
        unit=unit,
        timezone=timezone,
        t=[float(each) for each in product.at_us[shown] / 1e6],
        air=_column(air_c[shown], gap),
        product=_column(((product.hot_c + product.cold_c) / 2)[shown], gap),
        product_lo=_column(product.cold_c[shown], gap),
        product_hi=_column(product.hot_c[shown], gap),
        marks=[
            Mark(t=excursion.from_at.timestamp(), label="last good reading", state="info"),
            Mark(t=excursion.opened_at.timestamp(), label="excursion", state="crit"),
        ],
    )


def told(frame: ZoneFrame) -> str:
    """Say in words what the chart shows, for those who do not see it."""
    warmest = max((value for value in frame.product_hi if value is not None), default=None)
    if warmest is None:
        return f"Temperature of {frame.label}: nothing is known"
    limit = "" if frame.limit_c is None else f", limit {temperature(frame.limit_c, frame.unit)}"
    return f"Estimated temperature of {frame.label}: at most {temperature(warmest, frame.unit)}{limit}"


def _column(values: Floats, gap: Bools) -> list[float | None]:
    return [None if missing else round(float(value), 2) for value, missing in zip(values, gap, strict=True)]
