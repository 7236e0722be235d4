"""Column types that read and write the same on SQLite and PostgreSQL, and the one metadata of all tables.

A table is a projection unless it says `info={"service": True}`: then it is working state of the
runtime (the log itself, timers, keys, readings), which a rebuild leaves alone. Service rows that belong to
one origin name the column that says which, `"carried_by": "origin"`: they move house with it. Where a
table names no origin, `"carried_with": (table, column)` says whose rows it goes with.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

metadata = sa.MetaData()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(instant: datetime) -> int:
    """Return the microseconds since 1970 UTC of an aware instant."""
    assert instant.tzinfo is not None, f"naive datetime: {instant}"
    return (instant - EPOCH) // _MICROSECOND


# A network's goods have some hundreds of expiry dates; spelling one costs six times looking it up.
day_text: Callable[[date], str] = lru_cache(4096)(date.isoformat)


def from_micros(micros: int) -> datetime:
    """Return the UTC instant of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


class Instant(sa.TypeDecorator[datetime]):
    """An aware instant, stored as microseconds since 1970 UTC: exact, ordered, the same on every backend."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """Encode; a naive datetime is a bug."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """Decode to UTC."""
        return None if value is None else from_micros(value)


class Day(sa.TypeDecorator[date]):
    """A calendar day, stored as ISO 8601 text, which orders as days do."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: sa.Dialect) -> str | None:
        """Encode."""
        return None if value is None else day_text(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> date | None:
        """Decode."""
        return None if value is None else date.fromisoformat(value)


class Named(sa.TypeDecorator[Any]):
    """A member of a string enumeration, stored as its value."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, enumeration: type[StrEnum]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def process_bind_param(self, value: StrEnum | None, dialect: sa.Dialect) -> str | None:
        """Encode; a string that is no member is a bug."""
        if value is None:
            return None
        if type(value) is self.enumeration:
            return str.__str__(value)
        return str(self.enumeration(value).value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> StrEnum | None:
        """Decode."""
        return None if value is None else self.enumeration(value)


T = TypeVar("T")


class Json(sa.TypeDecorator[Any]):
    """A msgspec value, stored as JSON text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, type_: Any) -> None:
        super().__init__()
        self.type_ = type_
        self._decoder = msgspec.json.Decoder(type_)

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """Encode."""
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Decode to the declared type."""
        return None if value is None else self._decoder.decode(value)


def partial_index(
    name: str, *columns: sa.Column[Any], where: sa.ColumnElement[bool], unique: bool = False
) -> sa.Index:
    """Index only the rows that `where` takes, on both backends.

    Said to SQLite alone: SQLAlchemy loads all of its part for PostgreSQL for an index that says so itself.
    `driver.schema_statements` passes it on to the backend that it writes for.
    """
    return sa.Index(name, *columns, unique=unique, sqlite_where=where)


def is_projection(table: sa.Table) -> bool:
    """Tell whether a table is derived from the log, so that it can be dropped and rebuilt."""
    return not table.info.get("service", False)
