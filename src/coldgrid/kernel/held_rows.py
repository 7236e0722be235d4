"""The rows that a replay holds: what writes add up to before a database sees them.

Invariants
    W1  The rows are those that the same writes, one after the other, would have left.
    W2  A row is new (held here, in no database), or stored; a write of a new row changes it here.
    W3  Writes of stored rows wait too, those of one row in their order, or added up where they are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from coldgrid.kernel.driver import Connection, Row, schema_statements
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.writes import Write

# Beyond, a table's new rows are stored: some 20 MB of the widest. Rows that nothing changes need not wait.
ROWS_HELD_MAX = 20_000
FINAL_ROWS_HELD_MAX = 1000

Writer = Callable[[Row], None]
Where = tuple[tuple[int, ...], tuple[int, ...]]
_ANY: Where = ((), ())


class _Op:
    """A statement with what is known of it, and the run that takes its rows now (−1: none).

    `moves`: it changes what it finds rows by. `add_up`: makes of two rows of it the one that does both.
    """

    __slots__ = ("add_up", "moves", "run", "statement", "where")

    def __init__(self, statement: Statement[Any], write: Write) -> None:
        columns, empty = write.where
        self.statement = statement
        self.where = write.where
        self.moves = not write.changed.isdisjoint((*columns, *empty))
        self.add_up = _adds_up(write)
        self.run = -1


class Held:
    """One table's new rows, how to find them, and the writes that its stored rows still need."""

    def __init__(self, connection: Connection, table: sa.Table) -> None:
        self.connection = connection
        self.table = table
        # A tuple as it was inserted, a list once it may change, empty once deleted.
        self.rows: list[Any] = []
        self.late = _Late()
        self.stored = False
        self._lookups: dict[Where, _Lookup] = {}
        self._changers: list[tuple[Write, list[_Lookup]]] = []
        self._first_key = next(n for n, column in enumerate(table.columns) if column.primary_key)
        self._indexed = False

    @property
    def full(self) -> bool:
        """Tell whether more is held than is good."""
        most = ROWS_HELD_MAX if self._lookups else FINAL_ROWS_HELD_MAX
        return len(self.rows) + self.late.count > most

    def be_living(self) -> None:
        """Take the table for one in use: it has rows and indexes already."""
        self.stored = self._indexed = True

    def upserter(self, statement: Statement[Any], write: Write) -> Writer:
        """Return what does an upsert."""
        lookup, key_of = self._lookup(write), itemgetter(*(place for _, place in write.match))
        change, rows, late = self._change(write), self.rows, self.late.adder(_Op(statement, write))

        def upsert(row: Row) -> None:
            if lookup.seen != len(rows):
                lookup.catch_up()
            key = key_of(row)
            found = lookup.one.get(key) if rows else None
            if found is not None:
                change(found, row)
            elif self.stored:
                late(key, row)
            else:
                rows.append(row)

        return upsert

    def changer(self, statement: Statement[Any], write: Write) -> Writer:
        """Return what does an update or a delete."""
        lookup, key_of = self._lookup(write), itemgetter(*(place for _, place in write.match))
        change = self._delete if write.kind == "delete" else self._change(write)
        rows, late, names_one = self.rows, self.late.adder(_Op(statement, write)), self._names_one(write)

        def update(row: Row) -> None:
            if lookup.seen != len(rows):
                lookup.catch_up()
            key = key_of(row)
            found = lookup.one.get(key)
            if found is not None:
                if lookup.more:
                    for one in (found, *lookup.more.get(key, ())):
                        change(one, row)
                else:
                    change(found, row)
                if names_one:
                    return
            if self.stored:
                late(key, row)

        return update

    def write_stored(self, statement: Statement[Any], row: Row) -> None:
        """Leave a write to the database, behind every other of this table."""
        self.flush()
        self.stored = True
        self.late.add_sealed(statement, row)

    def flush(self) -> None:
        """Store the writes that wait, then the new rows: they are not the same rows (W2)."""
        if self.late.count:
            if self.late.looks_beyond(self._first_key):
                self.add_indexes()
            self.late.flush(self.connection)
        if self.rows:
            rows = [row for row in self.rows if row]
            if rows:
                self.connection.run_many(_insert(self.table), rows)
            self.stored = True
            self.rows.clear()
            for lookup in self._lookups.values():
                lookup.clear()

    def add_indexes(self) -> None:
        """Make the table's indexes, where something first needs them."""
        if not self._indexed:
            self._indexed = True
            for text in schema_statements([self.table], self.connection.dialect):
                self.connection.command(text)

    def _lookup(self, write: Write) -> _Lookup:
        lookup = self._lookups.get(write.where)
        if lookup is None:
            lookup = self._lookups[write.where] = _Lookup(self.rows, self.table, write.where)
            for other, moved in self._changers:
                if lookup.depends_on(other):
                    moved.append(lookup)
        return lookup

    def _names_one(self, write: Write) -> bool:
        """Tell whether a write is of one row at most."""
        columns = {self.table.columns.values()[place].name for place in write.where[0]}
        unique = [{column.name for column in self.table.primary_key}]
        unique += [{column.name for column in index.columns} for index in self.table.indexes if index.unique]
        return any(names <= columns for names in unique)

    def _change(self, write: Write) -> Callable[[list[Any], Row], None]:
        moved = [lookup for lookup in self._lookups.values() if lookup.depends_on(write)]
        self._changers.append((write, moved))
        change = _changes(write)

        def change_row(found: list[Any], row: Row) -> None:
            if not moved:
                change(found, row)
                return
            for lookup in moved:
                lookup.drop(found)
            change(found, row)
            for lookup in moved:
                lookup.put(found)

        return change_row

    def _delete(self, found: list[Any], row: Row) -> None:
        for lookup in self._lookups.values():
            lookup.drop(found)
        found.clear()


class _Lookup:
    """The new rows by some columns, without those where one of `empty` is not null."""

    def __init__(self, rows: list[Any], table: sa.Table, where: Where) -> None:
        self.one: dict[Any, list[Any]] = {}
        self.more: dict[Any, list[list[Any]]] = {}
        self.seen = 0
        self._rows = rows
        self._columns, self._empty = where
        self._key_of = itemgetter(*self._columns)
        # What is null equals nothing.
        self._full = tuple(place for place in self._columns if table.columns.values()[place].nullable)
        self._picky = bool(self._empty or self._full)

    def depends_on(self, write: Write) -> bool:
        """Tell whether a write may change what a row is found by."""
        return not write.changed.isdisjoint((*self._columns, *self._empty))

    def catch_up(self) -> None:
        """Take in the rows that came since."""
        rows, key_of, one = self._rows, self._key_of, self.one
        must = self._empty[0] if self._empty else -1  # most rows that do not fit are told by one column
        for place in range(self.seen, len(rows)):
            row = rows[place]
            if not row or (must >= 0 and row[must] is not None) or (self._picky and not self._fits(row)):
                continue
            if type(row) is tuple:
                row = rows[place] = list(row)
            key = key_of(row)
            if one.setdefault(key, row) is not row:
                self.more.setdefault(key, []).append(row)
        self.seen = len(rows)

    def put(self, row: list[Any]) -> None:
        """Take in a row as it is now, after `drop`."""
        if self._fits(row):
            key = self._key_of(row)
            if self.one.setdefault(key, row) is not row:
                self.more.setdefault(key, []).append(row)

    def drop(self, row: list[Any]) -> None:
        """Forget a row, before it changes."""
        if self.seen != len(self._rows):
            self.catch_up()
        key = self._key_of(row)
        others = self.more.get(key)
        if self.one.get(key) is row:
            if others:
                self.one[key] = others.pop()
            else:
                del self.one[key]
        elif others:
            others[:] = [other for other in others if other is not row]
        if others is not None and not others:
            del self.more[key]

    def clear(self) -> None:
        """Forget every row."""
        self.one.clear()
        self.more.clear()
        self.seen = 0

    def _fits(self, row: Row | list[Any]) -> bool:
        return all(row[place] is None for place in self._empty) and not any(
            row[place] is None for place in self._full
        )


class _Late:
    """Writes of stored rows, in runs of one statement.

    Writes of different rows may change places, so that few runs remain; those of one row keep their order,
    and one that follows its like is added to it. That holds among writes that find rows by the same columns.
    """

    def __init__(self) -> None:
        self.count = 0
        self._runs: list[tuple[Statement[Any], Where, list[Any]]] = []
        self._ops: list[_Op] = []
        self._last: dict[Any, tuple[int, Any]] = {}
        self._where: Where | None = None

    def adder(self, op: _Op) -> Callable[[Any, Row], None]:
        """Return what takes in a statement's writes of the stored rows that have a key."""
        where, moves, add_up, last = op.where, op.moves, op.add_up, self._last

        def add(key: Any, row: Row) -> None:
            if self._where is not where or moves:
                if self._where != where or moves:
                    self._seal()
                self._where = where
            before = last.get(key)
            if before is not None and before[0] == op.run:
                add_up(before[1], row)
            else:
                self._add_new(op, key, list(row), -1 if before is None else before[0])

        return add

    def _add_new(self, op: _Op, key: Any, held: list[Any], earlier: int) -> None:
        """Take in a row behind the run that has the last write of the same key."""
        if op.run < 0 or op.run < earlier:
            if op.run < 0:
                self._ops.append(op)
            op.run = len(self._runs)
            self._runs.append((op.statement, op.where, []))
        self._runs[op.run][2].append(held)
        self._last[key] = op.run, held
        self.count += 1

    def add_sealed(self, statement: Statement[Any], row: Row) -> None:
        """Take in a write of which nothing is known."""
        self._seal()
        self._runs.append((statement, _ANY, [row]))
        self.count += 1

    def looks_beyond(self, first_key: int) -> bool:
        """Tell whether a write finds its rows without the table's key."""
        return any(first_key not in where[0] for _, where, _ in self._runs)

    def flush(self, connection: Connection) -> None:
        """Do them."""
        for statement, _, rows in self._runs:
            connection.run_many(statement, rows)
        self._runs.clear()
        self._seal()
        self.count = 0

    def _seal(self) -> None:
        for op in self._ops:
            op.run = -1
        self._ops.clear()
        self._last.clear()
        self._where = None


def _changes(write: Write) -> Callable[[list[Any], Row], None]:
    """Return what does to a row what a write does."""
    set_ = write.set_
    sums = tuple((column, place, 1) for column, place in write.plus)
    sums += tuple((column, place, -1) for column, place in write.minus)

    def change(found: list[Any], row: Row) -> None:
        for column, place in set_:
            found[column] = None if place < 0 else row[place]
        for column, place, sign in sums:
            before, more = found[column], row[place]
            found[column] = None if before is None or more is None else before + sign * more

    if set_ or len(sums) != 1:
        return change
    ((only, only_place, only_sign),) = sums

    def add(found: list[Any], row: Row) -> None:
        # Most writes add to one column.
        before, more = found[only], row[only_place]
        found[only] = None if before is None or more is None else before + only_sign * more

    return add


def _adds_up(write: Write) -> Callable[[list[Any], Row], None]:
    """Return what makes of two like writes of one row the one that does both."""
    places = tuple(place for _, place in write.set_ if place >= 0)
    sums = tuple(place for _, place in (*write.plus, *write.minus))

    def add_up(before: list[Any], row: Row) -> None:
        for place in places:
            before[place] = row[place]
        for place in sums:
            one, other = before[place], row[place]
            before[place] = None if one is None or other is None else one + other

    if places or len(sums) != 1:
        return add_up
    (only,) = sums

    def add(before: list[Any], row: Row) -> None:
        one, other = before[only], row[only]
        before[only] = None if one is None or other is None else one + other

    return add


@cache
def _insert(table: sa.Table) -> Statement[Any]:
    return Statement(table.insert())
