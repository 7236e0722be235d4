"""Databases by address: the one place that picks a driver."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from coldgrid.kernel.driver import (
    Connection,
    Database,
    DatabaseInUse,
    DriverError,
    Row,
    schema_statements,
)
from coldgrid.kernel.sqlite import SqliteConnection, SqliteDatabase
from coldgrid.kernel.statements import POSTGRESQL, SQLITE
from coldgrid.kernel.wal import LogKeeper


def open_database(url: str) -> Database:
    """Open `sqlite:///path` (or a bare path) or `postgresql://…`.

    Raises:
        ValueError: the address names neither.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres"):
        from coldgrid.kernel.postgres import PostgresDatabase  # noqa: PLC0415 (an extra: only when used)

        return PostgresDatabase(url)
    if scheme in ("", "sqlite"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
    raise ValueError(
        f"COLDGRID_DATABASE: {scheme}:// is not supported; use sqlite:///path or postgresql://host/name"
    )


def start_keeper(database: Database, writer: Connection) -> LogKeeper | None:
    """Start what copies a file's log back beside its writer; None for a server, which needs none."""
    if not (isinstance(database, SqliteDatabase) and isinstance(writer, SqliteConnection)):
        return None
    keeper = LogKeeper(database.path)
    keeper.start(writer)
    return keeper


def database_size_bytes(database: Database) -> int | None:
    """Return the size of a SQLite file and its WAL; None for a server."""
    if not isinstance(database, SqliteDatabase):
        return None
    return sum(
        os.path.getsize(name) for name in (f"{database.path}", f"{database.path}-wal") if os.path.exists(name)
    )


__all__ = [
    "POSTGRESQL",
    "SQLITE",
    "Connection",
    "Database",
    "DatabaseInUse",
    "DriverError",
    "Row",
    "SqliteConnection",
    "SqliteDatabase",
    "database_size_bytes",
    "open_database",
    "schema_statements",
    "start_keeper",
]
