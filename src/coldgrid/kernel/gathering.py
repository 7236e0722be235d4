"""Gathering: the batch for facts by the hundred, which writes to a row what its writes add up to.

Invariants
    A1  What the database has after the commit is what `Batch` would have left (held_rows.W1 to W3).
    A2  A failure takes back all of it: there is no going back to a mark in the middle.

Facts of another host come as they were recorded there: hundreds in one commit, many of them about the same
rows. Written one after the other, much of their time goes into statements that take turns at a table.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from coldgrid.kernel.batch import Batch, Mark
from coldgrid.kernel.driver import Connection, Row
from coldgrid.kernel.held_rows import Held, Writer
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.writes import tables_of, write_of


class GatheringBatch(Batch):
    """A transaction of the decider that is kept or taken back as a whole (A2)."""

    def __init__(self, connection: Connection, heads: dict[str, tuple[int, int]], position: int) -> None:
        super().__init__(connection, heads, position)
        self._held: dict[str, Held] = {}
        self._writers: dict[Statement[Any], Writer] = {}

    def write_row(self, statement: Statement[Any], row: Row) -> None:
        """Do one write; the row is encoded and in `statement.names` order."""
        writer = self._writers.get(statement)
        if writer is None:
            writer = self._writers[statement] = self._writer(statement)
        writer(row)

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read after every write of the tables that it names."""
        self._store(statement)
        return self.connection.query(statement, params)

    def mark(self) -> Mark:
        """Refuse: no part of it may be taken back by itself (A2)."""
        raise AssertionError("what is gathered is kept or taken back as a whole")

    def flush(self) -> None:
        """Store everything."""
        for held in self._held.values():
            held.flush()

    def take_back_all(self) -> None:
        """Undo every change of hot state; the caller rolls the transaction back."""
        self._held.clear()
        self._writers.clear()
        super().take_back_all()

    def _store(self, statement: Statement[Any]) -> None:
        for name in _tables_of(statement):
            held = self._held.get(name)
            if held is not None:
                held.flush()

    def _writer(self, statement: Statement[Any]) -> Writer:
        table = statement.table
        self.tables.add(table)
        held = self._held.get(table)
        if held is None:
            held = self._held[table] = Held(self.connection, metadata.tables[table])
            # A living table: it has rows, and its indexes.
            held.be_living()
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

    def _write_behind_reads(self, held: Held, statement: Statement[Any], row: Row) -> None:
        self._store(statement)
        held.write_stored(statement, row)
        held.flush()


@cache
def _tables_of(statement: Statement[Any]) -> frozenset[str]:
    return tables_of(statement)
