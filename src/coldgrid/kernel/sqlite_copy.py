"""A copy of a SQLite database while its decider works: one snapshot, read a little at a time.

Invariants
    C1  A copy is one committed state: a read transaction stands from its first page to its last, and what is
        read beside it (`Snapshot.reader`) is of the same state.
    C2  Nobody waits for it: it takes no lock that the decider needs, and after each step it waits for the
        disk and then rests as long as the step took, so that commits find the disk idle half of the time.
    C3  Nothing is written where there is no room for the whole.

While the snapshot stands the write-ahead log grows. Who copies from a serving host asks its decider to leave
checkpoints alone meanwhile (`leave_checkpoints`), and copies the log back afterwards itself (`copy_back`):
else the decider would do it all within one commit.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from coldgrid.kernel.driver import Connection, DriverError
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import Rejected, Unavailable
from coldgrid.kernel.sqlite import SqliteConnection

STEP_PAGES = 256  # a MiB of pages of 4 KiB
SPARE_BYTES = 64 * 1024 * 1024
BACK_ROUNDS = 20
SMALL_PAGES = 4_000
# The copy is whole before anybody looks at it, and thrown away where it is not: it needs no journal.
TARGET_PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-4000")
Tell = Callable[[int, int], None]


class NoRoom(Unavailable):
    """There is no room for the copy; nothing of it was left behind."""

    todo = "Free disk space, or choose a place with more room."


class CopyFailed(Unavailable):
    """The database could not be copied; nothing of the copy was left behind."""

    todo = "Look at the detail; `coldgrid doctor` checks the disk and the database."


class Snapshot:
    """One committed state of a database, for as long as it is open. `bytes`: how large it is."""

    def __init__(self, path: Path) -> None:
        self._connection = SqliteConnection(path, read_only=True)
        self._connection.command("BEGIN")
        driver = self._connection.driver
        (pages,) = driver.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = driver.execute("PRAGMA page_size").fetchone()
        driver.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on the state stands
        self.bytes = int(pages) * int(page_bytes)
        self.reader = Reads(self._connection)

    def copy_to(self, target: Path, tell: Tell, rest: Callable[[float], None] = time.sleep) -> None:
        """Write the state into a new file. `tell` hears of bytes done and in all, `rest` waits seconds.

        Raises:
            NoRoom: the disk has not enough room, or came to have none (C3).
            CopyFailed: the database cannot be read, or the file not be written.
        """
        check_room(target.parent, self.bytes)
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as file:
                for pragma in TARGET_PRAGMAS:
                    file.execute(f"PRAGMA {pragma}")
                with target.open("rb") as written:
                    self._steps(file, written.fileno(), tell, rest)
        except (sqlite3.Error, OSError) as error:
            target.unlink(missing_ok=True)
            raise _failure(error, target) from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _steps(
        self, file: sqlite3.Connection, written: int, tell: Tell, rest: Callable[[float], None]
    ) -> None:
        began_s = time.monotonic()

        def after_step(status: int, remaining: int, pages: int) -> None:
            nonlocal began_s
            os.fdatasync(written)
            tell(self.bytes - self.bytes * remaining // max(1, pages), self.bytes)
            rest(time.monotonic() - began_s)
            began_s = time.monotonic()

        self._connection.driver.backup(file, pages=STEP_PAGES, progress=after_step)

    def close(self) -> None:
        """Let go of the state."""
        with suppress(Exception):
            self._connection.command("COMMIT")
        self._connection.close()


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """Open a state of a database, and let go of it whatever happens.

    Raises:
        CopyFailed: there is no database that can be read.
    """
    try:
        opened = Snapshot(path)
    except DriverError as error:
        raise CopyFailed(detail=f"{path}: {error}") from error
    try:
        yield opened
    finally:
        opened.close()


def check_room(folder: Path, needed_bytes: int) -> None:
    """Demand room for so many bytes, and some to spare.

    Raises:
        NoRoom: there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        raise NoRoom(folder=str(folder), needed_bytes=needed_bytes + SPARE_BYTES, free_bytes=free)


def _failure(error: Exception, target: Path) -> Rejected:
    told = str(error)
    if "disk is full" in told or "No space left" in told or "quota" in told.lower():
        return NoRoom(folder=str(target.parent), detail=told)
    return CopyFailed(detail=told)


# --- The write-ahead log ------------------------------------------------------------


def leave_checkpoints(connection: Connection, *, alone: bool) -> None:
    """Tell the decider's connection to copy nothing back from the log after commits, or to do so again.

    A server's has no such log: it is left as it is.
    """
    if isinstance(connection, SqliteConnection):
        pages = 0 if alone else connection.checkpoint_pages
        connection.command(f"PRAGMA wal_autocheckpoint={pages}")


def copy_back(path: Path) -> int:
    """Copy back what the log holds, beside the decider, until little is left; return the pages left.

    A passive checkpoint: neither readers nor the decider wait for it.
    """
    left = 0
    with closing(SqliteConnection(path, read_only=False)) as connection:
        leave_checkpoints(connection, alone=True)
        for _ in range(BACK_ROUNDS):
            _, in_log, done = connection.driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            left = max(0, in_log - done)
            if left <= SMALL_PAGES:
                break
    return left


# --- Looking at a file -------------------------------------------


def quick_check(path: Path, *, living: bool = False) -> list[str]:
    """Return what SQLite finds wrong with a file's pages and rows; nothing where it is whole.

    `living`: somebody may be writing, so its write-ahead log is read as well.
    """
    still = "" if living else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro{still}", uri=True)) as file:
            found = [str(row[0]) for row in file.execute("PRAGMA quick_check(20)")]
    except sqlite3.Error as error:
        return [str(error)]
    return [] if found == ["ok"] else found
