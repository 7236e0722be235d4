"""A tower's database on a PostgreSQL server, in place of a disk: the host dies, the server does not.

What was committed survives every death of the tower, and a commit is whole or was never. The database can be
put back to an older copy, table by table. A server that fills up, or dies itself, is not tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import msgspec
import psycopg

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.postgres import PostgresConnection, PostgresDatabase
from tests.conftest import POSTGRES, HandClock
from tests.simulation.disk import Fault, PowerLost

# Set by whoever plays: the towers' databases, and the lead of the names of their schemas.
TOWER, RUN = "COLDGRID_SIMULATED_TOWER", "COLDGRID_SIMULATED_RUN"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
# The lease is the server's own affair: a term never goes back, whatever else does.
_OWN = ("kernel_lease", "kernel_worker")


def on_server() -> bool:
    """Tell whether towers keep their data on a server."""
    return os.environ.get(TOWER) == "postgresql"


def drop_schemas() -> None:
    """Take away what a run left on the server."""
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        found = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", [f"sim\\_{os.environ[RUN]}\\_%"]
        ).fetchall()
        for (name,) in found:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE'.encode())


class Tables(msgspec.Struct, frozen=True):
    """What is in the database: each table's rows, as the server writes them."""

    rows: dict[str, bytes]


class Server:
    """A tower's database. One world after the other has it; see `disk.Disk` for the names."""

    def __init__(self, path: Path, random: Random) -> None:
        self.path, self.random = path, random
        self.fault = Fault.BEFORE
        self.commits_left: int | None = None
        self.schema = f"sim_{os.environ.get(RUN, '0')}_{os.getpid()}"
        mark = "&" if "?" in POSTGRES else "?"
        self.url = f"{POSTGRES}{mark}options=-csearch_path%3D{self.schema}%20-csynchronous_commit%3Doff"
        self._begun = False

    def arm(self, fault: Fault, commits: int) -> None:
        """Let the host die at one of its next commits; one in the middle is the server's to settle."""
        self.fault = self.random.choice((Fault.BEFORE, Fault.AFTER)) if fault is Fault.TORN else fault
        self.commits_left = commits

    @contextmanager
    def dark(self) -> Iterator[None]:
        """The power is away: what was committed stays."""
        yield

    def database(self) -> ServerDatabase:
        """Return the database; it is empty where nothing was put there."""
        if not self._begun:
            self._make_empty()
        return ServerDatabase(self)

    def _make_empty(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {self.schema}".encode())
        self._begun = True

    def image(self) -> Tables:
        """Return what is committed."""
        rows = {}
        with psycopg.connect(self.url) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for (name,) in connection.execute(_TABLES).fetchall():
                if name not in _OWN:
                    with connection.cursor().copy(f'COPY "{name}" TO STDOUT (FORMAT binary)'.encode()) as out:
                        rows[name] = b"".join(map(bytes, out))
        return Tables(rows)

    def put(self, image: Tables) -> None:
        """Put an image in place; no tower has the database open."""
        self._make_empty()
        Decider(PostgresDatabase(self.url), HandClock()).close()
        with psycopg.connect(self.url) as connection:
            for name, rows in image.rows.items():
                connection.execute(f'DELETE FROM "{name}"'.encode())
                with connection.cursor().copy(f'COPY "{name}" FROM STDIN (FORMAT binary)'.encode()) as into:
                    into.write(rows)


class ServerConnection(PostgresConnection):
    """The decider's connection: its host may die at a commit."""

    server: Server

    def command(self, sql: str) -> None:
        server = self.server
        if sql != "COMMIT" or server.commits_left is None:
            super().command(sql)
        elif server.commits_left > 0:
            server.commits_left -= 1
            super().command(sql)
        else:
            server.commits_left = None
            if server.fault is Fault.AFTER:
                super().command(sql)
            raise PowerLost

    def leave_pages(self, count: int | None) -> None:
        """A server's disk is not this host's: it does not fill up here."""

    def copy_back(self) -> None:
        """There is nothing to copy back."""


class ServerDatabase(PostgresDatabase):
    """The database of a tower that may die."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.url)
        self._server = server

    def writer(self) -> PostgresConnection:
        connection = super().writer()
        connection.__class__ = ServerConnection
        assert isinstance(connection, ServerConnection)
        connection.server = self._server
        return connection
