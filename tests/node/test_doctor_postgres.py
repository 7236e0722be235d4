"""`coldgrid doctor` of a tower on PostgreSQL: what it says to do is done as printed."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from coldgrid.kernel.postgres import PostgresConnection
from tests.conftest import postgres_url
from tests.node.test_doctor import look
from tests.starting import run

pytestmark = pytest.mark.timeout(120)
SIGN = "Köln 冷"


def url_of(name: str) -> str:
    return urlsplit(postgres_url())._replace(path=f"/{name}", query="").geturl()


@contextmanager
def database_in(encoding: str) -> Iterator[str]:
    """A database in another encoding, and the name of the one that takes its place; both go at the end."""
    name = f"cold_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url(), autocommit=True) as server:
        made = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        server.execute(made.encode())
        try:
            yield name
        finally:
            for one in (name, f"{name}_utf8"):
                server.execute(f"DROP DATABASE IF EXISTS {one} WITH (FORCE)".encode())


@pytest.mark.parametrize(("encoding", "written"), [("SQL_ASCII", "Koeln"), ("LATIN1", "Köln")])
def test_a_database_in_another_encoding_is_told_with_commands_that_put_it_right(
    tmp_path: Path, encoding: str, written: str
) -> None:
    with database_in(encoding) as name:
        with psycopg.connect(url_of(name), autocommit=True, client_encoding="utf8") as old:
            old.execute("CREATE TABLE kept (name text)")
            old.execute("INSERT INTO kept VALUES (%s)", [written])
        looked = look(tmp_path, database=url_of(name))
        assert looked.failed() == ["database"], looked.findings
        found = looked.findings["database"]
        assert found["found"] == f"the database {name} is in {encoding}, and must be in UTF8"
        assert "put the last copy back" not in found["todo"]
        commands = re.findall("`([^`]+)`", found["todo"])
        assert len(commands) == 2, found["todo"]
        for command in commands:
            subprocess.run(["bash", "-c", command], check=True, timeout=60, env=own_environment())
        assert f"{name}_utf8 in place of {name}" in found["todo"]
        PostgresConnection(url_of(f"{name}_utf8")).close()
        with psycopg.connect(url_of(f"{name}_utf8")) as new:
            assert new.execute("SELECT name FROM kept").fetchall() == [(written,)]
        assert look(tmp_path, database=url_of(f"{name}_utf8")).failed() == []


def own_environment() -> dict[str, str]:
    told = urlsplit(postgres_url())
    return dict(os.environ) | {"PGUSER": told.username or "postgres", "PGPASSWORD": told.password or ""}


def test_serving_says_the_same_and_nothing_of_a_damaged_file(tmp_path: Path) -> None:
    with database_in("SQL_ASCII") as name:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
        environment |= {"COLDGRID_DATABASE": url_of(name), "COLDGRID_SIGNING_KEY": str(tmp_path / "key")}
        done = run(["tower"], environment)
        assert done.returncode == 1
        assert "cannot be used as it is" in done.stderr
        assert f"--owner=postgres {name}_utf8" in done.stderr
        assert "put the last copy back" not in done.stderr


def test_a_server_that_lets_nobody_in_is_no_reason_to_put_a_copy_back(tmp_path: Path) -> None:
    missing = f"cold_{secrets.token_hex(6)}"
    found = look(tmp_path, database=url_of(missing)).findings["database"]
    assert f"createdb --encoding=UTF8 --template=template0 {missing}" in found["todo"]
    assert "put the last copy back" not in found["todo"]
