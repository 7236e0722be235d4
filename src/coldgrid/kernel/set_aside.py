"""Set aside: entries of a copy of a log that a person decided against. They leave the log, not the database.

Invariants
    A1  An entry is in the log or set aside, verbatim either way; the move, and the projections made anew
        without it, are one commit.
    A2  A position is used once: what follows is appended behind what was set aside.
    A3  What is set aside is never projected, fed or signed again; it is read and exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

CHUNK = 1_000

kernel_set_aside = sa.Table(
    "kernel_set_aside",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("leaf", sa.LargeBinary, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    *(sa.Column(name, Instant, nullable=False) for name in ("occurred_at", "recorded_at")),
    *(sa.Column(n, sa.Text, nullable=False) for n in ("stream", "type", "actor", "cause", "audience")),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("set_aside_at", Instant, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    info={"service": True},
)
_KEEP = Statement(upsert(kernel_set_aside, keys=["origin", "epoch", "seq", "leaf"]))
_ENTRY = [kernel_set_aside.c[name] for name in Entry.__struct_fields__]
_AFTER = Statement(
    sa.select(*_ENTRY)
    .where(kernel_set_aside.c.origin == sa.bindparam("origin"))
    .where(
        sa.tuple_(kernel_set_aside.c.epoch, kernel_set_aside.c.seq)
        >= sa.tuple_(
            sa.bindparam("from_epoch", type_=sa.BigInteger), sa.bindparam("from_seq", type_=sa.BigInteger)
        )
    )
    .order_by(kernel_set_aside.c.epoch, kernel_set_aside.c.seq, kernel_set_aside.c.leaf)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Entry,
)
_LAST_POSITION = Statement(sa.select(sa.func.max(kernel_set_aside.c.position)))
_EVERYTHING = Statement(
    sa.select(kernel_set_aside.c.set_aside_at, kernel_set_aside.c.why, *_ENTRY).order_by(
        kernel_set_aside.c.origin, kernel_set_aside.c.epoch, kernel_set_aside.c.seq, kernel_set_aside.c.leaf
    )
)
_GROUPS = Statement(
    sa.select(
        kernel_set_aside.c.origin,
        kernel_set_aside.c.epoch,
        sa.func.min(kernel_set_aside.c.seq),
        sa.func.max(kernel_set_aside.c.seq),
        sa.func.count(),
        kernel_set_aside.c.set_aside_at,
        kernel_set_aside.c.why,
    )
    .group_by(
        kernel_set_aside.c.origin,
        kernel_set_aside.c.epoch,
        kernel_set_aside.c.set_aside_at,
        kernel_set_aside.c.why,
    )
    .order_by(kernel_set_aside.c.set_aside_at, kernel_set_aside.c.origin, kernel_set_aside.c.epoch)
)


class Kept(msgspec.Struct, frozen=True):
    """An entry that was set aside: when, and why."""

    at: datetime
    why: str
    entry: Entry


class Aside(msgspec.Struct, frozen=True):
    """Entries of one epoch that were set aside together: from seq `first` to `last`, and why."""

    origin: str
    epoch: int
    first: int
    last: int
    entries: int
    at: datetime
    why: str


# --- Writes -----------------------------------------------------------------------


def keep(tx: Tx, entries: Sequence[Entry], why: str) -> None:
    """Keep entries beside the log, verbatim; those of another host have no position here."""
    for entry in entries:
        fields: dict[str, Any] = {name: getattr(entry, name) for name in Entry.__struct_fields__}
        tx.write(_KEEP, **fields, set_aside_at=tx.now, why=why)


# --- Queries ----------------------------------------------------------------------


def last_position(db: Reader) -> int:
    """Return the last position that an entry set aside had here; -1 where there is none (A2)."""
    last = db.value(_LAST_POSITION)
    return -1 if last is None else int(last)


def asides(db: Reader) -> list[Aside]:
    """Return what was set aside here, oldest first, by epoch."""
    return [Aside(*row) for row in db.all(_GROUPS)]


def everything(db: Reader) -> list[Kept]:
    """Return every entry that was set aside here or sent here to be read, by origin and place."""
    return [Kept(at, why, Entry(*fields)) for at, why, *fields in db.all(_EVERYTHING)]


def read(db: Reader, origin: str, epoch: int = 0, seq: int = 0, limit: int = CHUNK) -> list[Entry]:
    """Return an origin's entries that were set aside, from a place on; one place may have several."""
    return db.all(_AFTER, origin=origin, from_epoch=epoch, from_seq=seq, count=limit)
