"""`make bench`: run every benchmark, or those named, and print one row for each figure.

A benchmark is a module in this folder with `run() -> list[Result]`. Each runs in a process of its
own, so that one's memory and threads do not disturb the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.result import Result
from coldgrid.kernel.logs import configure_logs

FOLDER = Path(__file__).parent
OWN = {"__init__", "__main__", "result"}


def names() -> list[str]:
    """Return the benchmarks that there are: the modules with a `run`."""
    return sorted(
        path.stem for path in FOLDER.glob("*.py") if path.stem not in OWN and "\ndef run(" in path.read_text()
    )


def run_here(name: str) -> None:
    """Run one benchmark and print its results as one JSON line, the last of its output."""
    configure_logs("error", json=False)
    results: list[Result] = import_module(f"bench.{name}").run()
    print(json.dumps(results))


def run_apart(name: str) -> list[Result]:
    """Run one benchmark in a process of its own; one that fails is a row that says so."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--here", name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        return [
            Result(f"{name}: failed", float("nan"), "", done.stderr.strip().splitlines()[-1][:80], ok=False)
        ]
    return [Result(*row) for row in json.loads(done.stdout.strip().splitlines()[-1])]


def main() -> None:
    """Run what was asked for."""
    if sys.argv[1:2] == ["--here"]:
        run_here(sys.argv[2])
        return
    table = Table(box=None, padding=(0, 3, 0, 0))
    for header in ("figure", "value", "unit", "target", ""):
        table.add_column(header, justify="right" if header == "value" else "left")
    missed = 0
    for name in sys.argv[1:] or names():
        for result in run_apart(name):
            missed += not result.ok
            mark = "[green]● met[/]" if result.ok else "[red]◆ missed[/]"
            table.add_row(result.name, f"{result.value:,.4g}", result.unit, result.target, mark)
    Console(width=160).print(table)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
