"""History files: sealed blocks as Parquet that Spark, Trino and DuckDB read as it is, and what proves them.

    readings/date=2026-03-01/site=ATL1/0000.parquet    a reading in each row, by sensor and time
    sensors/date=2026-03-01/site=ATL1/0000.parquet     a sensor of the site in each row, with its limits

Invariants
    F1  A row is a reading of a block that a manifest in the log vouches for; the file's metadata under
        `coldgrid` names every block with its hash and its manifest.
    F2  Rows are in the order of sensor, time and version; times are UTC, values in their stored unit, exact
        to ten-thousandths.
    F3  Reading a file back and sealing its rows gives the blocks again, byte for byte (`history_proof`).

`version` is the number of the block within its sensor's day. Of two readings of one sensor at one time the
lower version counts, as it did when they came in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Unavailable
from coldgrid.network.zones import Zone, zones_of
from coldgrid.telemetry.archive import block_rows
from coldgrid.telemetry.blocks import DAY_US, Readings, block_hash, decode_block
from coldgrid.telemetry.export import STORED_UNIT
from coldgrid.telemetry.history import BlockName, Planned
from coldgrid.telemetry.quantities import E4, Flags, Ints, Quantity
from coldgrid.telemetry.rules import MINUTE_US, UNSET_HIGH_E4, UNSET_LOW_E4, tune
from coldgrid.telemetry.sensors import Sensor, sensors_of_site
from coldgrid.telemetry.watch import band_of

# Of a site with 23 sensors at 10 s one day is one; a query skips groups by their statistics.
ROW_GROUP_READINGS = 250_000
FORM = 1
KEY = b"coldgrid"
_DAY_0 = date(1970, 1, 1)

READING_COLUMNS = {
    "sensor_id": "who measured",
    "measured_at": "when, UTC, microseconds",
    "value": "what, in `unit`",
    "unit": "C, %, state, W or Wh",
    "good": "false: the probe cannot measure that; never to be used as good data",
    "version": "number of the sealed block within its sensor's day; of one sensor and time the lowest counts",
    "lasts_us": "microseconds to its sensor's next good reading in the file or the day's end; null: not good",
}
SENSOR_COLUMNS = {
    "sensor_id": "the sensor",
    "zone_id": "the zone it is in",
    "role": "what it stands for: zone_air, product_probe, door …",
    "quantity": "what it measures: temperature, humidity, state, power, energy",
    "unit": "the unit of its values, and of low and high",
    "interval_s": "how often it reports, in seconds",
    "low": "its lower limit when the file was written; null: none",
    "high": "its upper limit when the file was written; null: none",
    "gap_s": "longer than this without a reading is a gap, in seconds",
    "version": "number of the file within its site's day; of one sensor the highest counts",
}


class HistoryMissing(Unavailable):
    """The history needs pyarrow and DuckDB, which are not installed here."""

    todo = "Install coldgrid[history]."


class VouchedBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block in a file: whose it is, its hash, and the entry of the log that vouches for it."""

    sensor_id: str
    block_no: int
    hash: str
    readings: int
    manifest: str


class Claims(msgspec.Struct, frozen=True):
    """What a file says of itself. `left_out`: planned blocks whose bytes were changed or are gone."""

    form: int
    network: str
    site_id: str
    day: int
    file_no: int
    blocks: list[VouchedBlock]
    left_out: list[BlockName]


class SensorRow(msgspec.Struct, frozen=True):
    """A row of the file of sensors, see `SENSOR_COLUMNS`."""

    sensor_id: str
    zone_id: str
    role: str
    quantity: str
    unit: str
    interval_s: float
    low: float | None
    high: float | None
    gap_s: float
    version: int


class Measures(Protocol):
    """Whose readings these are, and what they measure."""

    @property
    def sensor_id(self) -> str:
        """Who measured."""

    @property
    def quantity(self) -> Quantity:
        """What."""


class Opened(msgspec.Struct, frozen=True):
    """A planned file with its blocks opened: by sensor the readings, and the version of each."""

    claims: Claims
    sensors: Sequence[tuple[Measures, Readings, Any]]

    @property
    def readings(self) -> int:
        """How many readings it holds."""
        return sum(len(readings) for _, readings, _ in self.sensors)


def day_of(day: date) -> int:
    """Return the number of a UTC day since 1970."""
    return (day - _DAY_0).days


def date_of(day: int) -> date:
    """Return the UTC day of a number since 1970."""
    return _DAY_0 + timedelta(days=day)


def path_of(planned: Planned, kind: str) -> str:
    """Return where a file lies in the archive; `kind`: readings or sensors."""
    return f"{kind}/date={date_of(planned.day)}/site={planned.site_id}/{planned.file_no:04}.parquet"


def open_planned(db: Reader, planned: Planned, network: str) -> Opened:
    """Open the blocks of a planned file (F1); one whose bytes were changed is left out and named."""
    sensors = {sensor.sensor_id: sensor for sensor in sensors_of_site(db, planned.site_id)}
    names: dict[str, dict[int, BlockName]] = {}
    for block in planned.blocks:
        names.setdefault(block.sensor_id, {})[block.block_no] = block
    vouched: list[VouchedBlock] = []
    left_out: list[BlockName] = []
    opened: list[tuple[Measures, Readings, Any]] = []
    for sensor_id, wanted in sorted(names.items()):
        parts: list[tuple[int, Readings]] = []
        for row in block_rows(db, sensor_id, planned.day, planned.day):
            name = wanted.pop(row.block_no, None)
            if name is None:
                continue
            if block_hash(row.body) != name.hash or row.vouched_hash != name.hash:
                left_out.append(name)
                continue
            parts.append((row.block_no, decode_block(row.body)))
            vouched.append(VouchedBlock(sensor_id, row.block_no, row.hash, row.readings, row.entry_id or ""))
        left_out += wanted.values()
        if parts and sensor_id in sensors:
            opened.append((sensors[sensor_id], *in_order(parts)))
    claims = Claims(FORM, network, planned.site_id, planned.day, planned.file_no, vouched, left_out)
    return Opened(claims, opened)


def in_order(parts: Sequence[tuple[int, Readings]]) -> tuple[Readings, Any]:
    """Return the readings of some blocks in the order of time and version, and each one's version (F2)."""
    at_us = np.concatenate([readings.at_us for _, readings in parts])
    value_e4 = np.concatenate([readings.value_e4 for _, readings in parts])
    bad = np.concatenate([readings.bad for _, readings in parts])
    version = np.repeat([number for number, _ in parts], [len(readings) for _, readings in parts])
    if len(parts) > 1:
        order = np.lexsort((version, at_us))
        at_us, value_e4, bad, version = at_us[order], value_e4[order], bad[order], version[order]
    return Readings(at_us, value_e4, bad), version.astype(np.int32)


# --- Parquet --------------------------------------------------------------------


def arrow() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module.

    Raises:
        HistoryMissing: it is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 (an extra: only when used)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise HistoryMissing from None
    return pa, pq


def readings_schema() -> Any:
    """Return the schema of readings; each field's metadata says what it is."""
    pa, _ = arrow()
    name = pa.dictionary(pa.int32(), pa.string())
    types = [name, pa.timestamp("us", tz="UTC"), pa.float64(), name, pa.bool_(), pa.int32(), pa.int64()]
    return _schema(READING_COLUMNS, types)


def sensors_schema() -> Any:
    """Return the schema of sensors."""
    pa, _ = arrow()
    text, number = pa.string(), pa.float64()
    types = [text, text, text, text, text, number, number, number, number, pa.int32()]
    return _schema(SENSOR_COLUMNS, types)


def _schema(columns: dict[str, str], types: Sequence[Any]) -> Any:
    pa, _ = arrow()
    return pa.schema(
        [
            pa.field(name, type_, metadata={"about": about})
            for (name, about), type_ in zip(columns.items(), types, strict=True)
        ]
    )


def write_readings(opened: Opened, sink: BinaryIO) -> None:
    """Write the file of readings."""
    _, pq = arrow()
    schema = readings_schema().with_metadata(_metadata(opened.claims))
    with pq.ParquetWriter(
        sink,
        schema,
        version="2.6",
        compression="zstd",
        use_dictionary=["sensor_id", "unit", "value", "lasts_us"],
        column_encoding={"measured_at": "DELTA_BINARY_PACKED", "version": "DELTA_BINARY_PACKED"},
        sorting_columns=[pq.SortingColumn(0), pq.SortingColumn(1), pq.SortingColumn(5)],
        write_page_index=True,
    ) as writer:
        for table in _tables(opened, schema):
            writer.write_table(table, row_group_size=len(table))


def _tables(opened: Opened, schema: Any) -> Iterator[Any]:
    """Yield a table for each row group; a sensor lies in one, where it is not larger than a group itself."""
    group: list[tuple[Measures, Readings, Any]] = []
    for one in opened.sensors:
        if group and sum(len(readings) for _, readings, _ in group) + len(one[1]) > ROW_GROUP_READINGS:
            yield _table(group, schema)
            group = []
        group.append(one)
    if group:
        yield _table(group, schema)


def _table(group: Sequence[tuple[Measures, Readings, Any]], schema: Any) -> Any:
    pa, _ = arrow()
    counts = [len(readings) for _, readings, _ in group]
    number = pa.array(np.repeat(np.arange(len(group), dtype=np.int32), counts))
    units = [STORED_UNIT[sensor.quantity] for sensor, _, _ in group]
    kinds = sorted(set(units))
    unit = pa.array(np.repeat(np.array([kinds.index(one) for one in units], dtype=np.int32), counts))
    at_us = np.concatenate([readings.at_us for _, readings, _ in group])
    value_e4 = np.concatenate([readings.value_e4 for _, readings, _ in group])
    bad = np.concatenate([readings.bad for _, readings, _ in group])
    version = np.concatenate([versions for _, _, versions in group])
    arrays = [
        pa.DictionaryArray.from_arrays(number, [sensor.sensor_id for sensor, _, _ in group]),
        pa.array(at_us, type=schema.field("measured_at").type),
        pa.array(value_e4 / E4),
        pa.DictionaryArray.from_arrays(unit, kinds),
        pa.array(~bad),
        pa.array(version),
        _lasting(group, schema.field("lasts_us").type),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _lasting(group: Sequence[tuple[Measures, Readings, Any]], type_: Any) -> Any:
    pa, _ = arrow()
    parts = [lasts_us(readings) for _, readings, _ in group]
    lasting = np.concatenate([part for part, _ in parts])
    return pa.array(lasting, type=type_, mask=np.concatenate([mask for _, mask in parts]))


def lasts_us(readings: Readings) -> tuple[Ints, Flags]:
    """Return how long each reading of a sensor's day stands, and for which that means nothing.

    It stands until the next good one, or the end of the day. One that is not good stands for nothing, and of
    two at one time the first does.
    """
    at_us = readings.at_us
    none = readings.bad.copy()
    none[1:] |= at_us[1:] == at_us[:-1]
    found = np.zeros(len(at_us), dtype=np.int64)
    kept = np.flatnonzero(~none)
    if len(kept):
        end_us = (int(at_us[0]) // DAY_US + 1) * DAY_US
        found[kept] = np.diff(at_us[kept], append=end_us)
    return found, none


def sensor_rows(db: Reader, opened: Opened) -> list[SensorRow]:
    """Return the site's sensors: all that are listened to, and those that have readings."""
    claims = opened.claims
    zones = {zone.zone_id: zone for zone in zones_of(db, claims.site_id)}
    heard = {sensor.sensor_id for sensor, _, _ in opened.sensors}
    return [
        sensor_row(sensor, zones.get(sensor.zone_id), claims.file_no)
        for sensor in sensors_of_site(db, claims.site_id)
        if sensor.active or sensor.sensor_id in heard
    ]


def sensor_row(sensor: Sensor, zone: Zone | None, file_no: int) -> SensorRow:
    """Return a sensor with its limits as they are now."""
    tuning = tune(sensor.role, sensor.interval_s, sensor.rules, band_of(zone))
    return SensorRow(
        sensor.sensor_id,
        sensor.zone_id,
        sensor.role.value,
        sensor.quantity.value,
        STORED_UNIT[sensor.quantity],
        sensor.interval_s,
        None if tuning.low_e4 == UNSET_LOW_E4 else tuning.low_e4 / E4,
        None if tuning.high_e4 == UNSET_HIGH_E4 else tuning.high_e4 / E4,
        tuning.gap_us / (MINUTE_US / 60),
        file_no,
    )


def write_sensors(rows: Sequence[SensorRow], claims: Claims, sink: BinaryIO) -> None:
    """Write the file of the site's sensors."""
    pa, _ = arrow()
    schema = sensors_schema()
    arrays = [pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in schema]
    write_sensor_table(pa.Table.from_arrays(arrays, schema=schema), claims, sink)


def write_sensor_table(table: Any, claims: Claims, sink: BinaryIO) -> None:
    """Write rows of sensors as the file of a site's day."""
    _, pq = arrow()
    schema = sensors_schema().with_metadata(_metadata(claims))
    with pq.ParquetWriter(sink, schema, version="2.6", compression="zstd") as writer:
        writer.write_table(table.cast(schema))


def _metadata(claims: Claims) -> dict[bytes, bytes]:
    return {KEY: msgspec.json.encode(claims)}


def claims_of(metadata: dict[bytes, bytes] | None) -> Claims | None:
    """Return what a file says of itself; None where it is none of ours."""
    try:
        return msgspec.json.decode((metadata or {})[KEY], type=Claims)
    except (KeyError, msgspec.DecodeError):
        return None


def midnight(day: int) -> datetime:
    """Return the instant at which a UTC day begins."""
    return datetime.combine(date_of(day), datetime.min.time(), tzinfo=UTC)
