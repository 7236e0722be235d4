"""Chunks: readings on their way from flushes to blocks, one sensor and one UTC day each.

Flushes are *rolled* every few hundred, every hour, and whenever blocks are sealed, so that neither a query
nor a seal opens thousands of flushes: a sensor's readings of a day become a chunk, or, where they are few,
move into its newest chunk until that one has `CHUNK_READINGS`. A chunk carries its sums, as a block does.

A roll works on all its readings at once, sorted by sensor, and cuts the chunks out of columns that are
packed already: what it costs is the rows, not the readings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import DAY_US, Readings, Summary, summarise_columns
from coldgrid.telemetry.flush import stable_order
from coldgrid.telemetry.landing import Flush, joined
from coldgrid.telemetry.packing import Column, narrowed, pack_flags, unpack_column, unpack_flags
from coldgrid.telemetry.quantities import Ints

CHUNK_READINGS = 512
# So many readings at once make a chunk of their own; fewer go to the newest one.
PART_READINGS = 128
_DAYS_MAX = 2**32  # of all time, so that a sensor's number and a day make one number

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
# Days and their sensors in order, so that a seal finds the next ones without reading the others.
sa.Index(
    "ix_telemetry_chunk_site",
    *(telemetry_chunk.c[name] for name in ("site_id", "day", "sensor_id", "readings")),
)

_NEW_CHUNK = Statement(telemetry_chunk.insert())
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
_NEWEST = Statement(
    sa.select(telemetry_chunk.c.body)
    .where(telemetry_chunk.c.sensor_id == sa.bindparam("sensor_id"))
    .order_by(telemetry_chunk.c.day.desc(), telemetry_chunk.c.last_us.desc())
    .limit(1)
)
_OPEN = Statement(
    sa.select(*(telemetry_chunk.c[name] for name in ("sensor_id", "day", "chunk_no", "body")))
    .where(
        telemetry_chunk.c.site_id == sa.bindparam("site_id"),
        telemetry_chunk.c.day.in_(sa.bindparam("days", expanding=True)),
        telemetry_chunk.c.readings < CHUNK_READINGS,
    )
    .order_by(telemetry_chunk.c.chunk_no)
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
    """A chunk as it is stored: times, values, and a bit for each bad reading (empty: none)."""

    at_us: Column
    value_e4: Column
    bad: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Stored).decode


def unpack_chunk(body: bytes) -> Readings:
    """Read a chunk back."""
    stored = _decode(body)
    at_us = unpack_column(stored.at_us)
    return Readings(at_us, unpack_column(stored.value_e4), unpack_flags(stored.bad, len(at_us)))


class Lot(msgspec.Struct, frozen=True, gc=False):
    """Readings of many sensors, each with the number of its sensor, in any order."""

    sensor: Ints
    readings: Readings


def roll_into_chunks(tx: Tx, flushes: Sequence[Flush], roll_no: int) -> None:
    """Move the readings of flushes into chunks; the caller deletes the flushes.

    Args:
        tx: The unit of work.
        flushes: What to roll.
        roll_no: The number of new chunks: greater than that of every roll of the site before.
    """
    number: dict[str, int] = {}
    lot = _lot(flushes, number)
    if not len(lot.readings):
        return
    opened, grown = _open_chunks(tx, lot, number)
    lot = _in_order(opened, lot)
    heads, days = _cut(lot)
    sensors = lot.sensor[heads].tolist()
    names = list(number)
    sums = summarise_columns(lot.readings, heads)
    at_us = lot.readings.at_us
    first_us, last_us = at_us[heads].tolist(), at_us[np.append(heads[1:], len(at_us)) - 1].tolist()
    keys = [(names[sensor], day) for sensor, day in zip(sensors, days, strict=True)]
    longer: list[tuple[Any, ...]] = []
    rows = zip(keys, first_us, last_us, *sums, _bodies(lot.readings, heads), strict=True)
    for key, *rest in rows:
        known = grown.get(key)
        if known is None:
            tx.write_row(_NEW_CHUNK, (*key, roll_no, tx.origin, *rest))
        else:
            longer.append((*key, known, tx.origin, *rest))
    for row in longer:
        tx.write_row(_PUT_CHUNK, row)


def _lot(flushes: Sequence[Flush], number: dict[str, int]) -> Lot:
    """Return all readings of flushes; `number` takes the numbers of their sensors."""
    of_names: dict[int, Ints] = {}
    sensors = []
    for flush in flushes:
        numbers = of_names.get(id(flush.named))
        if numbers is None:
            listed = [number.setdefault(name, len(number)) for name in flush.sensor_ids]
            numbers = of_names[id(flush.named)] = np.array(listed, dtype=np.int64)
        sensors.append(np.repeat(numbers, np.diff(flush.starts, append=len(flush.readings))))
    return _joined(sensors, [flush.readings for flush in flushes])


def _joined(sensors: Sequence[Ints], parts: Sequence[Readings]) -> Lot:
    if not parts:
        return Lot(np.zeros(0, dtype=np.int64), joined([]))
    readings = Readings(
        np.concatenate([part.at_us for part in parts]),
        np.concatenate([part.value_e4 for part in parts]),
        np.concatenate([part.bad for part in parts]),
    )
    return Lot(np.concatenate(sensors), readings)


def _open_chunks(tx: Tx, lot: Lot, number: Mapping[str, int]) -> tuple[Lot, dict[tuple[str, int], int]]:
    """Return what the newest chunks of sensors with few new readings hold, and those chunks' numbers."""
    few = np.bincount(lot.sensor, minlength=len(number)) < PART_READINGS
    if not few.any():
        return _joined([], []), {}
    concerned = few[lot.sensor]
    pairs = np.unique(lot.sensor[concerned] * _DAYS_MAX + lot.readings.at_us[concerned] // DAY_US)
    names = list(number)
    wanted = {(names[pair // _DAYS_MAX], pair % _DAYS_MAX) for pair in pairs.tolist()}
    newest: dict[tuple[str, int], tuple[int, bytes]] = {}
    for sensor_id, day, chunk_no, body in tx.all(
        _OPEN, site_id=tx.origin, days=sorted({day for _, day in wanted})
    ):
        if (sensor_id, day) in wanted:
            newest[sensor_id, day] = (chunk_no, body)
    parts = [unpack_chunk(body) for _, body in newest.values()]
    sensors = [np.full(len(part), number[name]) for (name, _), part in zip(newest, parts, strict=True)]
    return _joined(sensors, parts), {key: chunk_no for key, (chunk_no, _) in newest.items()}


def _in_order(opened: Lot, lot: Lot) -> Lot:
    """Return both, sorted by sensor and time; of the same time the one given first comes first."""
    if len(opened.readings):
        lot = _joined([opened.sensor, lot.sensor], [opened.readings, lot.readings])
    at_us = lot.readings.at_us
    # As a rule time is in order already.
    order = stable_order(lot.sensor)
    sensor, sorted_us = lot.sensor[order], at_us[order]
    if bool(((sorted_us[1:] <= sorted_us[:-1]) & (sensor[1:] == sensor[:-1])).any()):
        order = np.lexsort((at_us, lot.sensor))
        sensor, sorted_us = lot.sensor[order], at_us[order]
    bad = lot.readings.bad
    return Lot(sensor, Readings(sorted_us, lot.readings.value_e4[order], bad[order] if bad.any() else bad))


def _cut(lot: Lot) -> tuple[Ints, list[int]]:
    """Return where each sensor's UTC days (since 1970) begin, and which days they are."""
    changes = lot.sensor[1:] != lot.sensor[:-1]
    at_us = lot.readings.at_us
    if int(at_us.min()) // DAY_US != int(at_us.max()) // DAY_US:
        day = at_us // DAY_US
        changes |= day[1:] != day[:-1]
    heads = np.append(0, np.flatnonzero(changes) + 1)
    return heads, (at_us[heads] // DAY_US).tolist()


def _bodies(readings: Readings, heads: Ints) -> list[bytes]:
    """Return the parts that begin at `heads` as chunks: all packed alike, then cut."""
    packed = []
    for column in (readings.at_us, readings.value_e4):
        least, step, narrow = narrowed(column)
        packed.append((least, step, narrow.itemsize, narrow.tobytes()))
    (at_least, at_step, at_width, at), (least, step, width, value) = packed
    flagged = readings.bad if readings.bad.any() else None
    starts = heads.tolist()
    return [
        _encode(
            Stored(
                Column(at_least, at_step, at_width, at[start * at_width : end * at_width]),
                Column(least, step, width, value[start * width : end * width]),
                b"" if flagged is None else pack_flags(flagged[start:end]),
            )
        )
        for start, end in zip(starts, [*starts[1:], len(readings)], strict=True)
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
