"""Export: readings leave in open formats, CSV and Parquet. pyarrow is an extra, only needed for Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, BinaryIO

import numpy as np

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Unavailable
from coldgrid.kernel.tables import to_micros
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.quantities import E4
from coldgrid.telemetry.sensors import Sensor, get_sensor
from coldgrid.telemetry.store import readings_of

COLUMNS = ("sensor_id", "at", "value", "unit", "good")
PART = timedelta(days=7)
# A stored unit by its quantity; °F is converted on the way in.
STORED_UNIT = {"temperature": "C", "humidity": "%", "state": "state", "power": "W", "energy": "Wh"}


class ParquetMissing(Unavailable):
    """Parquet needs pyarrow, which is not installed here."""

    todo = "Install coldgrid[parquet], or export CSV."


def csv_parts(db: Reader, sensor_ids: Sequence[str], from_at: datetime, to_at: datetime) -> Iterator[str]:
    """Yield CSV (RFC 4180) with a header: all readings of sensors, good and bad, a week at a time.

    Raises:
        SensorNotFound: one of the sensors does not exist.
    """
    yield ",".join(COLUMNS) + "\r\n"
    for sensor, readings in _parts(db, sensor_ids, from_at, to_at):
        text = io.StringIO()
        times = np.datetime_as_string(readings.at_us.view("datetime64[us]"), timezone="UTC")
        unit = STORED_UNIT[sensor.quantity]
        csv.writer(text).writerows(
            (sensor.sensor_id, at, value, unit, "false" if bad else "true")
            for at, value, bad in zip(
                times.tolist(), (readings.value_e4 / E4).tolist(), readings.bad.tolist(), strict=True
            )
        )
        yield text.getvalue()


def write_parquet(
    db: Reader, sensor_ids: Sequence[str], from_at: datetime, to_at: datetime, sink: BinaryIO
) -> int:
    """Write Parquet with the same columns, a row group for each sensor and week; return how many readings.

    Raises:
        ParquetMissing: pyarrow is not installed.
        SensorNotFound: one of the sensors does not exist.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 (an extra: only when used)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ParquetMissing from None
    schema: Any = pa.schema(
        [
            ("sensor_id", pa.dictionary(pa.int32(), pa.string())),
            ("at", pa.timestamp("us", tz="UTC")),
            ("value", pa.float64()),
            ("unit", pa.dictionary(pa.int32(), pa.string())),
            ("good", pa.bool_()),
        ]
    )
    count = 0
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for sensor, readings in _parts(db, sensor_ids, from_at, to_at):
            length = len(readings)
            columns = [
                [sensor.sensor_id] * length,
                readings.at_us,
                readings.value_e4 / E4,
                [STORED_UNIT[sensor.quantity]] * length,
                ~readings.bad,
            ]
            arrays = [
                pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += length
    return count


def _parts(
    db: Reader, sensor_ids: Sequence[str], from_at: datetime, to_at: datetime
) -> Iterator[tuple[Sensor, Readings]]:
    sensors = [get_sensor(db, sensor_id) for sensor_id in sensor_ids]
    for sensor in sensors:
        start = from_at
        while start < to_at:
            end = min(start + PART, to_at)
            readings = readings_of(db, sensor.site_id, sensor.sensor_id, to_micros(start), to_micros(end))
            if len(readings):
                yield sensor, readings
            start = end
