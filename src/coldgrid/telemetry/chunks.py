"""Chunks: readings on their way from flushes to blocks, one sensor and one UTC day each.

Flushes are *rolled* every few hundred, every hour, and whenever blocks are sealed: their readings move
into the newest chunk of their sensor and day until it has `CHUNK_READINGS`, so that neither a query nor
a seal opens thousands of flushes. A chunk carries its sums, as a block does.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import DAY_US, Readings, Summary, added, summarise_groups
from coldgrid.telemetry.flush import stable_order
from coldgrid.telemetry.landing import Flush, cut, joined

CHUNK_READINGS = 512
# So many readings at once make a chunk of their own; fewer go to the newest one.
PART_READINGS = 128
_SUMMED = Summary.__struct_fields__

telemetry_chunk = sa.Table(
    "telemetry_chunk",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("chunk_no", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("good", sa.BigInteger, nullable=False),
    sa.Column("low_e4", sa.BigInteger),
    sa.Column("high_e4", sa.BigInteger),
    sa.Column("sum_e4", sa.BigInteger, nullable=False),
    sa.Column("kinetic_sum", sa.Float, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
sa.Index("ix_telemetry_chunk_site", telemetry_chunk.c.site_id, telemetry_chunk.c.day)

_PUT_CHUNK = Statement(
    upsert(
        telemetry_chunk,
        keys=["sensor_id", "day", "chunk_no"],
        set_=[
            column.name
            for column in telemetry_chunk.columns
            if column.name not in {"sensor_id", "day", "chunk_no", "site_id"}
        ],
    )
)
_DROP_CHUNKS = Statement(
    telemetry_chunk.delete().where(
        telemetry_chunk.c.sensor_id == sa.bindparam("whose"), telemetry_chunk.c.day == sa.bindparam("which")
    )
)
_OPEN_DAYS = Statement(
    sa.select(telemetry_chunk.c.sensor_id, telemetry_chunk.c.day, sa.func.max(telemetry_chunk.c.chunk_no))
    .where(
        telemetry_chunk.c.site_id == sa.bindparam("site_id"),
        telemetry_chunk.c.day >= sa.bindparam("from_day"),
    )
    .group_by(telemetry_chunk.c.sensor_id, telemetry_chunk.c.day)
)
_NEWEST = Statement(
    sa.select(telemetry_chunk.c.body)
    .where(telemetry_chunk.c.sensor_id == sa.bindparam("sensor_id"))
    .order_by(telemetry_chunk.c.day.desc(), telemetry_chunk.c.last_us.desc())
    .limit(1)
)
_OPEN = Statement(
    sa.select(
        *(telemetry_chunk.c[name] for name in ("sensor_id", "day", "chunk_no", "body")),
        *(telemetry_chunk.c[name] for name in _SUMMED),
    ).where(
        telemetry_chunk.c.site_id == sa.bindparam("site_id"),
        telemetry_chunk.c.day >= sa.bindparam("from_day"),
        telemetry_chunk.c.readings < CHUNK_READINGS,
    )
)
_CHUNKS = Statement(
    telemetry_chunk.delete().where(
        telemetry_chunk.c.sensor_id == sa.bindparam("whose"), telemetry_chunk.c.day == sa.bindparam("which")
    )
)
_LAST_CHUNK = Statement(
    sa.select(telemetry_chunk.c.chunk_no, telemetry_chunk.c.readings, telemetry_chunk.c.body)
    .where(
        telemetry_chunk.c.sensor_id == sa.bindparam("sensor_id"), telemetry_chunk.c.day == sa.bindparam("day")
    )
    .order_by(telemetry_chunk.c.chunk_no.desc())
    .limit(1)
)
_CHUNKS = Statement(
    sa.select(telemetry_chunk.c.body)
    .where(
        telemetry_chunk.c.sensor_id == sa.bindparam("sensor_id"),
        telemetry_chunk.c.last_us >= sa.bindparam("from_us"),
        telemetry_chunk.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_chunk.c.day, telemetry_chunk.c.chunk_no)
)
_DAYS = Statement(
    sa.select(telemetry_chunk.c.sensor_id, telemetry_chunk.c.day)
    .where(
        telemetry_chunk.c.site_id == sa.bindparam("site_id"), telemetry_chunk.c.day <= sa.bindparam("upto")
    )
    .distinct()
    .order_by(telemetry_chunk.c.day, telemetry_chunk.c.sensor_id)
    .limit(sa.bindparam("most"))
)
_SUMS = Statement(
    sa.select(
        telemetry_chunk.c.sensor_id,
        sa.func.sum(telemetry_chunk.c.readings),
        sa.func.sum(telemetry_chunk.c.good),
        sa.func.min(telemetry_chunk.c.low_e4),
        sa.func.max(telemetry_chunk.c.high_e4),
        sa.func.sum(telemetry_chunk.c.sum_e4),
        sa.func.sum(telemetry_chunk.c.kinetic_sum),
    )
    .where(
        telemetry_chunk.c.day >= sa.bindparam("from_day"),
        telemetry_chunk.c.day < sa.bindparam("to_day"),
        telemetry_chunk.c.sensor_id.in_(sa.bindparam("sensor_ids", expanding=True)),
    )
    .group_by(telemetry_chunk.c.sensor_id)
)


class Stored(msgspec.Struct, array_like=True, gc=False):
    """A chunk as it is stored: little-endian columns of 8 and 4 bytes, and a bit for each bad reading."""

    at_us: bytes
    value_e4: bytes
    bad: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode


def pack_chunk(readings: Readings) -> bytes:
    """Return a chunk as bytes."""
    bad = np.packbits(readings.bad).tobytes() if readings.bad.any() else b""
    return _encode(
        Stored(readings.at_us.astype("<i8").tobytes(), readings.value_e4.astype("<i4").tobytes(), bad)
    )


def unpack_chunk(body: bytes) -> Readings:
    """Read a chunk back."""
    stored = _decode(body)
    at_us = np.frombuffer(stored.at_us, dtype="<i8").astype(np.int64)
    bad = np.zeros(len(at_us), dtype=np.bool_)
    if stored.bad:
        bad = np.unpackbits(np.frombuffer(stored.bad, dtype=np.uint8), count=len(at_us)).astype(np.bool_)
    return Readings(at_us, np.frombuffer(stored.value_e4, dtype="<i4").astype(np.int64), bad)


def roll_into_chunks(tx: Tx, flushes: Sequence[Flush]) -> None:
    """Move the readings of flushes into chunks; the caller deletes the flushes."""
    names, parts = _by_sensor_and_day(flushes)
    if not parts:
        return
    from_day = min(part.day for part in parts)
    last_no = {(name, day): no for name, day, no in tx.all(_OPEN_DAYS, site_id=tx.origin, from_day=from_day)}
    opened = {}
    if any(len(part.readings) < PART_READINGS for part in parts):
        rows = tx.all(_OPEN, site_id=tx.origin, from_day=from_day)
        opened = {
            tuple(row[:3]): (row[3], Summary(**dict(zip(_SUMMED, row[4:], strict=True)))) for row in rows
        }
    for part in parts:
        sensor_id, day, readings, summary = names[part.sensor], part.day, part.readings, part.summary
        chunk_no = last_no.get((sensor_id, day), -1)
        newest = opened.get((sensor_id, day, chunk_no)) if len(readings) < PART_READINGS else None
        if newest is None:
            chunk_no += 1
        else:
            readings = joined([unpack_chunk(newest[0]), readings])
            summary = added([newest[1], summary])
        tx.write(
            _PUT_CHUNK,
            sensor_id=sensor_id,
            day=day,
            chunk_no=chunk_no,
            site_id=tx.origin,
            first_us=int(readings.at_us[0]),
            last_us=int(readings.at_us[-1]),
            body=pack_chunk(readings),
            **msgspec.structs.asdict(summary),
        )


class Part(msgspec.Struct, frozen=True, gc=False):
    """A sensor's readings of a UTC day (days since 1970), in the order of time, with their sums."""

    sensor: int
    day: int
    readings: Readings
    summary: Summary


def _by_sensor_and_day(flushes: Sequence[Flush]) -> tuple[list[str], list[Part]]:
    """Return the names of the sensors and the parts: all flushes at once, because a roll may hold many."""
    number: dict[str, int] = {}
    sensors = []
    for flush in flushes:
        numbers = [number.setdefault(name, len(number)) for name in flush.sensor_ids]
        counts = np.diff(flush.starts, append=len(flush.readings))
        sensors.append(np.repeat(np.array(numbers, dtype=np.int64), counts))
    if not sensors:
        return [], []
    sensor = np.concatenate(sensors)
    at_us = np.concatenate([flush.readings.at_us for flush in flushes])
    value_e4 = np.concatenate([flush.readings.value_e4 for flush in flushes])
    bad = np.concatenate([flush.readings.bad for flush in flushes])
    # As a rule time is in order already.
    order = stable_order(sensor)
    sorted_us, sorted_sensor = at_us[order], sensor[order]
    if bool(((sorted_us[1:] <= sorted_us[:-1]) & (sorted_sensor[1:] == sorted_sensor[:-1])).any()):
        order = np.lexsort((at_us, sensor))
        sorted_us, sorted_sensor = at_us[order], sensor[order]
    sensor, readings = sorted_sensor, Readings(sorted_us, value_e4[order], bad[order])
    changes = sensor[1:] != sensor[:-1]
    if int(at_us.min()) // DAY_US != int(at_us.max()) // DAY_US:
        day = readings.at_us // DAY_US
        changes |= day[1:] != day[:-1]
    heads = np.append(0, np.flatnonzero(changes) + 1)
    summaries = summarise_groups(readings, heads)
    ends = [*heads[1:].tolist(), len(sensor)]
    return list(number), [
        Part(int(sensor[head]), int(readings.at_us[head]) // DAY_US, cut(readings, head, end), summary)
        for head, end, summary in zip(heads.tolist(), ends, summaries, strict=True)
    ]


def drop_chunks(tx: Tx, sensor_id: str, day: int) -> None:
    """Delete a sensor's chunks of a day that was sealed."""
    tx.write(_DROP_CHUNKS, whose=sensor_id, which=day)


# --- Queries --------------------------------------------------------------------


def chunked(db: Reader, sensor_id: str, from_us: int, to_us: int) -> list[Readings]:
    """Return the chunks of a sensor that hold readings of a range, whole."""
    return [
        unpack_chunk(body) for (body,) in db.all(_CHUNKS, sensor_id=sensor_id, from_us=from_us, to_us=to_us)
    ]


def newest_chunk(db: Reader, sensor_id: str) -> list[Readings]:
    """Return the chunk with a sensor's newest reading, if there is one."""
    return [unpack_chunk(body) for (body,) in db.all(_NEWEST, sensor_id=sensor_id)]


def waiting_days(db: Reader, site_id: str, upto: int, limit: int) -> list[tuple[str, int]]:
    """Return (sensor, day) of a site that have chunks, up to a day, oldest first."""
    return [(sensor_id, day) for sensor_id, day in db.all(_DAYS, site_id=site_id, upto=upto, most=limit)]


def chunk_sums(db: Reader, sensor_ids: Sequence[str], from_day: int, to_day: int) -> dict[str, Summary]:
    """Return what the chunks of whole days add up to, by sensor."""
    rows = db.all(_SUMS, sensor_ids=list(sensor_ids), from_day=from_day, to_day=to_day)
    return {row[0]: summary_of(row[1:]) for row in rows}


def summary_of(row: Sequence[float | None]) -> Summary:
    """Return sums as they come from a table: readings, good, low, high, sum, kinetic sum."""
    readings, good, low_e4, high_e4, sum_e4, kinetic_sum = row
    return Summary(
        readings=int(readings or 0),
        good=int(good or 0),
        low_e4=None if low_e4 is None else int(low_e4),
        high_e4=None if high_e4 is None else int(high_e4),
        sum_e4=int(sum_e4 or 0),
        kinetic_sum=float(kinetic_sum or 0.0),
    )
