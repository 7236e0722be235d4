"""Folding: a batch that adds up in memory what its writes do to a row, and stores each row once.

A night's orders are placed, released and dispatched: three writes that leave one row. `held_rows` has what is
kept true; `replay` and `gathering` are the two that fold.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.batch import Batch
from coldgrid.kernel.driver import Connection, Row
from coldgrid.kernel.events import Entry
from coldgrid.kernel.held_rows import Held, Writer
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import EPOCH, metadata
from coldgrid.kernel.tx import Shared, Tx
from coldgrid.kernel.writes import tables_of, write_of


class FoldingBatch(Batch):
    """A batch that knows no marks: what it holds is stored as a whole, or not at all.

    Args:
        living: The tables have rows and indexes already; else they are empty, and indexes are made late.
    """

    def __init__(
        self, connection: Connection, heads: dict[str, tuple[int, int]], position: int, *, living: bool
    ) -> None:
        super().__init__(connection, heads, position)
        self.writers = _Writers(self)
        self._held: dict[str, Held] = {}
        self._living = living

    def write_row(self, statement: Statement[Any], row: Row) -> None:
        """Do one write; the row is encoded and in `statement.names` order."""
        self.writers[statement](row)

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read after every write of the tables that it names."""
        self._store(statement)
        return self.connection.query(statement, params)

    def flush(self) -> None:
        """Store everything."""
        for held in self._held.values():
            held.flush()

    def writer(self, statement: Statement[Any]) -> Writer:
        """Return what does a statement's writes."""
        self.tables.add(statement.table)
        held = self._held_of(statement.table)
        write = write_of(statement)
        if statement.barrier:
            return partial(self._write_behind_reads, held, statement)
        if write is None:
            return partial(held.write_stored, statement)
        if write.kind == "insert":
            return held.rows.append
        if write.kind == "upsert":
            return held.upserter(statement, write)
        return held.changer(statement, write)

    def _store(self, statement: Statement[Any]) -> None:
        for name in _tables_of(statement):
            held = self._held_of(name)
            held.flush()
            held.add_indexes()

    def _held_of(self, name: str) -> Held:
        held = self._held.get(name)
        if held is None:
            held = self._held[name] = Held(self.connection, metadata.tables[name])
            if self._living:
                held.be_living()
        return held

    def _write_behind_reads(self, held: Held, statement: Statement[Any], row: Row) -> None:
        self._store(statement)
        held.write_stored(statement, row)
        held.flush()


class FoldingTx(Tx):
    """A unit of work that goes from entry to entry: projections keep none of it, nor do their undos."""

    __slots__ = ("_dialect", "_writers")

    def __init__(self, batch: FoldingBatch, shared: Shared) -> None:
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


class _Writers(dict[Statement[Any], Writer]):
    """What does each statement's writes, found out at the first."""

    def __init__(self, batch: FoldingBatch) -> None:
        self._batch = batch

    def __missing__(self, statement: Statement[Any]) -> Writer:
        writer = self[statement] = self._batch.writer(statement)
        return writer


@cache
def _tables_of(statement: Statement[Any]) -> frozenset[str]:
    return tables_of(statement)
