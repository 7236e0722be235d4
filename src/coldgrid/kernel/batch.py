"""A group of commands that share one transaction: buffered writes, savepoints made only when needed, undo.

Invariants
    B1  Writes reach the database in the order of their table's writes; a read sees every write before it.
    B2  Taking back to a mark leaves no trace: rows, log heads and hot state are as they were.

Writes wait in memory and are flushed set-based, table by table, before the next read or at the
commit. A command that only reads hot state therefore costs no statement of its own, on SQLite as on
PostgreSQL. A savepoint is made only when a command flushes before it is known to succeed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from coldgrid.kernel.driver import Connection, Row
from coldgrid.kernel.statements import Statement


class Mark:
    """A place to go back to."""

    __slots__ = ("heads", "journal", "name", "position", "queued", "undo")

    def __init__(
        self, journal: int, undo: int, heads: dict[str, tuple[int, int]], position: int, queued: int
    ) -> None:
        self.journal = journal
        self.undo = undo
        self.heads = heads
        self.position = position
        self.queued = queued
        self.name = ""


class _Run:
    __slots__ = ("rows", "statement")

    def __init__(self, statement: Statement[Any]) -> None:
        self.statement = statement
        self.rows: list[Row] = []


class Batch:
    """One transaction of the decider.

    `heads` maps an origin to its (epoch, next seq); `position` is the next local position.
    `recorded` collects what was appended: (entry, event) pairs, in order. `tables`: what was written to.
    """

    def __init__(self, connection: Connection, heads: dict[str, tuple[int, int]], position: int) -> None:
        self.connection = connection
        self.heads = heads
        self.position = position
        self.recorded: list[tuple[Any, Any]] = []
        self.tables: set[str] = set()
        self._runs: list[_Run] = []
        self._last_run: dict[str, _Run] = {}
        self._journal: list[list[Row]] = []
        self._undo: list[Callable[[], None]] = []
        self._marks: list[Mark] = []
        self._savepoints = 0

    def write_row(self, statement: Statement[Any], row: Row) -> None:
        """Buffer one write; the row is encoded and in `statement.names` order."""
        table = statement.table
        run = self._last_run.get(table)
        if run is None or run.statement is not statement:
            if statement.barrier:
                self.flush()
            run = self._last_run[table] = _Run(statement)
            self._runs.append(run)
            self.tables.add(table)
        rows = run.rows
        rows.append(row)
        self._journal.append(rows)
        if statement.barrier:
            self.flush()

    def undo(self, function: Callable[[], None]) -> None:
        """Remember how to take back a change of hot state."""
        self._undo.append(function)

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read after every write before it (B1)."""
        if self._journal:
            self.flush()
        return self.connection.query(statement, params)

    def mark(self) -> Mark:
        """Begin a part that may be taken back."""
        mark = Mark(len(self._journal), len(self._undo), self.heads.copy(), self.position, len(self.recorded))
        self._marks.append(mark)
        return mark

    def release(self, mark: Mark) -> None:
        """Keep what was done since the mark."""
        popped = self._marks.pop()
        assert popped is mark, "marks are released in reverse order"
        if mark.name:
            self.connection.command(f"RELEASE SAVEPOINT {mark.name}")

    def take_back(self, mark: Mark) -> None:
        """Undo everything since the mark (B2)."""
        popped = self._marks.pop()
        assert popped is mark, "marks are taken back in reverse order"
        if mark.name:
            self.connection.command(f"ROLLBACK TO SAVEPOINT {mark.name}")
            self.connection.command(f"RELEASE SAVEPOINT {mark.name}")
            # What was flushed after the savepoint is gone with it; what waits was written after the mark.
            self._forget_buffer()
        else:
            while len(self._journal) > mark.journal:
                self._journal.pop().pop()
        self._unwind(mark.undo)
        self.heads = mark.heads
        self.position = mark.position
        del self.recorded[mark.queued :]

    def take_back_all(self) -> None:
        """Undo every change of hot state; the caller rolls the transaction back."""
        self._unwind(0)
        self._marks.clear()
        self._forget_buffer()

    def flush(self) -> None:
        """Send the buffered writes, with a savepoint at each open mark that has none yet."""
        for mark in self._marks:
            if not mark.name:
                sent = mark.journal
                self._send_first(sent)
                self._savepoints += 1
                mark.name = f"s{self._savepoints}"
                self.connection.command(f"SAVEPOINT {mark.name}")
                for other in self._marks:
                    other.journal = max(0, other.journal - sent)
        self._send_first(len(self._journal))
        for mark in self._marks:
            mark.journal = 0

    def _send_first(self, count: int) -> None:
        """Send the first `count` buffered rows: of each run, the rows that the journal's head names."""
        if not count:
            return
        if count == len(self._journal):
            for run in self._runs:
                if run.rows:
                    self.connection.run_many(run.statement, run.rows)
            self._forget_buffer()
            return
        share = Counter(id(rows) for rows in self._journal[:count])
        for run in self._runs:
            taken = share.get(id(run.rows), 0)
            if taken:
                self.connection.run_many(run.statement, run.rows[:taken])
                del run.rows[:taken]
        del self._journal[:count]

    def _forget_buffer(self) -> None:
        self._runs.clear()
        self._last_run.clear()
        self._journal.clear()

    def _unwind(self, length: int) -> None:
        while len(self._undo) > length:
            self._undo.pop()()
