"""Archive: sealed blocks of each sensor's days, and the manifests that vouch for them in the log.

Invariants
    K1  A sealed block never changes; readings that come later make supplementary blocks of the same day.
    K2  Every block is named, by its hash, in a manifest event of its site: within the hour it was sealed in,
        or at once for an incident or a pack.
    K3  A block whose bytes do not match the manifest is found and named; nothing else is doubted with it.

A day is sealed `SEAL_GRACE` after it ended; on demand at once, up to the newest reading. Blocks are working
state of the runtime and not rebuilt from the log; the manifests are events, and their table is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry.blocks import (
    BlockDamaged,
    Readings,
    Summary,
    block_hash,
    decode_block,
    encode_block,
    summarise,
)
from coldgrid.telemetry.chunks import summary_of
from coldgrid.telemetry.landing import Head
from coldgrid.telemetry.manifests import BlockRow, BlocksManifested, ManifestedBlock, Why, manifest_of

MANIFEST_MAX = 200

# --- Tables and projection ------------------------------------------------------

telemetry_block = sa.Table(
    "telemetry_block",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("block_no", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("good", sa.BigInteger, nullable=False),
    sa.Column("low_e4", sa.BigInteger),
    sa.Column("high_e4", sa.BigInteger),
    sa.Column("sum_e4", sa.BigInteger, nullable=False),
    sa.Column("kinetic_sum", sa.Float, nullable=False),
    sa.Column("manifested", sa.BigInteger, nullable=False),
    info={"service": True, "carried_by": "site_id"},
)
sa.Index("ix_telemetry_block_hash", telemetry_block.c.hash)
sa.Index("ix_telemetry_block_waiting", telemetry_block.c.site_id, telemetry_block.c.manifested)
# Apart from the sums, so that a month of a thousand sensors is added up without reading past their bytes.
telemetry_block_body = sa.Table(
    "telemetry_block_body",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True, "carried_with": ("telemetry_block", "hash")},
)
telemetry_manifest = sa.Table(
    "telemetry_manifest",
    metadata,
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("block_no", sa.BigInteger, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("entry_id", sa.Text, nullable=False),
    sa.Column("manifested_at", Instant, nullable=False),
    info={"origin": "site"},
)
telemetry_manifest_head = sa.Table(
    "telemetry_manifest_head",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("landed_no", sa.BigInteger, nullable=False),
    sa.Column("manifested_at", Instant, nullable=False),
    info={"origin": "site"},
)

_BLOCK, _BODY, _VOUCHED = telemetry_block.c, telemetry_block_body.c, telemetry_manifest.c
_HEADS = telemetry_manifest_head.c
_NEW = Statement(telemetry_block.insert())
_LANDED = Statement(upsert(telemetry_block, keys=["sensor_id", "day", "block_no"]))
_NEW_BODY = Statement(upsert(telemetry_block_body, keys=["hash"]))
_THIS = (
    _BLOCK.sensor_id == sa.bindparam("whose"),
    _BLOCK.day == sa.bindparam("which"),
    _BLOCK.block_no == sa.bindparam("no"),
)
_MANIFESTED = Statement(telemetry_block.update().where(*_THIS).values(manifested=1))
_DROP = Statement(telemetry_block.delete().where(*_THIS))
_VOUCH = Statement(
    upsert(
        telemetry_manifest, keys=["sensor_id", "day", "block_no"], set_=["hash", "entry_id", "manifested_at"]
    )
)
_HEAD = Statement(upsert(telemetry_manifest_head, keys=["site_id"], set_=["landed_no", "manifested_at"]))


@projects(BlocksManifested)
def _vouch(tx: Tx, event: BlocksManifested) -> None:
    for block in event.blocks:
        tx.write(
            _VOUCH,
            sensor_id=block.sensor_id,
            day=block.day,
            block_no=block.block_no,
            hash=block.hash,
            entry_id=tx.entry.id,
            manifested_at=tx.now,
        )
    tx.write(_HEAD, site_id=event.site_id, landed_no=event.landed_no, manifested_at=tx.now)


# --- Sealing and manifests ------------------------------------------------------


def store_block(tx: Tx, sensor_id: str, day: int, readings: Readings) -> None:
    """Seal readings of a sensor and a day as its next block (K1).

    Its number follows all that were vouched for, too: a host that took a site's past in may lack blocks.
    """
    numbers = [tx.value(last, sensor_id=sensor_id, day=day) for last in (_LAST_NO, _LAST_VOUCHED)]
    body = encode_block(readings)
    name = block_hash(body)
    tx.write(_NEW_BODY, hash=name, body=body)
    tx.write(
        _NEW,
        sensor_id=sensor_id,
        day=day,
        block_no=1 + max(-1 if number is None else int(number) for number in numbers),
        site_id=tx.origin,
        hash=name,
        first_us=int(readings.at_us[0]),
        last_us=int(readings.at_us[-1]),
        manifested=0,
        **msgspec.structs.asdict(summarise(readings)),
    )


def land_block(tx: Tx, site_id: str, block: ManifestedBlock, body: bytes) -> Readings:
    """Store a block that another host sealed and vouched for, and return its readings.

    What it says of itself is worked out here.

    Raises:
        BlockDamaged: the bytes are not those that were vouched for, or no block.
    """
    if block_hash(body) != block.hash:
        raise BlockDamaged(
            f"block {block.block_no} of {block.sensor_id}: its bytes are not those vouched for"
        )
    readings = decode_block(body)
    tx.write(_NEW_BODY, hash=block.hash, body=body)
    tx.write(
        _LANDED,
        sensor_id=block.sensor_id,
        day=block.day,
        block_no=block.block_no,
        site_id=site_id,
        hash=block.hash,
        first_us=int(readings.at_us[0]),
        last_us=int(readings.at_us[-1]),
        manifested=1,
        **msgspec.structs.asdict(summarise(readings)),
    )
    return readings


def unseal(tx: Tx, site_id: str) -> list[tuple[str, Readings]]:
    """Take out the blocks of a site that its log does not vouch for any more; return their readings.

    That is so where the manifests were set aside: then others may come under the same numbers. Of one whose
    bytes were let go only the place is freed.
    """
    found = []
    for block in tx.all(_STRAYS, site_id=site_id):
        held = blocks_named(tx, [block.hash])
        this = (block.sensor_id, block.day, block.block_no)
        found += [(block.sensor_id, decode_block(bytes(body))) for *key, body in held if tuple(key) == this]
        tx.write(_DROP, whose=block.sensor_id, which=block.day, no=block.block_no)
        if len(held) == 1:
            drop_bodies(tx, [block.hash])
    return found


def write_manifests(tx: Tx, head: Head, why: Why, cause_id: str = "") -> int:
    """Record manifests of what was sealed and not vouched for yet; return the number of blocks (K2).

    An hourly manifest is written without blocks too when readings landed since the last one.
    """
    waiting = tx.all(_WAITING, site_id=tx.origin)
    last = tx.value(_MANIFEST_HEAD, site_id=tx.origin)
    parts = [waiting[start : start + MANIFEST_MAX] for start in range(0, len(waiting), MANIFEST_MAX)]
    if not parts and why is Why.HOURLY and head.landed_no > (-1 if last is None else int(last)):
        parts = [[]]
    for part in parts:
        tx.record(f"block/{tx.origin}", manifest_of(tx.origin, head, why, cause_id, part))
        for block in part:
            tx.write(_MANIFESTED, whose=block.sensor_id, which=block.day, no=block.block_no)
    return len(waiting)


# --- Queries --------------------------------------------------------------------

_LAST_NO = Statement(
    sa.select(sa.func.max(_BLOCK.block_no)).where(
        _BLOCK.sensor_id == sa.bindparam("sensor_id"), _BLOCK.day == sa.bindparam("day")
    )
)
_LAST_VOUCHED = Statement(
    sa.select(sa.func.max(_VOUCHED.block_no)).where(
        _VOUCHED.sensor_id == sa.bindparam("sensor_id"), _VOUCHED.day == sa.bindparam("day")
    )
)
_BY_PLACE = sa.and_(
    _VOUCHED.sensor_id == _BLOCK.sensor_id, _VOUCHED.day == _BLOCK.day, _VOUCHED.block_no == _BLOCK.block_no
)
_STRAYS = Statement(
    sa.select(*(_BLOCK[name] for name in ManifestedBlock.__struct_fields__))
    .outerjoin(telemetry_manifest, _BY_PLACE)
    .where(
        _BLOCK.site_id == sa.bindparam("site_id"),
        sa.or_(_VOUCHED.hash != _BLOCK.hash, sa.and_(_VOUCHED.hash.is_(None), _BLOCK.manifested == 1)),
    )
    .order_by(_BLOCK.sensor_id, _BLOCK.day, _BLOCK.block_no),
    into=ManifestedBlock,
)
_DAYS = Statement(
    sa.select(_BLOCK.sensor_id, _BLOCK.day)
    .where(
        _BLOCK.site_id == sa.bindparam("site_id"),
        _BLOCK.day >= sa.bindparam("from_day"),
        _BLOCK.day <= sa.bindparam("to_day"),
    )
    .distinct()
)
_HELD = Statement(
    sa.select(_BLOCK.sensor_id, _BLOCK.day, _BLOCK.block_no, _BLOCK.hash).where(
        _BLOCK.hash.in_(sa.bindparam("hashes", expanding=True))
    )
)
_HELD_ROWS = Statement(
    sa.select(_BLOCK.sensor_id, _BLOCK.day, _BLOCK.block_no, _BODY.body)
    .join(telemetry_block_body, _BLOCK.hash == _BODY.hash)
    .where(_BLOCK.hash.in_(sa.bindparam("hashes", expanding=True)))
)
_WAITING = Statement(
    sa.select(*(_BLOCK[name] for name in ManifestedBlock.__struct_fields__))
    .where(_BLOCK.site_id == sa.bindparam("site_id"), _BLOCK.manifested == 0)
    .order_by(_BLOCK.sensor_id, _BLOCK.day, _BLOCK.block_no),
    into=ManifestedBlock,
)
_MANIFEST_HEAD = Statement(sa.select(_HEADS.landed_no).where(_HEADS.site_id == sa.bindparam("site_id")))
_OF_DAYS = (
    _BLOCK.sensor_id == sa.bindparam("sensor_id"),
    _BLOCK.day >= sa.bindparam("from_day"),
    _BLOCK.day <= sa.bindparam("to_day"),
)
_BODIES = Statement(
    sa.select(_BLOCK.readings, _BODY.body)
    .join(telemetry_block_body, _BLOCK.hash == _BODY.hash)
    .where(*_OF_DAYS)
    .order_by(_BLOCK.day, _BLOCK.block_no)
)
_NEWEST = Statement(
    sa.select(_BODY.body)
    .join(telemetry_block, _BLOCK.hash == _BODY.hash)
    .where(_BLOCK.sensor_id == sa.bindparam("sensor_id"))
    .order_by(_BLOCK.day.desc(), _BLOCK.last_us.desc())
    .limit(1)
)
_SUMS = Statement(
    sa.select(
        _BLOCK.sensor_id,
        sa.func.sum(_BLOCK.readings),
        sa.func.sum(_BLOCK.good),
        sa.func.min(_BLOCK.low_e4),
        sa.func.max(_BLOCK.high_e4),
        sa.func.sum(_BLOCK.sum_e4),
        sa.func.sum(_BLOCK.kinetic_sum),
    )
    .where(
        _BLOCK.day >= sa.bindparam("from_day"),
        _BLOCK.day < sa.bindparam("to_day"),
        _BLOCK.sensor_id.in_(sa.bindparam("sensor_ids", expanding=True)),
    )
    .group_by(_BLOCK.sensor_id)
)


_OLD = Statement(
    sa.select(_BLOCK.hash, sa.func.length(_BODY.body), _BLOCK.site_id, _BLOCK.last_us)
    .join(telemetry_block_body, _BLOCK.hash == _BODY.hash)
    .where(_BLOCK.day < sa.bindparam("day"), _BLOCK.manifested == 1)
    .order_by(_BLOCK.day, _BLOCK.hash)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_DROP_BODY = Statement(telemetry_block_body.delete().where(_BODY.hash == sa.bindparam("gone")))


def old_bodies(db: Reader, day: int, most: int) -> list[tuple[str, int, str, int]]:
    """Return (hash, bytes, site, last_us) of vouched blocks of days before one whose bytes are still here."""
    return db.all(_OLD, day=day, most=most)


def drop_bodies(tx: Tx, hashes: Sequence[str]) -> None:
    """Let the bytes of blocks go; their rows with hash, counts and sums stay, and the manifests."""
    for name in hashes:
        tx.write(_DROP_BODY, gone=name)


def blocks_held(db: Reader, hashes: Sequence[str]) -> set[str]:
    """Return which blocks of those named are here."""
    return {name for *_, name in db.all(_HELD, hashes=list(hashes))}


def places_held(db: Reader, hashes: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return (sensor, day, number) of the blocks named that are here."""
    return {(sensor_id, day, block_no) for sensor_id, day, block_no, _ in db.all(_HELD, hashes=list(hashes))}


def days_sealed(db: Reader, site_id: str, from_day: int, to_day: int) -> set[tuple[str, int]]:
    """Return (sensor, day) of a site's blocks, both days included."""
    return set(db.all(_DAYS, site_id=site_id, from_day=from_day, to_day=to_day))


def blocks_named(db: Reader, hashes: Sequence[str]) -> list[tuple[str, int, int, bytes]]:
    """Return (sensor, day, number, bytes) of the blocks with these names."""
    return db.all(_HELD_ROWS, hashes=list(hashes))


_ROWS = Statement(
    sa.select(
        _BLOCK.sensor_id,
        _BLOCK.day,
        _BLOCK.block_no,
        _BLOCK.hash,
        _BLOCK.readings,
        _BODY.body,
        _VOUCHED.hash,
        _VOUCHED.entry_id,
    )
    .join(telemetry_block_body, _BODY.hash == _BLOCK.hash)
    .outerjoin(telemetry_manifest, _BY_PLACE)
    .where(*_OF_DAYS)
    .order_by(_BLOCK.day, _BLOCK.block_no),
    into=BlockRow,
)


def sealed(db: Reader, sensor_id: str, from_day: int, to_day: int) -> tuple[int, Iterator[Readings]]:
    """Return how many readings a sensor's blocks of some days hold, and the blocks, opened one by one.

    Both days are included.
    """
    rows = db.all(_BODIES, sensor_id=sensor_id, from_day=from_day, to_day=to_day)
    return sum(readings for readings, _ in rows), (decode_block(body) for _, body in rows)


def newest_block(db: Reader, sensor_id: str) -> list[Readings]:
    """Return the block with a sensor's newest sealed reading, if there is one."""
    return [decode_block(body) for (body,) in db.all(_NEWEST, sensor_id=sensor_id)]


def block_rows(db: Reader, sensor_id: str, from_day: int, to_day: int) -> list[BlockRow]:
    """Return the blocks of a sensor's days with what vouches for them: for packs and for checks."""
    return db.all(_ROWS, sensor_id=sensor_id, from_day=from_day, to_day=to_day)


def block_sums(db: Reader, sensor_ids: Sequence[str], from_day: int, to_day: int) -> dict[str, Summary]:
    """Return what the blocks of whole days, the last one excluded, add up to, by sensor."""
    rows = db.all(_SUMS, sensor_ids=list(sensor_ids), from_day=from_day, to_day=to_day)
    return {row[0]: summary_of(row[1:]) for row in rows}


def damaged_blocks(db: Reader, sensor_id: str, from_day: int, to_day: int) -> list[str]:
    """Return what does not match its manifest among a sensor's blocks, each in one sentence (K3)."""
    found = []
    for row in block_rows(db, sensor_id, from_day, to_day):
        what = f"block {row.block_no} of {row.sensor_id}, day {row.day}"
        if block_hash(row.body) != row.hash:
            found.append(f"{what}: its bytes were changed")
        elif row.vouched_hash is not None and row.vouched_hash != row.hash:
            found.append(f"{what}: it is not the one that {row.entry_id} vouches for")
    return found
