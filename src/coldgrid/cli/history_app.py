"""`coldgrid history …`: what the commands of the archive of readings are called and take."""

# ruff: noqa: PLC0415 (imports inside commands, as in `app`)

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from coldgrid.cli.output import Output

history_app = App(name="history", help="The archive of readings: Parquet files, proven by the log.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON on stdout and nothing else.")]
Where = Annotated[
    str | None, Parameter(help="SQLite file or postgresql:// address; default COLDGRID_DATABASE.")
]


@history_app.command(name="export")
def history_export(*, database: Where = None) -> None:
    """Write every day that is over and sealed into COLDGRID_HISTORY, as a server does; stop that one first.

    Args:
        database: Which database.
    """
    from coldgrid.cli.history import export_now

    export_now(os.environ, database)


@history_app.command(name="compact")
def history_compact(*, after_min: int = 60, database: Where = None, json: Json = False) -> None:
    """Bring the several files of a site's day together into one, and later remove what it replaced.

    It may run while a server writes and others read.

    Args:
        after_min: How many minutes replaced files stay, for queries that began before.
        database: Which log proves the files.
        json: Print what was done as JSON.
    """
    from coldgrid.cli.history import compact_now

    sys.exit(0 if compact_now(os.environ, after_min, database, Output(json=json)) else 1)


@history_app.command(name="query")
def history_query(
    sql: str,
    *,
    first: Annotated[str, Parameter(name="--from")] = "",
    last: Annotated[str, Parameter(name="--to")] = "",
    json: Json = False,
) -> None:
    """Run one SELECT over the tables readings and sensors; nothing else can be reached or changed.

    Args:
        sql: The query, in DuckDB's SQL.
        first: The first day whose files are opened, as 2026-03-01; without it the first there is.
        last: The last one.
        json: Print a JSON object for each row.
    """
    from coldgrid.cli.history import query

    query(os.environ, sql, (first, last), Output(json=json))


@history_app.command(name="verify")
def history_verify(file: Path, *, database: Where = None, json: Json = False) -> None:
    """Prove a file of readings by the log: every row is one that was sealed and vouched for.

    Args:
        file: A file under readings/.
        database: Which log.
        json: Print the findings as JSON.
    """
    from coldgrid.cli.history import verify as verify_history

    sys.exit(0 if verify_history(os.environ, file, database, Output(json=json)) else 1)


@history_app.command(name="report")
def history_report(*, day: str, json: Json = False) -> None:
    """Report a day of the whole fleet: per sensor readings, extremes, mean, minutes outside limits, gaps.

    Args:
        day: The UTC day, as 2026-03-01.
        json: Print the report as JSON.
    """
    from coldgrid.cli.history import report_day

    report_day(os.environ, day, Output(json=json))
