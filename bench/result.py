"""One measured figure, with what it is held to."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """A figure: its unit, the target in words, and whether it was met."""

    name: str
    value: float
    unit: str
    target: str
    ok: bool
