"""CSV files of master data: one item a row, cells turned into the values that the kind's fields want."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

from msgspec import inspect
from msgspec.structs import fields

from coldgrid.kernel.rejections import Problem
from coldgrid.network.cells import cell_value, shape_at
from coldgrid.network.change_rules import ITEMS_MAX
from coldgrid.network.items import KIND_FIELD, item_kinds
from coldgrid.network.placed import (
    Placed,
    another_kind,
    kind_named,
    own_kind_field,
    too_many,
    unknown_kind,
)

CELL_CHARS_MAX = 10_000


def read_csv(name: str, text: str, stem: str) -> tuple[list[Placed], list[Problem]]:
    """Return the items of a CSV text with their lines, and every problem of its form.

    `stem`: the file's name without its ending; it names the kind where there is no column `kind`.
    """
    header_line = text.partition("\n")[0]
    delimiter = ";" if header_line.count(";") > header_line.count(",") else ","
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, problems = _rows(reader)
    if not rows:
        return [], [*_header_problems([], stem), *problems]
    header = [cell.strip() for cell in rows[0][1]]
    if wrong := _header_problems(header, stem):
        return [], wrong
    if len(rows) - 1 > ITEMS_MAX:  # looking at each would take minutes
        return [], [too_many(len(rows) - 1)]
    placed: list[Placed] = []
    columns = frozenset(cell.partition(".")[0] for cell in header)
    for line, cells in rows[1:]:
        if [cell.strip() for cell in cells] == header:
            fix = "leave the line out"
            problems.append(Problem(field="row", message="is the header again", fix=fix, line=line))
        elif any(cell.strip() for cell in cells):
            item, wrong = _row(header, cells, stem, line)
            problems += wrong
            placed += [Placed(item, name, line, columns=columns)] if item is not None else []
    return placed, problems


def _rows(reader: Any) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    """Return the rows, each with the line that it begins on, up to the first that cannot be read."""
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        fix = f"check the quotes from line {line} on"
        return rows, [Problem(field="row", message=str(error), fix=fix, line=reader.line_num)]
    return rows, []


def _header_problems(header: list[str], stem: str) -> list[Problem]:
    problems = [
        Problem(field=f"column {number}", message="has no name", fix="name the field it holds", line=1)
        for number, cell in enumerate(header, start=1)
        if not cell
    ]
    twice = sorted({cell for cell in header if cell and header.count(cell) > 1})
    problems += [
        Problem(field=cell, message="is there twice", fix="keep one column", line=1) for cell in twice
    ]
    kind = kind_named(stem)
    if KIND_FIELD not in header and kind is None:
        problems.append(unknown_kind(stem, 1))
    elif KIND_FIELD not in header and header and not problems:
        problems += _no_header(header, str(kind))
    return problems


def _no_header(header: list[str], kind: str) -> list[Problem]:
    """Say once that the first line names no field, instead of at each line that each is missing."""
    named = [one.encode_name for one in fields(item_kinds()[kind].struct)]
    if any(cell.partition(".")[0] in named for cell in header):
        return []
    if len(header) == 1 and "\t" in header[0]:
        fix = "save it with commas or semicolons between the cells"
        return [Problem(field="header", message="has its cells between tabs", fix=fix, line=1)]
    fix = f"begin the file with a line of field names, such as {','.join(named[:3])}"
    return [Problem(field="header", message=f"names no field of a {kind}", fix=fix, line=1)]


def _row(
    header: list[str], cells: list[str], stem: str, line: int
) -> tuple[dict[str, Any] | None, list[Problem]]:
    if len(cells) != len(header):
        message = f"has {len(cells)} cells, the header has {len(header)}"
        fix = "quote cells that hold the separator" if len(cells) > len(header) else "fill the row up"
        return None, [Problem(field="row", message=message, fix=fix, line=line)]
    if any(len(cell) > CELL_CHARS_MAX for cell in cells):
        return None, [
            Problem(field="row", message=f"has a cell of over {CELL_CHARS_MAX} characters", line=line)
        ]
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    named = row.pop(KIND_FIELD, stem)
    kind = kind_named(named)
    if kind is None:
        own = kind_named(stem)
        if own is not None and own_kind_field(own):
            return None, [another_kind(own, named, KIND_FIELD, line)]
        return None, [unknown_kind(named, line)]
    shape = inspect.type_info(item_kinds()[kind].struct)
    item: dict[str, Any] = {KIND_FIELD: kind}
    for name, cell in row.items():
        if not _put(item, name.split("."), cell_value(cell, shape_at(shape, name.split(".")))):
            return None, [Problem(field=name, message="clashes with another column", line=line)]
    return item, []


def _put(item: dict[str, Any], path: list[str], value: Any) -> bool:
    for part in path[:-1]:
        item = item.setdefault(part, {})
        if not isinstance(item, dict):
            return False
    if path[-1] in item:
        return False
    item[path[-1]] = value
    return True
