"""PostgreSQL driver (psycopg 3): the same port as SQLite, with whole columns sent for bulk inserts.

The decider's lease is an advisory lock of the very session that commits. It lives and dies with that
connection, so a decider that lost its lease has no connection left to write on: that fences it.
A pooler in transaction mode would break this, so the decider must reach the server directly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from coldgrid.kernel.driver import Connection, DatabaseInUse, DriverError, Row
from coldgrid.kernel.statements import POSTGRESQL, Statement

_LEASE_KEY = 0x636F6C64  # "cold"
LEASE_TRIES = 6
LEASE_WAIT_S = 0.4


class PostgresConnection:
    """A connection that never begins a transaction by itself."""

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        try:
            self.driver = psycopg.connect(url, autocommit=True, prepare_threshold=2, connect_timeout=5)
        except psycopg.Error as error:
            raise DriverError(f"cannot connect: {error}") from error
        self.driver.prepared_max = 1000
        self._cursor = self.driver.cursor()

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read."""
        sql = statement.sql[POSTGRESQL]
        text, values = sql.expand(params) if sql.expanding else (sql.text, params)
        try:
            return self._cursor.execute(text, values).fetchall()
        except psycopg.Error as error:
            raise DriverError(f"{error} in {text}") from error

    def run_many(self, statement: Statement[Any], rows: list[Row]) -> None:
        """Run a write for every row: one statement over whole columns for inserts, else pipelined."""
        sql = statement.sql[POSTGRESQL]
        try:
            if len(rows) == 1:
                self._cursor.execute(sql.text, rows[0])
            elif sql.bulk is not None:
                columns = [list(column) for column in zip(*rows, strict=True)]
                self._cursor.execute(sql.bulk, columns)
            else:
                self._cursor.executemany(sql.text, rows)
        except psycopg.Error as error:
            raise DriverError(f"{error} in {sql.text}") from error

    def command(self, sql: str) -> None:
        """Run a text as it is."""
        try:
            self.driver.execute(sql)
        except psycopg.Error as error:
            raise DriverError(f"{error} in {sql}") from error

    def usable(self) -> bool:
        """Tell whether the server still answers on this connection."""
        return not (self.driver.closed or self.driver.broken)

    def close(self) -> None:
        """Close."""
        self.driver.close()


class PostgresDatabase:
    """A server's database. The decider holds an advisory lock; readers are pooled connections."""

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: list[PostgresConnection] = []
        self._guard = threading.Lock()

    def writer(self) -> PostgresConnection:
        """Open the decider's connection and take the lease of this schema."""
        connection = PostgresConnection(self.url)
        for attempt in range(LEASE_TRIES):
            held = connection.driver.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(current_database() || current_schema()))",
                (_LEASE_KEY,),
            ).fetchone()
            if held and held[0]:
                return connection
            # The session of a decider that just ended may not be gone yet.
            connection.driver.execute("SELECT pg_sleep(%s)", (LEASE_WAIT_S if attempt else 0.05,))
        connection.close()
        raise DatabaseInUse(database=_without_password(self.url))

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """Lend a connection; it is reused unless it broke."""
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        if connection is None or connection.driver.closed:
            connection = PostgresConnection(self.url)
        try:
            yield connection
        finally:
            if not connection.driver.broken:
                with self._guard:
                    self._idle.append(connection)

    def close(self) -> None:
        """Close the readers."""
        with self._guard:
            for connection in self._idle:
                connection.close()
            self._idle.clear()


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.rpartition(':')[0]}:…@{tail}" if at and ":" in head.split("//", 1)[-1] else url
