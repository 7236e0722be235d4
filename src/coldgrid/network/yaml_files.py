"""YAML files of master data, read event by event: values with their lines, and nothing else YAML can do.

Plain scalars follow the YAML 1.2 core schema without its octal and hexadecimal numbers. Digits with a leading
zero stay text: a GTIN is no number.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from coldgrid.kernel.rejections import Problem
from coldgrid.network.placed import Placed, another_kind, kind_named, unknown_kind

DEPTH_MAX = 24
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d{1,3})?", re.ASCII)


class _Refused(Exception):
    def __init__(self, message: str, fix: str, line: int) -> None:
        super().__init__(message)
        self.problem = Problem(field="file", message=message, fix=fix, line=line)


class _Open:
    """A mapping or a list that is being read."""

    def __init__(self, value: dict[str, Any] | list[Any], path: str) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None


class _Document:
    """Builds values from events; keeps the line of every path such as `zones[2].high_c`."""

    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[str, int] = {}
        self._open: list[_Open] = []
        self.problems: list[Problem] = []

    def _wrong(self, message: str, fix: str, line: int) -> None:
        """Note what is wrong and read on, so that all of it is told at once."""
        self.problems.append(Problem(field="file", message=message, fix=fix, line=line))

    def take(self, event: yaml.Event) -> None:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._wrong("anchors and aliases are not allowed", "write the value out", line)
        if tag := getattr(event, "tag", None):
            self._wrong("tags are not allowed", f"leave {tag[:64]} out", line)
        if isinstance(event, yaml.AliasEvent):
            self._scalar_of("*", None, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar_of(event.value, _plain(event.value) if event.implicit[0] else event.value, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()

    def _scalar_of(self, text: str, value: Any, line: int) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            if text in top.value:
                self._wrong(f"{text!r} is there twice", "keep one of them", line)
            top.key = text
            self.lines[self._path()] = line
        else:
            self._put(value, line)

    def _start(self, value: dict[str, Any] | list[Any], line: int) -> None:
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise _Refused("a key is a text", "write the key as one word", line)
        if len(self._open) >= DEPTH_MAX:
            raise _Refused(f"nested deeper than {DEPTH_MAX} levels", "flatten it", line)
        path = self._put(value, line)
        self._open.append(_Open(value, path))

    def _path(self) -> str:
        top = self._open[-1]
        if isinstance(top.value, list):
            return f"{top.path}[{len(top.value)}]"
        return f"{top.path}.{top.key}" if top.path else str(top.key)

    def _put(self, value: Any, line: int) -> str:
        if not self._open:
            self.root = value
            return ""
        top, path = self._open[-1], self._path()
        self.lines.setdefault(path, line)
        if isinstance(top.value, list):
            top.value.append(value)
        else:
            top.value[str(top.key)] = value
            top.key = None
        return path


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _plain(text: str) -> Any:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0\d+", text):
        return float(text)
    return text


def read_yaml(name: str, text: str) -> tuple[list[Placed], list[Problem]]:
    """Return the items of a YAML text with their lines, and every problem of its form."""
    document, problems = _read(text)
    return ([], problems) if problems else _items(name, document)


def read_value(text: str) -> tuple[Any, list[Problem]]:
    """Return the value of a YAML text, and every problem of its form."""
    document, problems = _read(text)
    return document.root, problems


def read_lines(text: str) -> tuple[Any, dict[str, int], list[Problem]]:
    """Return the value of a YAML text, the line of each path such as `points[2].name`, and every problem."""
    document, problems = _read(text)
    return document.root, document.lines, problems


def _read(text: str) -> tuple[_Document, list[Problem]]:
    document = _Document()
    try:
        for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            if isinstance(event, yaml.DocumentStartEvent) and number > 1:
                raise _Refused("holds more than one document", "import them one by one", _line(event))
            document.take(event)
    except _Refused as refused:
        document.problems.append(refused.problem)
    except yaml.YAMLError as error:
        document.problems.append(_broken(error, text.count("\n") + 1))
    return document, document.problems


def _broken(error: yaml.YAMLError, line_last: int) -> Problem:
    mark = getattr(error, "problem_mark", None)
    told = getattr(error, "problem", None) or str(error).partition("\n")[0]
    line = min(mark.line + 1, line_last) if mark is not None else None
    return Problem(field="file", message=f"is no YAML: {told}", fix="check indentation and quotes", line=line)


def _items(name: str, document: _Document) -> tuple[list[Placed], list[Problem]]:
    if document.root is None:
        return [], []
    if not isinstance(document.root, dict):
        fix = "write sections by kind, such as zones:, each with a list of items"
        return [], [Problem(field="file", message="is not a mapping of sections", fix=fix, line=1)]
    placed: list[Placed] = []
    problems: list[Problem] = []
    lines = _lines_by_item(document.lines)
    for section, members in document.root.items():
        line = document.lines.get(section, 1)
        kind = kind_named(section)
        if kind is None:
            problems.append(unknown_kind(section, line))
        elif not isinstance(members, list):
            fix = "begin each item with -"
            problems.append(Problem(field=section, message="is not a list", fix=fix, line=line))
        else:
            for index, member in enumerate(members):
                path = f"{section}[{index}]"
                line, own = document.lines.get(path, line), lines.get(path, {})
                wrong = _misplaced(kind, member, path, own, line)
                if wrong is None:
                    placed.append(Placed({"kind": kind, **member}, name, line, own))
                else:
                    problems.append(wrong)
    return placed, problems


def _misplaced(kind: str, member: Any, path: str, lines: dict[str, int], line: int) -> Problem | None:
    """Return why a member of a section is no item of its kind; None: it is one."""
    if not isinstance(member, dict):
        return Problem(field=path, message="is not an item", fix="write fields as name: value", line=line)
    if member.get("kind", kind) == kind:
        return None
    return another_kind(kind, member["kind"], f"{path}.kind", lines.get("kind", line))


def _lines_by_item(lines: dict[str, int]) -> dict[str, dict[str, int]]:
    """Sort the lines of `zones[2].high_c` and its like by item, `zones[2]`."""
    found: dict[str, dict[str, int]] = {}
    for path, line in lines.items():
        item, bracket, field = path.partition("].")
        if bracket:
            found.setdefault(f"{item}]", {})[field] = line
    return found
