"""Luggage: the service rows of an origin that move house with it, page by page, over any distance.

Invariants
    L1  Work that waits (timers, effects) has one host: who gives it away deletes it in the same commit.
    L2  Rows travel as the database holds them; only what is written differently by another kind of database
        (truth values) is told apart where they are put.
    L3  Pages follow the primary key, so that a move that was interrupted goes on after the last row put.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from coldgrid.kernel.reading import Reads
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

Row = tuple[Any, ...]


def carried_tables() -> list[str]:
    """Return the tables whose rows move with an origin, those that name no origin themselves last."""
    own = [str(t.name) for t in metadata.sorted_tables if "carried_by" in t.info and "waits" not in t.info]
    return [*own, *(str(t.name) for t in metadata.sorted_tables if "carried_with" in t.info)]


def waiting_tables() -> list[str]:
    """Return the tables of work that waits."""
    return [str(table.name) for table in metadata.sorted_tables if "waits" in table.info]


def _mine(table: sa.Table) -> sa.ColumnElement[bool]:
    """Which rows are the origin's: by their own column, or by rows of another table that refer to them."""
    whose: sa.BindParameter[str] = sa.bindparam("whose")
    if "carried_by" in table.info:
        return table.c[table.info["carried_by"]] == whose
    name, column = table.info["carried_with"]
    other = metadata.tables[name]
    named = sa.select(other.c[column]).where(other.c[other.info["carried_by"]] == whose)
    found: sa.ColumnElement[bool] = table.c[column].in_(named)
    return found


def rows_after(db: Reads, name: str, origin: str, after: Row, limit: int) -> list[Row]:
    """Return the next rows of a carried table, in the order of its primary key; `after` (): from the first.

    Raises:
        KeyError: no such table is carried.
    """
    table = _carried(name)
    keys = list(table.primary_key.columns)
    chosen = sa.select(table).where(_mine(table))
    params: dict[str, Any] = {"whose": origin, "count": limit}
    if after:
        bounds = [sa.bindparam(f"after_{column.name}", type_=_plain(column)) for column in keys]
        chosen = chosen.where(sa.tuple_(*keys) > sa.tuple_(*bounds))
        params |= {f"after_{column.name}": value for column, value in zip(keys, after, strict=True)}
    chosen = chosen.order_by(*keys).limit(sa.bindparam("count", type_=sa.Integer))
    statement = Statement(chosen)
    return db.connection.query(statement, statement.bind(db.connection.dialect, params))


def key_of(name: str, row: Row) -> Row:
    """Return a row's primary key, as `rows_after` takes it."""
    columns = [column.name for column in _carried(name).columns]
    return tuple(row[columns.index(column.name)] for column in _carried(name).primary_key.columns)


def take_waiting(tx: Tx, origin: str) -> list[tuple[str, Row]]:
    """Return the rows of work that waits, and delete them (L1)."""
    found: list[tuple[str, Row]] = []
    for name in waiting_tables():
        table = metadata.tables[name]
        mine = Statement(sa.select(table).where(_mine(table)))
        raws = tx.batch.query(mine, mine.bind(tx.shared.dialect, {"whose": origin}))
        found += [(name, tuple(raw)) for raw in raws]
        tx.write(Statement(table.delete().where(_mine(table))), whose=origin)
    return found


def copy_waiting(db: Reads, origin: str) -> list[tuple[str, Row]]:
    """Return the rows of work that waits now, and leave them; of what is done already there is none."""
    found: list[tuple[str, Row]] = []
    for name in waiting_tables():
        table = metadata.tables[name]
        chosen = sa.select(table).where(_mine(table))
        if "still_waits" in table.info:
            chosen = chosen.where(table.info["still_waits"])
        statement = Statement(chosen.order_by(*table.primary_key.columns))
        raws = db.connection.query(statement, statement.bind(db.connection.dialect, {"whose": origin}))
        found += [(name, tuple(raw)) for raw in raws]
    return found


def belongs(name: str, row: Sequence[Any], origin: str) -> bool:
    """Tell whether a row from elsewhere is one of an origin's work that waits, by its shape and its owner."""
    if name not in waiting_tables():
        return False
    columns = [column.name for column in metadata.tables[name].columns]
    return len(row) == len(columns) and row[columns.index(metadata.tables[name].info["carried_by"])] == origin


def put_rows(tx: Tx, name: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows that came from another host; one whose key is here already is left as it is."""
    table, insert = _carried(name), _insert_into(name)
    truths = [isinstance(column.type, sa.Boolean) for column in table.columns]
    for row in rows:
        values = (bool(v) if truth and v is not None else v for v, truth in zip(row, truths, strict=True))
        tx.write_row(insert, tuple(values))


@cache
def _insert_into(name: str) -> Statement[Any]:
    table = _carried(name)
    return Statement(upsert(table, keys=[column.name for column in table.primary_key.columns]))


def _carried(name: str) -> sa.Table:
    table = metadata.tables[name]
    if not {"carried_by", "carried_with"} & set(table.info):
        raise KeyError(name)
    return table


def _plain(column: sa.Column[Any]) -> Any:
    """The type of a column as the database holds it: keys travel as they are."""
    type_ = column.type
    return type_.impl if isinstance(type_, sa.TypeDecorator) else type_
