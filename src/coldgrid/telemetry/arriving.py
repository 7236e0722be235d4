"""Arriving: readings of a site that another host writes: sealed blocks, and parcels of what is not sealed.

Invariants
    A1  A block is taken when its bytes are those that a manifest of the site's log names; what it says of
        itself is worked out here.
    A2  A reading counts once, whichever of block and parcel comes first, and however often.
    A3  A site's readings are of its own sensors: a parcel with any other is refused as a whole.
    A4  A block that its node does not have any more is not asked for until `ask_again`, and never forgotten:
        what was only in it is a gap, and is told as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import archive, chunks, parcels
from coldgrid.telemetry.arrivals import note_arrived
from coldgrid.telemetry.blocks import DAY_US, Readings, block_hash, without
from coldgrid.telemetry.landing import joined
from coldgrid.telemetry.manifests import BlocksManifested, ManifestedBlock
from coldgrid.telemetry.parcel_form import pack_parcel, unpack_parcel
from coldgrid.telemetry.parcel_marks import UNMARKED, drop_marks, keep_mark
from coldgrid.telemetry.parcels import Cut, ParcelHead, ParcelHeads
from coldgrid.telemetry.reading_times import sensor_of
from coldgrid.telemetry.sensors import sensors_of_site

WANTED_MAX = 500
# Parcels are rolled when so many, or so many readings, wait: a chart opens each of them.
ROLL_PARCELS = 32
ROLL_READINGS = 200_000
# Chunks made here are numbered apart from those that this host made when it hosted the site itself.
_ROLLS_FROM = 1 << 40

Parts = Sequence[tuple[str, Readings]]


class ForeignSensor(ValueError):
    """The readings are of a sensor that is not the site's."""


class MissingBlock(msgspec.Struct, frozen=True):
    """A block that is vouched for and not here. `lost_at`: when its node said that it has it no more."""

    sensor_id: str
    day: int
    block_no: int
    hash: str
    readings: int
    first_us: int
    last_us: int
    lost_at: datetime | None


telemetry_wanted = sa.Table(
    "telemetry_wanted",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("block_no", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("first_us", sa.BigInteger, nullable=False),
    sa.Column("last_us", sa.BigInteger, nullable=False),
    sa.Column("lost_at", Instant),  # when its node said that it does not have it any more
    info={"service": True},
)
sa.Index("ix_telemetry_wanted_site", telemetry_wanted.c.site_id, telemetry_wanted.c.day)

_FIELDS = ("sensor_id", "day", "block_no", "hash", "readings", "first_us", "last_us")
_WANT = Statement(upsert(telemetry_wanted, keys=["hash", "sensor_id", "day", "block_no"]))
_HAVE = Statement(
    telemetry_wanted.delete().where(
        telemetry_wanted.c.hash == sa.bindparam("name"),
        telemetry_wanted.c.sensor_id == sa.bindparam("whose"),
        telemetry_wanted.c.day == sa.bindparam("which"),
        telemetry_wanted.c.block_no == sa.bindparam("no"),
    )
)
_WANTED = Statement(
    sa.select(telemetry_wanted.c.hash)
    .where(telemetry_wanted.c.site_id == sa.bindparam("site_id"), telemetry_wanted.c.lost_at.is_(None))
    .order_by(telemetry_wanted.c.day, telemetry_wanted.c.sensor_id, telemetry_wanted.c.block_no)
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_OF_HASHES = Statement(
    sa.select(*(telemetry_wanted.c[name] for name in _FIELDS)).where(
        telemetry_wanted.c.site_id == sa.bindparam("site_id"),
        telemetry_wanted.c.hash.in_(sa.bindparam("hashes", expanding=True)),
    ),
    into=ManifestedBlock,
)
_GIVE_UP = Statement(
    telemetry_wanted.update()
    .where(
        telemetry_wanted.c.site_id == sa.bindparam("whose"),
        telemetry_wanted.c.hash == sa.bindparam("name"),
        telemetry_wanted.c.lost_at.is_(None),
    )
    .values(lost_at=sa.bindparam("at", type_=Instant))
)
_ASK_AGAIN = Statement(
    telemetry_wanted.update()
    .where(
        telemetry_wanted.c.site_id == sa.bindparam("whose"),
        telemetry_wanted.c.lost_at <= sa.bindparam("upto", type_=Instant),
    )
    .values(lost_at=sa.null())
)
_GIVE_UP_ALL = Statement(
    telemetry_wanted.update()
    .where(telemetry_wanted.c.site_id == sa.bindparam("whose"), telemetry_wanted.c.lost_at.is_(None))
    .values(lost_at=sa.bindparam("at", type_=Instant))
)
_COUNT_LOST = Statement(
    sa.select(sa.func.count()).where(
        telemetry_wanted.c.site_id == sa.bindparam("site_id"), telemetry_wanted.c.lost_at.is_not(None)
    )
)
_MISSING = Statement(
    sa.select(*(telemetry_wanted.c[name] for name in MissingBlock.__struct_fields__))
    .where(telemetry_wanted.c.site_id == sa.bindparam("site_id"))
    .order_by(telemetry_wanted.c.day.desc(), telemetry_wanted.c.sensor_id, telemetry_wanted.c.block_no)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=MissingBlock,
)
_HOW_MANY = Statement(
    sa.select(sa.func.count(), sa.func.sum(telemetry_wanted.c.readings)).where(
        telemetry_wanted.c.site_id == sa.bindparam("site_id")
    )
)


# --- Blocks -----------------------------------------------------------------------


def want_blocks(tx: Tx, manifest: BlocksManifested) -> None:
    """Note the blocks of a manifest that are not here.

    Two sensors that read the same have blocks of the same bytes, and so of the same name: the bytes that are
    here for one are taken for the other.
    """
    names = [block.hash for block in manifest.blocks]
    held = archive.blocks_named(tx, sorted(archive.blocks_held(tx, names))) if names else []
    there = {(sensor_id, day, block_no) for sensor_id, day, block_no, _ in held}
    lacking = [one for one in manifest.blocks if (one.sensor_id, one.day, one.block_no) not in there]
    for block in lacking:
        row = {name: getattr(block, name) for name in _FIELDS}
        tx.write(_WANT, site_id=manifest.site_id, lost_at=None, **row)
    bodies = {block_hash(bytes(body)): bytes(body) for *_, body in held}
    known = {block.hash: bodies[block.hash] for block in lacking if block.hash in bodies}
    if known:
        take_blocks(tx, manifest.site_id, known)


def wanted(db: Reader, site_id: str, limit: int = WANTED_MAX) -> list[str]:
    """Return the names of blocks that a site's node is asked for, the oldest days first (A4)."""
    return list(dict.fromkeys(name for (name,) in db.all(_WANTED, site_id=site_id, count=limit)))


def give_up(tx: Tx, site_id: str, hashes: Sequence[str]) -> None:
    """Ask no more for blocks that their node does not have any more (A4)."""
    for name in hashes:
        tx.write(_GIVE_UP, whose=site_id, name=name, at=tx.now)


def give_up_all(tx: Tx, site_id: str) -> None:
    """Ask no more for any block of a site: its node never comes back."""
    tx.write(_GIVE_UP_ALL, whose=site_id, at=tx.now)


def ask_again(tx: Tx, site_id: str, upto: datetime) -> None:
    """Ask again for the blocks that were given up until then: another disk may have them."""
    if count_lost(tx, site_id):
        tx.write(_ASK_AGAIN, whose=site_id, upto=upto)


def count_lost(db: Reader, site_id: str) -> int:
    """Return how many blocks of a site are neither here nor at its node."""
    return int(db.value(_COUNT_LOST, site_id=site_id) or 0)


def missing_blocks(db: Reader, site_id: str, limit: int = 1_000_000) -> list[MissingBlock]:
    """Return the blocks of a site that are vouched for and not here, the newest days first."""
    return db.all(_MISSING, site_id=site_id, count=limit)


def missing(db: Reader, site_id: str) -> tuple[int, int]:
    """Return how many blocks of a site are not here yet, and how many readings are in them."""
    row = db.one(_HOW_MANY, site_id=site_id)
    return (0, 0) if row is None else (int(row[0] or 0), int(row[1] or 0))


def take_blocks(tx: Tx, site_id: str, bodies: dict[str, bytes]) -> int:
    """Store blocks by their names, and take their readings out of what was here provisionally (A1, A2).

    Names that nobody wants are passed over: they came twice.

    Raises:
        BlockDamaged: the bytes are not those that were vouched for.
    """
    found = tx.all(_OF_HASHES, site_id=site_id, hashes=sorted(bodies))
    if found and parcels.waiting(tx, site_id)[0]:
        roll_arrived(tx, site_id)
    provisional = _days_in_chunks(tx, site_id, found)
    for block in found:
        readings = archive.land_block(tx, site_id, block, bodies[block.hash])
        if (block.sensor_id, block.day) in provisional:
            _take_out(tx, site_id, block, readings)
        tx.write(_HAVE, name=block.hash, whose=block.sensor_id, which=block.day, no=block.block_no)
    return len(found)


def take_back(tx: Tx, site_id: str) -> int:
    """Keep as not sealed what is in blocks whose manifests were set aside; return how many readings (A2).

    Who took readings answers for them, whoever's word on them is given up.
    """
    found: dict[str, list[Readings]] = {}
    for sensor_id, readings in archive.unseal(tx, site_id):
        found.setdefault(sensor_id, []).append(readings)
    if not found:
        return 0
    roll_arrived(tx, site_id)
    parts: list[tuple[str, Readings]] = []
    for sensor_id, listed in sorted(found.items()):
        readings = joined(listed)
        first_us, end_us = int(readings.at_us[0]), int(readings.at_us[-1]) + 1
        readings = without(readings, joined(chunks.chunked(tx, sensor_id, first_us, end_us)))
        for block in archive.sealed(tx, sensor_id, first_us // DAY_US, (end_us - 1) // DAY_US)[1]:
            readings = without(readings, block)
        if len(readings):
            parts.append((sensor_id, readings))
    if parts:
        chunks.roll_into_chunks(tx, [parcels.as_flush(parts)], _next_roll(tx, site_id))
    return sum(len(readings) for _, readings in parts)


def _days_in_chunks(tx: Tx, site_id: str, found: Sequence[ManifestedBlock]) -> set[tuple[str, int]]:
    if not found:
        return set()
    upto = max(block.day for block in found)
    return set(chunks.waiting_days(tx, site_id, upto, 1_000_000))


def _take_out(tx: Tx, site_id: str, block: ManifestedBlock, sealed: Readings) -> None:
    """Leave of a sensor's day in chunks what is in no block."""
    from_us = block.day * DAY_US
    there = joined(chunks.chunked(tx, block.sensor_id, from_us, from_us + DAY_US))
    rest = without(there, sealed)
    if len(rest) == len(there):
        return
    chunks.drop_chunks(tx, block.sensor_id, block.day)
    if len(rest):
        chunks.roll_into_chunks(tx, [parcels.as_flush([(block.sensor_id, rest)])], _next_roll(tx, site_id))


# --- Parcels ----------------------------------------------------------------------


class Arrived(msgspec.Struct, frozen=True):
    """A parcel from another host. `again`: its readings may have come before in another one."""

    parcel_no: int
    body: bytes
    mark: bytes = UNMARKED
    again: bool = False


def take_parcel(tx: Tx, site_id: str, arrived: Arrived) -> bool:
    """Store a parcel and its mark; return whether it was new.

    Raises:
        ParcelDamaged: the bytes are none.
        ForeignSensor: see A3.
    """
    head = arrived_head(tx, site_id)
    if arrived.parcel_no <= head.parcel_no:
        return False
    parts, body = unpack_parcel(arrived.body), arrived.body
    own = {sensor.sensor_id for sensor in sensors_of_site(tx, site_id)}
    strange = next((name for name, _ in parts if sensor_of(name) not in own), None)
    if strange is not None:
        raise ForeignSensor(f"{strange[:80]} is no sensor of {site_id}")
    if arrived.again:
        parts = _new_of(tx, site_id, parts)
        body = pack_parcel(parts) if parts else b""
    if parts:
        parcels.put_parcel(tx, Cut(arrived.parcel_no, True), parts, body)
        note_arrived(tx, site_id, parts)
    keep_mark(tx, site_id, arrived.parcel_no, arrived.mark)
    drop_marks(tx, site_id, arrived.parcel_no)
    parcels.move_head(tx, site_id, ParcelHead(arrived.parcel_no, head.landed_no))
    return True


def pass_over(tx: Tx, site_id: str, upto: int) -> int:
    """Expect no parcel up to a number any more: what was in them comes as blocks. Return the last one."""
    head = arrived_head(tx, site_id)
    if upto <= head.parcel_no:
        return head.parcel_no
    parcels.move_head(tx, site_id, ParcelHead(upto, head.landed_no))
    return upto


def _new_of(tx: Tx, site_id: str, parts: Parts) -> list[tuple[str, Readings]]:
    """Return the readings that are in no chunk or parcel here; those in blocks are left out later (A2)."""
    found = []
    for sensor_id, readings in parts:
        from_us, to_us = int(readings.at_us[0]), int(readings.at_us[-1]) + 1
        here = chunks.chunked(tx, sensor_id, from_us, to_us)
        for flush in parcels.arrived_between(tx, site_id, from_us, to_us):
            here += [flush.part(n) for n, name in enumerate(flush.sensor_ids) if name == sensor_id]
        rest = without(readings, joined(here)) if here else readings
        if len(rest):
            found.append((sensor_id, rest))
    return found


def settle_parcels(tx: Tx, site_id: str) -> None:
    """Roll what arrived where much of it waits, or where some of its days are sealed already."""
    count, readings = parcels.waiting(tx, site_id)
    if not count:
        return
    if count >= ROLL_PARCELS or readings >= ROLL_READINGS or _meets_blocks(tx, site_id):
        roll_arrived(tx, site_id)


def _meets_blocks(tx: Tx, site_id: str) -> bool:
    waiting = parcels.parcels_after(tx, site_id, -1, ROLL_PARCELS)
    first, last = min(one.first_us for one in waiting), max(one.last_us for one in waiting)
    return bool(archive.days_sealed(tx, site_id, first // DAY_US, last // DAY_US))


def roll_arrived(tx: Tx, site_id: str) -> None:
    """Move the readings of a site's parcels into chunks, but for those that are in blocks (A2)."""
    waiting = parcels.parcels_after(tx, site_id, -1, 1_000_000)
    if not waiting:
        return
    first, last = min(one.first_us for one in waiting), max(one.last_us for one in waiting)
    sealed = archive.days_sealed(tx, site_id, first // DAY_US, last // DAY_US)
    found: dict[str, list[Readings]] = {}
    for parcel in waiting:
        for sensor_id, readings in unpack_parcel(parcel.body):
            found.setdefault(sensor_id, []).append(readings)
    parts = [(sensor_id, joined(listed)) for sensor_id, listed in sorted(found.items())]
    parts = [(sensor_id, _unsealed(tx, sensor_id, readings, sealed)) for sensor_id, readings in parts]
    parts = [(sensor_id, readings) for sensor_id, readings in parts if len(readings)]
    if parts:
        chunks.roll_into_chunks(tx, [parcels.as_flush(parts)], _next_roll(tx, site_id))
    parcels.drop_parcels(tx, site_id, waiting[-1].parcel_no)


def _unsealed(tx: Tx, sensor_id: str, readings: Readings, sealed: set[tuple[str, int]]) -> Readings:
    first, last = int(readings.at_us[0]) // DAY_US, int(readings.at_us[-1]) // DAY_US
    if not any((sensor_id, day) in sealed for day in range(first, last + 1)):
        return readings
    for block in archive.sealed(tx, sensor_id, first, last)[1]:
        readings = without(readings, block)
    return readings


def arrived_head(tx: Tx, site_id: str) -> ParcelHead:
    """Return how far a site's parcels have arrived. `landed_no` counts the rolls made of them here."""
    return tx.hot(ParcelHeads).of.get(site_id) or ParcelHead(0, _ROLLS_FROM)


def _next_roll(tx: Tx, site_id: str) -> int:
    head = arrived_head(tx, site_id)
    parcels.move_head(tx, site_id, ParcelHead(head.parcel_no, head.landed_no + 1))
    return head.landed_no + 1
