"""Driver port: what the kernel needs of a database, and what the drivers share.

One writer connection belongs to the decider. Readers are separate connections that see committed
facts only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable

from coldgrid.kernel.rejections import Conflict, Rejected, StorageFailed, StorageFull, Unavailable
from coldgrid.kernel.statements import SQLITE, Statement, dialect_of

Row = tuple[Any, ...]


class DriverError(Exception):
    """The driver refused: the group it happened in is rolled back whole. `todo`: the fix, where known."""

    means = "The database cannot be opened."
    todo = ""


class NotReached(DriverError):
    """The server did not let us in."""

    means = "Nothing can be read or decided. What is stored at the server is as it was."

    def __init__(self, why: str, name: str, place: str) -> None:
        super().__init__(f"cannot connect: {why}")
        self.todo = (
            f"Look whether PostgreSQL runs at {place}, whether it has the database {name} (if not: "
            f"createdb --encoding=UTF8 --template=template0 {name}), and whether it takes the login in "
            "COLDGRID_DATABASE."
        )


class OtherEncoding(DriverError):
    """The server's database is not in UTF8: names and notes would come back as bytes, or not at all."""

    means = "Nothing is stored in it: names would not come back as they were written."

    def __init__(self, name: str, encoding: str, owner: str, reach: str) -> None:
        super().__init__(f"the database {name} is in {encoding}, and must be in UTF8")
        new = shlex.quote(f"{name}_utf8")
        old = shlex.quote(name)
        form = "--encoding=UTF8 --locale=C --template=template0"
        make = f"createdb {reach} {form} --owner={shlex.quote(owner)} {new}"
        take = f"pg_dump {reach} --encoding=UTF8 {old} | psql {reach} -v ON_ERROR_STOP=1 -q {new}"
        self.todo = (
            f"An encoding is not changed: make another database, `{make}`. Take along what is in it, "
            f"if anything: `{take}`. Then put {new} in place of {old} in COLDGRID_DATABASE."
        )


class ConnectionLost(DriverError):
    """The server is gone, or this connection may write no more: nothing can be done on it."""


class DatabaseLost(StorageFailed):
    """The database did not answer; whether the fact was stored is not known."""

    todo = "Try again with the same key: what was done is not done twice."


class EndUnknown(DatabaseLost):
    """The database did not answer a request without a key; whether it was done is not known."""

    todo = (
        "Look whether what you asked for is there before you send it again. With an Idempotency-Key it may "
        "be sent again at once: what was done is not done twice."
    )


class AlreadyThere(Conflict):
    """Something that this would make is there already; nothing was stored."""

    todo = "Choose another id, or look at what is there."


class DatabaseUnfit(Unavailable):
    """The database cannot be used as it is; nothing was done."""


class DatabaseUnread(Unavailable):
    """The database cannot be read; nothing was done."""

    todo = (
        "coldgrid doctor tells what is wrong with it. Where its file is damaged, keep the file as it is and "
        "put the last copy back: docs/backup.md."
    )


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

    def usable(self) -> bool:
        """Tell whether the connection can still be used; a server's may be lost."""

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

    def reader(self) -> AbstractContextManager[Connection]:
        """Return a context manager that lends a read-only connection."""

    def close(self) -> None:
        """Close all connections and give the lock back."""


def schema_statements(tables: Sequence[sa.Table], dialect: str) -> list[str]:
    """Return the CREATE statements of tables and their indexes."""
    made = dialect_of(dialect)
    texts = []
    for table in tables:
        texts.append(str(CreateTable(table, if_not_exists=True).compile(dialect=made)))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.dialect_options[dialect]["where"] = index.dialect_options[SQLITE]["where"]
            texts.append(str(CreateIndex(index, if_not_exists=True).compile(dialect=made)))
    if dialect == SQLITE:
        # Rows of wide keys live in the key's own tree: one write and one read less for each row.
        texts = [text.rstrip() + " WITHOUT ROWID" if _without_rowid(text) else text for text in texts]
    return texts


# `INTEGER` is only written for keys that are to be SQLite's row number.
_ROW_NUMBER = re.compile(r"^\t(\w+) INTEGER NOT NULL.*PRIMARY KEY \(\1\)", re.MULTILINE | re.DOTALL)


def _without_rowid(text: str) -> bool:
    return "CREATE TABLE" in text and not _ROW_NUMBER.search(text) and "BLOB" not in text


def fault(error: Exception) -> Rejected:
    """Turn a driver's error into the rejection that callers see."""
    told = str(error)
    if isinstance(error, ConnectionLost):
        return DatabaseLost(detail=told)
    if "UNIQUE constraint" in told or "duplicate key value" in told:
        return AlreadyThere()
    if "disk is full" in told or "No space left" in told or "could not extend file" in told:
        return StorageFull(detail=told)
    return StorageFailed(detail=told)


def end_of(error: Exception, command: str, key: str | None) -> Rejected:
    """Return what a command's caller hears of a driver's error; one without a key must look for itself."""
    if key is None and isinstance(error, ConnectionLost):
        return EndUnknown(command=command, detail=str(error))
    return fault(error)
