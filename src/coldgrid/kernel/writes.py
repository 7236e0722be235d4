"""What a write does to one row, worked out from its construct, so that a rebuild can do it in memory.

Most writes of projections are of a few forms: insert a row, upsert it, or change or delete the rows whose
columns equal the parameters. Whatever is not clearly of these forms is None, and goes to the database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import add, eq, sub
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, Null

from coldgrid.kernel.statements import SQLITE, Statement
from coldgrid.kernel.tables import metadata

Kind = Literal["insert", "upsert", "update", "delete"]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement does, by places: of columns in a row of its table, and of parameters.

    Args:
        kind: An insert and an upsert give every column, in order.
        match: (column, parameter) that must be equal; of an upsert, its keys.
        empty: Columns that must be null.
        set_: (column, parameter) that it sets; a parameter of -1 is null.
        plus: (column, parameter) that it adds.
        minus: (column, parameter) that it takes away.
    """

    kind: Kind
    match: tuple[tuple[int, int], ...] = ()
    empty: tuple[int, ...] = ()
    set_: tuple[tuple[int, int], ...] = ()
    plus: tuple[tuple[int, int], ...] = ()
    minus: tuple[tuple[int, int], ...] = ()

    @property
    def where(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The columns that it looks rows up by: those that equal something, those that are null."""
        return tuple(column for column, _ in self.match), self.empty

    @property
    def changed(self) -> frozenset[int]:
        """The columns that it changes."""
        return frozenset(column for column, _ in (*self.set_, *self.plus, *self.minus))


class _NotClear(Exception):
    """The construct is of no form that is known here."""


def write_of(statement: Statement[Any]) -> Write | None:
    """Return what a write does to a row, or None where only the database can tell."""
    names = statement.names
    if statement.barrier or len(set(names)) != len(names):
        return None
    try:
        return _write(statement, {name: place for place, name in enumerate(names)})
    except _NotClear:
        return None


def tables_of(statement: Statement[Any]) -> frozenset[str]:
    """Return the names of the tables that a statement names."""
    # Every name in the text: one too many costs little, one too few would be wrong.
    return frozenset(re.findall(r"\w+", statement.sql[SQLITE].text)) & metadata.tables.keys()


def _write(statement: Statement[Any], places: dict[str, int]) -> Write:
    construct = statement.construct
    columns = {column.name: place for place, column in enumerate(construct.table.columns)}
    if construct.is_insert:
        if list(places) != list(columns):
            raise _NotClear
        form = statement.upsert
        if form is None:
            if "ON CONFLICT" in statement.sql[SQLITE].text:
                raise _NotClear
            return Write(kind="insert")
        if any(construct.table.c[name].nullable for name in form.keys_):
            raise _NotClear  # null is like no other null
        return Write(
            kind="upsert",
            match=tuple(sorted(_same(columns, form.keys_))),
            set_=_same(columns, form.set_),
            plus=_same(columns, form.add),
        )
    match, empty = _where(construct.whereclause, columns, places)
    if construct.is_delete:
        return Write(kind="delete", match=match, empty=empty)
    set_, plus, minus = _values(construct, columns, places)
    return Write(kind="update", match=match, empty=empty, set_=set_, plus=plus, minus=minus)


def _same(columns: dict[str, int], names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    return tuple((columns[name], columns[name]) for name in names)


def _where(
    clause: Any, columns: dict[str, int], places: dict[str, int]
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    parts = list(clause.clauses) if isinstance(clause, BooleanClauseList) else [clause]
    if isinstance(clause, BooleanClauseList) and clause.operator is not sa.sql.operators.and_:
        raise _NotClear
    match, empty = [], []
    for part in parts:
        if not isinstance(part, BinaryExpression) or not isinstance(part.left, sa.Column):
            raise _NotClear
        column = columns[part.left.name]
        if part.operator is eq:
            match.append((column, _place(part.right, places)))
        elif part.operator is sa.sql.operators.is_ and isinstance(part.right, Null):
            empty.append(column)
        else:
            raise _NotClear
    if not match:
        raise _NotClear
    return tuple(sorted(match)), tuple(sorted(empty))


def _values(
    construct: Any, columns: dict[str, int], places: dict[str, int]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    set_, plus, minus = [], [], []
    values = getattr(construct, "_values", None)
    if not values:
        raise _NotClear
    for target, value in values.items():
        own = construct.table.c[getattr(target, "name", target)]
        column = columns[own.name]
        if isinstance(value, Null):
            set_.append((column, -1))
        elif isinstance(value, BindParameter):
            # A fixed value is a parameter under its column's name.
            set_.append((column, places[own.name] if value.unique else _place(value, places)))
        elif not isinstance(value, BinaryExpression) or value.left is not own:
            raise _NotClear
        elif value.operator is add:
            plus.append((column, _place(value.right, places)))
        elif value.operator is sub:
            minus.append((column, _place(value.right, places)))
        else:
            raise _NotClear
    return tuple(set_), tuple(plus), tuple(minus)


def _place(value: Any, places: dict[str, int]) -> int:
    if not isinstance(value, BindParameter) or value.expanding or value.key not in places:
        raise _NotClear
    return places[value.key]
