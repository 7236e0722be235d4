"""History: which sealed blocks lie in which file of an open-format archive, and which wait to be written.

Invariants
    H1  A block that a manifest vouches for is in exactly one file of an archive, or waits for one.
    H2  What a file will hold is on record before the first byte of it is written, so that an interrupted
        write is taken up again with the same blocks under the same name.
    H3  A file that was written is never written again: what is sealed later of the same day makes a
        supplementary file with the next number.
    H4  A day is written when it is over, sealed, and its blocks are here; what is still missing after
        `WAIT_MAX` no longer keeps the rest waiting.

These tables are working state of the runtime: files are proven by the manifests in the log
(`history_proof`), not by these rows. An archive is named by the address it lies at, so another address is
begun from the first day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.events import decode, tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, from_micros, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.telemetry import archive, chunks
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.reading_times import is_beside

# A day's last readings are sealed two hours after it ended, and vouched for within the hour after that.
GRACE = timedelta(hours=3)
WAIT_MAX = timedelta(days=7)
MANIFESTS_AT_ONCE = 500
DAYS_WAITING_MAX = 100_000
HASHES_AT_ONCE = 5_000  # parameters of one statement
_MANIFEST = tag_of(BlocksManifested)


class BlockName(msgspec.Struct, frozen=True, array_like=True):
    """A sealed block of a site's day."""

    sensor_id: str
    block_no: int
    hash: str


class Planned(msgspec.Struct, frozen=True):
    """A file that is to be written: the blocks of a site's day, as its number `file_no`."""

    site_id: str
    day: int
    file_no: int
    blocks: list[BlockName]


class Seen(msgspec.Struct, frozen=True):
    """What the log says of blocks behind a place, up to another: (site, day, block)."""

    after: int
    upto: int
    blocks: list[tuple[str, int, BlockName]]


class Size(msgspec.Struct, frozen=True):
    """What a file in the archive holds, and the SHA-256 of its bytes."""

    readings: int
    bytes: int
    sha256: str


class Written(msgspec.Struct, frozen=True):
    """A file that lies in the archive."""

    site_id: str
    day: int
    file_no: int
    readings: int
    bytes: int
    sha256: str
    written_at: datetime


# --- Tables ---------------------------------------------------------------------

telemetry_history_cursor = sa.Table(
    "telemetry_history_cursor",
    metadata,
    sa.Column("store", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    info={"service": True},
)
telemetry_history_due = sa.Table(
    "telemetry_history_due",
    metadata,
    sa.Column("store", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("sensor_id", sa.Text, primary_key=True),
    sa.Column("block_no", sa.BigInteger, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    info={"service": True},
)
telemetry_history_file = sa.Table(
    "telemetry_history_file",
    metadata,
    sa.Column("store", sa.Text, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("file_no", sa.BigInteger, primary_key=True),
    sa.Column("blocks", Json(list[BlockName]), nullable=False),  # empty once written: the file says it
    sa.Column("readings", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),  # "": not written yet
    sa.Column("written_at", Instant),
    info={"service": True},
)

_file, _due = telemetry_history_file.c, telemetry_history_due.c
_MOVE = Statement(upsert(telemetry_history_cursor, keys=["store"], set_=["position"]))
_CURSOR = Statement(
    sa.select(telemetry_history_cursor.c.position).where(
        telemetry_history_cursor.c.store == sa.bindparam("store")
    )
)
_WAITS = Statement(upsert(telemetry_history_due, keys=["store", "day", "site_id", "sensor_id", "block_no"]))
_TAKEN = Statement(
    telemetry_history_due.delete().where(
        _due.store == sa.bindparam("of_store"),
        _due.day == sa.bindparam("which"),
        _due.site_id == sa.bindparam("whose"),
    )
)
_DAYS = Statement(
    sa.select(_due.site_id, _due.day)
    .where(_due.store == sa.bindparam("store"), _due.day <= sa.bindparam("upto"))
    .group_by(_due.site_id, _due.day)
    .order_by(_due.day, _due.site_id)
)
_BLOCKS = Statement(
    sa.select(_due.sensor_id, _due.block_no, _due.hash)
    .where(
        _due.store == sa.bindparam("store"),
        _due.day == sa.bindparam("day"),
        _due.site_id == sa.bindparam("site_id"),
    )
    .order_by(_due.sensor_id, _due.block_no),
    into=BlockName,
)
_HOW_MANY_WAIT = Statement(
    sa.select(sa.func.count()).select_from(telemetry_history_due).where(_due.store == sa.bindparam("store"))
)
_ALL_DUE = Statement(sa.select(_due.hash).where(_due.store == sa.bindparam("store")))
_LAST_NO = Statement(
    sa.select(sa.func.max(_file.file_no)).where(
        _file.store == sa.bindparam("store"),
        _file.day == sa.bindparam("day"),
        _file.site_id == sa.bindparam("site_id"),
    )
)
_PLAN = Statement(telemetry_history_file.insert())
_WRITTEN = Statement(
    telemetry_history_file.update()
    .where(
        _file.store == sa.bindparam("of_store"),
        _file.day == sa.bindparam("which"),
        _file.site_id == sa.bindparam("whose"),
        _file.file_no == sa.bindparam("no"),
    )
    .values(
        blocks=sa.bindparam("blocks"),
        readings=sa.bindparam("readings"),
        bytes=sa.bindparam("bytes"),
        sha256=sa.bindparam("sha256"),
        written_at=sa.bindparam("written_at"),
    )
)
_UNWRITTEN = Statement(
    sa.select(_file.site_id, _file.day, _file.file_no, _file.blocks)
    .where(_file.store == sa.bindparam("store"), _file.sha256 == "")
    .order_by(_file.day, _file.site_id, _file.file_no),
    into=Planned,
)
_FILES = Statement(
    sa.select(*(_file[name] for name in Written.__struct_fields__))
    .where(_file.store == sa.bindparam("store"), _file.sha256 != "")
    .order_by(_file.day, _file.site_id, _file.file_no),
    into=Written,
)

_WRITTEN_DAYS = Statement(
    sa.select(_file.day).where(_file.store == sa.bindparam("store"), _file.sha256 != "").distinct()
)
_ANY = Statement(sa.select(_file.day).where(_file.sha256 != "").limit(1))

# --- What waits -----------------------------------------------------------------


def look(db: Reader, store: str) -> Seen:
    """Return what manifests in the log name behind the place that an archive has come to."""
    at = db.value(_CURSOR, store=store)
    after = -1 if at is None else int(at)
    upto = log.last_position(db)
    entries = log.read(db, after, MANIFESTS_AT_ONCE, [_MANIFEST])
    if len(entries) == MANIFESTS_AT_ONCE:
        upto = entries[-1].position
    blocks: list[tuple[str, int, BlockName]] = []
    for entry in entries:
        event = decode(entry.type, entry.body)
        if isinstance(event, BlocksManifested) and entry.position <= upto:
            blocks += [
                (event.site_id, one.day, BlockName(one.sensor_id, one.block_no, one.hash))
                for one in event.blocks
                if not is_beside(one.sensor_id)  # a device's clock is no row of an archive
            ]
    return Seen(after, upto, blocks)


def note(tx: Tx, store: str, seen: Seen) -> None:
    """Let the blocks that were seen wait, and move on; nothing where somebody else has moved on (H1)."""
    at = tx.value(_CURSOR, store=store)
    if seen.after != (-1 if at is None else int(at)):
        return
    for site_id, day, block in seen.blocks:
        _wait(tx, store, site_id, day, block)
    tx.write(_MOVE, store=store, position=seen.upto)


def _wait(tx: Tx, store: str, site_id: str, day: int, block: BlockName) -> None:
    tx.write(_WAITS, store=store, day=day, site_id=site_id, **msgspec.structs.asdict(block))


def ready(db: Reader, store: str, now: datetime, limit: int) -> list[tuple[str, int]]:
    """Return (site, day) whose blocks can be written, oldest first (H4)."""
    upto = int((now - GRACE).timestamp() // 86_400) - 1
    found: list[tuple[str, int]] = []
    for site_id, day in db.all(_DAYS, store=store, upto=upto):
        if len(found) == limit:
            break
        if _is_ready(db, store, site_id, day, now):
            found.append((site_id, day))
    return found


def _over_since(day: int, now: datetime) -> timedelta:
    return now - from_micros((day + 1) * DAY_US)


def _is_ready(db: Reader, store: str, site_id: str, day: int, now: datetime) -> bool:
    """Tell whether nothing of a site's day waits to be sealed or to arrive, or has waited for too long."""
    hashes = {block.hash for block in db.all(_BLOCKS, store=store, day=day, site_id=site_id)}
    held = archive.blocks_held(db, sorted(hashes))
    if _over_since(day, now) > WAIT_MAX:
        return bool(held)
    waiting_days = chunks.waiting_days(db, site_id, day, DAYS_WAITING_MAX)
    return held == hashes and all(open_day != day for _, open_day in waiting_days)


def waiting(db: Reader, store: str) -> int:
    """Return how many blocks wait."""
    return int(db.value(_HOW_MANY_WAIT, store=store) or 0)


def unsettled(db: Reader, store: str) -> int:
    """Return how many blocks that are here are not known to be written: while there are any, none may go.

    Blocks that a lost node never sent are not counted: nobody has them.
    """
    due = {hash_ for (hash_,) in db.all(_ALL_DUE, store=store)}
    due |= {block.hash for planned in unwritten(db, store) for block in planned.blocks}
    due |= {block.hash for _, _, block in look(db, store).blocks}
    listed = sorted(due)
    parts = (listed[start : start + HASHES_AT_ONCE] for start in range(0, len(listed), HASHES_AT_ONCE))
    return sum(len(archive.blocks_held(db, part)) for part in parts)


# --- Files ----------------------------------------------------------------------


def plan(tx: Tx, store: str, site_id: str, day: int) -> Planned:
    """Put the blocks of a site's day that are here on record as the next file of that day (H2, H3)."""
    listed = tx.all(_BLOCKS, store=store, day=day, site_id=site_id)
    held = archive.blocks_held(tx, [block.hash for block in listed])
    last = tx.value(_LAST_NO, store=store, day=day, site_id=site_id)
    blocks = [block for block in listed if block.hash in held]
    planned = Planned(site_id, day, 0 if last is None else int(last) + 1, blocks)
    tx.write(_TAKEN, of_store=store, which=day, whose=site_id)
    for block in listed:
        if block.hash not in held:  # it goes on waiting (H1)
            _wait(tx, store, site_id, day, block)
    if blocks:
        tx.write(
            _PLAN,
            store=store,
            **msgspec.structs.asdict(planned),
            readings=0,
            bytes=0,
            sha256="",
            written_at=None,
        )
    return planned


def written(tx: Tx, store: str, planned: Planned, size: Size, rest: Sequence[BlockName] = ()) -> None:
    """Note that a planned file lies in the archive; `rest`: what was planned and is not in it waits again."""
    for block in rest:
        _wait(tx, store, planned.site_id, planned.day, block)
    tx.write(
        _WRITTEN,
        of_store=store,
        which=planned.day,
        whose=planned.site_id,
        no=planned.file_no,
        blocks=[],
        **msgspec.structs.asdict(size),
        written_at=tx.now,
    )


def unwritten(db: Reader, store: str) -> list[Planned]:
    """Return the files that were planned and are not known to be written: after an interruption."""
    return db.all(_UNWRITTEN, store=store)


def files(db: Reader, store: str) -> Sequence[Written]:
    """Return the files of an archive, by day, site and number."""
    return db.all(_FILES, store=store)


def days_written(db: Reader, store: str) -> list[int]:
    """Return the days of which an archive has files, in order."""
    return sorted(int(day) for (day,) in db.all(_WRITTEN_DAYS, store=store))


def any_written(db: Reader) -> bool:
    """Tell whether anything was written into any archive."""
    return db.one(_ANY) is not None
