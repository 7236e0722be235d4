"""Databases of other releases: brought up after a copy, refused when newer, whole whatever breaks it off."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import zstandard

from coldgrid.kernel import log, rebuild, schema
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.tables import metadata
from coldgrid.node import upgrade
from coldgrid.node.upgrade import CopyItFirst, bring_up, look
from coldgrid.tower.rooms import load_rooms
from tests.conftest import T0, HandClock, Kernel, empty_postgres_url
from tests.network.master import small_network
from tests.starting import run

# Made by a commit from before databases said which release made them; it lacks stock_stale_site.heard_at.
OLD = Path(__file__).parent / "data/tower-before-stamps.db.zst"
NEWER = json.dumps({"release": "99.1.0", "tables": {}})
Quiet = lambda text: None  # noqa: E731


def entries_of(path: Path) -> list[tuple[str, bytes, bytes]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        rows = opened.execute("SELECT origin || '/' || seq, body, leaf FROM event_log ORDER BY position")
        return rows.fetchall()


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        for statement in statements:
            opened.execute(statement)


def coldgrid(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    environment |= {
        "COLDGRID_DATABASE": str(path),
        "COLDGRID_SIGNING_KEY": str(path.with_name("signing.key")),
        "COLDGRID_PORT": "21540",
    }
    return run(arguments, environment)


def in_order(path: Path) -> bool:
    """Whether every projection equals the log."""
    decider = Decider(open_database(str(path)), HandClock())
    try:
        return rebuild.differences(decider) == []
    finally:
        decider.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "tower.db"
    path.write_bytes(zstandard.decompress(OLD.read_bytes()))
    return path


@pytest.fixture
def present(tmp_path: Path) -> Path:
    """A database of this release."""
    load_rooms()
    path = tmp_path / "tower.db"
    kernel = Kernel(open_database(str(path)))
    small_network(kernel)
    kernel.close()
    return path


def test_a_database_of_an_older_commit_is_brought_up_after_a_copy_and_its_log_stays(old: Path) -> None:
    before, bytes_before = entries_of(old), old.read_bytes()
    refused = coldgrid(old, "rebuild")
    assert refused.returncode == 1
    assert "coldgrid upgrade" in refused.stderr
    assert coldgrid(old, "upgrade", "--check").returncode == 1
    assert old.read_bytes() == bytes_before, "looking changes nothing"

    done = coldgrid(old, "upgrade", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["entries"] == len(before)
    assert entries_of(old) == before
    assert entries_of(Path(told["copy"])) == before
    assert coldgrid(old, "upgrade", "--check").returncode == 0
    load_rooms()
    assert in_order(old)


def test_a_database_of_this_release_is_left_alone(present: Path) -> None:
    assert look(str(present)) is None
    assert bring_up(str(present), T0, Quiet) is None
    assert [path.name for path in present.parent.iterdir() if "before" in path.name] == []


def test_a_projection_that_an_older_release_did_not_have_is_filled(present: Path) -> None:
    change(present, "DROP TABLE network_lane", "DELETE FROM kernel_schema")
    done = bring_up(str(present), T0, Quiet)
    assert done is not None
    assert in_order(present)
    with closing(sqlite3.connect(present)) as opened:
        (zones,) = opened.execute("SELECT count(*) FROM network_zone").fetchone()
    assert zones > 0


def test_a_database_of_another_build_of_this_very_release_says_which_tables_and_not_from_it_to_itself(
    present: Path,
) -> None:
    change(
        present,
        'UPDATE kernel_schema SET told = replace(told, \'"network_lane":"\', \'"network_lane":"0\')',
    )
    said: list[str] = []
    assert bring_up(str(present), T0, said.append) is not None
    assert said[0] == (
        f"The database is of another build of release {schema.RELEASE}, which made 1 table otherwise"
        " (network_lane); it is made as this one makes it"
    )
    change(present, "UPDATE kernel_schema SET told = replace(told, '0.1.0', '0.0.9')")
    said.clear()
    assert bring_up(str(present), T0, said.append) is not None
    assert said[0] == f"The database is of release 0.0.9; it is brought up to {schema.RELEASE}"


def test_a_projection_whose_columns_changed_is_made_anew(present: Path) -> None:
    change(
        present,
        "ALTER TABLE network_site RENAME COLUMN name TO label",
        "ALTER TABLE network_zone ADD COLUMN forgotten TEXT",
    )
    done = bring_up(str(present), T0, Quiet)
    assert done is not None
    assert {"network_site", "network_zone"} <= set(done.tables_made_anew)
    assert in_order(present)


def test_a_service_table_gains_a_column_and_keeps_its_rows(
    present: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(
        present,
        "CREATE TABLE outbox_before AS SELECT * FROM kernel_cursor",
        "INSERT INTO kernel_cursor VALUES ('a reaction', 7)",
    )
    cursor = metadata.tables["kernel_cursor"]
    column = sa.Column("noted", sa.Text)
    cursor.append_column(column)
    try:
        done = bring_up(str(present), T0, Quiet)
    finally:
        cursor._columns.remove(column)  # noqa: SLF001
    assert done is not None
    with closing(sqlite3.connect(present)) as opened:
        found = opened.execute("SELECT * FROM kernel_cursor WHERE reaction = 'a reaction'").fetchall()
    assert found == [("a reaction", 7, None)]


def test_what_cannot_be_added_is_refused_and_nothing_is_changed(present: Path) -> None:
    change(present, "ALTER TABLE kernel_cursor RENAME COLUMN position TO place")
    before = entries_of(present)
    with pytest.raises(schema.NotUpgradable):
        bring_up(str(present), T0, Quiet)
    assert entries_of(present) == before
    assert look(str(present)) is not None


def test_a_newer_database_is_refused_by_every_command(present: Path) -> None:
    change(present, f"UPDATE kernel_schema SET told = '{NEWER}'")
    for command in (["serve"], ["upgrade"], ["rebuild"], ["tower", "recover"]):
        refused = coldgrid(present, *command)
        assert refused.returncode == 1, command
        assert "99.1.0" in refused.stderr, command
        assert "Install that release" in refused.stderr


def test_broken_off_it_is_done_again(present: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(present, "DROP TABLE network_lane", "DELETE FROM kernel_schema")

    def break_off(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(upgrade, "_make_anew", break_off)
        with pytest.raises(KeyboardInterrupt):
            bring_up(str(present), T0, Quiet)
    assert look(str(present)) is not None
    assert bring_up(str(present), datetime.now(UTC), Quiet) is not None
    assert in_order(present)


def test_without_room_for_the_copy_nothing_is_changed(present: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a file system of one's own takes root")
    try:
        shutil.copy(present, disk / "tower.db")
        change(disk / "tower.db", "DELETE FROM kernel_schema")
        refused = coldgrid(disk / "tower.db", "upgrade")
        assert refused.returncode == 1
        assert "There is no room" in refused.stderr
        assert [path.name for path in disk.iterdir() if "before" in path.name] == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_server_s_database_is_brought_up_only_when_somebody_says_it_was_copied() -> None:
    load_rooms()
    url = empty_postgres_url()
    kernel = Kernel(open_database(url))
    small_network(kernel)
    before = [(e.id, e.leaf) for e in log.read_all(kernel.reader())]
    kernel.decider.connection.command("ALTER TABLE network_site DROP COLUMN name")
    kernel.decider.connection.command("DELETE FROM kernel_schema")
    kernel.close()
    with pytest.raises(CopyItFirst):
        bring_up(url, T0, Quiet)
    done = bring_up(url, T0, Quiet, copied=True)
    assert done is not None
    assert "network_site" in done.tables_made_anew
    decider = Decider(open_database(url), HandClock())
    assert rebuild.differences(decider) == []
    assert [(e.id, e.leaf) for e in log.read_all(Reads(decider.connection))] == before
    decider.close()


def test_the_release_is_the_package_s() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{schema.RELEASE}"' in project
