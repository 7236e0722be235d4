"""The lease on PostgreSQL: one term, one writer; a stopped holder is replaced and never writes again."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from coldgrid.kernel import log, postgres_lease
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Call, Decider
from coldgrid.kernel.driver import DatabaseLost, EndUnknown, OtherEncoding
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.postgres import PostgresConnection, PostgresDatabase
from tests.conftest import HandClock, Kernel, postgres_kernel, postgres_url
from tests.kernel import rooms
from tests.kernel.rooms import Bump


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with postgres_kernel() as made:
        yield made


@pytest.fixture
def watcher(kernel: Kernel) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        yield connection


def connection_of(kernel: Kernel) -> PostgresConnection:
    connection = kernel.decider.connection
    assert isinstance(connection, PostgresConnection)
    return connection


def test_each_decider_has_a_later_term_than_the_one_before(
    kernel: Kernel, watcher: psycopg.Connection
) -> None:
    first = postgres_lease.look(watcher)
    assert (first.term, first.held, first.silent_s) == (connection_of(kernel).term, True, None)
    kernel.restart()
    assert postgres_lease.look(watcher).term == first.term + 1 == connection_of(kernel).term


def test_a_term_that_is_over_commits_nothing_though_its_session_lives(
    kernel: Kernel, watcher: psycopg.Connection
) -> None:
    """As behind a pooler that gave the lock's session away: the term alone must fence."""
    kernel.do(Bump(site_id="ATL1", name="a"))
    watcher.execute("UPDATE kernel_lease SET term = term + 1")
    last = log.last_position(kernel.reader())
    calls = [Call(Bump(site_id="ATL1", name="late"), key=key) for key in (None, "k1", None)]
    outcomes = kernel.decider.execute(calls)
    assert [type(outcome) for outcome in outcomes] == [EndUnknown, DatabaseLost, EndUnknown]
    assert log.last_position(kernel.reader()) == last
    assert rooms.count_of(kernel.reader(), "late") == 0
    kernel.rebuild()


def test_only_who_sent_no_key_is_told_to_look_before_sending_again(
    kernel: Kernel, watcher: psycopg.Connection
) -> None:
    watcher.execute("UPDATE kernel_lease SET term = term + 1")
    calls = [Call(Bump(site_id="ATL1", name="late"), key=key) for key in (None, "k1")]
    without, with_key = kernel.decider.execute(calls)
    assert isinstance(without, EndUnknown)
    assert isinstance(with_key, DatabaseLost)
    assert (without.code, without.facts["command"]) == ("end_unknown", tag_of(Bump))
    assert "Look whether what you asked for is there" in without.todo
    assert with_key.todo.startswith("Try again with the same key")
    kernel.rebuild()


def test_nobody_raises_the_term_in_the_midst_of_a_commit(kernel: Kernel, watcher: psycopg.Connection) -> None:
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.decider.connection.command("BEGIN")
    raised = threading.Event()

    def raise_it() -> None:
        watcher.execute("UPDATE kernel_lease SET term = term + 1")
        raised.set()

    thread = threading.Thread(target=raise_it)
    thread.start()
    assert not raised.wait(0.5)
    kernel.decider.connection.command("COMMIT")
    assert raised.wait(30)
    thread.join()


def test_a_holder_that_fell_silent_loses_its_session_and_what_it_had_not_committed(
    kernel: Kernel, watcher: psycopg.Connection
) -> None:
    database = kernel.database
    assert isinstance(database, PostgresDatabase)
    kernel.do(Bump(site_id="ATL1", name="a"))
    kernel.decider.close()
    held = database.candidate("worker-a")
    assert held is not None
    postgres_lease.beat(watcher, "worker-a", "host:1", "", "{}")
    assert not postgres_lease.end_silent(watcher, held.term, 30)
    assert database.candidate("worker-b") is None
    held.command("BEGIN")
    held.driver.execute("DELETE FROM event_log")
    watcher.execute("UPDATE kernel_worker SET heard_at = heard_at - interval '5 s'")
    assert not postgres_lease.end_silent(watcher, held.term - 1, 3), "of the term that was looked at"
    assert postgres_lease.end_silent(watcher, held.term, 3)
    second = next(taken for _ in range(100) if (taken := database.candidate("worker-b")) is not None)
    assert second.term == held.term + 1
    with pytest.raises(psycopg.OperationalError):
        held.driver.execute("COMMIT")
    assert not held.usable()
    second.close()
    kernel.decider = Decider(open_database(database.url), HandClock())
    assert rooms.count_of(kernel.reader(), "a") == 1


def test_a_holder_that_never_beats_is_left_alone(kernel: Kernel, watcher: psycopg.Connection) -> None:
    """A rebuild or a restore takes what time it takes."""
    assert not postgres_lease.end_silent(watcher, connection_of(kernel).term, 0)
    kernel.do(Bump(site_id="ATL1", name="a"))


def test_many_that_begin_at_once_make_the_tables_once(kernel: Kernel) -> None:
    url = postgres_url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE kernel_lease, kernel_worker")
    failed: list[BaseException] = []

    def make() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                postgres_lease.make_tables(connection)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with psycopg.connect(url, autocommit=True) as connection:
        assert postgres_lease.look(connection).term == 0


def test_a_database_in_another_encoding_is_refused_with_what_to_do() -> None:
    """A server made in the C locale has SQL_ASCII: text would come back as bytes, and fail far from here."""
    name = f"cold_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url(), autocommit=True) as server:
        made = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
        server.execute(made.encode())
        try:
            url = urlsplit(postgres_url())._replace(path=f"/{name}", query="").geturl()
            with pytest.raises(OtherEncoding, match=f"{name} is in SQL_ASCII, and must be in UTF8"):
                PostgresConnection(url)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
