"""Database driver: SQLite and PostgreSQL behind one small port. The only module that names a driver.

One writer connection belongs to the decider. Readers are separate connections that see committed
facts only. SQLite runs in WAL mode with synchronous=FULL, so a commit that returned is durable.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from coldgrid.kernel.rejections import Rejected, StorageFailed, StorageFull, Unavailable
from coldgrid.kernel.statements import POSTGRESQL, SQLITE, Statement

Row = tuple[Any, ...]


class DriverError(Exception):
    """The driver refused: the group it happened in is rolled back whole."""


class DatabaseInUse(Unavailable):
    """Another process is the decider of this database."""

    todo = "Stop the other process, or give this one a database of its own (COLDGRID_DATABASE)."


class Connection(Protocol):
    """One connection. `dialect` picks the statement's text."""

    dialect: str

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read and return its raw rows."""

    def run_many(self, statement: Statement[Any], rows: list[Row]) -> None:
        """Run one write for every row, set-based where the backend can."""

    def command(self, sql: str) -> None:
        """Run transaction control or schema text."""

    def close(self) -> None:
        """Close the connection."""


class Database(Protocol):
    """A database: one writer for the decider, readers for everybody else."""

    dialect: str
    url: str

    def writer(self) -> Connection:
        """Open the decider's connection and take the decider's lock.

        Raises:
            DatabaseInUse: another process holds it.
        """

    def reader(self) -> Any:
        """Return a context manager that lends a read-only connection."""

    def close(self) -> None:
        """Close all connections and give the lock back."""


def open_database(url: str) -> Database:
    """Open `sqlite:///path` (or a bare path) or `postgresql://…`.

    Raises:
        ValueError: the address names neither.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("postgresql", "postgres"):
        from coldgrid.kernel.postgres import PostgresDatabase  # an extra: only when it is used

        return PostgresDatabase(url)
    if scheme in ("", "sqlite"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
    raise ValueError(
        f"COLDGRID_DATABASE: {scheme}:// is not supported; use sqlite:///path or postgresql://host/name"
    )


def schema_statements(tables: Sequence[sa.Table], dialect: str) -> list[str]:
    """Return the CREATE statements of tables and their indexes."""
    made: sa.Dialect = sqlite.dialect() if dialect == SQLITE else postgresql.dialect()  # type: ignore[no-untyped-call]
    texts = []
    for table in tables:
        texts.append(str(CreateTable(table, if_not_exists=True).compile(dialect=made)))
        texts += [
            str(CreateIndex(index, if_not_exists=True).compile(dialect=made))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        ]
    if dialect == SQLITE:
        # Rows of wide keys live in the key's own tree: one write and one read less for each row.
        texts = [text.rstrip() + " WITHOUT ROWID" if _without_rowid(text) else text for text in texts]
    return texts


def _without_rowid(text: str) -> bool:
    return "CREATE TABLE" in text and "PRIMARY KEY (position)" not in text and "BLOB" not in text


def fault(error: Exception) -> Rejected:
    """Turn a driver's error into the rejection that callers see."""
    told = str(error)
    if "disk is full" in told or "No space left" in told or "could not extend file" in told:
        return StorageFull(detail=told)
    return StorageFailed(detail=told)


class SqliteConnection:
    """A SQLite connection that never begins a transaction by itself."""

    dialect = SQLITE

    def __init__(self, path: Path, *, read_only: bool, busy_timeout_ms: int = 5000) -> None:
        mode = "ro" if read_only else "rwc"
        self.driver = sqlite3.connect(
            f"file:{path}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=1024,
            timeout=busy_timeout_ms / 1000,
        )
        if not read_only:
            self.driver.execute("PRAGMA journal_mode=WAL")
            self.driver.execute("PRAGMA synchronous=FULL")
            # Copy the WAL back less often: each checkpoint stops the writer for its fsync.
            self.driver.execute("PRAGMA wal_autocheckpoint=4000")
        self.driver.execute("PRAGMA cache_size=-16000")

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read."""
        sql = statement.sql[SQLITE]
        text, values = sql.expand(params) if sql.expanding else (sql.text, params)
        try:
            return self.driver.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise DriverError(f"{error} in {text}") from error

    def run_many(self, statement: Statement[Any], rows: list[Row]) -> None:
        """Run a write for every row with one prepared statement."""
        text = statement.sql[SQLITE].text
        try:
            if len(rows) == 1:
                self.driver.execute(text, rows[0])
            else:
                self.driver.executemany(text, rows)
        except sqlite3.Error as error:
            raise DriverError(f"{error} in {text}") from error

    def command(self, sql: str) -> None:
        """Run a text as it is."""
        try:
            self.driver.execute(sql)
        except sqlite3.Error as error:
            raise DriverError(f"{error} in {sql}") from error

    def close(self) -> None:
        """Close."""
        self.driver.close()


class SqliteDatabase:
    """A file. The decider holds an OS lock beside it; readers are pooled read-only connections."""

    dialect = SQLITE

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._lock_file: Any = None
        self._idle: list[SqliteConnection] = []
        self._guard = threading.Lock()

    def writer(self) -> SqliteConnection:
        """Open the decider's connection; the file and its folder are made when missing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(f"{self.path}.lock", "w")  # noqa: SIM115 (held until close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise DatabaseInUse(database=self.url) from None
        self._lock_file = lock
        return SqliteConnection(self.path, read_only=False)

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """Lend a read-only connection; a long-lived one is reused."""
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        connection = connection or SqliteConnection(self.path, read_only=True)
        try:
            yield connection
        finally:
            with self._guard:
                self._idle.append(connection)

    def close(self) -> None:
        """Close the readers and give the lock back."""
        with self._guard:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        if self._lock_file is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)
            self._lock_file.close()
            self._lock_file = None


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
    "Row",
    "SqliteConnection",
    "SqliteDatabase",
    "database_size_bytes",
    "fault",
    "open_database",
    "schema_statements",
]
