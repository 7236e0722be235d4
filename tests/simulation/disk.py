"""Disks that fail: a SQLite database whose host dies at a commit, which fills up, is put back, or is copied.

A commit is durable once `COMMIT` returned (WAL, synchronous=FULL). What lies on the disk when the power goes
away in the middle of one is any mixture, sector by sector, of the WAL before and after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from random import Random

import msgspec

from coldgrid.kernel.sqlite import SqliteConnection, SqliteDatabase

SECTOR = 512
UNBOUNDED = 1_073_741_823


class PowerLost(BaseException):
    """The host died; no code of its own may catch this."""


class Fault(StrEnum):
    """When the host dies."""

    BEFORE = "before"  # the commit never began
    TORN = "torn"  # in the middle of it
    AFTER = "after"  # it is durable, and nobody was told


class Image(msgspec.Struct, frozen=True):
    """What lies on a disk: the file and its WAL."""

    file: bytes
    wal: bytes


class Disk:
    """One host's disk. `commits_left`: the host dies at that commit from now; None: it does not."""

    def __init__(self, path: Path, random: Random) -> None:
        self.path = path
        self.random = random
        self.fault = Fault.BEFORE
        self.commits_left: int | None = None
        self.torn: bytes | None = None

    @property
    def _wal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def database(self) -> DiskDatabase:
        """Return the database on it."""
        return DiskDatabase(self)

    @contextmanager
    def dark(self) -> Iterator[None]:
        """The power is away: what lies on the disk now stays."""
        image = self.image()
        yield
        self.put(image)

    def arm(self, fault: Fault, commits: int) -> None:
        """Let the host die at one of its next commits."""
        self.fault, self.commits_left = fault, commits

    def image(self) -> Image:
        """Return what lies on the disk now, as the power goes away."""
        wal = self._wal.read_bytes() if self._wal.exists() else b""
        torn, self.torn = self.torn, None
        return Image(self.path.read_bytes(), wal if torn is None else torn)

    def put(self, image: Image) -> None:
        """Put an image in place; nobody has the database open."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(image.file)
        self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)
        self._wal.unlink(missing_ok=True)
        if image.wal:
            self._wal.write_bytes(image.wal)

    def commit(self, connection: SqliteConnection) -> None:
        """Commit, or die trying."""
        if self.commits_left is None or self.commits_left > 0:
            if self.commits_left is not None:
                self.commits_left -= 1
            SqliteConnection.command(connection, "COMMIT")
            return
        self.commits_left = None
        if self.fault is Fault.BEFORE:
            raise PowerLost
        before = self._wal.read_bytes() if self._wal.exists() else b""
        SqliteConnection.command(connection, "COMMIT")
        if self.fault is Fault.TORN:
            self.torn = self._mixed(before, self._wal.read_bytes())
        raise PowerLost

    def _mixed(self, before: bytes, after: bytes) -> bytes:
        """Of the sectors that the commit wrote, keep some: those before a cut, and some behind it."""
        end = self.random.randrange(len(after) + 1)
        kept = bytearray(before)
        for at in range(0, len(after), SECTOR):
            new = after[at : at + SECTOR]
            if new == before[at : at + SECTOR]:
                continue
            if at + SECTOR > end:
                new = new[: max(0, end - at)] if at < end else b""
                if not new and self.random.random() < 0.8:
                    continue
                new = new or after[at : at + SECTOR]
            if len(kept) < at + len(new):
                kept.extend(bytes(at + len(new) - len(kept)))
            kept[at : at + len(new)] = new
        return bytes(kept)


class DiskConnection(SqliteConnection):
    """The decider's connection to a disk that may fail."""

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path, read_only=False)
        self._disk = disk
        # Copying the WAL back is a step of its own here, so that a torn commit is one of the WAL alone.
        super().command("PRAGMA wal_autocheckpoint=0")

    def command(self, sql: str) -> None:
        if sql == "COMMIT":
            self._disk.commit(self)
        else:
            super().command(sql)

    def leave_pages(self, count: int | None) -> None:
        """Leave room for so many further pages; None: as many as there may be."""
        limit = UNBOUNDED
        if count is not None:
            limit = int(self.driver.execute("PRAGMA page_count").fetchone()[0]) + count
        super().command(f"PRAGMA max_page_count={limit}")

    def copy_back(self) -> None:
        """Copy the WAL into the file; the next commit begins the WAL anew."""
        super().command("PRAGMA wal_checkpoint(PASSIVE)")


class DiskDatabase(SqliteDatabase):
    """A database on a disk that may fail."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.path)
        self._disk = disk

    def writer(self) -> SqliteConnection:
        super().writer().close()  # takes the lock, makes the file
        return DiskConnection(self.path, self._disk)
