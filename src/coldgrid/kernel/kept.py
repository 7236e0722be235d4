"""Kept rows: master data that the decider asks for again and again, read once and remembered.

Invariants
    M1  What is kept is what a read would give: a projection that changes a row drops it, and so does undoing
        that projection.
    M2  Only the decider's own units of work use it; readers of committed facts read their tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx

T = TypeVar("T")


class Kept(Generic[T]):
    """Rows by key. A room registers a subclass of its own as hot state; it begins empty."""

    def __init__(self) -> None:
        self.rows: dict[str, T] = {}

    @classmethod
    def load(cls, reader: Reader) -> Any:
        """Begin with nothing: rows are read when they are first asked for."""
        return cls()

    @classmethod
    def row(cls, db: Reader, key: str, read: Callable[[], T]) -> T:
        """Return a row: kept where the decider asks, else read."""
        if not isinstance(db, Tx):
            return read()
        rows: dict[str, T] = db.hot(cls).rows
        if key not in rows:
            rows[key] = read()
        return rows[key]

    @classmethod
    def drop(cls, tx: Tx, key: str) -> None:
        """Forget a row that is about to change; from projections only."""
        rows = tx.hot(cls).rows
        rows.pop(key, None)
        tx.undo(lambda: _forget(rows, key))

    @classmethod
    def drop_all(cls, tx: Tx) -> None:
        """Forget every row; from projections only."""
        rows = tx.hot(cls).rows
        rows.clear()
        tx.undo(rows.clear)


def _forget(rows: dict[str, Any], key: str) -> None:
    rows.pop(key, None)
