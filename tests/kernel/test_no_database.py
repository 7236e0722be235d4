"""A command without a database, or with a file that is none, says so and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coldgrid.kernel.sqlite import PAGE_BYTES, SqliteDatabase
from tests.conftest import sqlite_kernel
from tests.kernel.rooms import Bump
from tests.ports import free_port


@pytest.mark.parametrize(
    "command",
    [
        "upgrade",
        "upgrade --check",
        "retention",
        "retention --dry-run",
        "retention --data nowhere",
        "rebuild",
        "tower recover",
        "export out",
        "backup copy",
        "backup copy --data nowhere",
    ],
)
def test_a_command_on_a_database_that_is_not_there_says_so_and_makes_none(
    tmp_path: Path, command: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", *command.split()],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "There is no database at this address" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["tower", "upgrade", "rebuild", "export out"])
@pytest.mark.parametrize("what", ["zeroed", "cut"])
def test_a_file_that_is_no_whole_database_is_told_with_what_to_do(
    tmp_path: Path, command: str, what: str
) -> None:
    path = tmp_path / "tower.db"
    with sqlite_kernel() as kernel:
        assert isinstance(kernel.database, SqliteDatabase)
        for _ in range(50):
            kernel.do(Bump(site_id="ATL1", name="a", by=1))
        kernel.decider.connection.command("PRAGMA wal_checkpoint(TRUNCATE)")
        whole = kernel.database.path.read_bytes()
    path.write_bytes(bytes(len(whole)) if what == "zeroed" else whole[: 3 * PAGE_BYTES])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    keys = {"COLDGRID_DATABASE": str(path), "COLDGRID_SIGNING_KEY": str(tmp_path / "signing.key")}
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", *command.split()],
        cwd=tmp_path,
        env={**kept, **keys, "COLDGRID_PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr, done.stderr
    assert "put the last copy back" in done.stderr
    assert str(path) in done.stderr or "malformed" in done.stderr
