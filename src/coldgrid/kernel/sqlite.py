"""SQLite driver: one file in WAL mode with synchronous=FULL, so a commit that returned is durable."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from coldgrid.kernel.driver import Connection, DatabaseInUse, DriverError, Row
from coldgrid.kernel.statements import ROWS_IN_BLOCK, SQLITE, Statement

# Where the driver has no adapter it asks the value's class for one, at each value anew, which costs more than
# to store it; of every event two values are bytes. These give what would be stored anyway.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(bool, int)
sqlite3.register_adapter(type(None), lambda none: none)

PAGE_BYTES = 4_096
# Copy the WAL back less often than by default, at 16 MB: each checkpoint stops the writer for its fsync.
CHECKPOINT_PAGES = 4_000


class SqliteConnection:
    """A SQLite connection that never begins a transaction by itself.

    Raises:
        DriverError: there is no such file, or it is no database that can be read.
    """

    dialect = SQLITE

    def __init__(self, path: Path, *, read_only: bool, busy_timeout_ms: int = 5000) -> None:
        mode = "ro" if read_only else "rwc"
        try:
            self.driver = sqlite3.connect(
                f"file:{path}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=1024,
                timeout=busy_timeout_ms / 1000,
            )
            self._set_up(read_only=read_only)
        except sqlite3.Error as error:
            raise DriverError(f"{error}: {path}") from error
        self.checkpoint_pages = CHECKPOINT_PAGES
        # Whoever copies the WAL back asks for its last pages so: after the next commit (wal.py, K3).
        self.copy_last_pages = False

    def _set_up(self, *, read_only: bool) -> None:
        if not read_only:
            # With pages twice as large a lone order takes 7 % longer and one of a hundred no less; with pages
            # half as large one of a hundred takes 10 % longer. An existing file keeps its own.
            self.driver.execute(f"PRAGMA page_size={PAGE_BYTES}")
            self.driver.execute("PRAGMA journal_mode=WAL")
            self.driver.execute("PRAGMA synchronous=FULL")
            self.driver.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
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
        if self.copy_last_pages and sql == "COMMIT":
            self.copy_last_pages = False
            with suppress(sqlite3.Error):  # the commit is durable; whoever asked looks again
                self.driver.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def leave_checkpoints_to_others(self, from_pages: int) -> None:
        """Copy the WAL back after a commit only when it has grown to so many pages: somebody else does it."""
        self.checkpoint_pages = from_pages
        self.command(f"PRAGMA wal_autocheckpoint={from_pages}")

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
        if not self.path.exists():
            # It holds the keys of personal data. What SQLite makes beside it gets the same rights.
            self.path.touch(mode=0o600)
        return SqliteConnection(self.path, read_only=False)

    def in_use(self) -> bool:
        """Tell whether some process is the decider of this file now."""
        try:
            with open(f"{self.path}.lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

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
