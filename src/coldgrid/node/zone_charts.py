"""Zone charts: measured air, the estimate of the product with its uncertainty, the probe, and the limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from coldgrid.catalog.limits import LimitKind, limits_of
from coldgrid.kernel.reading import Reader
from coldgrid.network.zones import Zone
from coldgrid.quality.curves import US_PER_MIN, Curve, Floats, Ints
from coldgrid.quality.estimate import lag_of, product_band
from coldgrid.quality.zone_air import GRACE_LEAST_MIN, ZoneAir
from coldgrid.stock.inventory import units_in_zone
from coldgrid.telemetry.alarm_rules import Alarm, AlarmState
from coldgrid.telemetry.alarms import open_alarms_of_zone
from coldgrid.telemetry.losses import losses_of_zone
from coldgrid.telemetry.rules import Role, Rule
from coldgrid.webkit.charts import Forecast, Mark, ZoneFrame
from coldgrid.webkit.formats import temperature

BACK = timedelta(hours=6)
POINTS_MAX = 360
AHEAD_MIN = 60
TREND_MIN = 20.0
MARKS_MAX = 3
LOST = "readings lost"
RULE_WORDS = {
    Rule.BAND_HIGH: "above band",
    Rule.BAND_LOW: "below band",
    Rule.APPROACHING: "near its limit",
    Rule.RATE: "rises fast",
    Rule.RATE_SLOW: "rises",
    Rule.CUMULATIVE: "long above",
    Rule.COMPRESSOR: "compressor",
    Rule.OUT_OF_RANGE: "out of range",
    Rule.GAP: "silent",
}


def zone_frame(db: Reader, zone: Zone, now: datetime, *, unit: str, timezone: str) -> ZoneFrame:
    """Return a zone's last six hours and the hour ahead, at most 360 points."""
    known = ZoneAir(db, zone, now - BACK, now)
    air = known.air("", GRACE_LEAST_MIN)
    product = product_band(air, lag_of(zone.lag_min))
    shown = _every(air.at_us, now)
    gap = ~np.append(air.known, air.known[-1:])
    columns = {
        "air": _column(air.hot_c, shown, gap),
        "product": _column((product.hot_c + product.cold_c) / 2, shown, gap),
        "product_lo": _column(product.cold_c, shown, gap),
        "product_hi": _column(product.hot_c, shown, gap),
    }
    return ZoneFrame(
        topic=f"site/{zone.site_id}/{zone.zone_id}",
        label=zone.name,
        low_c=None if zone.temperature_class == "frozen" else zone.low_c,
        high_c=zone.high_c,
        limit_c=tightest_limit_c(db, zone.zone_id),
        unit=unit,
        timezone=timezone,
        t=[float(at) for at in air.at_us[shown] / 1e6],
        probe=_probe(known, air.at_us[shown]),
        forecast=_forecast(air, product),
        marks=[*_lost(db, zone.zone_id, now), *_marks(open_alarms_of_zone(db, zone.zone_id), now)],
        **columns,
    )


def _marks(alarms: Sequence[Alarm], now: datetime) -> list[Mark]:
    """The first alarm of each rule; one that a defrost or a door explains is drawn as such."""
    first = {
        alarm.rule: alarm for alarm in alarms if alarm.raised_at >= now - BACK
    }  # newest first: the last wins
    earliest = sorted(first.values(), key=lambda alarm: alarm.raised_at)[:MARKS_MAX]
    return [
        Mark(
            t=alarm.raised_at.timestamp(),
            label=RULE_WORDS.get(alarm.rule, str(alarm.rule).replace("_", " ")),
            state="warn" if alarm.state is AlarmState.SUPPRESSED else "crit",
        )
        for alarm in earliest
    ]


def _lost(db: Reader, zone_id: str, now: datetime) -> list[Mark]:
    """Where each stretch of lost readings begins and ends, so that a hole in the line has a name."""
    spans: list[tuple[float, float]] = []
    for one in sorted(losses_of_zone(db, zone_id, now - BACK, now), key=lambda one: one.from_at):
        began, ended = max(one.from_at, now - BACK).timestamp(), one.to_at.timestamp()
        if spans and began <= spans[-1][1]:  # another sensor of the zone
            spans[-1] = (spans[-1][0], max(spans[-1][1], ended))
        else:
            spans.append((began, ended))
    return [
        mark
        for began, ended in spans[-MARKS_MAX:]
        for mark in (Mark(t=began, label=LOST, state="warn"), Mark(t=ended, label="", state="warn"))
    ]


def explained(db: Reader, zone: Zone) -> str:
    """Say why a zone outside its band raised no alarm, where a rule said so; "" where none did."""
    suppressed = [a for a in open_alarms_of_zone(db, zone.zone_id) if a.state is AlarmState.SUPPRESSED]
    return suppressed[0].why if suppressed else ""


def tightest_limit_c(db: Reader, zone_id: str) -> float | None:
    """Return the lowest warm limit of the goods that stand in a zone, °C; None where none is known."""
    products = {unit.product_id for unit in units_in_zone(db, zone_id) if unit.product_id}
    highs = [
        limit.high_c
        for product_id in products
        for limit in limits_of(db, product_id)
        if limit.kind is LimitKind.RANGE and limit.high_c is not None
    ]
    return min(highs, default=None)


def told(frame: ZoneFrame, zone: Zone, site_name: str) -> str:
    """Say in words what the chart shows, for those who do not see it."""
    air = next((value for value in reversed(frame.air) if value is not None), None)
    product = next((value for value in reversed(frame.product) if value is not None), None)
    lost = ". Some of its readings are lost" if any(mark.label == LOST for mark in frame.marks) else ""
    if air is None or product is None:
        return f"Temperature of {zone.name} at {site_name} over six hours: not known now{lost}"
    air_told, product_told, high_told = (
        temperature(each, frame.unit) for each in (air, product, zone.high_c)
    )
    return (
        f"Temperature of {zone.name} at {site_name} over six hours: air now {air_told}, "
        f"product estimated at {product_told}, band up to {high_told}{lost}"
    )


def _every(at_us: Ints, now: datetime) -> Ints:
    """The indexes to show: those of the last six hours, thinned out evenly, the newest always."""
    first = int(np.searchsorted(at_us, round((now - BACK).timestamp() * 1e6)))
    step = max(1, -(-(len(at_us) - first) // POINTS_MAX))
    return np.arange(len(at_us) - 1, first - 1, -step, dtype=np.int64)[::-1]


def _column(
    values: Floats, shown: Ints, gap: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> list[float | None]:
    return [
        None if missing else round(float(value), 2)
        for value, missing in zip(values[shown], gap[shown], strict=True)
    ]


def _probe(known: ZoneAir, at_us: Ints) -> Sequence[float | None]:
    probes = [sensor for sensor in known.sensors if sensor.role is Role.PRODUCT_PROBE]
    if not probes or not len(at_us):
        return ()
    series = known.readings_of(probes[0])
    if not len(series.at_us):
        return ()
    values = np.interp(at_us, series.at_us, series.value_c)
    far = np.abs(
        at_us - series.at_us[np.clip(np.searchsorted(series.at_us, at_us), 0, len(series.at_us) - 1)]
    )
    return [None if off > 15 * US_PER_MIN else round(float(v), 2) for v, off in zip(values, far, strict=True)]


def _forecast(air: Curve, product: Curve) -> Forecast:
    """The product's hour ahead on its trend of the last twenty minutes; the fan is the band's."""
    if not air.known[-1]:
        return Forecast()
    back = int(np.searchsorted(air.at_us, air.at_us[-1] - round(TREND_MIN * US_PER_MIN)))
    minutes = (product.at_us[-1] - product.at_us[back]) / US_PER_MIN
    if minutes <= 0:
        return Forecast()
    rates = [(edge[-1] - edge[back]) / minutes for edge in (product.cold_c, product.hot_c)]
    ahead = np.arange(5, AHEAD_MIN + 1, 5)
    low, high = product.cold_c[-1] + rates[0] * ahead, product.hot_c[-1] + rates[1] * ahead
    at_s = air.at_us[-1] / 1e6 + ahead * 60
    return Forecast(
        t=[float(at) for at in at_s],
        lo=[round(float(v), 2) for v in np.minimum(low, high)],
        mid=[round(float(v), 2) for v in (low + high) / 2],
        hi=[round(float(v), 2) for v in np.maximum(low, high)],
    )
