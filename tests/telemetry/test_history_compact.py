"""Compacting a history: fewer files that say the same and are proven the same, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq
import pytest

from coldgrid.adapters.history_sql import HistorySql, report
from coldgrid.adapters.history_store import HistoryStore
from coldgrid.node.history_compact import Compacted, compact
from coldgrid.telemetry import history
from coldgrid.telemetry.history_compact import compact_name, counted
from coldgrid.telemetry.history_proof import verify_file
from tests.conftest import Kernel, sqlite_kernel
from tests.telemetry.cold_room import AIR, AIR_2, readings
from tests.telemetry.test_history import DAY, Duty
from tests.telemetry.test_history_s3 import bucket, duty_at, endpoint
from tests.telemetry.test_seal import MIDNIGHT_MIN, a_day

__all__ = ["bucket", "endpoint"]  # fixtures

FOLDER = f"readings/date={DAY}/site=ATL1"
ONE = f"{FOLDER}/0000-0002.parquet"
ASKED = "SELECT sensor_id, measured_at, value, good, version FROM readings ORDER BY ALL"


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with sqlite_kernel() as made:
        yield made


@pytest.fixture(params=["folder", "bucket"])
def late(kernel: Kernel, request: pytest.FixtureRequest, tmp_path: Path) -> Duty:
    """A history whose day has three files: its own, and two of readings that came late."""
    if request.param == "bucket":
        duty = duty_at(kernel, request.getfixturevalue("bucket"))
    else:
        duty = Duty(kernel, tmp_path / "history")
    a_day(kernel)
    duty.round()
    for minute, value in ((30.5, -21.0), (31.25, -12.3)):
        came_late(duty, minute, value)
    assert counted(duty.store.lying("readings")) == [f"{FOLDER}/000{no}.parquet" for no in range(3)]
    return duty


def came_late(duty: Duty, minute: float, value: float) -> None:
    duty.kernel.do(readings([(AIR, minute, value)]))
    duty.kernel.advance(120)
    duty.round()


def told(store: HistoryStore) -> Any:
    return HistorySql(store).select(ASKED), report(store, DAY)


def run(duty: Duty, later: timedelta = timedelta()) -> Compacted:
    return compact(duty.store, duty.kernel.reader(), datetime.now(UTC) + later)


def holds_against_the_log(duty: Duty, name: str) -> int:
    with duty.store.open(name) as file:
        verdict = verify_file(duty.kernel.reader(), file)
    assert (verdict.ok, verdict.proven) == (True, verdict.blocks), verdict.problems
    return verdict.readings


def test_the_files_of_a_day_become_one_that_says_the_same_and_is_proven(late: Duty) -> None:
    before = told(late.store)
    assert run(late) == Compacted(1, 0, 6, [])
    assert late.store.names("readings") == [ONE]
    assert told(late.store) == before
    assert holds_against_the_log(late, ONE) == 2 * MIDNIGHT_MIN + 2
    assert run(late, timedelta(hours=2)) == Compacted(0, 6, 0, [])
    assert late.store.lying("readings") == [ONE]
    assert late.store.lying("sensors") == [ONE.replace("readings", "sensors", 1)]
    assert told(late.store) == before
    assert run(late, timedelta(hours=4)) == Compacted(0, 0, 0, [])


def test_what_comes_later_still_makes_a_file_of_its_own_and_is_brought_in_too(late: Duty) -> None:
    run(late)
    came_late(late, 40.5, -19.5)
    assert late.store.names("readings") == [ONE, f"{FOLDER}/0003.parquet"]
    before = told(late.store)
    assert len(before[0][1]) == 2 * MIDNIGHT_MIN + 3
    assert run(late).days == 1
    assert late.store.names("readings") == [f"{FOLDER}/0000-0003.parquet"]
    assert told(late.store) == before
    assert run(late, timedelta(hours=2)).waiting == 0
    assert late.store.lying("readings") == [f"{FOLDER}/0000-0003.parquet"]
    assert told(late.store) == before


@pytest.mark.parametrize(
    ("late", "stage"),
    [*(("folder", stage) for stage in range(1, 9)), ("bucket", 2), ("bucket", 7)],
    indirect=["late"],
)
def test_it_can_be_broken_off_at_every_step_and_run_again(
    late: Duty, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    before = told(late.store)
    steps = 0

    def breaks(work: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(*args: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == stage:
                raise KeyboardInterrupt
            return work(*args)

        return stopped

    def both() -> None:
        run(late)
        run(late, timedelta(hours=2))

    with monkeypatch.context() as patched:
        patched.setattr(late.store, "put", breaks(late.store.put))
        patched.setattr(late.store, "remove", breaks(late.store.remove))
        with pytest.raises(KeyboardInterrupt):
            both()
    assert told(late.store) == before, "whoever reads now reads the same"
    both()
    assert late.store.lying("readings") == [ONE]
    assert late.store.lying("sensors") == [ONE.replace("readings", "sensors", 1)]
    assert told(late.store) == before


def test_a_write_that_fails_half_way_leaves_the_day_as_it_is(
    late: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(opened: Any, sink: BinaryIO) -> None:
        sink.write(b"PAR1")
        raise OSError("no space left")

    monkeypatch.setattr("coldgrid.node.history_compact.write_readings", full)
    lying = late.store.lying("readings")
    with pytest.raises(OSError, match="no space"):
        run(late)
    assert late.store.lying("readings") == lying


def test_a_file_that_was_changed_is_named_and_its_day_stays_as_it_is(kernel: Kernel, tmp_path: Path) -> None:
    duty = Duty(kernel, tmp_path / "history")
    a_day(kernel)
    duty.round()
    came_late(duty, 30.5, -21.0)
    path = duty.store.path(f"{FOLDER}/0001.parquet")
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "value", [[-25.0] * len(table)]), path)
    done = run(duty)
    assert (done.days, done.removed) == (0, 0)
    assert "0001.parquet is not proven" in done.problems[0]
    assert len(duty.store.lying("readings")) == 2


def test_what_is_no_parquet_file_is_named_and_its_day_stays_as_it_is(kernel: Kernel, tmp_path: Path) -> None:
    duty = Duty(kernel, tmp_path / "history")
    a_day(kernel)
    duty.round()
    Path(duty.store.path(f"{FOLDER}/0001.parquet")).write_bytes(b"nothing")
    done = run(duty)
    assert (done.days, len(done.problems)) == (0, 1)
    assert "no Parquet file can be read" in done.problems[0]


def test_a_tower_that_was_put_back_from_a_copy_finds_its_blocks_in_the_one_file(late: Duty) -> None:
    """It plans its files from number 0 on again; what the compact file holds is not written twice."""
    before = told(late.store)
    run(late)
    run(late, timedelta(hours=2))
    for table in (history.telemetry_history_file, history.telemetry_history_cursor):
        late.kernel.decider.connection.command(f"DELETE FROM {table.name}")
    late.kernel.restart()
    late.round()
    assert late.store.lying("readings") == [ONE]
    assert history.waiting(late.kernel.reader(), late.name) == 0
    assert told(late.store) == before
    for number in range(4):
        came_late(late, 50.5 + number, -20.0)
    for _ in range(4):  # a number that the one file has is passed over, the block waits for the next
        late.round()
    rows = HistorySql(late.store).select(f"SELECT count(*) FROM readings WHERE sensor_id = '{AIR}'")[1]
    assert rows == [(MIDNIGHT_MIN + 6,)]
    assert history.waiting(late.kernel.reader(), late.name) == 0


def test_a_day_of_which_a_number_is_missing_waits_for_it() -> None:
    def files(*last: str) -> list[str]:
        return [f"readings/date=2026-03-01/site=ATL1/{name}.parquet" for name in last]

    assert compact_name(files("0000", "0002")) is None
    assert compact_name(files("0001", "0002")) is None
    assert compact_name(files("0000")) is None
    assert compact_name(files("0000", "0001", "strange")) is None
    assert compact_name(files("0000", "0001")) == files("0000-0001")[0]
    assert compact_name(files("0000-0003", "0004")) == files("0000-0004")[0]
    assert counted(files("0000", "0000-0001", "0001", "0002", "strange")) == files(
        "0000-0001", "0002", "strange"
    )


def test_days_and_sensors_that_have_one_file_are_left_alone(kernel: Kernel, tmp_path: Path) -> None:
    duty = Duty(kernel, tmp_path / "history")
    a_day(kernel)
    duty.round()
    assert run(duty) == Compacted(0, 0, 0, [])
    rows = HistorySql(duty.store).select(f"SELECT count(*) FROM readings WHERE sensor_id = '{AIR_2}'")[1]
    assert rows == [(MIDNIGHT_MIN,)]
