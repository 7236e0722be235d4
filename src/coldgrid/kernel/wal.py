"""Copying SQLite's write-ahead log back into its file, beside the decider instead of after its commits.

Invariants
    K1  Nobody waits for it: a passive checkpoint copies what no reader needs of the log, and locks nobody.
    K2  Where it cannot keep up, or is not there, the decider's own connection copies back as SQLite does.
    K3  Under commits without a pause the log begins anew all the same: its file is written over, not made
        longer. The decider copies the last few pages back itself, between two commits, for only where
        nothing is left does SQLite begin anew. A commit that makes the file longer takes half as long again.
    K4  The wal-index is opened once in a process and never closed: closing any handle of a file drops every
        POSIX lock that the process has on it, SQLite's too, and another process that opens the database
        would take itself for the first and make the index anew under us.

A checkpoint of 16 MB takes tens of milliseconds: an alarm that comes then would wait for all of them.
How much waits is read from the wal-index, the file `-shm` beside the database: `mxFrame`, what the log holds,
and `nBackfill`, what of it was copied back. Source: sqlite.org/walformat.html, sections 2.1 and 2.2.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import closing
from pathlib import Path

import structlog

from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.sqlite import CHECKPOINT_PAGES, SqliteConnection

# Copy back from so many pages on, until so few are left that the decider may copy them between two commits.
FROM_PAGES, LEFT_PAGES = 4_000, 100
ROUNDS = 20
# With somebody who copies back, the decider does it itself only when the log has grown this much.
UNKEPT_PAGES = 16 * CHECKPOINT_PAGES
LOOK_EVERY_S, REST_S = 0.02, 0.5
_MX_FRAME, _N_BACKFILL = 16, 96
_INDEX_BYTES = 100
_indexes: dict[tuple[int, int], int] = {}
_opening = threading.Lock()
logger = structlog.get_logger("coldgrid.wal")


def waiting_pages(path: Path) -> int:
    """Return how many pages of the log are not copied back; 0 where there is no log."""
    try:
        header = os.pread(_index_of(f"{path}-shm"), _INDEX_BYTES, 0)
    except FileNotFoundError:
        return 0
    if len(header) < _INDEX_BYTES:
        return 0
    (held,), (copied,) = (struct.unpack_from("=I", header, place) for place in (_MX_FRAME, _N_BACKFILL))
    return int(max(0, held - copied))


def _index_of(name: str) -> int:
    """Return a handle of a wal-index, opened once and never closed (K4)."""
    found = os.stat(name)
    key = (found.st_dev, found.st_ino)
    with _opening:
        if key not in _indexes:
            _indexes[key] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        return _indexes[key]


class LogKeeper:
    """Copies the log of one database back, on a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopping = threading.Event()
        self._writer: SqliteConnection | None = None
        self._thread = threading.Thread(target=self._run, name="wal", daemon=True)

    def start(self, writer: SqliteConnection) -> None:
        """Start; the decider's connection leaves copying back to it from now on."""
        self._writer = writer
        writer.leave_checkpoints_to_others(UNKEPT_PAGES)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the round under way; the decider's connection copies back by itself again (K2)."""
        self._stopping.set()
        self._thread.join(timeout=30)
        if self._writer is not None:
            self._writer.leave_checkpoints_to_others(CHECKPOINT_PAGES)

    def _run(self) -> None:
        with closing(SqliteConnection(self._path, read_only=False)) as connection:
            connection.driver.execute("PRAGMA wal_autocheckpoint=0")
            pause_s = LOOK_EVERY_S
            while not self._stopping.wait(pause_s):
                pause_s = LOOK_EVERY_S
                if waiting_pages(self._path) >= FROM_PAGES and not self._copy_back(connection):
                    pause_s = REST_S  # somebody reads an old state: what follows it has to stay

    def _copy_back(self, connection: SqliteConnection) -> bool:
        """Copy back until little is left, and leave that to the decider; tell whether it came that far."""
        before = waiting_pages(self._path)
        for _ in range(ROUNDS):
            try:
                _, held, copied = connection.driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except (
                connection.driver.Error,
                DriverError,
            ) as error:  # a full disk: the decider says so as well
                logger.warning("copying_back_failed", error=str(error))
                return False
            # What was written meanwhile is not in `held`.
            if held == copied and waiting_pages(self._path) <= LEFT_PAGES and self._writer is not None:
                self._writer.copy_last_pages = True
                return True
            if self._stopping.is_set():
                return True
        return waiting_pages(self._path) < before // 2
