"""Cells: texts from spreadsheets and forms, turned into what a field's type wants. Pure.

A text that does not read as its type stays text: reading the item reports it like any other wrong value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import inspect

_INT = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)
_BOOLS = {"true": True, "false": False}


def required(shape: inspect.Type | None) -> inspect.Type | None:
    """Return a type without its None; None where it has several others."""
    if not isinstance(shape, inspect.UnionType):
        return shape
    options = [option for option in shape.types if not isinstance(option, inspect.NoneType)]
    return options[0] if len(options) == 1 else None


def shape_at(shape: inspect.Type | None, path: Sequence[str]) -> inspect.Type | None:
    """Return the type of a field by its path; None where there is no such field."""
    for part in path:
        shape = required(shape)
        if isinstance(shape, inspect.StructType):
            shape = next((field.type for field in shape.fields if field.encode_name == part), None)
        else:
            shape = shape.value_type if isinstance(shape, inspect.DictType) else None
    return shape


def column_for(field: str, shape: inspect.Type | None) -> str:
    """Say which column brings a field of this type; what has parts of its own is in no cell."""
    shape = required(shape)
    if isinstance(shape, inspect.DictType):
        return f"add a column for each part, named {field}.PART"
    item = required(shape.item_type) if isinstance(shape, inspect.ListType) else shape
    if isinstance(item, inspect.StructType | inspect.DictType | inspect.ListType):
        return "a cell cannot hold it: write these items as YAML"
    return f"add the column {field}"


def cell_value(text: str, shape: inspect.Type | None) -> Any:
    """Return a text as its type wants it; `|` or a new line separates the members of a list."""
    shape = required(shape)
    if isinstance(shape, inspect.ListType):
        parts = (part.strip() for part in re.split(r"[|\n]", text))
        return [cell_value(part, shape.item_type) for part in parts if part]
    if isinstance(shape, inspect.IntType | inspect.FloatType):
        return _number(text.replace("−", "-"), shape)
    if isinstance(shape, inspect.BoolType):
        return _BOOLS.get(text.lower(), text)
    return text


def _number(text: str, shape: inspect.IntType | inspect.FloatType) -> int | float | str:
    if isinstance(shape, inspect.IntType):
        return int(text) if _INT.fullmatch(text) else text
    return float(text) if _FLOAT.fullmatch(text) else text
