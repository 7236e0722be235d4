"""Where trees are kept: the tiles of each log, and its latest checkpoint.

Invariants
    T1  A tile row only grows (merkle.M2); nothing here is made from the log again, unless a person decided
        against entries of it (`set_aside`).

These are service tables, not projections: a rebuild makes projections from the log as it is now, and
would follow an edited log without a word. The tiles are the memory that the log is held against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.evidence.merkle import EMPTY_ROOT, Tile, Tree
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

Fetch = Callable[[int, int], bytes]


class LogId(msgspec.Struct, frozen=True, order=True):
    """One log: an origin's epoch."""

    origin: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.origin}/{self.epoch}"


class KeptHead(msgspec.Struct, frozen=True):
    """A log's latest checkpoint. `note`: as signed. `checked`: the next seq to hash again."""

    origin: str
    epoch: int
    size: int
    root: bytes
    made_at: datetime
    note: str
    checked: int

    @property
    def log_id(self) -> LogId:
        """Which log."""
        return LogId(self.origin, self.epoch)


class KeptCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint of the past, with every signature that was put under it."""

    origin: str
    epoch: int
    size: int
    root: bytes
    made_at: datetime
    note: str


def _log_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("origin", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
    ]


evidence_tile = sa.Table(
    "evidence_tile",
    metadata,
    *_log_columns(),
    sa.Column("tile_level", sa.BigInteger, primary_key=True),
    sa.Column("tile_index", sa.BigInteger, primary_key=True),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    info={"service": True},
)
evidence_head = sa.Table(
    "evidence_head",
    metadata,
    *_log_columns(),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("checked", sa.BigInteger, nullable=False),
    info={"service": True},
)
evidence_checkpoint = sa.Table(
    "evidence_checkpoint",
    metadata,
    *_log_columns(),
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    info={"service": True},
)

# What was signed of entries that a person decided against: kept to be read, never built on again.
evidence_set_aside = sa.Table(
    "evidence_set_aside",
    metadata,
    *_log_columns(),
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("root", sa.LargeBinary, primary_key=True),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    info={"service": True},
)

_KEEP_TILE = Statement(
    upsert(evidence_tile, keys=["origin", "epoch", "tile_level", "tile_index"], set_=["hashes"])
)
_TILE = Statement(
    sa.select(evidence_tile.c.hashes)
    .where(evidence_tile.c.origin == sa.bindparam("origin"))
    .where(evidence_tile.c.epoch == sa.bindparam("epoch"))
    .where(evidence_tile.c.tile_level == sa.bindparam("level"))
    .where(evidence_tile.c.tile_index == sa.bindparam("index"))
)
_KEEP_HEAD = Statement(
    upsert(evidence_head, keys=["origin", "epoch"], set_=["size", "root", "made_at", "note", "checked"])
)
_HEADS = Statement(
    sa.select(evidence_head).order_by(evidence_head.c.origin, evidence_head.c.epoch), into=KeptHead
)
_HEAD = Statement(
    sa.select(evidence_head)
    .where(evidence_head.c.origin == sa.bindparam("origin"))
    .where(evidence_head.c.epoch == sa.bindparam("epoch")),
    into=KeptHead,
)
_KEEP_CHECKPOINT = Statement(
    upsert(evidence_checkpoint, keys=["origin", "epoch", "size"], set_=["root", "made_at", "note"])
)
_OF_LOG = (
    sa.select(evidence_checkpoint)
    .where(evidence_checkpoint.c.origin == sa.bindparam("origin"))
    .where(evidence_checkpoint.c.epoch == sa.bindparam("epoch"))
)
_CHECKPOINT = Statement(
    _OF_LOG.where(evidence_checkpoint.c.size == sa.bindparam("size")), into=KeptCheckpoint
)
_FIRST_COVERING = Statement(
    _OF_LOG.where(evidence_checkpoint.c.size > sa.bindparam("seq"))
    .order_by(evidence_checkpoint.c.size)
    .limit(1),
    into=KeptCheckpoint,
)
_LATEST = Statement(
    _OF_LOG.order_by(evidence_checkpoint.c.size.desc()).limit(sa.bindparam("count", type_=sa.Integer)),
    into=KeptCheckpoint,
)
_SIGNED_AFTER = Statement(
    _OF_LOG.where(evidence_checkpoint.c.size > sa.bindparam("size"))
    .order_by(evidence_checkpoint.c.size)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=KeptCheckpoint,
)
_KEEP_ASIDE = Statement(
    upsert(evidence_set_aside, keys=["origin", "epoch", "size", "root"], set_=["made_at", "note"])
)
_BEYOND = Statement(_OF_LOG.where(evidence_checkpoint.c.size > sa.bindparam("size")), into=KeptCheckpoint)


def _of(table: sa.Table) -> sa.Delete:
    mine = table.c.origin == sa.bindparam("of_origin")
    return table.delete().where(mine).where(table.c.epoch == sa.bindparam("of_epoch"))


_DROP_TILES = Statement(_of(evidence_tile))
_DROP_HEAD = Statement(_of(evidence_head))
_DROP_BEYOND = Statement(_of(evidence_checkpoint).where(evidence_checkpoint.c.size > sa.bindparam("of_size")))


# --- Queries ----------------------------------------------------------------------


def heads(db: Reader) -> list[KeptHead]:
    """Return the latest checkpoint of every log, in order of origin and epoch."""
    return db.all(_HEADS)


def head(db: Reader, log_id: LogId) -> KeptHead | None:
    """Return a log's latest checkpoint; None where it has none yet."""
    return db.one(_HEAD, origin=log_id.origin, epoch=log_id.epoch)


def checkpoint(db: Reader, log_id: LogId, size: int) -> KeptCheckpoint | None:
    """Return the checkpoint made at this size, or None."""
    return db.one(_CHECKPOINT, origin=log_id.origin, epoch=log_id.epoch, size=size)


def first_covering(db: Reader, log_id: LogId, seq: int) -> KeptCheckpoint | None:
    """Return the oldest checkpoint that covers an entry, or None where none does yet."""
    return db.one(_FIRST_COVERING, origin=log_id.origin, epoch=log_id.epoch, seq=seq)


def latest(db: Reader, log_id: LogId, count: int) -> list[KeptCheckpoint]:
    """Return a log's last checkpoints, newest first."""
    return db.all(_LATEST, origin=log_id.origin, epoch=log_id.epoch, count=count)


def signed_after(db: Reader, log_id: LogId, size: int, count: int) -> list[KeptCheckpoint]:
    """Return a log's checkpoints of more than so many entries, the oldest first."""
    return db.all(_SIGNED_AFTER, origin=log_id.origin, epoch=log_id.epoch, size=size, count=count)


def tile(db: Reader, log_id: LogId, level: int, index: int) -> bytes:
    """Return a tile's hashes; empty where there is none."""
    found = db.value(_TILE, origin=log_id.origin, epoch=log_id.epoch, level=level, index=index)
    return b"" if found is None else bytes(found)


def tree_of(db: Reader, log_id: LogId) -> Tree:
    """Return a log's tree; it answers for every size up to its latest checkpoint's."""
    return Tree(fetch_from(db, log_id))


def fetch_from(db: Reader, log_id: LogId) -> Fetch:
    """Return a function that reads a log's tiles."""
    return lambda level, index: tile(db, log_id, level, index)


# --- Writes -----------------------------------------------------------------------


def no_head(log_id: LogId, now: datetime) -> KeptHead:
    """Return what stands for the checkpoint of a log that has none: the empty tree."""
    return KeptHead(log_id.origin, log_id.epoch, 0, EMPTY_ROOT, now, "", 0)


def keep(tx: Tx, head: KeptHead, grown: Sequence[Tile]) -> None:
    """Keep a log's new checkpoint with the tiles that grew since the last one."""
    for tile in grown:
        tx.write_row(_KEEP_TILE, (head.origin, head.epoch, tile.level, tile.index, tile.hashes))
    tx.write(_KEEP_HEAD, **msgspec.structs.asdict(head))
    keep_checkpoint(tx, head)


def keep_head(tx: Tx, head: KeptHead) -> None:
    """Keep what changed about the latest checkpoint: signatures, or how far the log was checked again."""
    tx.write(_KEEP_HEAD, **msgspec.structs.asdict(head))


def keep_checkpoint(tx: Tx, kept: KeptHead | KeptCheckpoint) -> None:
    """Keep a checkpoint for ever, or its added signatures."""
    fields = msgspec.structs.asdict(kept)
    fields.pop("checked", None)
    tx.write(_KEEP_CHECKPOINT, **fields)


def set_aside(tx: Tx, log_id: LogId, size: int) -> None:
    """A person decided against the entries from seq `size` on: what was signed beyond is set aside.

    The tree is grown again from the log, and covers what was signed before as it did.
    """
    known = head(tx, log_id)
    if known is None or known.size <= size:
        return
    for one in tx.all(_BEYOND, origin=log_id.origin, epoch=log_id.epoch, size=size):
        tx.write(_KEEP_ASIDE, **msgspec.structs.asdict(one))
    tx.write(_DROP_BEYOND, of_origin=log_id.origin, of_epoch=log_id.epoch, of_size=size)
    tx.write(_DROP_TILES, of_origin=log_id.origin, of_epoch=log_id.epoch)
    tx.write(_DROP_HEAD, of_origin=log_id.origin, of_epoch=log_id.epoch)
