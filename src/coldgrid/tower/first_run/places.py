"""Where a time zone's principal town lies, from the tz database's zone.tab: a first guess for the map."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec


class Town(msgspec.Struct, frozen=True):
    """A country's two letters, and degrees north and east."""

    country: str
    lat: float
    lon: float


@cache
def towns() -> dict[str, Town]:
    """Return the principal town of every time zone that has one, by the zone's IANA name."""
    lines = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("utf-8").splitlines()
    cells = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: Town(country, *_degrees(where)) for country, where, name, *_ in cells}


def _degrees(where: str) -> tuple[float, float]:
    """Read ±DDMM±DDDMM or ±DDMMSS±DDDMMSS."""
    lat, lon = (
        (-1 if sign == "-" else 1) * (int(whole) + int(minutes) / 60 + int(seconds or 0) / 3600)
        for sign, whole, minutes, seconds in _split(where)
    )
    return round(lat, 3), round(lon, 3)


def _split(where: str) -> list[tuple[str, str, str, str]]:
    cut = max(where.rfind("+"), where.rfind("-"))
    found = []
    for part, degrees in ((where[:cut], 2), (where[cut:], 3)):
        digits = part[1:]
        found.append((part[0], digits[:degrees], digits[degrees : degrees + 2], digits[degrees + 2 :]))
    return found
