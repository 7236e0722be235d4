"""Shared fixtures: a decider on each database, and a clock that only tests can move."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from coldgrid.kernel import log, outbox, rebuild
from coldgrid.kernel.authorize import AllowAll, Authorizer, Principal
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.tables import metadata

configure_logs("warning", json=False)
T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
POSTGRES = os.environ.get("COLDGRID_TEST_POSTGRES", "postgresql:///test")
REQUIRED = os.environ.get("COLDGRID_REQUIRE_SERVICES") == "1"
NETWORK = "network"


def service_missing(what: str) -> None:
    """Skip on a bare machine, fail where the services are required."""
    told = f"{what} is not reachable"
    if REQUIRED:
        pytest.fail(told)
    pytest.skip(told)


class HandClock:
    """A host whose clock tests move by hand; its randomness is fixed, so that logs are exact."""

    clock: ClockKind = "virtual"

    def __init__(self, authorizer: Authorizer | None = None) -> None:
        self.authorizer: Authorizer = authorizer or AllowAll()
        self.instant = T0
        self._drawn = 0

    def now(self) -> datetime:
        return self.instant

    def entropy(self, count: int) -> bytes:
        self._drawn += 1
        return (self._drawn.to_bytes(8, "big") * (count // 8 + 1))[:count]


class Kernel:
    """A decider driven by hand."""

    def __init__(self, database: Database, authorizer: Authorizer | None = None) -> None:
        self.host = HandClock(authorizer)
        self.database = database
        self.decider = Decider(database, self.host)

    def do(
        self,
        command: Command,
        actor: str = "ana",
        roles: Any = (),
        at: float | None = None,
        key: str | None = None,
    ) -> Any:
        """Carry out a command and all that follows; return its result. `at`: minutes after T0."""
        if at is not None:
            self.host.instant = T0 + timedelta(minutes=at)
        return self.decider.do(command, Principal(actor, frozenset(roles)), key).result

    def reader(self) -> Reads:
        """Return a reader that sees everything committed."""
        return Reads(self.decider.connection)

    def events(self) -> list[tuple[str, Any]]:
        """Return (stream, event) of the whole log, but for the origins' openings."""
        entries = log.read_all(self.reader())
        return [(e.stream, log.decode_entry(e)) for e in entries if e.type != "origin.opened"]

    def advance(self, minutes: float) -> int:
        """Move the clock, firing every timer at its own due time; return how many fired."""
        until = self.host.instant + timedelta(minutes=minutes)
        fired = 0
        while (due := self.decider.next_due_at) is not None and due <= until:
            self.host.instant = max(due, self.host.instant)
            fired += self.decider.fire_due()
            self.decider.settle()
        self.host.instant = until
        return fired

    def effects(self) -> list[outbox.PendingEffect]:
        """Return the effects that wait to be carried out, oldest first."""
        return outbox.effects_of_status(self.reader(), outbox.EffectStatus.PENDING)

    def rebuild(self) -> None:
        """Rebuild every projection beside the live ones and demand that they are equal."""
        assert rebuild.differences(self.decider) == []

    def restart(self) -> None:
        """Close and open again, as after a crash: only what was committed remains."""
        url, authorizer, instant = self.database.url, self.host.authorizer, self.host.instant
        self.decider.close()
        self.database = open_database(url)
        self.host = HandClock(authorizer)
        self.host.instant = instant
        self.decider = Decider(self.database, self.host)

    def close(self) -> None:
        self.decider.close()


@contextmanager
def sqlite_kernel(authorizer: Authorizer | None = None) -> Iterator[Kernel]:
    """Yield a kernel on an empty SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        kernel = Kernel(open_database(str(Path(folder) / "cold.db")), authorizer)
        try:
            yield kernel
        finally:
            kernel.close()


_schema_made: list[str] = []


def postgres_url() -> str:
    """Return the address of this process's own schema; skip where there is no server."""
    if not _schema_made:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "solo")
        schema = f"coldgrid_{worker}_{os.getpid()}"
        try:
            with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3) as connection:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                connection.execute(f"CREATE SCHEMA {schema}")
        except psycopg.OperationalError as error:
            service_missing(f"PostgreSQL ({error})")
        _schema_made.append(schema)
    mark = "&" if "?" in POSTGRES else "?"
    return f"{POSTGRES}{mark}options=-csearch_path%3D{_schema_made[0]}%20-csynchronous_commit%3Doff"


def empty_postgres_url() -> str:
    """Return the address of this process's own schema, without the rows of an earlier test."""
    url = postgres_url()
    with psycopg.connect(url, autocommit=True) as connection:
        there = {
            row[0]
            for row in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            )
        }
        texts = [f'DELETE FROM "{table.name}"' for table in metadata.sorted_tables if table.name in there]
        if texts:
            connection.execute("; ".join(texts).encode())
    return url


@contextmanager
def postgres_kernel(authorizer: Authorizer | None = None) -> Iterator[Kernel]:
    """Yield a kernel on an empty PostgreSQL schema."""
    kernel = Kernel(open_database(empty_postgres_url()), authorizer)
    try:
        yield kernel
    finally:
        kernel.close()


KERNELS = {"sqlite": sqlite_kernel, "postgresql": postgres_kernel}


@pytest.fixture(params=["sqlite", "postgresql"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    with KERNELS[request.param]() as made:
        yield made


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Drop this process's schema."""
    if _schema_made:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {_schema_made[0]} CASCADE".encode())
