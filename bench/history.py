"""History: 100 million readings as Parquet, and the fleet's daily excursion report over them by DuckDB.

Ten days of fifty sites with 23 sensors at 10 s: ten million readings a day, a tenth of the history. The
report reads one day; that it takes as long where the history is that day alone shows what its cost depends
on. Cold is the first report of a process with the files dropped from the page cache as far as that is allowed
(posix_fadvise), warm the best of three after it. Files are written into a temporary folder and deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bench._cold_world import START_US, freezer_c
from bench.result import Result
from coldgrid.adapters.history_sql import HistorySql, report
from coldgrid.adapters.history_store import HistoryStore, address_of
from coldgrid.network.sites import TemperatureClass
from coldgrid.network.zones import Zone
from coldgrid.telemetry.blocks import DAY_US, Readings
from coldgrid.telemetry.history import Planned
from coldgrid.telemetry.history_files import (
    FORM,
    Claims,
    Opened,
    VouchedBlock,
    date_of,
    day_of,
    path_of,
    sensor_row,
    write_readings,
    write_sensors,
)
from coldgrid.telemetry.quantities import E4
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor

SITES, SENSORS, DAYS = 50, 23, 10
LATE_SITES = 5
STEP_US = 10_000_000
A_DAY = DAY_US // STEP_US
FIRST_DAY = START_US // DAY_US
WARM_RUNS = 3
MONTH = """
SELECT site, count(*), max(value) FILTER (good) FROM readings GROUP BY site
"""


def run() -> list[Result]:
    """Measure writing, the report, and a sum over all of it."""
    with tempfile.TemporaryDirectory() as folder:
        whole = HistoryStore(address_of(f"{folder}/whole"))
        wrote_s = _timed(lambda: _write(whole))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        alone = HistoryStore(address_of(f"{folder}/alone"))
        day = date_of(FIRST_DAY + DAYS // 2)
        for kind in ("readings", "sensors"):
            part = f"{kind}/date={day.isoformat()}"
            shutil.copytree(whole.path(part), alone.path(part))
        cold_s = _cold(whole, day)
        warm_s, work_s = _warm(whole, day), _work(whole, day)
        alone_s = _warm(alone, day)
        _late(whole, day)
        late_s = _warm(whole, day)
        month_s = min(_timed(partial(_all, whole)) for _ in range(2))
    readings = SITES * SENSORS * A_DAY * DAYS
    return [
        Result(
            "history, readings written as Parquet, one thread",
            readings / wrote_s / 1e6,
            "M/s",
            "reported",
            True,
        ),
        Result("history, its weight", size / readings, "bytes a reading", "reported", True),
        Result("fleet's daily report of 10 M readings in 100 M, warm", warm_s, "s", "≤ 2", warm_s <= 2),
        Result("the same, seconds of the processor, all threads", work_s, "s", "reported", True),
        Result("the same, first of a process, page cache dropped", cold_s, "s", "≤ 2", cold_s <= 2),
        Result("the same day with no other day in the history, warm", alone_s, "s", "reported", True),
        Result("the same day where 5 of 50 sites sent something late, warm", late_s, "s", "reported", True),
        Result("maximum of each site over all 100 M readings, warm", month_s, "s", "reported", True),
    ]


def _write(store: HistoryStore) -> None:
    for number in range(DAYS):
        for site in range(SITES):
            opened = _opened(f"S{site:03}", FIRST_DAY + number, site * DAYS + number)
            planned = Planned(opened.claims.site_id, FIRST_DAY + number, 0, [])
            zone = _zone(opened.claims.site_id)
            whose = [sensor for sensor, _, _ in opened.sensors if isinstance(sensor, Sensor)]
            rows = [sensor_row(sensor, zone, 0) for sensor in whose]
            store.put(path_of(planned, "sensors"), partial(write_sensors, rows, opened.claims))
            store.put(path_of(planned, "readings"), partial(write_readings, opened))


def _late(store: HistoryStore, day: date) -> None:
    """Give some sites a supplementary file of the day: one reading that came late."""
    number = day_of(day)
    for site in range(LATE_SITES):
        opened = _opened(f"S{site:03}", number, site)
        sensor, readings, _ = opened.sensors[0]
        one = Readings(readings.at_us[:1] + STEP_US // 2, readings.value_e4[:1], readings.bad[:1])
        claims = msgspec.structs.replace(opened.claims, file_no=1, blocks=[])
        planned = Planned(claims.site_id, number, 1, [])
        late = Opened(claims, [(sensor, one, np.ones(1, dtype=np.int32))])
        store.put(path_of(planned, "readings"), partial(write_readings, late))


def _opened(site_id: str, day: int, seed: int) -> Opened:
    """Return a day of a site; every fiftieth sensor-day has half an hour too warm, every ninetieth a hole."""
    at_us = day * DAY_US + np.arange(A_DAY, dtype=np.int64) * STEP_US
    sensors, blocks = [], []
    for number in range(SENSORS):
        name = f"{site_id}-FRZ1-T{number + 1:02}"
        value_e4 = np.rint(freezer_c(at_us, seed * SENSORS + number) * E4).astype(np.int64)
        if (seed * SENSORS + number) % 50 == 0:
            value_e4[4000:4180] = -120_000
        readings = Readings(at_us, value_e4, np.zeros(A_DAY, dtype=np.bool_))
        if (seed * SENSORS + number) % 90 == 0:
            keep = np.r_[0:2000, 2200:A_DAY]
            readings = Readings(at_us[keep], value_e4[keep], readings.bad[keep])
        sensor = Sensor(
            sensor_id=name, site_id=site_id, zone_id=f"{site_id}-FRZ1", role=Role.ZONE_AIR, interval_s=10.0
        )
        sensors.append((sensor, readings, np.zeros(len(readings), dtype=np.int32)))
        blocks.append(VouchedBlock(name, 0, "0" * 64, len(readings), f"{site_id}/1/{seed}"))
    return Opened(Claims(FORM, "bench", site_id, day, 0, blocks, []), sensors)


def _zone(site_id: str) -> Zone:
    return Zone(
        zone_id=f"{site_id}-FRZ1",
        site_id=site_id,
        name="Freezer",
        temperature_class=TemperatureClass.FROZEN,
        setpoint_c=-22.0,
        low_c=-25.0,
        high_c=-18.0,
        capacity_pallets=100,
        lag_min=240,
    )


def _cold(store: HistoryStore, day: date) -> float:
    """Time a report in a process of its own, from after its imports, with the day's files out of memory."""
    os.sync()
    for path in Path(store.address.root).rglob("*.parquet"):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
    script = (
        "import sys, time\n"
        "from datetime import date\n"
        "from coldgrid.adapters.history_sql import report\n"
        "from coldgrid.adapters.history_store import HistoryStore, address_of\n"
        "import duckdb, pyarrow.parquet\n"
        "store, begun = HistoryStore(address_of(sys.argv[1])), time.perf_counter()\n"
        "report(store, date.fromisoformat(sys.argv[2]))\n"
        "print(time.perf_counter() - begun)\n"
    )
    command = [sys.executable, "-c", script, store.address.root, day.isoformat()]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _warm(store: HistoryStore, day: date) -> float:
    found = report(store, day)
    assert found.sensors == SITES * SENSORS, found.sensors
    assert found.outside > 0
    assert found.missing_sites == []
    return min(_timed(partial(report, store, day)) for _ in range(WARM_RUNS))


def _work(store: HistoryStore, day: date) -> float:
    """Return the processor's time of a report: what it takes where no core is shared, on one core."""
    begun = time.process_time()
    report(store, day)
    return time.process_time() - begun


def _all(store: HistoryStore) -> None:
    sql = HistorySql(store)
    names, rows = sql.select(MONTH)
    assert (len(names), len(rows)) == (3, SITES)
    assert sum(row[1] for row in rows) > 0.99 * SITES * SENSORS * A_DAY * DAYS
    sql.close()


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
