"""Differences between what is in force and what is drafted, field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class FieldChange(msgspec.Struct, frozen=True):
    """One field that differs. None: it is not there on that side."""

    field: str
    before: str | None
    after: str | None


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of a value with its path, `cutoffs[0].carrier`; lists of plain values are one leaf."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{path}[{index}]")
    else:
        yield path, shown(value)


def shown(value: Any) -> str:
    """Return a plain value as people read it."""
    if value is None or value in ("", [], {}):
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)


def changed_fields(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[FieldChange]:
    """Return the fields that differ, in the order of the new value; of a new item all of them."""
    old, new = dict(flat(before or {})) if before else {}, dict(flat(after))
    gone = [FieldChange(path, text, None) for path, text in old.items() if path not in new]
    return [
        FieldChange(path, old.get(path), text) for path, text in new.items() if old.get(path) != text
    ] + gone
