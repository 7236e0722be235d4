"""PostgreSQL driver (psycopg 3): the same port as SQLite, with whole columns sent for bulk inserts.

The decider's connection holds the lease (`postgres_lease`): a lock of the very session that commits, and a
term that each of its transactions is checked against. It must reach the server directly, not by a pooler.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import DiagnosticField, ExecStatus

from coldgrid.kernel import postgres_lease
from coldgrid.kernel.driver import (
    Connection,
    ConnectionLost,
    DatabaseInUse,
    DriverError,
    NotReached,
    OtherEncoding,
    Row,
)
from coldgrid.kernel.statements import POSTGRESQL, Statement

LEASE_TRIES = 6
LEASE_WAIT_S = 0.4
# A server that is cut off is lost after some seconds, not after the hours that TCP would wait.
PATIENCE: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class PostgresConnection:
    """A connection that never begins a transaction by itself."""

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        try:
            self.driver = psycopg.connect(url, autocommit=True, prepare_threshold=2, **PATIENCE)
        except psycopg.Error as error:
            raise _not_reached(url, error) from error
        self._check_encoding()
        self.driver.prepared_max = 1000
        self._cursor = self.driver.cursor()
        self.term = 0  # of the lease, on the decider's connection

    def _check_encoding(self) -> None:
        info = self.driver.info
        encoding = info.parameter_status("server_encoding") or "an unknown encoding"
        if encoding != "UTF8":
            reach = f"-h {info.host or info.hostaddr} -p {info.port}"
            refusal = OtherEncoding(info.dbname, encoding, info.user, reach)
            self.driver.close()
            raise refusal

    def query(self, statement: Statement[Any], params: Row) -> list[Row]:
        """Run a read."""
        sql = statement.sql[POSTGRESQL]
        text, values = sql.expand(params) if sql.expanding else (sql.text, params)
        try:
            return self._cursor.execute(text, values).fetchall()
        except psycopg.Error as error:
            raise self._failed(error, text) from error

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
            raise self._failed(error, sql.text) from error

    def command(self, sql: str) -> None:
        """Run a text as it is; on the decider's connection a transaction begins by its term (lease.L2)."""
        if self.term and sql == "BEGIN":
            self._begin()
            return
        try:
            self.driver.execute(sql)
        except psycopg.Error as error:
            raise self._failed(error, sql) from error

    def _begin(self) -> None:
        try:
            result = self.driver.pgconn.exec_(postgres_lease.BEGIN_FENCED)
            if result.error_field(DiagnosticField.SQLSTATE) == postgres_lease.FENCE_FORGOTTEN:
                self.driver.execute("ROLLBACK")
                postgres_lease.prepare_fence(self.driver, self.term)
                result = self.driver.pgconn.exec_(postgres_lease.BEGIN_FENCED)
        except psycopg.Error as error:
            raise self._failed(error, "BEGIN") from error
        if result.status != ExecStatus.TUPLES_OK:
            told = result.error_message.decode(errors="replace").strip()
            self.driver.close()  # by another's term nothing is ever written here again
            raise ConnectionLost(f"term {self.term} is over: {told}")

    def _failed(self, error: psycopg.Error, text: str) -> DriverError:
        if not self.usable():
            return ConnectionLost(f"{error} in {text}")
        return DriverError(f"{error} in {text}")

    def usable(self) -> bool:
        """Tell whether the server still answers on this connection."""
        return not (self.driver.closed or self.driver.broken)

    def close(self) -> None:
        """Close."""
        self.driver.close()


def _not_reached(url: str, error: psycopg.Error) -> DriverError:
    try:
        told = conninfo_to_dict(url)
    except psycopg.Error:
        return DriverError(f"cannot connect: {error}")
    place = f"{told.get('host') or 'the usual socket'}:{told.get('port') or 5432}"
    return NotReached(str(error), str(told.get("dbname") or told.get("user") or "postgres"), place)


class PostgresDatabase:
    """A server's database. The decider holds an advisory lock; readers are pooled connections."""

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: list[PostgresConnection] = []
        self._guard = threading.Lock()

    def writer(self) -> PostgresConnection:
        """Open the decider's connection and take the lease of this schema."""
        for attempt in range(LEASE_TRIES):
            # The session of a decider that just ended may not be gone yet.
            time.sleep(min(attempt, 1) * LEASE_WAIT_S)
            connection = self.candidate("")
            if connection is not None:
                return connection
        raise DatabaseInUse(database=_without_password(self.url))

    def candidate(self, holder: str) -> PostgresConnection | None:
        """Return a new connection with the lease, or None while another session has it."""
        connection = PostgresConnection(self.url)
        try:
            connection.term = postgres_lease.take(connection.driver, holder) or 0
        except psycopg.Error as error:
            connection.close()
            raise DriverError(f"cannot take the lease: {error}") from error
        if connection.term:
            return connection
        connection.close()
        return None

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
