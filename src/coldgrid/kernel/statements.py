"""Statements: written once with SQLAlchemy Core at module level, compiled once per dialect at the first use.

Building and executing a Core construct for every call costs about eight times its own SQL on the
driver; compiled once, only the driver's cost remains. A process uses a part of all statements, in one
dialect: compiled at import they were two thirds of the time to start. Codecs are picked from the column
types: parameters are encoded on the way in, columns decoded on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

R = TypeVar("R")
Codec = Callable[[Any], Any]

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
DIALECTS = (SQLITE, POSTGRESQL)
_ARRAY_OF = {
    sa.Text: "text[]",
    sa.BigInteger: "bigint[]",
    sa.Integer: "bigint[]",
    sa.Float: "double precision[]",
    sa.Boolean: "boolean[]",
    sa.LargeBinary: "bytea[]",
}
# Some 1000 parameters for the widest tables; SQLite takes 32,766 since 3.32.
ROWS_IN_BLOCK = 50
_EXPANDING = re.compile(r"__\[POSTCOMPILE_(\w+)\]")


class Sql:
    """One statement in one dialect: text, parameter names in order, and a text that takes whole columns."""

    __slots__ = ("_mark", "block", "bulk", "defaults", "encoders", "expanding", "names", "pick", "text")

    def __init__(self, dialect: str, construct: Any) -> None:
        compiled = cast(SQLCompiler, construct.compile(dialect=dialect_of(dialect)))
        self._mark = "?" if dialect == SQLITE else "%s"
        self.text = compiled.string
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self.expanding = frozenset(_EXPANDING.findall(self.text))
        self.block = _block(self.text) if dialect == SQLITE and not self.expanding else None
        writes = not construct.is_select
        self.bulk = _bulk_insert(construct, self.text) if dialect == POSTGRESQL and writes else None
        self.pick = picker(self.names)
        binds = compiled.binds
        self.defaults = {name: bind.value for name, bind in binds.items() if bind.value is not None}
        encoders = {name: _encoder_of(bind.type) for name, bind in binds.items() if not bind.expanding}
        self.encoders = tuple(
            (index, encoder)
            for index, name in enumerate(self.names)
            if (encoder := encoders.get(name)) is not None
        )

    def expand(self, values: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
        """Spell out list parameters: one placeholder for each member; an empty list matches nothing."""
        flat: list[Any] = []
        by_name = dict(zip(self.names, values, strict=True))
        for name in self.names:
            if name in self.expanding:
                flat += by_name[name]
            else:
                flat.append(by_name[name])

        def spell(match: re.Match[str]) -> str:
            count = len(by_name[match[1]])
            return ", ".join([self._mark] * count) if count else "NULL"

        return _EXPANDING.sub(spell, self.text), tuple(flat)


class _Forms(dict[str, Sql]):
    """A statement in each dialect, compiled when it is first asked for."""

    __slots__ = ("_constructs",)

    def __init__(self, constructs: Mapping[str, Any]) -> None:
        super().__init__()
        self._constructs = constructs

    def __missing__(self, dialect: str) -> Sql:
        form = self[dialect] = Sql(dialect, self._constructs[dialect])
        return form


_made: list[Statement[Any]] = []


def all_statements() -> list[Statement[Any]]:
    """Return every statement of the modules that were imported."""
    return _made.copy()


class Statement(Generic[R]):
    """A Core construct for both dialects. `into` builds each row; without it rows are tuples.

    Args:
        construct: One construct for both dialects, or one for each where they differ (upserts).
        into: Called with the selected columns in order; usually a struct whose fields are in that order.

    `names`: the parameters in order, the same in both dialects for a write. `barrier`: a write that also
    reads other rows, and must see every write before it.
    """

    __slots__ = ("_decoders", "barrier", "construct", "into", "is_write", "sql", "table", "upsert")

    @overload
    def __init__(self: Statement[tuple[Any, ...]], construct: Any) -> None: ...
    @overload
    def __init__(self, construct: Any, into: Callable[..., R]) -> None: ...
    def __init__(self, construct: Any, into: Any = None) -> None:
        by_dialect = construct if isinstance(construct, Mapping) else dict.fromkeys(DIALECTS, construct)
        first = by_dialect[SQLITE]
        self.construct = first
        self.upsert = construct if isinstance(construct, Upsert) else None
        self.into = into
        self.is_write = not first.is_select
        self.table = first.table.name if self.is_write else ""
        self.sql = _Forms(by_dialect)
        _made.append(self)

    if TYPE_CHECKING:
        barrier: bool
        _decoders: tuple[tuple[int, Codec], ...]
    else:

        def __getattr__(self, name: str) -> Any:
            """Work out at the first use what is no part of a dialect; afterwards it is an attribute."""
            if name == "barrier":
                self.barrier = self.is_write and _reads_others(self.construct)
                return self.barrier
            if name == "_decoders":
                self._decoders = _decoders_of(self.construct)
                return self._decoders
            raise AttributeError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in order."""
        return self.sql[SQLITE].names

    def compile(self, dialect: str) -> None:
        """Work out now what its first use would."""
        _ = self.sql[dialect], self.barrier, self._decoders

    def bind(self, dialect: str, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the parameters in the dialect's order, encoded.

        Raises:
            KeyError: a parameter is missing.
        """
        sql = self.sql[dialect]
        if sql.defaults:
            params = {**sql.defaults, **params}
        picked = sql.pick(params)
        encoders = sql.encoders
        if not encoders:
            return picked
        values = list(picked)
        for index, encoder in encoders:
            value = values[index]
            if value is not None:
                values[index] = encoder(value)
        return tuple(values)

    def row(self, raw: Sequence[Any]) -> R:
        """Build one result from a raw row."""
        if self._decoders:
            values = list(raw)
            for index, decoder in self._decoders:
                value = values[index]
                if value is not None:
                    values[index] = decoder(value)
            raw = values
        return self.into(*raw) if self.into is not None else cast(R, tuple(raw))

    def rows(self, raws: Sequence[Sequence[Any]]) -> list[R]:
        """Build every result."""
        if not self._decoders and self.into is None:
            return cast("list[R]", raws)
        return [self.row(raw) for raw in raws]


def picker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what takes these keys out of a mapping, or these places out of a sequence: always a tuple."""
    if len(keys) > 1:
        return cast("Callable[[Any], tuple[Any, ...]]", itemgetter(*keys))
    if keys:
        only = keys[0]
        return lambda values: (values[only],)
    return lambda values: ()


class Upsert(dict[str, Any]):
    """An upsert in each dialect, built when it is first asked for, with what it does: see `upsert`."""

    def __init__(self, table: sa.Table, keys: Sequence[str], set_: Sequence[str], add: Sequence[str]) -> None:
        super().__init__()
        self.table = table
        self.keys_, self.set_, self.add = tuple(keys), tuple(set_), tuple(add)

    def __missing__(self, dialect: str) -> Any:
        insert = sqlite.insert if dialect == SQLITE else _postgresql().insert
        construct: Any = insert(self.table)
        change = {column: construct.excluded[column] for column in self.set_}
        change |= {column: self.table.c[column] + construct.excluded[column] for column in self.add}
        built = self[dialect] = (
            construct.on_conflict_do_update(index_elements=list(self.keys_), set_=change)
            if change
            else construct.on_conflict_do_nothing(index_elements=list(self.keys_))
        )
        return built


def upsert(
    table: sa.Table, *, keys: Sequence[str], set_: Sequence[str] = (), add: Sequence[str] = ()
) -> Upsert:
    """Return an insert of all columns that, where the keys exist, replaces `set_` and adds to `add`.

    With neither, the existing row stays as it is.
    """
    return Upsert(table, keys, set_, add)


def _postgresql() -> Any:
    """SQLAlchemy's part for PostgreSQL, which a host on SQLite need not load."""
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql


@cache
def dialect_of(name: str) -> sa.Dialect:
    """Return SQLAlchemy's dialect of a backend, with the placeholders of our driver."""
    if name == SQLITE:
        return sqlite.dialect(paramstyle="qmark")
    return cast(sa.Dialect, _postgresql().psycopg.dialect(paramstyle="format"))


def _base(type_: Any) -> Any:
    return type_.impl if isinstance(type_, sa.TypeDecorator) else type_


def _encoder_of(type_: Any) -> Codec | None:
    if isinstance(type_, sa.TypeDecorator):
        return partial(type_.process_bind_param, dialect=dialect_of(SQLITE))
    return None


def _decoder_of(type_: Any) -> Codec | None:
    if isinstance(type_, sa.TypeDecorator):
        return partial(type_.process_result_value, dialect=dialect_of(SQLITE))
    if isinstance(type_, sa.Boolean):
        return bool
    if isinstance(type_, sa.LargeBinary):
        return bytes
    # PostgreSQL sums bigints to numeric; we only ever sum integers.
    if isinstance(type_, sa.Integer) or (isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float)):
        return int
    return None


def _decoders_of(construct: Any) -> tuple[tuple[int, Codec], ...]:
    selected = list(construct.selected_columns) if construct.is_select else []
    return tuple(
        (index, decoder)
        for index, column in enumerate(selected)
        if (decoder := _decoder_of(column.type)) is not None and not _comes_as_it_is(column)
    )


def _comes_as_it_is(column: Any) -> bool:
    """Tell whether both drivers give a stored column as Python wants it; sums and the like they do not."""
    return isinstance(column, sa.Column) and isinstance(column.type, sa.Integer | sa.LargeBinary)


def _reads_others(construct: Any) -> bool:
    if construct.is_insert:
        return getattr(construct, "select", None) is not None
    return any(
        isinstance(part, sa.Select | sa.ScalarSelect | sa.Exists)
        for part in sa.sql.visitors.iterate(construct)
    )


def _block(text: str) -> str | None:
    """Return an insert of `ROWS_IN_BLOCK` rows, where the text is one of a single row that updates none.

    FAIL instead of SQLite's ABORT: what fails is taken back with all of its transaction, never by itself. To
    be able to, SQLite would copy each page that a block changes into a file of its own: four times what the
    commit writes. An update on conflict has such copies whatever it is told, so it goes row by row.
    """
    head, values, tail = text.partition(" VALUES ")
    row, end, rest = tail.partition(")")
    if not values or not re.fullmatch(r"\((\?(, )?)+", row) or "DO UPDATE" in rest:
        return None
    head = head.replace("INSERT INTO", "INSERT OR FAIL INTO", 1)
    return f"{head} VALUES {', '.join([row + end] * ROWS_IN_BLOCK)}{rest}"


def _bulk_insert(construct: Any, text: str) -> str | None:
    """Return `INSERT … SELECT FROM unnest(…)` for an insert without update on conflict: one round trip."""
    if not construct.is_insert or "DO UPDATE" in text or " VALUES (" not in text:
        return None
    head, _, tail = text.partition(" VALUES (")
    conflict = tail[tail.index("ON CONFLICT") :] if "ON CONFLICT" in tail else ""
    arrays = []
    for column in construct.table.columns:
        base = _base(column.type)
        array = next((array for kind, array in _ARRAY_OF.items() if isinstance(base, kind)), None)
        if array is None:
            return None
        # Binary arrays cost a tenth of text; floats stay text, as a list of them may hold whole numbers.
        mark = "%s" if array.startswith("double") else "%b"
        arrays.append(f"{mark}::{array}")
    if tail.count("%s") != len(arrays):
        return None  # a fixed value among the parameters: not one column each
    return f"{head} SELECT * FROM unnest({', '.join(arrays)}) {conflict}".rstrip()
