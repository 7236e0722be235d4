"""When storage fails: a full disk, a second writer, a lost server. Refused, nothing half done, then on."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest

from coldgrid.kernel import log
from coldgrid.kernel.database import DatabaseInUse, open_database
from coldgrid.kernel.decider import Call, Decider
from coldgrid.kernel.rejections import StorageFailed, StorageFull
from tests.conftest import HandClock, Kernel, postgres_kernel, postgres_url, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump, Totals


def test_a_full_disk_is_refused_by_name_and_work_goes_on_when_there_is_room() -> None:
    with sqlite_kernel() as kernel:
        kernel.do(Bump(site_id="ATL1", name="a"))
        connection = kernel.decider.connection
        connection.command("PRAGMA max_page_count = 1")  # SQLite raises it to the present size: full
        refused = 0
        for number in range(400):
            (outcome,) = kernel.decider.execute([Call(Bump(site_id="ATL1", name=f"n{number}"))])
            if isinstance(outcome, StorageFull):
                refused += 1
                break
        assert refused, "the disk never filled"
        before = log.last_position(kernel.reader())
        outcomes = kernel.decider.execute([Call(Bump(site_id="ATL1", name=f"g{i}")) for i in range(5)])
        assert all(isinstance(outcome, StorageFull) for outcome in outcomes)
        assert log.last_position(kernel.reader()) == before
        counted = {name for name, count in kernel.decider.shared.hot[Totals].of.items() if count}
        assert counted == {"a"} | {f"n{i}" for i in range(number)}
        connection.command("PRAGMA max_page_count = 1000000")
        kernel.do(Bump(site_id="ATL1", name="a"))
        kernel.decider.settle()
        kernel.rebuild()


def test_a_new_file_is_nobody_elses_to_read(tmp_path: Path) -> None:
    kernel = Kernel(open_database(str(tmp_path / "new" / "cold.db")))
    kernel.do(Bump(site_id="ATL1", name="a"))
    made = sorted(path for path in (tmp_path / "new").iterdir() if path.suffix != ".lock")
    assert [path.name for path in made] == ["cold.db", "cold.db-shm", "cold.db-wal"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    kernel.close()


def test_a_second_decider_on_the_same_database_is_refused(kernel: Kernel) -> None:
    with pytest.raises(DatabaseInUse):
        Decider(open_database(kernel.database.url), HandClock())
    kernel.do(Bump(site_id="ATL1", name="a"))


def test_a_lost_server_connection_is_taken_up_again_with_nothing_half_done() -> None:
    with postgres_kernel() as kernel:
        kernel.do(Bump(site_id="ATL1", name="a"))
        with psycopg.connect(postgres_url(), autocommit=True) as admin:
            pid = kernel.decider.connection.driver.info.backend_pid  # type: ignore[attr-defined]
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        (outcome,) = kernel.decider.execute([Call(Bump(site_id="ATL1", name="a"))])
        assert isinstance(outcome, StorageFailed)
        kernel.do(Bump(site_id="ATL1", name="a"))
        assert rooms.count_of(kernel.reader(), "a") == 2
        kernel.rebuild()
