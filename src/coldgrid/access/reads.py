"""Reads of personal and quality data, as facts: who looked at what, and when."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

LENGTH_MAX = 300


class ReadNoted(Event, frozen=True, tag="access.read_noted"):
    """Somebody read a record. `kind` is personal or quality; `subject` the address that showed it."""

    kind: str
    subject: str


access_read = sa.Table(
    "access_read",
    metadata,
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("read_at", Instant, nullable=False),
    info={"origin": "network"},
)
sa.Index("ix_access_read_at", access_read.c.read_at)
_NOTE = Statement(access_read.insert())


@projects(ReadNoted)
def _note_row(tx: Tx, event: ReadNoted) -> None:
    tx.write(
        _NOTE, entry_id=tx.entry.id, actor=tx.actor, kind=event.kind, subject=event.subject, read_at=tx.now
    )


class NoteRead(Command, frozen=True, tag="access.note_read"):
    """Note that the caller read a record."""

    kind: str
    subject: str


@handles(NoteRead, action="access.note_read", owner=Owner.NETWORK)
def note_read(tx: Tx, command: NoteRead) -> None:
    """Record the read under the reader's own stream."""
    event = ReadNoted(kind=command.kind[:LENGTH_MAX], subject=command.subject[:LENGTH_MAX])
    tx.record(f"person/{tx.actor}", event)


class Read(msgspec.Struct, frozen=True):
    """One read."""

    entry_id: str
    actor: str
    kind: str
    subject: str
    read_at: datetime


_LATEST = Statement(
    sa.select(access_read)
    .order_by(access_read.c.read_at.desc(), access_read.c.entry_id.desc())
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Read,
)


def latest_reads(db: Reader, limit: int = 50) -> list[Read]:
    """Return the latest reads, newest first."""
    return db.all(_LATEST, count=limit)
