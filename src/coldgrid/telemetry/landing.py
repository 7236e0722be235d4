"""Landing: readings as they came in, one flush each, and the checkpoints from which the rules go on.

Invariants
    L1  An acknowledged reading is in exactly one of: a flush, a chunk (`chunks`), a block (`archive`).
    L2  The flushes of a site form a chain: each one's digest covers its bytes and the digest before.
    L3  A checkpoint and the flushes after it give the rules' memory exactly.

Readings are not events, so these tables are working state of the runtime: a rebuild from the log leaves
them alone, and manifests in the log vouch for what they are sealed into. A flush is written in the
transaction that decides on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import Readings, Summary, summarise_columns
from coldgrid.telemetry.flush import Grouped, group_by_sensor
from coldgrid.telemetry.packing import (
    Column,
    pack_column,
    pack_flags,
    spread,
    squeezed,
    unpack_column,
    unpack_flags,
)
from coldgrid.telemetry.quantities import Ints

NO_DIGEST = ""
SMALL_BYTES = 1_024

# --- Bytes ----------------------------------------------------------------------


class Landed(msgspec.Struct, array_like=True):
    """A flush as it is stored. The first `live` groups went through the rules in order; the rest came late.

    `names` is the MessagePack list of each group's sensor, `counts` its readings; times and values are
    grouped by sensor; `bad` one bit each, empty: none. `steps` leads from one live reading's place in the
    order of arrival to the next one's; None: it makes no difference to the rules.
    """

    names: bytes
    counts: Column
    live: int
    seen_us: int
    at_us: Column
    value_e4: Column
    bad: bytes
    steps: Column | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Landed).decode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode


def pack_flush(
    names_of: Callable[[Ints], bytes], parts: Sequence[Grouped], seen_us: int, *, ordered: bool
) -> bytes:
    """Return a flush as bytes: the live readings, then the late ones if any.

    Args:
        names_of: Gives the sensors of some rows as `Landed.names`.
        parts: The live readings, then the late ones.
        seen_us: When the flush came in, business time.
        ordered: Whether to keep the order of arrival: rules ask for it only where a device speaks.
    """
    filled_parts = [part for part in parts if len(part)]
    live = parts[0]
    return squeezed(
        _encode(
            Landed(
                names_of(_one([part.rows for part in filled_parts])),
                pack_column(_one([part.counts for part in filled_parts])),
                len(live.rows),
                seen_us,
                pack_column(_one([part.at_us for part in filled_parts])),
                pack_column(_one([part.value_e4 for part in filled_parts])),
                pack_flags(_one([part.bad for part in filled_parts])),
                pack_column(np.diff(live.pos, prepend=0)) if ordered else None,
            )
        )
    )


def pack_beside(parts: Sequence[tuple[str, Readings]], seen_us: int) -> bytes:
    """Return series that no rule follows as a flush; each is in the order of time."""
    names = _encode([name for name, _ in parts])
    counts = pack_column(np.array([len(one) for _, one in parts], dtype=np.int64))
    at_us = pack_column(_one([one.at_us for _, one in parts]))
    value_e4 = pack_column(_one([one.value_e4 for _, one in parts]))
    return squeezed(_encode(Landed(names, counts, 0, seen_us, at_us, value_e4, b"", None)))


def _one(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


class Named(msgspec.Struct, frozen=True):
    """The sensors of a flush's groups, and the groups of each sensor: two where some readings came late."""

    sensor_ids: list[str]
    groups: dict[str, list[int]]


@lru_cache(maxsize=512)
def _named(names: bytes) -> Named:
    """Read the names of a flush, once for the many flushes of a gateway that name the same sensors."""
    sensor_ids = _decode_names(names)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(sensor_ids):
        groups.setdefault(name, []).append(index)
    return Named(sensor_ids, groups)


class Flush(msgspec.Struct, frozen=True):
    """A flush read back: for each sensor its readings, and how it went through the rules."""

    named: Named
    starts: Ints
    readings: Readings
    live: int
    seen_us: int
    steps: Column | None = None

    @property
    def sensor_ids(self) -> list[str]:
        """The sensor of each group."""
        return self.named.sensor_ids

    def of(self, sensor_id: str) -> Iterator[Readings]:
        """Yield a sensor's readings; it may occur twice, live and late."""
        for index in self.named.groups.get(sensor_id, ()):
            yield self.part(index)

    def part(self, index: int) -> Readings:
        """Return the readings of one group."""
        end = len(self.readings) if index + 1 == len(self.starts) else int(self.starts[index + 1])
        return cut(self.readings, int(self.starts[index]), end)

    def live_part(self, row_of: dict[str, int]) -> Grouped | None:
        """Return what went through the rules in order, of the sensors that are known; None: nothing."""
        rows = np.array([row_of.get(name, -1) for name in self.sensor_ids[: self.live]], dtype=np.int64)
        ends = np.append(self.starts[1:], len(self.readings))[: self.live]
        end = int(ends[-1]) if self.live else 0
        readings = cut(self.readings, 0, end)
        row = np.repeat(rows, np.diff(self.starts[: self.live], append=end))
        known = row >= 0
        if not known.any():
            return None
        pos = np.arange(end) if self.steps is None else np.cumsum(unpack_column(self.steps))
        return group_by_sensor(
            row[known], readings.at_us[known], readings.value_e4[known], readings.bad[known], pos[known]
        )


def flush_sums(flush: Flush, from_us: int, to_us: int) -> Iterator[tuple[str, Summary]]:
    """Yield the sum of each sensor's readings from `from_us` on and before `to_us`; live and late apart."""
    at_us = flush.readings.at_us
    group = np.repeat(np.arange(len(flush.starts)), np.diff(flush.starts, append=len(at_us)))
    kept = np.flatnonzero((at_us >= from_us) & (at_us < to_us))
    if len(kept):
        group = group[kept]
        heads = np.append(0, np.flatnonzero(group[1:] != group[:-1]) + 1)
        readings = Readings(at_us[kept], flush.readings.value_e4[kept], flush.readings.bad[kept])
        columns = summarise_columns(readings, heads)
        for index, *sums in zip(group[heads].tolist(), *columns, strict=True):
            yield flush.sensor_ids[index], Summary(**dict(zip(Summary.__struct_fields__, sums, strict=True)))


def unpack_flush(body: bytes) -> Flush:
    """Read a flush back."""
    landed = _decode(spread(body))
    at_us, counts = unpack_column(landed.at_us), unpack_column(landed.counts)
    readings = Readings(at_us, unpack_column(landed.value_e4), unpack_flags(landed.bad, len(at_us)))
    starts = np.cumsum(counts) - counts
    return Flush(_named(landed.names), starts, readings, landed.live, landed.seen_us, landed.steps)


def cut(readings: Readings, start: int, end: int) -> Readings:
    """Return a part of readings."""
    return Readings(readings.at_us[start:end], readings.value_e4[start:end], readings.bad[start:end])


def joined(parts: Iterable[Readings]) -> Readings:
    """Return readings in the order of time; of two with the same time the first one given stays.

    Each part is in that order already.
    """
    listed = list(parts)
    return filled(listed, sum(len(part) for part in listed))


def filled(parts: Iterable[Readings], count: int) -> Readings:
    """Do what `joined` does with parts that hold `count` readings, each copied and forgotten before the next.

    Memory that is touched for the first time costs more than all else in reading a month.
    """
    at_us, value_e4 = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    bad = np.empty(count, dtype=np.bool_)
    end, in_order = 0, True
    for part in parts:
        if not len(part):
            continue
        start, end = end, end + len(part)
        at_us[start:end], value_e4[start:end], bad[start:end] = part.at_us, part.value_e4, part.bad
        in_order &= start == 0 or bool(at_us[start - 1] < at_us[start])
    if in_order:
        return Readings(at_us, value_e4, bad)
    order = np.argsort(at_us, kind="stable")
    first = np.diff(at_us[order], prepend=-1) > 0
    kept = order[first]
    return Readings(at_us[kept], value_e4[kept], bad[kept])


def within(readings: Readings, from_us: int, to_us: int) -> Readings:
    """Return the readings from `from_us` on and before `to_us`."""
    start, end = np.searchsorted(readings.at_us, [from_us, to_us]).tolist()
    return cut(readings, start, end)


# --- Tables ---------------------------------------------------------------------

telemetry_landing = sa.Table(
    "telemetry_landing",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("landed_no", sa.BigInteger, primary_key=True),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
telemetry_checkpoint = sa.Table(
    "telemetry_checkpoint",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("landed_no", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)

_LAND = Statement(telemetry_landing.insert())
_CLEAR = Statement(
    telemetry_landing.delete().where(
        telemetry_landing.c.site_id == sa.bindparam("whose"),
        telemetry_landing.c.landed_no <= sa.bindparam("upto"),
    )
)
_LANDED = Statement(
    sa.select(telemetry_landing.c.landed_no, telemetry_landing.c.digest, telemetry_landing.c.body)
    .where(telemetry_landing.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_landing.c.landed_no)
)
_OVERLAPPING = Statement(
    sa.select(telemetry_landing.c.body)
    .where(
        telemetry_landing.c.site_id == sa.bindparam("site_id"),
        telemetry_landing.c.last_us >= sa.bindparam("from_us"),
        telemetry_landing.c.first_us < sa.bindparam("to_us"),
    )
    .order_by(telemetry_landing.c.landed_no)
)
_ALL_OVERLAPPING = Statement(
    sa.select(telemetry_landing.c.body).where(
        telemetry_landing.c.last_us >= sa.bindparam("from_us"),
        telemetry_landing.c.first_us < sa.bindparam("to_us"),
    )
)
_AFTER = Statement(
    sa.select(telemetry_landing.c.site_id, telemetry_landing.c.landed_no, telemetry_landing.c.digest)
    .add_columns(telemetry_landing.c.readings, telemetry_landing.c.body)
    .order_by(telemetry_landing.c.site_id, telemetry_landing.c.landed_no)
)
_CHECKPOINT = Statement(upsert(telemetry_checkpoint, keys=["site_id"], set_=["landed_no", "digest", "body"]))
_CHECKPOINTS = Statement(sa.select(telemetry_checkpoint))

# --- Flushes --------------------------------------------------------------------


class Head(msgspec.Struct, frozen=True):
    """Where a site's landing stands: its last number and digest, and how much waits to be rolled."""

    landed_no: int = -1
    digest: str = NO_DIGEST
    flushes: int = 0
    readings: int = 0


class Stored(msgspec.Struct, frozen=True):
    """A site's checkpoint as it is stored."""

    site_id: str
    landed_no: int
    digest: str
    body: bytes


def land(tx: Tx, head: Head, body: bytes, parts: Sequence[Grouped | Readings]) -> Head:
    """Write a flush and return the site's new head (L2)."""
    digest = chained(head.digest, body)
    count = sum(len(part) for part in parts)
    first_us = min(int(part.at_us.min()) for part in parts if len(part))
    last_us = max(int(part.at_us.max()) for part in parts if len(part))
    tx.write_row(_LAND, (tx.origin, head.landed_no + 1, first_us, last_us, count, digest, body))
    return Head(head.landed_no + 1, digest, head.flushes + 1, head.readings + count)


def chained(digest: str, body: bytes) -> str:
    """Return the digest of a flush in its site's chain."""
    return sha256(digest.encode() + body).hexdigest()


def keep_checkpoint(tx: Tx, site_id: str, head: Head, memory: bytes) -> None:
    """Write what the rules remember after the site's last flush (L3)."""
    tx.write(_CHECKPOINT, site_id=site_id, landed_no=head.landed_no, digest=head.digest, body=memory)


def clear_landing(tx: Tx, site_id: str, head: Head) -> Head:
    """Delete the flushes that were rolled and return the head that remains."""
    tx.write(_CLEAR, whose=site_id, upto=head.landed_no)
    return Head(head.landed_no, head.digest)


# --- Queries --------------------------------------------------------------------


class ChainBroken(ValueError):
    """A flush is not the one that was written: the storage changed it."""


def load_checkpoints(db: Reader) -> list[Stored]:
    """Return every site's checkpoint."""
    return [Stored(*row) for row in db.all(_CHECKPOINTS)]


def load_flushes(db: Reader) -> Iterator[tuple[str, int, str, int, Flush]]:
    """Yield every flush that is not rolled yet: site, number, digest, count of readings, flush."""
    for site_id, landed_no, digest, count, body in db.all(_AFTER):
        yield site_id, landed_no, digest, count, unpack_flush(body)


def flushes_of(db: Reader, site_id: str) -> list[Flush]:
    """Return a site's flushes that are not rolled yet, each checked against the chain (L2).

    Raises:
        ChainBroken: the bytes of a flush were changed.
    """
    flushes, before = [], None
    for _, digest, body in db.all(_LANDED, site_id=site_id):
        if before is not None and chained(before, body) != digest:
            raise ChainBroken(site_id)
        before = digest
        flushes.append(unpack_flush(body))
    return flushes


def _unpacked(body: bytes) -> Flush:
    return _unpacked_small(body) if len(body) <= SMALL_BYTES else unpack_flush(body)


@lru_cache(maxsize=2_048)
def _unpacked_small(body: bytes) -> Flush:
    """The zones of a site are looked at one after the other, each through the same many small flushes."""
    return unpack_flush(body)


def flushes_between(db: Reader, site_id: str, from_us: int, to_us: int) -> list[Flush]:
    """Return the flushes not rolled yet that hold readings of a range."""
    return [
        _unpacked(body) for (body,) in db.all(_OVERLAPPING, site_id=site_id, from_us=from_us, to_us=to_us)
    ]


def all_flushes_between(db: Reader, from_us: int, to_us: int) -> list[Flush]:
    """Return the flushes of all sites not rolled yet that hold readings of a range."""
    return [unpack_flush(body) for (body,) in db.all(_ALL_OVERLAPPING, from_us=from_us, to_us=to_us)]
