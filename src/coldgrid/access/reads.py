"""Reads of personal and quality data: who looked at what, and when. Rows beside the log, kept for a time.

Invariants
    R1  Every page or query marked `reads` leaves one row for each answer, whoever asked.
    R2  A row names people by their opaque id only, and is swept `KEPT` after the read.

Times are the system clock's: an auditor asks when somebody looked, not what the business clock said.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

LENGTH_MAX = 300
KEPT = timedelta(days=3 * 365)

access_read = sa.Table(
    "access_read",
    metadata,
    sa.Column("read_id", sa.Text, primary_key=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("read_at", Instant, nullable=False),
    info={"service": True},
)
sa.Index("ix_access_read_at", access_read.c.read_at)
_NOTE = Statement(access_read.insert())
_SWEEP = Statement(access_read.delete().where(access_read.c.read_at < sa.bindparam("before", type_=Instant)))


class NoteRead(Command, frozen=True, tag="access.note_read"):
    """Note that somebody read a record. `kind`: personal or quality; `subject`: the address shown."""

    read_id: str
    actor: str
    kind: str
    subject: str
    at: datetime


@handles(NoteRead, action="session.note_read", owner=Owner.HOST)
def note_read(tx: Tx, command: NoteRead) -> None:
    """Keep the read, and drop those past their time (R2)."""
    tx.write(_SWEEP, before=command.at - KEPT)
    tx.write(
        _NOTE,
        read_id=command.read_id,
        actor=command.actor,
        kind=command.kind[:LENGTH_MAX],
        subject=command.subject[:LENGTH_MAX],
        read_at=command.at,
    )


class Read(msgspec.Struct, frozen=True):
    """One read."""

    read_id: str
    actor: str
    kind: str
    subject: str
    read_at: datetime


_ORDERED = sa.select(access_read).order_by(access_read.c.read_at.desc(), access_read.c.read_id)
_LATEST = Statement(_ORDERED.limit(sa.bindparam("count", type_=sa.Integer)), into=Read)
_OF_SUBJECT = Statement(
    _ORDERED.where(access_read.c.subject == sa.bindparam("which")).limit(
        sa.bindparam("count", type_=sa.Integer)
    ),
    into=Read,
)


def latest_reads(db: Reader, limit: int = 50) -> list[Read]:
    """Return the latest reads, newest first."""
    return db.all(_LATEST, count=limit)


def reads_of(db: Reader, subject: str, limit: int = 50) -> list[Read]:
    """Return who read one record, newest first."""
    return db.all(_OF_SUBJECT, which=subject, count=limit)
