"""The write-ahead log is copied back beside the decider: nobody waits for it, nothing is lost without it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.sqlite import CHECKPOINT_PAGES, PAGE_BYTES, SqliteDatabase
from coldgrid.kernel.wal import FROM_PAGES, LEFT_PAGES, UNKEPT_PAGES, waiting_pages
from tests.conftest import Kernel, sqlite_kernel
from tests.kernel import rooms
from tests.kernel.rooms import Bump
from tests.patience import eventually


@pytest.fixture
def kept() -> Iterator[tuple[Kernel, DeciderService, Path]]:
    with sqlite_kernel() as kernel:
        service = DeciderService(kernel.decider, lambda due: 60.0)
        service.start()
        assert isinstance(kernel.database, SqliteDatabase)
        yield kernel, service, kernel.database.path
        service.stop()


def write(service: DeciderService, pages: int, name: str = "a") -> None:
    """Commit until so many pages were written: each commit writes three of them at least."""
    for _ in range(pages // 3):
        service.submit(Bump(site_id="ATL1", name=name, by=0), SYSTEM).result(30)


def test_the_log_is_copied_back_without_a_commit_that_does_it(
    kept: tuple[Kernel, DeciderService, Path],
) -> None:
    kernel, service, path = kept
    assert kernel.decider.connection.checkpoint_pages == UNKEPT_PAGES  # type: ignore[attr-defined]
    write(service, 2 * FROM_PAGES)
    eventually(lambda: waiting_pages(path) < FROM_PAGES, "nobody copies back")
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as file:
        assert file.execute("SELECT count(*) FROM event_log").fetchone()[0] > 0, "it is in the file itself"


def test_under_commits_without_a_pause_the_log_is_written_over_and_not_made_longer(
    kept: tuple[Kernel, DeciderService, Path],
) -> None:
    _, service, path = kept
    write(service, 6 * FROM_PAGES)
    assert os.path.getsize(f"{path}-wal") < 3 * FROM_PAGES * PAGE_BYTES


def test_the_decider_copies_back_by_itself_again_when_the_service_has_stopped() -> None:
    with sqlite_kernel() as kernel:
        service = DeciderService(kernel.decider, lambda due: 60.0)
        service.start()
        service.stop()
        assert kernel.decider.connection.checkpoint_pages == CHECKPOINT_PAGES  # type: ignore[attr-defined]


def test_who_reads_an_old_state_stops_no_commit_and_is_caught_up_with(
    kept: tuple[Kernel, DeciderService, Path],
) -> None:
    kernel, service, path = kept
    write(service, 30)
    with kernel.database.reader() as reader:
        reader.command("BEGIN")
        before = rooms.count_of(Reads(reader), "a")
        write(service, 2 * FROM_PAGES, "b")
        assert waiting_pages(path) >= FROM_PAGES, "what the reader does not see yet stays in the log"
        assert rooms.count_of(Reads(reader), "a") == before
        reader.command("COMMIT")
    eventually(lambda: waiting_pages(path) < FROM_PAGES, "it is not caught up with")


def test_without_a_keeper_the_decider_copies_back_by_itself() -> None:
    with sqlite_kernel() as kernel:
        path = kernel.database.path  # type: ignore[attr-defined]
        for _ in range(CHECKPOINT_PAGES):
            kernel.do(Bump(site_id="ATL1", name="a", by=0))
        assert waiting_pages(path) <= CHECKPOINT_PAGES + LEFT_PAGES


def test_a_database_that_is_not_open_has_no_log(tmp_path: Path) -> None:
    assert waiting_pages(tmp_path / "none.db") == 0
    (tmp_path / "torn.db-shm").write_bytes(b"\0" * 20)
    assert waiting_pages(tmp_path / "torn.db") == 0


def test_looking_at_the_index_drops_none_of_sqlite_s_locks_on_it(
    kept: tuple[Kernel, DeciderService, Path],
) -> None:
    """Without its lock another process that opens the database would make the index anew under us."""
    _, service, path = kept
    write(service, 10)
    eventually(lambda: waiting_pages(path) > 0, "what was written waits in the log")
    index = f":{os.stat(f'{path}-shm').st_ino} "
    assert [line for line in Path("/proc/locks").read_text().splitlines() if index in line]
