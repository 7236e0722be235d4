"""Import of master data from YAML and CSV files: every bad line at once, and nothing applied on error.

Invariants
    F1  Every problem names its file, its line and its field, and how to put it right where that can be told.
    F2  An import with one problem changes nothing; one without becomes a draft for somebody to approve.
    F3  A file cannot do more than say values: no anchors, tags or aliases, bounded size and depth.

YAML: sections by kind, each a list of items (`zones:` holds items of kind `zone`); plain scalars follow the
YAML 1.2 core schema, so `NO` is a text, `22:30` is no number, and digits with a leading zero stay text.

CSV: a header with the fields' names, one item a row. The kind is the column `kind`, or else the file's name
(`products.csv`). A dot reaches into a field (`capacity.frozen`), `|` separates the members of a list, an
empty cell leaves the field out. Comma or semicolon separate the cells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import inspect

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import MISSING
from coldgrid.network.cells import column_for, shape_at
from coldgrid.network.change_rules import ITEMS_MAX
from coldgrid.network.changes import check_items
from coldgrid.network.csv_files import read_csv
from coldgrid.network.items import KIND_FIELD, item_kinds, read_items
from coldgrid.network.placed import Placed, too_many
from coldgrid.network.yaml_files import read_yaml

SIZE_MAX_BYTES = 4 * 1024 * 1024
PROBLEMS_MAX = 1_000
_ITEM = re.compile(r"as items\[(\d+)\]")
# In a file nothing is quoted and nobody knows of types: what the decoder says of a text in a number's place.
NO_NUMBER = {
    "Expected `float`, got `str`": ("is no number", "write it as 4.5, without a unit"),
    "Expected `int`, got `str`": ("is no whole number", "write it as 12, without a unit"),
    "Expected `int`, got `float`": ("is no whole number", "write it as 12"),
}


class SourceFile(msgspec.Struct, frozen=True):
    """A file to import. The name's ending says how it is written."""

    name: str
    data: bytes


def parse_files(files: Sequence[SourceFile]) -> tuple[list[Placed], list[Problem]]:
    """Read files to raw items with their places; list every problem of their form (F1, F3)."""
    placed: list[Placed] = []
    problems: list[Problem] = []
    if not files:
        problems.append(Problem(field="file", message="there is no file", fix="send a .yaml or .csv file"))
    for file in files:
        items, wrong = _parse_file(file)
        if not items and not wrong:
            fix = "send it with its items, or leave the file out"
            wrong = [Problem(field="file", message="holds no items", fix=fix)]
        placed += items
        problems += [msgspec.structs.replace(problem, file=file.name) for problem in wrong]
    if len(placed) > ITEMS_MAX:
        return [], [*problems, too_many(len(placed))]
    return placed, problems


def _parse_file(file: SourceFile) -> tuple[list[Placed], list[Problem]]:
    if len(file.data) > SIZE_MAX_BYTES:
        message = f"{len(file.data)} bytes are more than {SIZE_MAX_BYTES}"
        return [], [Problem(field="file", message=message, fix="import it in parts")]
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        fix = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
        return [], [Problem(field="file", message="is not UTF-8", fix=fix, line=line)]
    path = PurePath(file.name)
    match path.suffix.lower():
        case ".yaml" | ".yml":
            return read_yaml(file.name, text)
        case ".csv":
            return read_csv(file.name, text, path.stem)
    message = f"{path.suffix or 'no ending'} is no kind of file that can be imported"
    return [], [Problem(field="file", message=message, fix="a .yaml or .csv file")]


def explain(problems: Sequence[Problem], placed: Sequence[Placed]) -> list[Problem]:
    """Turn problems of a change's items, `items[3].high_c`, into those of the lines they are from (F1)."""
    return [_explained(problem, placed) for problem in problems]


def _explained(problem: Problem, placed: Sequence[Placed]) -> Problem:
    prefix, bracket, rest = problem.field.partition("]")
    number = prefix.removeprefix("items[")
    if not bracket or not number.isdecimal() or int(number) >= len(placed):
        return problem
    item, field = placed[int(number)], rest.removeprefix(".")
    if problem.message == MISSING and item.lacks_column(field):  # once, not at each line
        shape = shape_at(inspect.type_info(item_kinds()[item.raw[KIND_FIELD]].struct), field.split("."))
        message, fix = "has no column, and each row needs it", column_for(field, shape)
        return Problem(field=field, message=message, fix=fix, line=1, file=item.file)
    message, fix = NO_NUMBER.get(problem.message, (problem.message, problem.fix))
    message = _ITEM.sub(lambda found: _place_of(int(found[1]), placed), message)
    return msgspec.structs.replace(
        problem, message=message, fix=fix, field=field or "item", file=item.file, line=item.line_of(field)
    )


def _place_of(number: int, placed: Sequence[Placed]) -> str:
    """Say where another item of the change stands; a change without files knows it by its number."""
    if number >= len(placed) or not placed[number].file:
        return f"as items[{number}]"
    return f"on line {placed[number].line} of {placed[number].file}"


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems by file and line, each once; after `PROBLEMS_MAX` how many more there are."""
    unique = list(dict.fromkeys(problems))
    unique.sort(key=lambda problem: (problem.file, problem.line or 0))
    if len(unique) <= PROBLEMS_MAX:
        return unique
    more = Problem(field="file", message=f"and {len(unique) - PROBLEMS_MAX} more problems")
    return [*unique[:PROBLEMS_MAX], more]


def load_items(files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """Return the raw items of files, each readable as its kind. References are not looked at.

    Raises:
        Invalid: every problem of every file.
    """
    placed, problems = parse_files(files)
    raws = [item.raw for item in placed]
    _, unreadable = read_items(raws)
    problems += explain(unreadable, placed)
    if problems:
        raise Invalid(in_order(problems))
    return raws


def check_import(db: Reader, files: Sequence[SourceFile]) -> list[dict[str, Any]]:
    """Return the raw items of files, checked against what is in force: ready to be drafted (F2).

    Raises:
        Invalid: every problem of every file, those of form, of fields and of references alike.
    """
    placed, problems = parse_files(files)
    raws = [item.raw for item in placed]
    _, wrong = check_items(db, raws)
    problems += explain(wrong, placed)
    if problems:
        raise Invalid(in_order(problems))
    return raws
