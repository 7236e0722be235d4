"""Parcels: readings on their way from a node to the tower before their day is sealed.

Invariants
    P1  Every reading that a node takes in while parcels are on is in exactly one, numbered without a gap.
    P2  A parcel is a copy: blocks, which manifests vouch for, take its place. Whatever order they arrive in,
        a reading counts once, and what the tower shows is what the node shows.

A node cuts a parcel from the flushes that are not rolled yet: before each roll, and every so often. It waits
until the tower has it. At the tower a parcel waits until it is rolled into chunks, like flushes do at home.

A parcel's bytes: the head (`_HEAD`), then one zstd frame with the sensors' names, the counts, and planes of
bytes, all in their greatest common unit: of values the change; of times the change of their step (a clock
that drifts), or how far they lie beside a grid of each sensor's interval (one that jitters), what is shorter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import sqlalchemy as sa
import zstandard

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.landing import Flush, Named, cut, joined
from coldgrid.telemetry.quantities import Flags, Ints

PARCEL_READINGS_MAX = 400_000
_MAGIC = b"CGP1"
# magic, readings, sensors, unfolded bytes, mode of times, least µs, unit of times in µs, step of values
_HEAD = struct.Struct("<4sIIIB3xqqq")
_RAW_MAX = 36 * PARCEL_READINGS_MAX
_DRIFT, _GRID = range(2)
_NAME_BYTES_MAX = 4 * 1024 * 1024
_LEVEL = 6


class ParcelDamaged(ValueError):
    """The bytes are no parcel that any release has written."""


class Parcel(msgspec.Struct, frozen=True):
    """A parcel as it is stored."""

    parcel_no: int
    first_us: int
    last_us: int
    readings: int
    body: bytes


# --- Bytes (pure) -----------------------------------------------------------------


def pack_parcel(parts: Sequence[tuple[str, Readings]]) -> bytes:
    """Return readings of some sensors as bytes, each sensor's in the order of time."""
    counts = np.array([len(readings) for _, readings in parts], dtype=np.int64)
    at_us = np.concatenate([readings.at_us for _, readings in parts])
    value_e4 = np.concatenate([readings.value_e4 for _, readings in parts])
    bad = np.concatenate([readings.bad for _, readings in parts])
    heads = np.cumsum(counts) - counts
    least_us = int(at_us.min())
    unit_us = int(np.gcd.reduce(at_us - least_us)) or 1
    step_e4 = int(np.gcd.reduce(value_e4)) or 1
    names = "\n".join(name for name, _ in parts).encode()
    mode, times = _pack_times((at_us - least_us) // unit_us, heads, counts)
    raw = b"".join(
        [
            struct.pack("<I", len(names)),
            names,
            counts.astype("<u4").tobytes(),
            times,
            _planes(_steps(value_e4 // step_e4, heads)),
            np.packbits(bad).tobytes() if bad.any() else b"",
        ]
    )
    head = _HEAD.pack(_MAGIC, len(at_us), len(parts), len(raw), mode, least_us, unit_us, step_e4)
    return head + zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compress(raw)


def unpack_parcel(body: bytes) -> list[tuple[str, Readings]]:
    """Read a parcel back.

    Raises:
        ParcelDamaged: the bytes are none.
    """
    try:
        return _unpack(body)
    except (struct.error, zstandard.ZstdError, ValueError, IndexError, OverflowError) as error:
        raise ParcelDamaged("these bytes are no parcel of readings") from error


def _unpack(body: bytes) -> list[tuple[str, Readings]]:
    magic, count, sensors, size, mode, least_us, unit_us, step_e4 = _HEAD.unpack_from(body)
    if magic != _MAGIC or not 0 < count <= PARCEL_READINGS_MAX or not 0 < sensors <= count:
        raise ValueError("no parcel")
    if size > _RAW_MAX + _NAME_BYTES_MAX or not (0 < unit_us < 2**53 and 0 < step_e4 < 2**40):
        raise ValueError("a parcel out of bounds")
    raw = zstandard.ZstdDecompressor().stream_reader(body[_HEAD.size :]).read(size + 1)
    if len(raw) != size:
        raise ValueError("a parcel of another size")
    (length,) = struct.unpack_from("<I", raw)
    names = raw[4 : 4 + length].decode().split("\n")
    start = 4 + length
    counts = np.frombuffer(raw, "<u4", sensors, start).astype(np.int64)
    if len(names) != sensors or len(set(names)) != sensors or int(counts.sum()) != count or counts.min() < 1:
        raise ValueError("a parcel whose sensors do not fit")
    heads = np.cumsum(counts) - counts
    start += 4 * sensors
    width = 8 * count if mode == _DRIFT else 8 * (2 * count + sensors)
    at_us = _unpack_times(mode, raw[start : start + width], heads, counts) * unit_us + least_us
    start += width
    values = _unplaned(raw[start : start + 8 * count])
    flags = raw[start + 8 * count :]
    value_e4 = _sums(values, heads, counts) * step_e4
    _check(at_us, heads)
    bad: Flags = np.zeros(count, dtype=np.bool_)
    if flags:
        bad = np.unpackbits(np.frombuffer(flags, dtype=np.uint8), count=count).astype(np.bool_)
    readings = Readings(at_us, value_e4, bad)
    ends = heads + counts
    return [(name, cut(readings, int(heads[i]), int(ends[i]))) for i, name in enumerate(names)]


def _pack_times(at: Ints, heads: Ints, counts: Ints) -> tuple[int, bytes]:
    """Return the mode and the planes of times, whichever are shorter."""
    steps = _steps(at, heads)
    drift = _planes(_steps(steps, heads))
    # The interval of a sensor is its middle step: the sum of a few would follow every gap.
    ordered = np.lexsort((steps, np.repeat(np.arange(len(heads)), counts)))
    intervals = np.maximum(steps[ordered][heads + counts // 2], 1)
    interval = np.repeat(intervals, counts)
    point = (at + interval // 2) // interval
    grid = _planes(intervals) + _planes(_steps(point, heads)) + _planes(at - point * interval)
    return (_GRID, grid) if _size(grid) < _size(drift) else (_DRIFT, drift)


def _unpack_times(mode: int, planes: bytes, heads: Ints, counts: Ints) -> Ints:
    if mode == _DRIFT:
        return _sums(_sums(_unplaned(planes), heads, counts), heads, counts)
    if mode != _GRID:
        raise ValueError("unknown form of times")
    first, count = 8 * len(heads), 8 * int(counts.sum())
    intervals = np.repeat(_unplaned(planes[:first]), counts)
    point = _sums(_unplaned(planes[first : first + count]), heads, counts)
    return point * intervals + _unplaned(planes[first + count :])


def _size(planes: bytes) -> int:
    return len(zstandard.ZstdCompressor(level=1).compress(planes))


def _check(at_us: Ints, heads: Ints) -> None:
    steps = np.diff(at_us)
    steps[heads[1:] - 1] = 1
    if (len(steps) and int(steps.min()) <= 0) or int(at_us.min()) < 0:
        raise ValueError("times that do not go on")


def _steps(numbers: Ints, heads: Ints) -> Ints:
    """Return each number's distance from the one before in its group; the first as it is."""
    steps = np.diff(numbers, prepend=0)
    steps[heads] = numbers[heads]
    return steps


def _sums(steps: Ints, heads: Ints, counts: Ints) -> Ints:
    """Undo `_steps`."""
    total = np.cumsum(steps)
    before: Ints = np.repeat(total[heads] - steps[heads], counts)
    return total - before


def _planes(numbers: Ints) -> bytes:
    folded = (numbers << 1) ^ (numbers >> 63)
    return folded.astype("<u8").view(np.uint8).reshape(-1, 8).T.tobytes()


def _unplaned(planes: bytes) -> Ints:
    folded = np.frombuffer(planes, dtype=np.uint8).reshape(8, -1).T.copy().view("<u8").reshape(-1)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


# --- Tables -----------------------------------------------------------------------

telemetry_parcel = sa.Table(
    "telemetry_parcel",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("parcel_no", sa.BigInteger, primary_key=True),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    # From another host: shown with its site's readings. A node's own are copies of what it shows anyway.
    sa.Column("arrived", sa.Boolean, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True},
)
telemetry_parcel_head = sa.Table(
    "telemetry_parcel_head",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("parcel_no", sa.BigInteger, nullable=False),
    sa.Column("landed_no", sa.BigInteger, nullable=False),
    info={"service": True},
)

_PUT = Statement(upsert(telemetry_parcel, keys=["site_id", "parcel_no"]))
_DROP = Statement(
    telemetry_parcel.delete().where(
        telemetry_parcel.c.site_id == sa.bindparam("whose"),
        telemetry_parcel.c.parcel_no <= sa.bindparam("upto"),
    )
)
_MOVE = Statement(upsert(telemetry_parcel_head, keys=["site_id"], set_=["parcel_no", "landed_no"]))
_HEADS = Statement(sa.select(telemetry_parcel_head))
_OF_SITE = telemetry_parcel.c.site_id == sa.bindparam("site_id")
_AFTER = Statement(
    sa.select(*(telemetry_parcel.c[name] for name in Parcel.__struct_fields__))
    .where(_OF_SITE, telemetry_parcel.c.parcel_no > sa.bindparam("after"))
    .order_by(telemetry_parcel.c.parcel_no)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Parcel,
)
_BETWEEN = Statement(
    sa.select(telemetry_parcel.c.body)
    .where(
        _OF_SITE,
        telemetry_parcel.c.arrived.is_(sa.true()),
        telemetry_parcel.c.last_us >= sa.bindparam("from_us"),
        telemetry_parcel.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_parcel.c.parcel_no)
)
_ALL_BETWEEN = Statement(
    sa.select(telemetry_parcel.c.site_id, telemetry_parcel.c.body)
    .where(
        telemetry_parcel.c.arrived.is_(sa.true()),
        telemetry_parcel.c.last_us >= sa.bindparam("from_us"),
        telemetry_parcel.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_parcel.c.site_id, telemetry_parcel.c.parcel_no)
)
_WAITING = Statement(sa.select(sa.func.count(), sa.func.sum(telemetry_parcel.c.readings)).where(_OF_SITE))


class ParcelHead(msgspec.Struct, frozen=True):
    """A site's last parcel, and at its node the last flush that is in one. `landed_no` -1: none yet."""

    parcel_no: int = 0
    landed_no: int = -1


@hot_state
class ParcelHeads:
    """How far parcels go: at a node of its own site, at the tower of those it has heard of."""

    def __init__(self) -> None:
        self.of: dict[str, ParcelHead] = {}

    @classmethod
    def load(cls, reader: Reader) -> ParcelHeads:
        """Read the table."""
        state = cls()
        state.of = {site_id: ParcelHead(no, landed) for site_id, no, landed in reader.all(_HEADS)}
        return state


def move_head(tx: Tx, site_id: str, head: ParcelHead) -> None:
    """Write how far a site's parcels go."""
    heads = tx.hot(ParcelHeads).of
    before = heads.get(site_id)
    tx.write(_MOVE, site_id=site_id, parcel_no=head.parcel_no, landed_no=head.landed_no)
    heads[site_id] = head

    def put_back() -> None:
        if before is None:
            heads.pop(site_id, None)
        else:
            heads[site_id] = before

    tx.undo(put_back)


# --- At the node ------------------------------------------------------------------


def cut_parcel(tx: Tx, flushes: Sequence[Flush], landed_no: int) -> int:
    """Make parcels of the flushes that are in none yet; return how many (P1).

    `flushes`: those not rolled yet, the last one numbered `landed_no`. Does nothing where parcels are off.
    """
    head = tx.hot(ParcelHeads).of.get(tx.origin)
    if head is None or landed_no <= head.landed_no:
        return 0
    new = flushes[-min(len(flushes), landed_no - head.landed_no) :]
    number = head.parcel_no
    for parts in _portions(new):
        number += 1
        put_parcel(tx, Cut(number, False), parts, pack_parcel(parts))
    move_head(tx, tx.origin, ParcelHead(number, landed_no))
    return number - head.parcel_no


def _portions(flushes: Iterable[Flush]) -> Iterable[list[tuple[str, Readings]]]:
    """Yield the readings of flushes by sensor, in portions that a parcel may hold."""
    some: list[Flush] = []
    count = 0
    for flush in flushes:
        if some and count + len(flush.readings) > PARCEL_READINGS_MAX:
            yield _by_sensor(some)
            some, count = [], 0
        some.append(flush)
        count += len(flush.readings)
    if count:
        yield _by_sensor(some)


def _by_sensor(flushes: Sequence[Flush]) -> list[tuple[str, Readings]]:
    parts: dict[str, list[Readings]] = {}
    for flush in flushes:
        for index, sensor_id in enumerate(flush.sensor_ids):
            parts.setdefault(sensor_id, []).append(flush.part(index))
    return [(sensor_id, found) for sensor_id in sorted(parts) if len(found := joined(parts[sensor_id]))]


class Cut(msgspec.Struct, frozen=True):
    """A parcel's number, and whether it came from another host."""

    parcel_no: int
    arrived: bool


def put_parcel(tx: Tx, cut: Cut, parts: Sequence[tuple[str, Readings]], body: bytes) -> None:
    """Store a parcel of the unit's site; one that is there already stays."""
    tx.write(
        _PUT,
        site_id=tx.origin,
        parcel_no=cut.parcel_no,
        arrived=cut.arrived,
        first_us=min(int(readings.at_us[0]) for _, readings in parts),
        last_us=max(int(readings.at_us[-1]) for _, readings in parts),
        readings=sum(len(readings) for _, readings in parts),
        body=body,
    )


def drop_parcels(tx: Tx, site_id: str, upto: int) -> None:
    """Delete the parcels up to a number: the tower has them, or they were rolled."""
    tx.write(_DROP, whose=site_id, upto=upto)


# --- Queries ----------------------------------------------------------------------


def parcels_after(db: Reader, site_id: str, after: int, limit: int) -> list[Parcel]:
    """Return a site's parcels after a number, in order."""
    return db.all(_AFTER, site_id=site_id, after=after, count=limit)


def waiting(db: Reader, site_id: str) -> tuple[int, int]:
    """Return how many parcels of a site wait, and how many readings they hold."""
    row = db.one(_WAITING, site_id=site_id)
    return (0, 0) if row is None else (int(row[0] or 0), int(row[1] or 0))


def as_flush(parts: Sequence[tuple[str, Readings]]) -> Flush:
    """Return readings by sensor as a flush that nobody has to follow with rules any more."""
    counts = np.array([len(readings) for _, readings in parts], dtype=np.int64)
    readings = Readings(
        np.concatenate([part.at_us for _, part in parts]),
        np.concatenate([part.value_e4 for _, part in parts]),
        np.concatenate([part.bad for _, part in parts]),
    )
    names = [name for name, _ in parts]
    return Flush(
        Named(names, {name: [index] for index, name in enumerate(names)}),
        np.cumsum(counts) - counts,
        readings,
        0,
        0,
    )


def arrived_between(db: Reader, site_id: str, from_us: int, to_us: int) -> list[Flush]:
    """Return what parcels of another host hold of a range; nothing for a site whose flushes are here."""
    bodies = db.all(_BETWEEN, site_id=site_id, from_us=from_us, to_us=to_us)
    return [as_flush(unpack_parcel(body)) for (body,) in bodies]


def all_arrived_between(db: Reader, from_us: int, to_us: int) -> list[Flush]:
    """Return what parcels of all other hosts hold of a range."""
    return [as_flush(unpack_parcel(body)) for _, body in db.all(_ALL_BETWEEN, from_us=from_us, to_us=to_us)]
