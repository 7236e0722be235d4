"""How numbers, instants, temperatures and money read: one place, so that a page never invents its own.

Instants show in the page's time zone, temperatures in the reader's unit. Missing values read "—".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from coldgrid.kernel.money import Money

NONE = "—"
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
_DEGREES = re.compile(r"([+−]?)(?<![\d.])(\d+(?:\.\d+)?) °C(/h| off| away)?")
_HYPHEN_AS_MINUS = re.compile(r"(?<![\w.,:)/-])-(?=\d)")


def count(value: float | None) -> str:
    """1284 → "1,284"."""
    return NONE if value is None else _minus(f"{value:,.0f}")


def number(value: float | None, digits: int = 1) -> str:
    """A number with its decimals and a true minus sign; what rounds to zero has none."""
    return NONE if value is None else _minus(f"{value:z,.{digits}f}")


def percent(value: float | None, digits: int = 1) -> str:
    """A share of one → "96.8 %"."""
    return NONE if value is None else f"{number(value * 100, digits)} %"


def temperature(value_c: float | None, unit: str = "c", digits: int = 1) -> str:
    """Degrees Celsius in the reader's unit: -18.4 → "−18.4 °C" or "−1.1 °F"."""
    if value_c is None:
        return NONE
    return f"{number(in_unit(value_c, unit), digits)} °{unit.upper()}"


def in_unit(value_c: float, unit: str) -> float:
    """Convert a temperature from Celsius to the reader's unit, "c" or "f"."""
    return value_c * 9 / 5 + 32 if unit == "f" else value_c


def difference(value_c: float | None, unit: str = "c", digits: int = 1) -> str:
    """A difference or rate in degrees: scaled, not shifted; the sign is always shown."""
    if value_c is None:
        return NONE
    value = value_c * 9 / 5 if unit == "f" else value_c
    return f"{'+' if round(value, digits) > 0 else ''}{number(value, digits)} °{unit.upper()}"


def band(low_c: float | None, high_c: float | None, unit: str = "c") -> str:
    """An allowed range: "2–8 °C", "≤ −18 °C", "≥ 0 °C"."""
    low, high = (None if v is None else _short(in_unit(v, unit)) for v in (low_c, high_c))
    degree = f"°{unit.upper()}"
    if low is None and high is None:
        return NONE
    if low is None:
        return f"≤ {high} {degree}"
    if high is None:
        return f"≥ {low} {degree}"
    joint = " to " if "−" in f"{low}{high}" else "–"
    return f"{low}{joint}{high} {degree}"


def money(amount: Money | None) -> str:
    """An amount: whole units from 1,000 up, cents below."""
    if amount is None:
        return NONE
    symbol = SYMBOLS.get(amount.currency, f"{amount.currency} ")
    digits = 0 if abs(amount.cents) >= 100_000 or amount.cents % 100 == 0 else 2
    sign = "−" if amount.cents < 0 else ""
    return f"{sign}{symbol}{abs(amount.cents) / 100:,.{digits}f}"


def money_short(amount: Money | None) -> str:
    """An amount for a tile: "$82.8k", "$1.24M"."""
    if amount is None:
        return NONE
    symbol = SYMBOLS.get(amount.currency, f"{amount.currency} ")
    units = amount.cents / 100
    for limit, divisor, suffix, digits in ((1e6, 1e6, "M", 2), (1e4, 1e3, "k", 1)):
        if abs(units) >= limit:
            return _minus(f"{symbol}{units / divisor:,.{digits}f}{suffix}")
    return money(amount)


def cents(value_cents: int | None, currency: str = "USD") -> str:
    """Minor units of a currency, as `money`."""
    return NONE if value_cents is None else money(Money(value_cents, currency))


def weight(value_g: float | None) -> str:
    """Grams as kilograms: 8400 → "8.4 kg"; below 1 kg in grams."""
    if value_g is None:
        return NONE
    return f"{count(value_g)} g" if abs(value_g) < 1000 else f"{_short(value_g / 1000)} kg"


def duration(value: float | timedelta | None) -> str:
    """Minutes (or a timedelta) as people say them: "48 min", "1 h 12 min", "3 d 4 h", "20 s"."""
    if value is None:
        return NONE
    seconds = value.total_seconds() if isinstance(value, timedelta) else value * MINUTE_S
    sign, whole = ("−" if seconds < 0 else ""), abs(round(seconds))
    if whole < MINUTE_S:
        return f"{sign}{whole} s"
    if whole < HOUR_S:
        return f"{sign}{whole // MINUTE_S} min"
    big, small, size, part = ("d", "h", DAY_S, HOUR_S) if whole >= DAY_S else ("h", "min", HOUR_S, MINUTE_S)
    rest = whole % size // part
    return f"{sign}{whole // size} {big}" + (f" {rest} {small}" if rest else "")


def zone_of(name: str | None) -> ZoneInfo:
    """Return a time zone by its IANA name; an unknown one reads as UTC, which the label then says."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def local(instant: datetime, timezone: str | None, form: str) -> str:
    """An instant in a time zone, by a strftime form."""
    return instant.astimezone(zone_of(timezone)).strftime(form)


def day(value: date | None) -> str:
    """A calendar day: "31 Dec 2026"."""
    return NONE if value is None else f"{value.day} {value.strftime('%b %Y')}"


def zone_label(timezone: str | None, at: datetime) -> str:
    """A time zone for people, with what it is called at an instant: "America/New_York (EST)"."""
    zone = zone_of(timezone)
    short = at.astimezone(zone).tzname() or ""
    # Zones without letters of their own are called by their offset, such as "-03".
    named = f"UTC{_minus(short)}" if short[:1] in "+-" else short
    return named if str(zone) in (named, "Etc/UTC") else f"{zone} ({named})"


def true_minus(text: str) -> str:
    """Give the numbers of a sentence their minus sign; hyphens of words, codes, dates and tags stay."""
    if isinstance(text, Markup):
        return text
    return _HYPHEN_AS_MINUS.sub("−", str(text))


def in_words(text: str, unit: str = "c") -> str:
    """A sentence that a rule or a decision made, in the reader's unit and with true minus signs.

    What is recorded is in °C. A number with a plus, and one followed by "/h", "off" or "away", is a rate or a
    difference: scaled, not shifted.
    """
    told = true_minus(text)
    return told if unit == "c" or isinstance(told, Markup) else _DEGREES.sub(_in_fahrenheit, told)


def with_fahrenheit(text: str) -> str:
    """A sentence as it was recorded, in °C, with °F beside every temperature: "−18.0 °C (−0.4 °F)"."""
    return _DEGREES.sub(lambda found: f"{found[0]} ({_in_fahrenheit(found)})", true_minus(text))


def _in_fahrenheit(found: re.Match[str]) -> str:
    sign, digits, rest = found[1], found[2], found[3] or ""
    value_c = float(digits) * (-1 if sign == "−" else 1)
    decimals = max(1, len(digits.partition(".")[2]))
    if sign == "+" or rest:
        return f"{difference(value_c, 'f', decimals)}{rest}"
    shown = temperature(value_c, "f", decimals)
    return shown if "." in digits else shown.replace(".0 ", " ")


def actor(actor_id: str | None, names: Mapping[str, str]) -> str:
    """Who did something: a person by name, a machine by its id, the product by its own name."""
    if not actor_id:
        return ""
    return "Coldgrid" if actor_id.startswith("system") else names.get(actor_id, actor_id)


def initials(name: str) -> str:
    """Two letters for an avatar."""
    words = [w for w in name.replace("-", " ").split() if w[0].isalnum()]
    return ((words[0][0] + words[-1][0]) if len(words) > 1 else name[:2]).upper() if words else "?"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _short(value: float) -> str:
    return _minus(f"{round(value, 1):,.1f}".removesuffix(".0"))


# --- As filters: they take unit, time zone and now from the page ----------------------


def _unit(context: Context) -> str:
    return str(context.get("unit") or "c")


@pass_context
def _temp(context: Context, value_c: float | None, digits: int = 1) -> str:
    return temperature(value_c, _unit(context), digits)


@pass_context
def _words(context: Context, text: str) -> str:
    return in_words(text, _unit(context))


@pass_context
def _delta(context: Context, value_c: float | None, digits: int = 1) -> str:
    return difference(value_c, _unit(context), digits)


@pass_context
def _band(context: Context, low_c: float | None, high_c: float | None) -> str:
    return band(low_c, high_c, _unit(context))


def _instant(form: str) -> Callable[..., Any]:
    @pass_context
    def shown(context: Context, value: datetime | None, timezone: str | None = None) -> Markup | str:
        if value is None:
            return NONE
        usual = context.get("timezone") or "UTC"
        zone = timezone or usual
        # The page says its zone once; what is told in another one names it.
        text = local(value, zone, form if zone == usual else f"{form} %Z")
        full = local(value, zone, "%a %d %b %Y %H:%M:%S %Z")
        return Markup('<time datetime="{}" title="{}">{}</time>').format(value.isoformat(), full, text)

    return shown


@pass_context
def _ago(context: Context, value: datetime | None) -> Markup | str:
    if value is None:
        return NONE
    gone_s = (context["now"] - value).total_seconds()
    text = (
        "now"
        if abs(gone_s) < 2
        else f"{duration(gone_s / 60)} ago"
        if gone_s > 0
        else f"in {duration(-gone_s / 60)}"
    )
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        value.isoformat(), local(value, context.get("timezone"), "%a %d %b %Y %H:%M:%S %Z"), text
    )


def nl2br(text: str) -> Markup:
    """Keep the line breaks of plain text."""
    return Markup("<br>").join(escape(line) for line in text.splitlines())


FILTERS: dict[str, Callable[..., Any]] = {
    "actor": actor,
    "ago": _ago,
    "cents": cents,
    "clock": _instant("%H:%M"),
    "clock_s": _instant("%H:%M:%S"),
    "count": count,
    "dated": _instant("%d %b %Y, %H:%M"),
    "day": day,
    "delta": _delta,
    "duration": duration,
    "initials": initials,
    "money": money,
    "minus": _words,
    "money_short": money_short,
    "nl2br": nl2br,
    "number": number,
    "percent": percent,
    "temp": _temp,
    "weight": weight,
    "when": _instant("%d %b, %H:%M"),
}
# Functions rather than filters where two values make one reading: {{ band(zone.low_c, zone.high_c) }}
GLOBALS: dict[str, Callable[..., Any]] = {"band": _band, "zone_label": zone_label}
