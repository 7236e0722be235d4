"""The documented way to copy a tower on PostgreSQL: the commands of docs/backup.md, run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reads
from tests.conftest import POSTGRES, Kernel, service_missing
from tests.network.master import small_network

PAGE = Path(__file__).parents[2] / "docs/backup.md"
MARK = "<!-- executed by tests/node/test_backup_postgres.py -->"


def blocks() -> list[str]:
    return re.findall(rf"{re.escape(MARK)}\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)


def address(name: str) -> str:
    return (
        re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", POSTGRES, count=1)
        if "://" not in POSTGRES
        else (f"{POSTGRES.rpartition('/')[0]}/{name}")
    )


@pytest.fixture
def databases() -> Iterator[tuple[str, str]]:
    """Two databases of this test's own: the tower's, and an empty one to put the copy back into."""
    if shutil.which("pg_dump") is None:
        service_missing("pg_dump")
    names = [f"coldgrid_{what}_{os.getpid()}" for what in ("tower", "back")]
    try:
        with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3) as server:
            for name in names:
                server.execute(f"CREATE DATABASE {name}")
    except psycopg.OperationalError as error:
        service_missing(f"PostgreSQL ({error})")
    yield address(names[0]), address(names[1])
    with psycopg.connect(POSTGRES, autocommit=True) as server:
        for name in names:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_documented_commands_copy_a_tower_and_put_it_back(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    tower, back = databases
    kernel = Kernel(open_database(tower))
    small_network(kernel)
    kernel.close()
    for name in ("signing.key", "authority.pem", "authority.pem.tower"):
        (tmp_path / name).write_text(name)
    command = tmp_path / "bin" / "coldgrid"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m coldgrid.cli "$@"\n')
    command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    environment |= {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "COLDGRID_DATABASE": tower,
        "COLDGRID_SIGNING_KEY": str(tmp_path / "signing.key"),
        "COLDGRID_AUTHORITY_KEY": str(tmp_path / "authority.pem"),
        "COPY": str(tmp_path / "copy"),
        "PUT_BACK": back,
    }
    assert len(blocks()) == 2
    told = ""
    for block in blocks():
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        told += done.stderr
    assert "the rebuilt tables equal the live ones" in told
    assert "event_log" in (tmp_path / "copy" / "contents.txt").read_text()
    assert (tmp_path / "copy" / "authority.pem.tower").exists()
    there = [(e.id, e.leaf) for e in read_postgres(tower)]
    assert [(e.id, e.leaf) for e in read_postgres(back)][: len(there)] == there
    assert {e.epoch for e in read_postgres(back)[len(there) :]} == {2}


def read_postgres(url: str) -> list[Entry]:
    database = open_database(url)
    try:
        with database.reader() as connection:
            return list(log.read_all(Reads(connection)))
    finally:
        database.close()


def test_the_command_for_files_refuses_a_server_and_says_where_to_look(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", "backup", str(tmp_path / "copy"), "--database", POSTGRES],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")},
    )
    assert done.returncode == 1
    assert "docs/backup.md" in done.stderr
    assert not (tmp_path / "copy").exists()
