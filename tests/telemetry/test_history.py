"""History: sealed days become Parquet once, whatever interrupts it, and every file is proven by the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from coldgrid.adapters.history_sql import HistorySql, NotASelect, report
from coldgrid.adapters.history_store import HistoryStore, address_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.statements import Statement
from coldgrid.node.history import ForeignFile, HistoryDuty, Means, PutFiles, note_written, put_files
from coldgrid.node.retention import waits_for
from coldgrid.telemetry import archive, history, ingest, store
from coldgrid.telemetry.history import Planned
from coldgrid.telemetry.history_files import open_planned, path_of
from coldgrid.telemetry.history_proof import NoHistoryFile, verify_file
from coldgrid.telemetry.retention import READINGS
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.telemetry.cold_room import AIR, AIR_2, at, feed, readings
from tests.telemetry.test_seal import MIDNIGHT_MIN, TODAY, a_day

DAY = T0.date()


class Duty:
    """What the background duty does, by hand and step by step."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self.kernel = kernel
        self.store = HistoryStore(address_of(str(folder)))
        self.name = self.store.address.name

    def take(self, work: Any) -> Any:
        return self.kernel.decider.take("network", work, "test")

    def look(self) -> None:
        seen = history.look(self.kernel.reader(), self.name)
        self.take(partial(history.note, store=self.name, seen=seen))

    def ready(self) -> list[tuple[str, int]]:
        return history.ready(self.kernel.reader(), self.name, self.kernel.host.now(), 10)

    def plan(self) -> list[Planned]:
        return [
            self.take(partial(history.plan, store=self.name, site_id=site_id, day=day))
            for site_id, day in self.ready()
        ]

    def put(self, planned: Planned) -> PutFiles:
        db = self.kernel.reader()
        return put_files(self.store, db, planned, open_planned(db, planned, "coldgrid"))

    def write(self, planned: Planned) -> None:
        self.take(partial(note_written, store=self.name, planned=planned, put=self.put(planned)))

    def round(self) -> list[Planned]:
        self.look()
        done = [*history.unwritten(self.kernel.reader(), self.name), *self.plan()]
        for planned in done:
            self.write(planned)
        return done


@pytest.fixture
def duty(kernel: Kernel, tmp_path: Path) -> Duty:
    return Duty(kernel, tmp_path / "history")


def test_a_sealed_day_is_written_once_and_every_block_is_proven(duty: Duty) -> None:
    a_day(duty.kernel)
    [planned] = duty.round()
    assert [(block.sensor_id, block.block_no) for block in planned.blocks] == [(AIR, 0), (AIR_2, 0)]
    assert duty.round() == []
    assert duty.store.names("readings") == [f"readings/date={DAY}/site=ATL1/0000.parquet"]
    assert duty.store.names("sensors") == [f"sensors/date={DAY}/site=ATL1/0000.parquet"]
    verdict = verify_file(duty.kernel.reader(), duty.store.path(path_of(planned, "readings")))
    assert (verdict.ok, verdict.blocks, verdict.proven, verdict.readings) == (True, 2, 2, 2 * MIDNIGHT_MIN)
    [file] = history.files(duty.kernel.reader(), duty.name)
    assert (file.site_id, file.day, file.readings) == ("ATL1", TODAY, 2 * MIDNIGHT_MIN)


def test_what_is_written_is_what_was_measured(duty: Duty) -> None:
    a_day(duty.kernel)
    duty.round()
    sql = HistorySql(duty.store)
    _, rows = sql.select(
        f"SELECT measured_at, value, good FROM readings WHERE sensor_id = '{AIR}' ORDER BY measured_at"
    )
    times, values = store.series(duty.kernel.reader(), AIR, T0, T0 + timedelta(minutes=MIDNIGHT_MIN))
    assert [row[1] for row in rows] == values.tolist()
    assert [np.datetime64(row[0].replace(tzinfo=None), "us") for row in rows] == list(times)
    assert all(row[2] for row in rows)


def test_the_file_is_sorted_and_says_what_its_columns_are(duty: Duty) -> None:
    a_day(duty.kernel)
    [planned] = duty.round()
    file = pq.ParquetFile(duty.store.path(path_of(planned, "readings")))
    schema = file.schema_arrow
    assert str(schema.field("measured_at").type) == "timestamp[us, tz=UTC]"
    assert all(field.metadata[b"about"] for field in schema)
    assert [column.column_index for column in file.metadata.row_group(0).sorting_columns] == [0, 1, 5]
    assert file.metadata.row_group(0).column(1).statistics.has_min_max


def test_late_readings_make_a_supplementary_file_and_the_first_one_stays(duty: Duty) -> None:
    a_day(duty.kernel)
    duty.round()
    first = Path(duty.store.path(f"readings/date={DAY}/site=ATL1/0000.parquet"))
    before = first.read_bytes()
    duty.kernel.do(readings([(AIR, 30.5, -21.0)]))
    duty.kernel.advance(120)
    [planned] = duty.round()
    assert (planned.file_no, [block.block_no for block in planned.blocks]) == (1, [1])
    assert first.read_bytes() == before
    [(count, late)] = HistorySql(duty.store).select(
        f"SELECT count(*), count(*) FILTER (version > 0) FROM readings WHERE sensor_id = '{AIR}'"
    )[1]
    assert (count, late) == (MIDNIGHT_MIN + 1, 1)
    assert verify_file(duty.kernel.reader(), duty.store.path(path_of(planned, "readings"))).ok


def test_of_one_sensor_and_time_the_lowest_version_counts(duty: Duty) -> None:
    """Two copies of one log may each have sealed the same minute."""
    a_day(duty.kernel)
    duty.round()
    again = archive.block_rows(duty.kernel.reader(), AIR, TODAY, TODAY)[0]
    path = Path(duty.store.path(f"readings/date={DAY}/site=ATL1/0001.parquet"))
    table = pq.read_table(duty.store.path(f"readings/date={DAY}/site=ATL1/0000.parquet"))
    version = np.full(len(table), 3, dtype=np.int32)
    pq.write_table(table.set_column(5, table.schema.field("version"), [version]), path)
    [(count, highest)] = HistorySql(duty.store).select(
        f"SELECT count(*), max(version) FROM readings WHERE sensor_id = '{AIR}'"
    )[1]
    assert (count, highest) == (again.readings, 0)


@pytest.mark.parametrize("stage", ["planned", "one file", "both files"])
def test_an_interrupted_write_is_taken_up_with_the_same_blocks(duty: Duty, stage: str) -> None:
    a_day(duty.kernel)
    duty.look()
    [planned] = duty.plan()
    if stage != "planned":
        duty.put(planned)
    if stage == "one file":
        Path(duty.store.path(path_of(planned, "readings"))).unlink()
    duty.kernel.do(readings([(AIR, 30.5, -21.0)]))
    duty.kernel.restart()
    duty.kernel.advance(120)
    taken_up, late = duty.round()
    assert taken_up == planned
    assert (late.file_no, len(late.blocks)) == (1, 1)
    for one in (taken_up, late):
        assert verify_file(duty.kernel.reader(), duty.store.path(path_of(one, "readings"))).ok
    assert (
        sum(file.readings for file in history.files(duty.kernel.reader(), duty.name)) == 2 * MIDNIGHT_MIN + 1
    )


def test_a_host_that_was_put_back_from_a_copy_finds_its_files_and_writes_none_twice(duty: Duty) -> None:
    """Its working state is older than the archive: all blocks wait again, those of several files at once."""
    a_day(duty.kernel)
    duty.round()
    duty.kernel.do(readings([(AIR, 30.5, -21.0)]))
    duty.kernel.advance(120)
    duty.round()
    before = {name: Path(duty.store.path(name)).read_bytes() for name in duty.store.names("readings")}
    assert len(before) == 2
    duty.name = "as it was before"
    [both] = duty.round()
    assert (both.file_no, len(both.blocks)) == (0, 3)
    [late] = duty.round()
    assert (late.file_no, [block.block_no for block in late.blocks]) == (1, [1])
    assert duty.round() == []
    assert {name: Path(duty.store.path(name)).read_bytes() for name in duty.store.names("readings")} == before
    found = history.files(duty.kernel.reader(), duty.name)
    assert [file.readings for file in found] == [2 * MIDNIGHT_MIN, 1]


def test_the_duty_itself_goes_round_and_says_how_it_stands(duty: Duty) -> None:
    a_day(duty.kernel)
    kernel = duty.kernel

    @contextmanager
    def reader() -> Iterator[Reader]:
        yield kernel.reader()

    means = Means(reader, lambda work: work(kernel.decider), kernel.host.now, "coldgrid", "network")
    own = HistoryDuty(duty.store, means)
    assert own.round() == "1 files written, 0 blocks wait for the end of their day"
    kernel.do(readings([(AIR, 30.5, -21.0)]))
    kernel.advance(120)
    taken = Path(duty.store.path(f"readings/date={DAY}/site=ATL1/0001.parquet"))
    taken.write_bytes(b"theirs")
    for _ in range(2):
        with pytest.raises(ForeignFile, match=r"0001\.parquet is there with other blocks"):
            own.round()
    taken.unlink()
    assert own.round().startswith("2 files written")


def test_a_block_whose_bytes_were_changed_is_left_out_and_named(duty: Duty) -> None:
    a_day(duty.kernel)
    [row] = archive.block_rows(duty.kernel.reader(), AIR, TODAY, TODAY)
    table = archive.telemetry_block_body
    change = Statement(
        table.update().where(table.c.hash == sa.bindparam("which")).values(body=sa.bindparam("changed"))
    )
    changed = {"which": row.hash, "changed": row.body[:-1] + bytes([row.body[-1] ^ 1])}
    duty.kernel.decider.connection.run_many(change, [change.bind(duty.kernel.database.dialect, changed)])
    duty.look()
    [planned] = duty.plan()
    put = duty.put(planned)
    assert [block.sensor_id for block in put.claims.blocks] == [AIR_2]
    assert [block.sensor_id for block in put.claims.left_out] == [AIR]
    duty.take(partial(note_written, store=duty.name, planned=planned, put=put))
    assert history.waiting(duty.kernel.reader(), duty.name) == 0


def test_a_file_of_somebody_else_is_not_overwritten(duty: Duty, tmp_path: Path) -> None:
    a_day(duty.kernel)
    duty.look()
    [planned] = duty.plan()
    path = Path(duty.store.path(path_of(planned, "readings")))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"theirs")
    with pytest.raises(ForeignFile, match="COLDGRID_HISTORY"):
        duty.put(planned)
    assert path.read_bytes() == b"theirs"
    assert not [name for name in path.parent.iterdir() if name.name.startswith(".")]


def test_a_day_that_is_not_over_or_not_sealed_waits(duty: Duty) -> None:
    kernel = duty.kernel
    a_day(kernel)
    duty.look()
    assert duty.ready() == [("ATL1", TODAY)]
    kernel.host.instant = at(MIDNIGHT_MIN + 100)
    assert duty.ready() == []
    kernel.host.instant = at(MIDNIGHT_MIN + 200)
    kernel.do(readings([(AIR, 30.5, -21.0)]))
    kernel.decider.take("ATL1", ingest.roll, "test")
    assert duty.ready() == []  # a late reading of the day lies in a chunk
    kernel.host.instant += history.WAIT_MAX
    assert duty.ready() == [("ATL1", TODAY)]


def test_readings_may_go_when_all_that_is_here_was_written(duty: Duty) -> None:
    kernel = duty.kernel
    settings = Settings(history=duty.name)
    a_day(kernel)
    assert waits_for(kernel.reader(), settings, READINGS) == "the history has 2 blocks to write first"
    duty.look()
    assert waits_for(kernel.reader(), settings, READINGS) == "the history has 2 blocks to write first"
    [planned] = duty.plan()
    assert waits_for(kernel.reader(), settings, READINGS) == "the history has 2 blocks to write first"
    duty.write(planned)
    lost = [("LOST1", TODAY - 30, history.BlockName("X-1-T1", 0, "0" * 64))]
    at_end = history.look(kernel.reader(), duty.name).after
    duty.take(partial(history.note, store=duty.name, seen=history.Seen(at_end, at_end, lost)))
    assert waits_for(kernel.reader(), settings, READINGS) == ""


def test_days_that_never_come_keep_no_later_day_waiting(duty: Duty) -> None:
    """A node that is lost leaves manifests behind, and blocks that nobody has."""
    a_day(duty.kernel)
    lost = [(f"LOST{n}", TODAY - 30, history.BlockName("X-1-T1", 0, f"{n:064}")) for n in range(60)]
    duty.take(partial(history.note, store=duty.name, seen=history.Seen(-1, -1, lost)))
    duty.look()
    assert [planned.site_id for planned in duty.round()] == ["ATL1"]
    assert history.waiting(duty.kernel.reader(), duty.name) == 60


def test_a_changed_row_a_changed_block_and_a_changed_log_are_found(duty: Duty) -> None:
    a_day(duty.kernel)
    [planned] = duty.round()
    path = duty.store.path(path_of(planned, "readings"))
    table = pq.read_table(path)
    value = table.column("value").to_numpy().copy()
    value[7] += 0.1
    pq.write_table(table.set_column(2, table.schema.field("value"), [value]), path)
    verdict = verify_file(duty.kernel.reader(), path)
    assert (verdict.ok, verdict.proven) == (False, 1)
    assert verdict.problems == [f"{AIR}, block 0: its rows are not those that were sealed"]
    pq.write_table(table.slice(0, len(table) - 1), path)
    short = f"{AIR_2}, block 0: its rows are not those that were sealed"
    derived = "lasts_us is not what follows from the rows"
    assert verify_file(None, path).problems == [short, derived]
    pq.write_table(table.set_column(6, table.schema.field("lasts_us"), [[1] * len(table)]), path)
    assert verify_file(None, path).problems == [derived]
    pq.write_table(table, path)
    assert verify_file(None, path).ok


def test_a_file_of_another_log_is_not_proven(duty: Duty, tmp_path: Path) -> None:
    a_day(duty.kernel)
    [planned] = duty.round()
    path = duty.store.path(path_of(planned, "readings"))
    with sqlite_kernel() as other:
        verdict = verify_file(other.reader(), path)
    assert (verdict.ok, verdict.proven, len(verdict.problems)) == (False, 0, 2)
    assert "the log has no entry ATL1/1/" in verdict.problems[0]
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(NoHistoryFile):
        verify_file(None, str(tmp_path / "x.parquet"))


def test_the_report_adds_a_day_up_as_one_would_by_hand(duty: Duty) -> None:
    kernel = duty.kernel
    a_day(kernel)
    # Six minutes too warm, a dead probe at the end of them, and a hole of twenty minutes.
    feed(kernel, [(AIR, MIDNIGHT_MIN + 24 * 60 + i, -10.0) for i in range(6)], MIDNIGHT_MIN + 24 * 60 + 6)
    feed(kernel, [(AIR, MIDNIGHT_MIN + 24 * 60 + 6, 90.0)], MIDNIGHT_MIN + 24 * 60 + 7)
    feed(kernel, [(AIR, MIDNIGHT_MIN + 24 * 60 + 25, -21.0)], MIDNIGHT_MIN + 24 * 60 + 26)
    kernel.advance(40 * 60)
    duty.round()
    found = report(duty.store, DAY + timedelta(days=2))
    assert [row.sensor_id for row in found.rows] == [AIR, AIR_2]
    warm, silent = found.rows
    assert (warm.readings, warm.good, warm.minimum, warm.maximum) == (8, 7, -21.0, -10.0)
    assert warm.high == -18.0
    # Five of a minute each, and the last one for as long as a gap at most: five minutes.
    assert warm.outside_min == pytest.approx(5 + 5)
    assert warm.mean == pytest.approx((6 * -10.0 - 21.0) / 7)
    kelvin = [-10.0 + 273.15] * 6 + [-21.0 + 273.15]
    mkt = 10_000 / -np.log(np.mean(np.exp(-10_000 / np.array(kelvin)))) - 273.15
    assert warm.mkt_c == pytest.approx(mkt)
    # From :05 to :25, and from there to the end of the day.
    assert warm.gaps == 2
    assert warm.gap_min == pytest.approx(20 + 24 * 60 - 25)
    assert warm.verdict == "assess"
    assert (silent.readings, silent.gap_min, silent.verdict) == (0, 1440, "unknown")
    assert (found.outside, found.unknown, found.missing_sites) == (1, 1, [])


def test_a_query_can_be_kept_to_some_days(duty: Duty) -> None:
    a_day(duty.kernel)
    duty.kernel.advance(24 * 60)
    duty.round()
    next_day = DAY + timedelta(days=1)
    for first, last, days in (
        (None, None, [DAY, next_day]),
        (next_day, None, [next_day]),
        (None, DAY, [DAY]),
        (DAY, DAY, [DAY]),
        (date(2020, 1, 1), date(2020, 1, 2), []),
    ):
        _, rows = HistorySql(duty.store, first, last).select("SELECT DISTINCT date FROM readings ORDER BY 1")
        assert [day for (day,) in rows] == days


def test_a_site_that_fell_silent_is_named_and_an_empty_day_is_empty(duty: Duty) -> None:
    a_day(duty.kernel)
    duty.round()
    found = report(duty.store, DAY + timedelta(days=3))
    assert (found.rows, found.missing_sites) == ([], ["ATL1"])
    assert report(duty.store, date(2020, 1, 1)).missing_sites == []


REFUSED = [
    "COPY (SELECT 1) TO '{folder}/x.csv'",
    "CREATE TABLE x AS SELECT 1",
    "DROP VIEW readings",
    "ATTACH '{folder}/x.db'",
    "INSTALL httpfs",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "SELECT 1; SELECT 2",
    "",
]
CLOSED = [
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('{folder}/history/../secret.csv')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "SELECT * FROM duty",
    "SELECT nothing FROM readings",
    "SELECT",
]


def test_a_query_changes_nothing_and_reaches_nothing_but_the_history(duty: Duty, tmp_path: Path) -> None:
    a_day(duty.kernel)
    duty.round()
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    sql = HistorySql(duty.store)
    before = sorted(tmp_path.rglob("*"))
    for text in REFUSED:
        with pytest.raises(NotASelect):
            sql.select(text.format(folder=tmp_path))
    for text in CLOSED:
        with pytest.raises(ValueError, match=r"\w"):
            sql.select(text.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
    assert sql.select("SELECT count(*) AS n FROM readings") == (["n"], [(2 * MIDNIGHT_MIN,)])


@pytest.mark.parametrize(
    "text", ["s3://", "s3://user:secret@bucket/x", "http://bucket", "s3://bucket/x?endpiont=y"]
)
def test_an_address_that_is_none_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="COLDGRID_HISTORY is a folder, or s3://bucket/prefix"):
        address_of(text)
