"""Scans: what a barcode says, as a scanner types it. Pure.

Invariants
    C1  A GS1 element string is read as printed, `(00)…`, and as scanned: a symbology identifier (`]C1`) in
        front, FNC1 as the character 29 behind what has no fixed length (GS1 General Specifications, 7.8).
    C2  A code that broke off, or whose check digit is wrong, is never taken for another one: it says what is
        wrong.
    C3  What is no code of GS1 is a name: of a location, a lot, a product.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import date

import msgspec

from coldgrid.stock.units import check_digit

SCAN_LENGTH_MAX = 200
COUNT_DIGITS_MAX = 8
AGAIN = "Scan the label again."

# --- Vocabulary -----------------------------------------------------------------

_FNC1 = "\x1d"
_SYMBOLOGY = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_OF_GS1 = frozenset({"]C1", "]e0", "]d2", "]Q3", "]J1"})
_PRINTED = re.compile(r"\((\d{2,4})\)")
# Application identifiers by their first two digits: how many digits they have, where it is not two, and how
# many characters follow, where that is fixed.
_AI_DIGITS = {
    **dict.fromkeys(("23", "24", "25", "40", "41", "42", "71"), 3),
    **dict.fromkeys(("31", "32", "33", "34", "35", "36", "39", "43", "70", "72", "80", "81", "82"), 4),
}
_VALUE_LENGTH = {
    "00": 18,
    **dict.fromkeys(("01", "02", "03"), 14),
    "04": 16,
    **dict.fromkeys((str(ai) for ai in range(11, 20)), 6),
    "20": 2,
    **dict.fromkeys(("31", "32", "33", "34", "35", "36"), 6),
    "41": 13,
}
_CHECKED = {"00": "SSCC", "01": "GTIN", "02": "GTIN"}
_BARE = {18: "00", 14: "01", 13: "01", 12: "01", 8: "01"}


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan says. `name`: the text, where it is no code of GS1. `wrong`: why it cannot be read.

    `count`: trade items of the GTIN (37, 30). `expires_on`: use by (17), else best before (15).
    """

    name: str = ""
    sscc: str = ""
    gtin: str = ""
    lot: str = ""
    wrong: str = ""
    count: int = 0
    weight_g: int | None = None
    expires_on: date | None = None
    produced_on: date | None = None


class _Unreadable(Exception):
    """A code of GS1 that says nothing."""


# --- Decisions (pure) -----------------------------------------------------------


def read_scan(text: str) -> Scan:
    """Return what was scanned or typed, whatever it is (C1 to C3)."""
    code = text.strip(" \t\r\n")[:SCAN_LENGTH_MAX]
    marked = code[:3] in _OF_GS1
    if _SYMBOLOGY.match(code):
        code = code[3:]
    try:
        values = _values(code, marked=marked)
        return _scan(values) if values else Scan(name=code)
    except _Unreadable as why:
        return Scan(wrong=str(why))


def _scan(values: Mapping[str, str]) -> Scan:
    return Scan(
        sscc=values.get("00", ""),
        gtin=values.get("01") or values.get("02", ""),
        lot=values.get("10", ""),
        count=_number("37", values.get("37") or values.get("30", "")),
        weight_g=_weight_g(values),
        expires_on=_day("17", values.get("17", "")) or _day("15", values.get("15", "")),
        produced_on=_day("11", values.get("11", "")),
    )


def _number(ai: str, digits: str) -> int:
    if digits and not (digits.isascii() and digits.isdigit() and len(digits) <= COUNT_DIGITS_MAX):
        raise _Unreadable(f"The count ({ai}) in the code is no number. {AGAIN}")
    return int(digits or "0")


def _weight_g(values: Mapping[str, str]) -> int | None:
    """The net weight (310n): six digits, n of them behind the point of a kilogram."""
    for decimals in range(6):
        if digits := values.get(f"310{decimals}"):
            return _number(f"310{decimals}", digits) * 1000 // int(10**decimals)
    return None


def _day(ai: str, digits: str) -> date | None:
    """A day as YYMMDD; the day 00 is the month's last (GS1 General Specifications, 3.4)."""
    if not digits:
        return None
    try:
        year, month, day = (int(digits[at : at + 2]) for at in (0, 2, 4))
        return date(2000 + year, month, day or monthrange(2000 + year, month)[1])
    except ValueError:
        raise _Unreadable(f"The day ({ai}) {digits} in the code is none. {AGAIN}") from None


def _values(code: str, *, marked: bool) -> dict[str, str]:
    """Return what a code says by application identifier; nothing where it is no code of GS1."""
    if _PRINTED.match(code):
        parts = _PRINTED.split(code)[1:]
        pairs = [(ai, value.strip()) for ai, value in zip(parts[::2], parts[1::2], strict=True)]
        return dict(
            _checked(ai, value.replace(" ", "")) if _fixed(ai) else (ai, value) for ai, value in pairs
        )
    digits = code.replace(" ", "")
    if not marked and digits.isascii() and digits.isdigit() and len(digits) in _BARE:
        ai = _BARE[len(digits)]
        return dict([_checked(ai, digits if ai == "00" else digits.zfill(14))])
    begins = re.match(r"00\d|0[12]\d{12}", digits, re.ASCII)
    if marked or _FNC1 in code or (begins and len(digits) >= 16):
        return dict(_elements(digits if digits.isdigit() else code))
    return {}


def _elements(code: str) -> Iterator[tuple[str, str]]:
    rest = code.lstrip(_FNC1)
    while rest:
        ai = rest[: _AI_DIGITS.get(rest[:2], 2)]
        if not (ai.isascii() and ai.isdigit()):
            raise _Unreadable(f"The code says nothing from {rest[:8].partition(_FNC1)[0]} on. {AGAIN}")
        rest = rest[len(ai) :]
        length = _fixed(ai)
        value = rest[:length] if length else rest.partition(_FNC1)[0]
        yield _checked(ai, value)
        rest = rest[len(value) :].lstrip(_FNC1)


def _fixed(ai: str) -> int:
    """How many characters follow an identifier; 0 where that varies."""
    return _VALUE_LENGTH.get(ai[:2], 0)


def _checked(ai: str, value: str) -> tuple[str, str]:
    length = _fixed(ai)
    if length and len(value) != length:
        raise _Unreadable(
            f"The code broke off: ({ai}) has {length} characters, and {len(value)} came. {AGAIN}"
        )
    if ai in _CHECKED:
        if not (value.isascii() and value.isdigit()):
            raise _Unreadable(f"The {_CHECKED[ai]} in the code is not made of digits. {AGAIN}")
        right = check_digit(value[:-1])
        if int(value[-1]) != right:
            why = f"was misread or mistyped: its last digit would be {right}"
            raise _Unreadable(f"The {_CHECKED[ai]} {value} {why}. {AGAIN}")
    return ai, value
