"""History by SQL: DuckDB over the files of a history, closed against everything else.

Invariants
    Q1  A query reads: one statement, a SELECT. It reaches the files of this history and nothing else: no
        other file, no address, no variable of this program, no setting, no extension.
    Q2  `readings` counts each reading once: of one sensor and time the lowest version.
    Q3  A report reads its own day's files; how long the history is makes no difference to it.

A folder is read by DuckDB itself. A bucket is read by pyarrow, which hands DuckDB the columns and rows that
it asks for, so that no extension has to be fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import msgspec

from coldgrid.adapters.history_store import HistoryStore
from coldgrid.telemetry.blocks import ACTIVATION_TEMPERATURE_K, KELVIN_AT_0_C
from coldgrid.telemetry.history_compact import is_compact
from coldgrid.telemetry.history_files import READING_COLUMNS, HistoryMissing, readings_schema, sensors_schema

MISSED_DAYS = 7
# Of a host that has other things to do; the report of ten million readings takes a fraction of it.
MEMORY = "2GB"
_PARTS = {"readings": readings_schema, "sensors": sensors_schema}


class NotASelect(ValueError):
    """Only one SELECT at a time is run over a history."""


class ReportRow(msgspec.Struct, frozen=True):
    """A sensor's day. Minutes and gaps count good readings only; the verdict is never a disposition.

    `outside_min`: time outside the limits that held when the file was written, each reading standing until
    the next one, at most the sensor's gap. `gaps`, `gap_min`: times without a good reading that are longer
    than that, from the first minute of the day to its last. `mkt_c`: mean kinetic temperature, for pharma
    only. Without a limit there is no verdict.
    """

    site: str
    zone_id: str
    sensor_id: str
    role: str
    unit: str
    readings: int
    good: int
    low: float | None
    high: float | None
    minimum: float | None
    maximum: float | None
    mean: float | None
    mkt_c: float | None
    outside_min: float
    gaps: int
    gap_min: float
    verdict: str | None


class Report(msgspec.Struct, frozen=True):
    """A day of the fleet. `missing_sites`: sites with files in the week before and none on this day."""

    date: str
    sensors: int
    readings: int
    outside: int
    unknown: int
    missing_sites: list[str]
    rows: list[ReportRow]


class Parted(NamedTuple):
    """Files of readings: the only ones of their site's day; the first of several; the supplementary ones.

    A compact file holds what came later too, so it counts among the supplementary ones.
    """

    only: list[str]
    first: list[str]
    later: list[str]


def parted(names: Sequence[str]) -> Parted:
    """Tell apart which files stand alone."""
    of_day: dict[str, list[str]] = {}
    for name in sorted(names):
        of_day.setdefault(name.rpartition("/")[0], []).append(name)
    mixed = [listed for listed in of_day.values() if any(map(is_compact, listed))]
    plain = [listed for listed in of_day.values() if not any(map(is_compact, listed))]
    several = [listed for listed in plain if len(listed) > 1]
    return Parted(
        [listed[0] for listed in plain if len(listed) == 1],
        [listed[0] for listed in several],
        [name for listed in mixed for name in listed] + [name for listed in several for name in listed[1:]],
    )


def _plain(schema: Any) -> Any:
    """Return a schema with texts as texts: how they are packed is no business of a query."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
        [
            pa.field(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
            for field in schema
        ]
    )


class HistorySql:
    """A DuckDB over a history: over the days from `first` to `last`, both included; None: no bound."""

    def __init__(self, store: HistoryStore, first: date | None = None, last: date | None = None) -> None:
        try:
            import duckdb  # noqa: PLC0415 (an extra: only when used)
        except ImportError:
            raise HistoryMissing from None
        self._duckdb = duckdb
        self._store = store
        self._db: Any = duckdb.connect(":memory:")
        self._db.execute("SET TimeZone = 'UTC'")
        self._db.execute("SET enable_progress_bar = false")
        self._db.execute(f"SET memory_limit = '{MEMORY}'")
        files = parted(store.names_between("readings", first, last))
        for name, kind, names in (
            ("only_readings", "readings", files.only),
            ("first_readings", "readings", files.first),
            ("later_readings", "readings", files.later),
            ("all_sensors", "sensors", store.names_between("sensors", first, last)),
        ):
            if not names:
                self._empty(name, kind)
            elif store.address.bucket:
                self._attach(name, kind, names)
            else:
                self._view(name, names)
        self._db.execute(VIEWS)
        self._shut()

    def select(self, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a query; return the names of its columns and its rows.

        Raises:
            NotASelect: it is none, or several (Q1).
            ValueError: DuckDB refuses it; the message says where.
        """
        try:
            statements = self._db.extract_statements(text)
            if len(statements) != 1 or statements[0].type != self._duckdb.StatementType.SELECT:
                raise NotASelect("a query of the history is one SELECT statement; nothing else is run here")
            # Through Arrow: DuckDB itself gives instants with a zone only where another library is installed.
            table = self._db.sql(text).to_arrow_table()
            columns = [column.to_pylist() for column in table.columns]
            return table.column_names, list(zip(*columns, strict=True))
        except self._duckdb.Error as error:
            raise ValueError(str(error)) from error

    def rows(self, text: str, day: date) -> list[tuple[Any, ...]]:
        """Run a query of ours over a day: `$begin_at` and `$end_at` are its first and its last instant."""
        begin_at = datetime.combine(day, time(), tzinfo=UTC)
        found: list[tuple[Any, ...]] = self._db.execute(
            text, {"begin_at": begin_at, "end_at": begin_at + timedelta(days=1)}
        ).fetchall()
        return found

    def close(self) -> None:
        """Close."""
        self._db.close()

    def _view(self, name: str, files: Sequence[str]) -> None:
        """Let DuckDB read the files of a folder."""
        paths = ", ".join("'" + self._store.path(file).replace("'", "''") + "'" for file in files)
        self._db.execute(
            f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{paths}], hive_partitioning = true, "
            "hive_types = {'date': DATE, 'site': VARCHAR})"
        )

    def _attach(self, name: str, kind: str, files: Sequence[str]) -> None:
        """Let pyarrow read the files of a bucket for DuckDB."""
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import dataset  # noqa: PLC0415

        parts = pa.schema([("date", pa.date32()), ("site", pa.string())])
        found = dataset.dataset(
            [self._store.path(file) for file in files],
            schema=pa.unify_schemas([_plain(_PARTS[kind]()), parts]),
            format="parquet",
            filesystem=self._store.files,
            partitioning=dataset.partitioning(parts, flavor="hive"),
        )
        self._db.register(name, found)

    def _empty(self, name: str, kind: str) -> None:
        self._db.register(f"no_{name}", _plain(_PARTS[kind]()).empty_table())
        self._db.execute(
            f"CREATE TABLE {name} AS SELECT *, NULL::DATE AS date, NULL::VARCHAR AS site FROM no_{name}"
        )

    def _shut(self) -> None:
        """Close the database against everything but the files of this history (Q1)."""
        if not self._store.address.bucket:
            root = self._store.address.root.replace("'", "''")
            self._db.execute(f"SET allowed_directories = ['{root}/readings', '{root}/sensors']")
        for text in (
            "SET enable_external_access = false",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            "SET allow_community_extensions = false",
            "SET python_enable_replacements = false",
            "SET lock_configuration = true",
        ):
            self._db.execute(text)


COLUMNS = ", ".join(READING_COLUMNS)
_SAME_SENSOR = "other.date = one.date AND other.site = one.site AND other.sensor_id = one.sensor_id"
# Of one sensor and time the lowest version counts (Q2). Within a file what is repeated lasts for nothing;
# only of sensors that have readings in a supplementary file all are compared.
VIEWS = f"""
CREATE VIEW settled AS
SELECT date, site, {COLUMNS} FROM only_readings WHERE NOT good OR lasts_us IS NOT NULL
UNION ALL
SELECT date, site, {COLUMNS} FROM first_readings one
WHERE (NOT good OR lasts_us IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM later_readings other WHERE {_SAME_SENSOR});
CREATE VIEW doubtful AS
SELECT date, site, {COLUMNS} FROM later_readings
UNION ALL
SELECT date, site, {COLUMNS} FROM first_readings one
WHERE EXISTS (SELECT 1 FROM later_readings other WHERE {_SAME_SENSOR});
CREATE VIEW compared AS
SELECT * FROM doubtful one
WHERE NOT EXISTS (
    SELECT 1 FROM doubtful other
    WHERE {_SAME_SENSOR} AND other.measured_at = one.measured_at AND other.version < one.version
);
CREATE VIEW readings AS
SELECT * FROM settled UNION ALL SELECT * FROM compared;
CREATE VIEW sensors AS
SELECT * EXCLUDE (place) FROM (
    SELECT *, row_number() OVER (PARTITION BY date, site, sensor_id ORDER BY version DESC) AS place
    FROM all_sensors
) WHERE place = 1
"""

# Each reading stands until the next good one of its sensor, or the end of the day: as its file says, where no
# supplementary file has readings of that sensor.
REPORT = f"""
WITH lasting AS (
    SELECT site, sensor_id, value, good, measured_at, lasts_us
    FROM settled
    UNION ALL
    SELECT site, sensor_id, value, good, measured_at,
           date_diff('microsecond', measured_at, coalesce(
               lead(measured_at) OVER (PARTITION BY site, sensor_id, good ORDER BY measured_at), $end_at))
    FROM compared
),
summed AS (
    SELECT lasting.site, lasting.sensor_id,
           count(*) AS readings,
           count(*) FILTER (good) AS good,
           min(value) FILTER (good) AS minimum,
           max(value) FILTER (good) AS maximum,
           avg(value) FILTER (good) AS mean,
           avg(exp(-{ACTIVATION_TEMPERATURE_K} / (value + {KELVIN_AT_0_C})))
               FILTER (good AND quantity = 'temperature') AS kinetic,
           sum(least(lasts_us, gap_s * 1e6))
               FILTER (good AND (value > high OR value < low)) / 1e6 AS outside_s,
           count(*) FILTER (good AND lasts_us > gap_s * 1e6) AS gaps,
           sum(lasts_us) FILTER (good AND lasts_us > gap_s * 1e6) / 1e6 AS gaps_s,
           date_diff('microsecond', $begin_at, min(measured_at) FILTER (good)) / 1e6 AS begin_s
    FROM lasting JOIN sensors USING (site, sensor_id) GROUP BY lasting.site, lasting.sensor_id
)
SELECT sensors.site, zone_id, sensors.sensor_id, role, unit,
       coalesce(readings, 0), coalesce(good, 0), low, high, minimum, maximum, mean,
       {ACTIVATION_TEMPERATURE_K} / -ln(kinetic) - {KELVIN_AT_0_C},
       coalesce(outside_s, 0) / 60,
       CASE WHEN coalesce(good, 0) = 0 THEN 1 ELSE gaps + (begin_s > gap_s)::INTEGER END,
       CASE WHEN coalesce(good, 0) = 0 THEN 1440
            ELSE (coalesce(gaps_s, 0) + if(begin_s > gap_s, begin_s, 0)) / 60 END AS gap_min,
       CASE WHEN low IS NULL AND high IS NULL THEN NULL
            WHEN outside_s > 0 THEN 'assess'
            WHEN coalesce(good, 0) = 0 OR gap_min > 0 THEN 'unknown'
            ELSE 'within_limits' END
FROM sensors LEFT JOIN summed USING (site, sensor_id)
WHERE quantity IN ('temperature', 'humidity')
ORDER BY sensors.site, sensors.sensor_id
"""


def report(store: HistoryStore, day: date) -> Report:
    """Return the fleet's day, by site and sensor (Q3)."""
    sql = HistorySql(store, day, day)
    try:
        rows = [ReportRow(*row) for row in sql.rows(REPORT, day)]
    finally:
        sql.close()
    return Report(
        day.isoformat(),
        len(rows),
        sum(row.readings for row in rows),
        sum(row.verdict == "assess" for row in rows),
        sum(row.verdict == "unknown" for row in rows),
        _missing_sites(store, day),
        rows,
    )


def _missing_sites(store: HistoryStore, day: date) -> list[str]:
    before: set[str] = set()
    for back in range(1, MISSED_DAYS + 1):
        before |= _sites(store, day - timedelta(days=back))
    return sorted(before - _sites(store, day))


def _sites(store: HistoryStore, day: date) -> set[str]:
    names = store.names(f"readings/date={day.isoformat()}")
    return {name.split("/site=")[1].split("/")[0] for name in names}
