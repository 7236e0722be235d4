"""Quantities that people write with the wrong unit: noticed, and turned into what the field wants. Pure.

A field's name ends in its unit (`high_c`, `weight_g`, `transit_min`), so a text such as "41 °F" for a field
in degrees Celsius can be answered with the right number instead of with "expected a number".
"""

from __future__ import annotations

import re

# What a unit of another spelling is in the unit that the field wants: value * factor + offset.
_UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "c": {"c": (1, 0), "f": (5 / 9, -160 / 9), "k": (1, -273.15)},
    "g": {
        "g": (1, 0),
        "kg": (1_000, 0),
        "lb": (453.59237, 0),
        "lbs": (453.59237, 0),
        "oz": (28.349523125, 0),
    },
    "ml": {"ml": (1, 0), "l": (1_000, 0), "cl": (10, 0)},
    "min": {
        "min": (1, 0),
        "h": (60, 0),
        "hr": (60, 0),
        "hours": (60, 0),
        "d": (1_440, 0),
        "days": (1_440, 0),
    },
    "days": {"days": (1, 0), "d": (1, 0), "weeks": (7, 0), "months": (30, 0), "years": (365, 0)},
    "cents": {"cents": (1, 0), "usd": (100, 0), "$": (100, 0)},
    "km": {"km": (1, 0), "mi": (1.609344, 0), "miles": (1.609344, 0)},
    "s": {"s": (1, 0), "sec": (1, 0), "min": (60, 0), "h": (3_600, 0)},
}
_WRITTEN = re.compile(r"(?P<dollar>\$)?\s*(?P<number>[-+−]?\d+(?:[.,]\d+)?)\s*°?\s*(?P<unit>[a-zA-Z]*)")


def unit_fix(field: str, text: str) -> str:
    """Return how to write a quantity that came as text, or "" when it cannot be told.

    Fahrenheit, kilograms, hours and the like are converted to the unit at the end of the field's name;
    "minutes" counts as `_min`. A decimal comma is read as a point.
    """
    wanted = "min" if field.endswith("minutes") else field.rpartition("_")[2]
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or wanted not in _UNITS:
        return ""
    number = float(match["number"].replace(",", ".").replace("−", "-"))
    unit = "$" if match["dollar"] else match["unit"].lower() or wanted
    if unit not in _UNITS[wanted]:
        return ""
    factor, offset = _UNITS[wanted][unit]
    return f"write {round(number * factor + offset, 2):g}"
