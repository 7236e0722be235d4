"""Reading: what queries are given, whether they run inside a command or behind a page."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from coldgrid.kernel.driver import Connection
from coldgrid.kernel.personal import Keyring, Sealed
from coldgrid.kernel.statements import Statement

R = TypeVar("R")


class Reader(Protocol):
    """Runs reads. A `Tx` is one, and so is `Reads` over a connection of its own."""

    def all(self, statement: Statement[R], /, **params: Any) -> list[R]:
        """Return every row."""

    def one(self, statement: Statement[R], /, **params: Any) -> R | None:
        """Return the first row, or None."""

    def value(self, statement: Statement[Any], /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""

    def open(self, sealed: Sealed | None) -> str | None:
        """Return the text of personal data; None where the person was erased."""


class Reads:
    """A reader over a connection that sees committed facts."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def all(self, statement: Statement[R], /, **params: Any) -> list[R]:
        """Return every row."""
        raws = self.connection.query(statement, statement.bind(self.connection.dialect, params))
        return statement.rows(raws)

    def one(self, statement: Statement[R], /, **params: Any) -> R | None:
        """Return the first row, or None."""
        raws = self.connection.query(statement, statement.bind(self.connection.dialect, params))
        return statement.row(raws[0]) if raws else None

    def value(self, statement: Statement[Any], /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self.one(statement, **params)
        return None if row is None else row[0]

    def open(self, sealed: Sealed | None) -> str | None:
        """Return the text of personal data; None where the person was erased."""
        return None if sealed is None else Keyring(self).open(sealed)


def count_of(table: sa.Table) -> Statement[tuple[Any, ...]]:
    """Return a statement that counts a table's rows."""
    return Statement(sa.select(sa.func.count()).select_from(table))
