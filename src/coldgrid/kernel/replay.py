"""Replay: the batch and the unit of work of a rebuild, which folds what the log writes to a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.driver import Connection, Row
from coldgrid.kernel.events import Entry
from coldgrid.kernel.folding import FoldingBatch
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import EPOCH
from coldgrid.kernel.tx import Shared, Tx


class ReplayBatch(FoldingBatch):
    """The batch of a rebuild: nothing in it is ever taken back."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, {}, 0, living=False)

    def undo(self, function: Callable[[], None]) -> None:
        """Forget it: nothing is taken back."""

    def flush_large(self) -> None:
        """Store the tables that hold many rows."""
        for held in self._held.values():
            if held.full:
                held.flush()


class ReplayTx(Tx):
    """A unit of work that goes from entry to entry: a replay's projections keep none."""

    __slots__ = ("_dialect", "_writers")

    def __init__(self, batch: ReplayBatch, shared: Shared) -> None:
        super().__init__(batch, shared, "", Principal(""), EPOCH, "")
        self._dialect = shared.dialect
        self._writers = batch.writers

    def turn_to(self, entry: Entry, recorded_us: int) -> None:
        """Become the unit of work that recorded an entry."""
        stamp = self.stamp
        self.entry = entry
        self.origin = stamp.origin = entry.origin
        self.now = stamp.at = entry.recorded_at
        self.cause = stamp.cause = entry.cause
        stamp.micros = recorded_us
        if entry.actor != stamp.actor:
            stamp.actor = entry.actor
            self.principal = Principal(entry.actor)

    def write(self, statement: Statement[Any], /, **params: Any) -> None:
        """Do a write."""
        self._writers[statement](statement.bind(self._dialect, params))

    def write_row(self, statement: Statement[Any], row: Row) -> None:
        """Do a write whose values are encoded and in `statement.names` order."""
        self._writers[statement](row)
