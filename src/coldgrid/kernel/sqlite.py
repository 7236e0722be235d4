"""SQLite driver: one file in WAL mode with synchronous=FULL, so a commit that returned is durable."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from coldgrid.kernel.driver import Connection, DatabaseInUse, DriverError, Row
from coldgrid.kernel.statements import ROWS_IN_BLOCK, SQLITE, Statement


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
            # Twice the default: half as many pages for a group's commit. An existing file keeps its own.
            self.driver.execute("PRAGMA page_size=8192")
            self.driver.execute("PRAGMA journal_mode=WAL")
            self.driver.execute("PRAGMA synchronous=FULL")
            # Copy the WAL back less often: each checkpoint stops the writer for its fsync.
            self.driver.execute("PRAGMA wal_autocheckpoint=2000")
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
        """Run a write for every row; inserts in blocks, which cost a quarter less than one by one."""
        sql = statement.sql[SQLITE]
        text = sql.text
        try:
            if len(rows) == 1:
                self.driver.execute(text, rows[0])
                return
            first = 0
            if sql.block is not None:
                for first in range(ROWS_IN_BLOCK, len(rows) + 1, ROWS_IN_BLOCK):
                    block = chain.from_iterable(rows[first - ROWS_IN_BLOCK : first])
                    self.driver.execute(sql.block, tuple(block))
            if first < len(rows):
                self.driver.executemany(text, rows[first:] if first else rows)
        except sqlite3.Error as error:
            raise DriverError(f"{error} in {text}") from error

    def command(self, sql: str) -> None:
        """Run a text as it is."""
        try:
            self.driver.execute(sql)
        except sqlite3.Error as error:
            raise DriverError(f"{error} in {sql}") from error

    def usable(self) -> bool:
        """A file stays open."""
        return True

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
