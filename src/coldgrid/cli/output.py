"""Output: one result, three forms. A table on a terminal, plain rows in a pipe, JSON with `--json`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.theme import Theme

from coldgrid.kernel.rejections import Invalid, Rejected

THEME = Theme(
    {
        "ok": "#45c796",
        "warn": "#f3b846",
        "crit": "bold #ff746b",
        "off": "#93a1af",
        "accent": "#57b4f2",
        "dim": "#8191a1",
    }
)
WORDS = Console(theme=THEME, stderr=True, highlight=False)
DATA = Console(theme=THEME, highlight=False)


class Output:
    """Where a command's result goes."""

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def progress(self, text: str) -> None:
        """Say how far long work is; nothing with `--json`."""
        if not self.json:
            WORDS.print(f"[dim]{text}[/]")

    def say(self, text: str) -> None:
        """Say something to a person."""
        WORDS.print(text)

    def report(self, result: msgspec.Struct) -> None:
        """Print one result's fields."""
        if self.json:
            sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
            return
        self.table(["", ""], [(name, getattr(result, name)) for name in result.__struct_fields__])

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print rows: aligned on a terminal, tab-separated in a pipe."""
        if not DATA.is_terminal:
            for row in rows:
                sys.stdout.write("\t".join("" if cell is None else str(cell) for cell in row) + "\n")
            return
        table = Table(
            box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0), show_header=any(headers)
        )
        for header in headers:
            table.add_column(header)
        for row in rows:
            table.add_row(*("[dim]—[/]" if cell is None else str(cell) for cell in row))
        DATA.print(table)


def print_rejection(rejected: Rejected) -> None:
    """Say what is wrong, where, and what to do."""
    WORDS.print(f"[crit]{rejected.title}[/]")
    if isinstance(rejected, Invalid):
        for problem in rejected.problems:
            place = f"line {problem.line}, {problem.field}" if problem.line is not None else problem.field
            WORDS.print(
                f"  {place}: {problem.message}" + (f" [dim]({problem.fix})[/]" if problem.fix else "")
            )
    for name, value in rejected.facts.items():
        WORDS.print(f"  [dim]{name}[/] {value}")
    if rejected.todo:
        WORDS.print(f"[accent]{rejected.todo}[/]")
