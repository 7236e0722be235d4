"""Output: one result, three forms. A table on a terminal, plain rows in a pipe, JSON with `--json`.

Rich is loaded by what prints with it: a process that serves prints nothing.
"""

# ruff: noqa: PLC0415 (see above)

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from coldgrid.kernel.rejections import Invalid, Rejected, fact_in_words

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    "ok": "#45c796",
    "warn": "#f3b846",
    "crit": "bold #ff746b",
    "off": "#93a1af",
    "accent": "#57b4f2",
    "dim": "#8191a1",
}


@cache
def words() -> Console:
    """Where a person reads words and progress: stderr."""
    return _console(stderr=True)


@cache
def results() -> Console:
    """Where a result goes: stdout."""
    return _console(stderr=False)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console
    from rich.theme import Theme

    return Console(theme=Theme(STYLES), stderr=stderr, highlight=False)


def _escaped(text: str) -> str:
    """Return a text as it is to be read, where marked-up words are expected."""
    from rich.markup import escape

    return escape(text)


class Output:
    """Where a command's result goes."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def progress(self, text: str) -> None:
        """Say how far long work is; nothing with `--json`."""
        if not self.json:
            _tell(f"[dim]{text}[/]")

    def say(self, text: str) -> None:
        """Say something to a person."""
        _tell(text)

    def report(self, result: msgspec.Struct) -> None:
        """Print one result's fields."""
        if self.json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            return
        self.table(["", ""], [(name, _cell(getattr(result, name))) for name in result.__struct_fields__])

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows: aligned on a terminal, tab-separated in a pipe."""
        if not results().is_terminal:
            for row in rows:
                sys.stdout.write("\t".join("" if cell is None else str(cell) for cell in row) + "\n")
            return
        from rich.table import Table

        table = Table(
            box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0), show_header=any(headers)
        )
        for header in headers:
            table.add_column(header)
        for row in rows:
            table.add_row(*("[dim]—[/]" if cell is None else str(cell) for cell in row))
        results().print(table)


def _cell(value: Any) -> Any:
    """A field of a result: a list as people read it, without brackets; an empty one is shown as none."""
    return (fact_in_words(value) or None) if isinstance(value, list | tuple | Mapping) else value


def print_rejection(rejected: Rejected) -> None:
    """Say what is wrong, where, and what to do."""
    _tell(f"[crit]{_escaped(rejected.title)}[/]")
    if isinstance(rejected, Invalid):
        for problem in rejected.problems:
            place = f"line {problem.line}, {problem.field}" if problem.line is not None else problem.field
            fix = f" [dim]({_escaped(problem.fix)})[/]" if problem.fix else ""
            _tell(f"  {_escaped(place)}: {_escaped(problem.message)}{fix}")
    for name, value in rejected.facts.items():
        _tell(f"  [dim]{name}[/] {_escaped(fact_in_words(value))}")
    if rejected.todo:
        _tell(f"[accent]{_escaped(rejected.todo)}[/]")


def _tell(text: str) -> None:
    """Print a line of marked-up words, never broken: half a path cannot be copied."""
    words().print(text, soft_wrap=True)
