"""Where an imported item stands: its file, its line, and the lines of its fields."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec

from coldgrid.kernel.rejections import Problem
from coldgrid.network.items import item_kinds


class Placed(msgspec.Struct, frozen=True):
    """A raw item with its place. `lines`: the line of each field that has one of its own, by path."""

    raw: dict[str, Any]
    file: str
    line: int
    lines: dict[str, int] = {}

    def line_of(self, field: str) -> int:
        """Return the line of a field, or of the nearest thing around it."""
        while field:
            if field in self.lines:
                return self.lines[field]
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return self.line


def kind_named(name: str) -> str | None:
    """Return the item kind that a section or a file names, in the singular or the plural."""
    plain = name.strip().lower()
    return next((kind for kind in (plain, plain.removesuffix("s")) if kind in item_kinds()), None)


def unknown_kind(name: str, line: int) -> Problem:
    """Say that a section or file names no kind, with the nearest one that does."""
    plurals = sorted(f"{kind}s" for kind in item_kinds())
    close = get_close_matches(name[:64].lower(), plurals, n=1)
    fix = f"did you mean {close[0]}?" if close else f"one of {', '.join(plurals)}"
    return Problem(field=name[:64] or "kind", message="is no kind of master data", fix=fix, line=line)
