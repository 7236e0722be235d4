"""GTINs: the trade item numbers of GS1, checked and brought to one length. Pure.

Source: GS1 General Specifications, 4.2 (GTIN) and 7.9 (check digit); the arithmetic is the `biip` library's.
"""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

from coldgrid.kernel.rejections import Problem

GTIN_LENGTHS = (8, 12, 13, 14)


def gtin_problems(field: str, text: str) -> list[Problem]:
    """Return what is wrong with a GTIN; a wrong check digit comes with the right one."""
    if not re.fullmatch(r"\d+", text, re.ASCII):
        digits = re.sub(r"[\s-]", "", text)
        right = re.fullmatch(r"\d+", digits, re.ASCII) and not gtin_problems(field, digits)
        fix = f"did you mean {digits}?" if right else "digits only"
        return [Problem(field=field, message="a GTIN consists of digits", fix=fix)]
    if len(text) not in GTIN_LENGTHS:
        message = f"a GTIN has 8, 12, 13 or 14 digits, this has {len(text)}"
        return [Problem(field=field, message=message, fix="keep leading zeros; spreadsheets drop them")]
    try:
        _biip().gtin.Gtin.parse(text)
    except _biip().ParseError:
        right_digit = _biip().checksums.gs1_standard_check_digit(text[:-1])
        message = f"the check digit of {text} is wrong"
        fix = f"did you mean {text[:-1]}{right_digit}? (or a digit before it is mistyped)"
        return [Problem(field=field, message=message, fix=fix)]
    return []


def gtin_14(text: str) -> str:
    """Return a GTIN in 14 digits, the form to store and compare.

    Raises:
        biip.ParseError: it is none.
    """
    return str(_biip().gtin.Gtin.parse(text).as_gtin_14())


@cache
def _biip() -> ModuleType:
    """The library, read when first needed: its tables are 16 MB, and a node checks no GTIN."""
    import biip  # noqa: PLC0415

    return biip
