"""Where an imported item stands: its file, its line, and the lines of its fields."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec.structs import fields

from coldgrid.kernel.rejections import Problem
from coldgrid.network.change_rules import ITEMS_MAX
from coldgrid.network.items import item_kinds


class Placed(msgspec.Struct, frozen=True):
    """A raw item with its place. `lines`: the line of each field that has one of its own, by path.

    `columns`: of a table, the fields that a column holds or reaches into; empty where there is no table.
    """

    raw: dict[str, Any]
    file: str
    line: int
    lines: dict[str, int] = {}
    columns: frozenset[str] = frozenset()

    def lacks_column(self, field: str) -> bool:
        """Tell whether a field is in no row of the table that this item is from."""
        return bool(self.columns) and bool(field) and field.partition(".")[0] not in self.columns

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


def too_many(items: int) -> Problem:
    """Say that an import holds more items than a change may."""
    message = f"{items} items are more than {ITEMS_MAX}"
    return Problem(field="file", message=message, fix="import them in parts")


def own_kind_field(kind: str) -> str:
    """Return the field in which an item says its own kind, such as `site_kind`; "" where it has none."""
    name = f"{kind}_kind"
    return name if any(one.encode_name == name for one in fields(item_kinds()[kind].struct)) else ""


def another_kind(kind: str, given: object, field: str, line: int) -> Problem:
    """Say that an item's `kind` contradicts its section, and which field was probably meant."""
    own, told = own_kind_field(kind), str(given)[:64]
    message = f"says what the item is, and this one is a {kind}, not {told!r}"
    fix = f"write {own}: {told}" if own else "leave it out"
    return Problem(field=field, message=message, fix=fix, line=line)


def unknown_kind(name: str, line: int) -> Problem:
    """Say that a section or file names no kind, with the nearest one that does."""
    plurals = sorted(f"{kind}s" for kind in item_kinds())
    close = get_close_matches(name[:64].lower(), plurals, n=1)
    fix = f"did you mean {close[0]}?" if close else f"one of {', '.join(plurals)}"
    return Problem(field=name[:64] or "kind", message="is no kind of master data", fix=fix, line=line)
