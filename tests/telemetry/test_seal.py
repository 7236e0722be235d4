"""Sealing: days become blocks, blocks are vouched for in the log, and what is late makes another block."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.statements import Statement
from coldgrid.telemetry import archive, chunks, ingest, landing, store
from coldgrid.telemetry.alarm_rules import AlarmRaised
from coldgrid.telemetry.archive import damaged_blocks
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.memory import Memory
from coldgrid.telemetry.seal import SealBlocks
from coldgrid.telemetry.watch import Watch
from tests.conftest import T0, Kernel
from tests.telemetry.cold_room import AIR, AIR_2, DOOR, at, cold_room, feed, micros, readings, steady
from tests.telemetry.test_ingest import events_of

MIDNIGHT_MIN = 16 * 60  # T0 is 08:00 UTC
TODAY = micros(0) // DAY_US


def a_day(kernel: Kernel) -> None:
    """Feed two sensors an hour at a time, past midnight and the grace, firing timers on the way."""
    cold_room(kernel)
    for hour in range(19):
        kernel.advance((at(hour * 60 + 59) - kernel.host.instant) / timedelta(minutes=1))
        feed(kernel, [*steady(hour * 60, 60), *steady(hour * 60, 60, -20.0, AIR_2)])
    kernel.advance(60)


def test_a_day_is_sealed_and_vouched_for(kernel: Kernel) -> None:
    a_day(kernel)
    rows = archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)
    assert [(row.block_no, row.readings, row.vouched_hash) for row in rows] == [
        (0, MIDNIGHT_MIN, rows[0].hash)
    ]
    assert damaged_blocks(kernel.reader(), AIR, TODAY, TODAY) == []
    manifests = events_of(kernel, BlocksManifested)
    assert len(manifests) >= 18  # every hour something landed
    assert [block.sensor_id for event in manifests for block in event.blocks] == [AIR, AIR_2]
    times, values = store.series(kernel.reader(), AIR, T0, T0 + timedelta(days=1))
    assert len(times) == 19 * 60
    assert (np.diff(times) == np.timedelta64(60, "s")).all()
    assert values.max() == pytest.approx(-21.49)
    kernel.rebuild()


def test_late_readings_make_a_supplementary_block(kernel: Kernel) -> None:
    a_day(kernel)
    before = archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)
    answer = kernel.do(readings([(AIR, 30.5, -21.0)]))
    assert answer.late == 1
    kernel.advance(120)
    rows = archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)
    assert rows[0] == before[0]
    assert [(row.block_no, row.readings) for row in rows] == [(0, MIDNIGHT_MIN), (1, 1)]
    assert rows[1].entry_id
    times, _ = store.series(kernel.reader(), AIR, at(29), at(33))
    assert [int((time - np.datetime64(micros(0), "us")).astype(int) / 30e6) for time in times] == [
        58,
        60,
        61,
        62,
        64,
    ]


def test_a_changed_block_is_found_and_named(kernel: Kernel) -> None:
    a_day(kernel)
    [row] = archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)
    body = bytearray(row.body)
    body[-1] ^= 1
    table = archive.telemetry_block_body
    change = Statement(
        table.update().where(table.c.hash == sa.bindparam("which")).values(body=sa.bindparam("changed"))
    )
    kernel.decider.connection.run_many(
        change, [change.bind(kernel.database.dialect, {"which": row.hash, "changed": bytes(body)})]
    )
    [told] = damaged_blocks(kernel.reader(), AIR, TODAY, TODAY)
    assert told == f"block 0 of {AIR}, day {TODAY}: its bytes were changed"
    assert damaged_blocks(kernel.reader(), AIR_2, TODAY, TODAY) == []


def test_sealing_on_demand_vouches_at_once(kernel: Kernel) -> None:
    cold_room(kernel)
    feed(kernel, [*steady(0, 30), *steady(0, 30, -20.0, AIR_2)])
    answer = kernel.do(SealBlocks(site_id="ATL1", zone_id="ATL1-FRZ1", cause_id="incident-1"))
    assert answer.blocks == 2
    [manifest] = events_of(kernel, BlocksManifested)
    assert (manifest.why, manifest.cause_id, manifest.readings) == ("on_demand", "incident-1", 60)
    feed(kernel, steady(30, 30))
    kernel.do(SealBlocks(site_id="ATL1", sensor_ids=(AIR,), cause_id="pack-1"))
    rows = archive.block_rows(kernel.reader(), AIR, TODAY, TODAY)
    assert [(row.block_no, row.readings) for row in rows] == [(0, 30), (1, 30)]
    [rollup] = store.rollups(kernel.reader(), [AIR], at(0), at(60))
    assert rollup.readings == 60
    kernel.rebuild()


def test_sealing_names_sensors_of_the_site(kernel: Kernel) -> None:
    cold_room(kernel)
    with pytest.raises(Invalid):
        kernel.do(SealBlocks(site_id="ATL1", sensor_ids=("CLT1-FRZ1-T1",), cause_id="x"))
    with pytest.raises(Invalid):
        kernel.do(SealBlocks(site_id="ATL1", zone_id="ATL1-AMB1", cause_id="x"))


def test_many_flushes_are_rolled_and_nothing_is_lost(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "ROLL_FLUSHES", 7)
    cold_room(kernel)
    for minute in range(60):
        feed(kernel, steady(minute, 1, -21.0 - minute / 100))
    assert len(landing.flushes_of(kernel.reader(), "ATL1")) == 60 % 7
    times, _ = store.series(kernel.reader(), AIR, at(0), at(60))
    assert len(times) == 60
    assert (np.diff(times) > np.timedelta64(0)).all()
    kernel.restart()
    feed(kernel, steady(60, 1))
    assert len(store.series(kernel.reader(), AIR, at(0), at(61))[0]) == 61


def test_a_flush_that_raises_an_alarm_leaves_the_rolling_to_the_next(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "ROLL_FLUSHES", 2)
    cold_room(kernel)
    feed(kernel, steady(0, 1))
    feed(kernel, steady(1, 60, 5.0))
    assert events_of(kernel, AlarmRaised)
    assert len(landing.flushes_of(kernel.reader(), "ATL1")) == 2
    feed(kernel, steady(61, 1, -20.0, AIR_2))
    assert landing.flushes_of(kernel.reader(), "ATL1") == []
    assert len(store.series(kernel.reader(), AIR, at(0), at(62))[0]) == 61


@pytest.mark.parametrize("per_flush", [3, 40])
def test_rolls_keep_every_reading_of_many_sensors_over_midnight(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, per_flush: int
) -> None:
    """Few readings at once move into the newest chunk of their day, many make one of their own."""
    monkeypatch.setattr(ingest, "ROLL_FLUSHES", 2)
    monkeypatch.setattr(chunks, "PART_READINGS", 50)
    cold_room(kernel)
    first = MIDNIGHT_MIN - 60
    for start in range(first, MIDNIGHT_MIN + 60, per_flush):
        one, other = steady(start, per_flush), steady(start, per_flush, -20.0, AIR_2)
        if start % 2:
            other[-1] = (AIR_2, other[-1][1], 85.0)  # no probe measures that
        feed(kernel, [*one, *other])
    kernel.restart()
    for name, count in ((AIR, 120), (AIR_2, 120)):
        stored = store.readings_of(kernel.reader(), "ATL1", name, micros(first), micros(first + 120))
        assert stored.at_us.tolist() == [micros(first + minute) for minute in range(count)]
        [rollup] = store.rollups(kernel.reader(), [name], at(first), at(first + 120))
        assert (rollup.readings, rollup.good) == (count, count - int(stored.bad.sum()))
    days = chunks.waiting_days(kernel.reader(), "ATL1", TODAY + 1, 10)
    assert days == [(AIR, TODAY), (AIR_2, TODAY), (AIR, TODAY + 1), (AIR_2, TODAY + 1)]


def test_the_same_sensors_flushed_again_and_again_weigh_little(kernel: Kernel) -> None:
    cold_room(kernel)
    feed(kernel, [*steady(0, 500), *steady(0, 500, -20.0, AIR_2)])
    table = landing.telemetry_landing
    [(body,)] = kernel.reader().all(Statement(sa.select(table.c.body)))
    assert len(body) < 1_000


def test_the_order_of_arrival_is_kept_where_a_door_speaks(kernel: Kernel) -> None:
    """The warm readings that came before the door opened are not explained by it, after a restart too."""
    cold_room(kernel)
    feed(kernel, [(AIR, minute, -21.0 + minute % 2) for minute in range(40)])
    feed(kernel, [*((AIR, 40 + minute, -12.0) for minute in range(5)), (DOOR, 40, 1.0), (AIR, 45, -12.0)])
    before = remembered(kernel)
    kernel.restart()
    assert remembered(kernel) == before


def remembered(kernel: Kernel) -> bytes:
    """What the rules remember, whatever the rows are in."""
    memory: Memory = kernel.decider.shared.hot[Watch].memory
    return memory.save(np.array([memory.row_of[name] for name in (AIR, AIR_2, DOOR)]))


def test_rollups_add_up_the_same_wherever_readings_are(kernel: Kernel) -> None:
    a_day(kernel)
    for start_min, end_min in [(0, 1140), (90, 1000), (MIDNIGHT_MIN, 1140), (10, 20), (1139.5, 1139.6)]:
        [rollup] = store.rollups(kernel.reader(), [AIR], at(start_min), at(end_min))
        _, values = store.series(kernel.reader(), AIR, at(start_min), at(end_min))
        assert rollup.good == len(values)
        if len(values):
            assert rollup.mean_c == pytest.approx(values.mean(), abs=1e-4)
            assert rollup.low_c == pytest.approx(values.min())
            assert rollup.high_c == pytest.approx(values.max())
            assert rollup.low_c is not None
            assert rollup.mkt_c is not None
            assert rollup.low_c <= rollup.mkt_c <= values.max() + 1e-9


@pytest.mark.parametrize(
    ("start_min", "end_min", "count", "good"), [(0, 9, 9, 7), (2, 5, 3, 2), (8.5, 9, 0, 0)]
)
def test_rollups_cut_flushes_that_wait_at_the_edges(
    kernel: Kernel, start_min: float, end_min: float, count: int, good: int
) -> None:
    cold_room(kernel)
    feed(kernel, [*steady(0, 3), (AIR, 4, 85.0), (AIR, 6, 85.0), *steady(0, 9, -20.0, AIR_2)])
    feed(kernel, [*steady(7, 2), (AIR, 3, -25.0), (AIR, 5, -25.0)], at_minute=9)
    [rollup, _] = store.rollups(kernel.reader(), [AIR, AIR_2], at(start_min), at(end_min))
    _, values = store.series(kernel.reader(), AIR, at(start_min), at(end_min))
    assert (rollup.readings, rollup.good, len(values)) == (count, good, good)
    assert rollup.low_c == (values.min() if good else None)


def test_a_damaged_flush_is_noticed_before_it_is_rolled(kernel: Kernel) -> None:
    cold_room(kernel)
    for minute in range(3):
        feed(kernel, steady(minute, 1))
    table = landing.telemetry_landing
    change = Statement(
        table.update().where(table.c.landed_no == sa.bindparam("which")).values(digest=sa.bindparam("digest"))
    )
    kernel.decider.connection.run_many(
        change, [change.bind(kernel.database.dialect, {"which": 1, "digest": "0"})]
    )
    with pytest.raises(landing.ChainBroken):
        landing.flushes_of(kernel.reader(), "ATL1")
