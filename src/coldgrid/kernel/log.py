"""The log: append-only, gapless for each origin and epoch, and in each database.

Invariants
    L1  (origin, epoch, seq) is unique and seq has no gap; `position` grows, and has no gap but where a copy
        was set aside.
    L2  An entry is never changed, nor deleted but for one that `set_aside` keeps; its leaf covers everything
        but `position`.
    L3  Only the stream's owner extends it (kernel/ownership.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from coldgrid.kernel.events import Entry, Event, decode, encode, envelope_bytes, leaf_hash, tag_of
from coldgrid.kernel.ownership import may_extend
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata, to_micros

if TYPE_CHECKING:
    from coldgrid.kernel.batch import Batch
    from coldgrid.kernel.driver import Connection
    from coldgrid.kernel.reading import Reader

event_log = sa.Table(
    "event_log",
    metadata,
    sa.Column(
        "position",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("occurred_at", Instant, nullable=False),
    sa.Column("recorded_at", Instant, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    info={"service": True},
)
sa.Index("uq_event_log_origin", event_log.c.origin, event_log.c.epoch, event_log.c.seq, unique=True)
sa.Index("ix_event_log_stream", event_log.c.stream)

LOG_TABLE = event_log.name  # what follows it in the database itself is named after it

_APPEND = Statement(event_log.insert())
_SELECT = sa.select(event_log).order_by(event_log.c.position)
_AFTER = Statement(
    _SELECT.where(event_log.c.position > sa.bindparam("after")).limit(
        sa.bindparam("count", type_=sa.Integer)
    ),
    into=Entry,
)
# For a replay: everything that an entry's projection sees, as it is stored.
_ROWS_AFTER = Statement(
    sa.select(*(column for column in event_log.c if column.name != "leaf"))
    .order_by(event_log.c.position)
    .where(event_log.c.position > sa.bindparam("after"))
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_AFTER_OF_TYPES = Statement(
    _SELECT.where(event_log.c.position > sa.bindparam("after"))
    .where(event_log.c.type.in_(sa.bindparam("types", expanding=True)))
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Entry,
)
_AFTER_OF_ORIGIN = Statement(
    _SELECT.where(event_log.c.origin == sa.bindparam("origin"))
    .where(event_log.c.position > sa.bindparam("after"))
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Entry,
)
_ADDRESSED = Statement(
    sa.select(event_log.c.position, event_log.c.origin, event_log.c.audience)
    .where(event_log.c.audience != "")
    .where(event_log.c.position > sa.bindparam("after"))
    .where(event_log.c.position <= sa.bindparam("upto"))
    .order_by(event_log.c.position)
)
_AT = Statement(
    _SELECT.where(event_log.c.position.in_(sa.bindparam("positions", expanding=True))), into=Entry
)
_OF_STREAM = Statement(_SELECT.where(event_log.c.stream == sa.bindparam("stream")), into=Entry)
_OF_STREAM_BACK = Statement(
    sa.select(event_log)
    .where(event_log.c.stream == sa.bindparam("stream"), event_log.c.position < sa.bindparam("before"))
    .order_by(event_log.c.position.desc())
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Entry,
)
_ONE = Statement(
    sa.select(event_log)
    .where(event_log.c.origin == sa.bindparam("origin"))
    .where(event_log.c.epoch == sa.bindparam("epoch"))
    .where(event_log.c.seq == sa.bindparam("seq")),
    into=Entry,
)
_OF_ORIGIN = Statement(
    sa.select(event_log)
    .where(event_log.c.origin == sa.bindparam("origin"))
    .where(event_log.c.epoch == sa.bindparam("epoch"))
    .where(event_log.c.seq >= sa.bindparam("first"))
    .where(event_log.c.seq < sa.bindparam("end"))
    .order_by(event_log.c.seq),
    into=Entry,
)
_LEAVES = Statement(
    sa.select(event_log.c.seq, event_log.c.leaf)
    .where(event_log.c.origin == sa.bindparam("origin"))
    .where(event_log.c.epoch == sa.bindparam("epoch"))
    .where(event_log.c.seq >= sa.bindparam("first"))
    .where(event_log.c.seq < sa.bindparam("end"))
    .order_by(event_log.c.seq)
)
_HEADS = Statement(
    sa.select(event_log.c.origin, event_log.c.epoch, sa.func.max(event_log.c.seq)).group_by(
        event_log.c.origin, event_log.c.epoch
    )
)
_CUT = Statement(event_log.delete().where(event_log.c.position == sa.bindparam("at_position")))
_LAST_POSITION = Statement(sa.select(sa.func.max(event_log.c.position)))

FIRST_EPOCH = 1


class Stamp:
    """What all entries of one unit of work share, encoded once."""

    __slots__ = ("actor", "at", "cause", "micros", "origin")

    def __init__(self, origin: str, at: datetime, actor: str, cause: str) -> None:
        self.origin = origin
        self.at = at
        self.micros = to_micros(at)
        self.actor = actor
        self.cause = cause


def append(
    batch: Batch, stream: str, event: Event, stamp: Stamp, occurred_at: datetime | None, audience: str
) -> Entry:
    """Append an event to the log of the stamp's origin; the caller runs its projections.

    Raises:
        Invalid: the origin does not own the stream (L3): the command named another site than it is about.
    """
    origin = stamp.origin
    if not may_extend(origin, stream):
        message = f"{origin} does not own {stream}"
        raise Invalid([Problem(field="site_id", message=message, fix="name the site that this is about")])
    head = batch.heads.get(origin)
    epoch, seq = head if head is not None else (FIRST_EPOCH, 0)
    position = batch.position
    body = encode(event)
    type_ = tag_of(type(event))
    # A fact without a time of its own happened when it was recorded.
    occurred = stamp.at if occurred_at is None else occurred_at
    entry = Entry(
        position,
        origin,
        epoch,
        seq,
        occurred,
        stamp.at,
        stream,
        type_,
        stamp.actor,
        stamp.cause,
        audience,
        body,
        b"",
    )
    leaf = leaf_hash(envelope_bytes(entry))
    micros = stamp.micros
    batch.write_row(
        _APPEND,
        (
            position,
            origin,
            epoch,
            seq,
            micros if occurred_at is None else to_micros(occurred_at),
            micros,
            stream,
            type_,
            stamp.actor,
            stamp.cause,
            audience,
            body,
            leaf,
        ),
    )
    batch.heads[origin] = (epoch, seq + 1)
    batch.position = position + 1
    return entry


def append_verbatim(batch: Batch, entry: Entry) -> Entry:
    """Append another host's entry as it is; only its local position is ours."""
    return append_timed(batch, entry)[0]


def append_timed(batch: Batch, entry: Entry) -> tuple[Entry, int]:
    """Do so, and return the entry with when it was recorded, as it is stored."""
    position, origin, epoch, seq = batch.position, entry.origin, entry.epoch, entry.seq
    occurred, recorded = entry.occurred_at, entry.recorded_at
    recorded_us = to_micros(recorded)
    stream, type_, actor, cause = entry.stream, entry.type, entry.actor, entry.cause
    audience, body, leaf = entry.audience, entry.body, entry.leaf
    occurred_us = recorded_us if occurred is recorded else to_micros(occurred)
    batch.write_row(
        _APPEND,
        (
            position,
            origin,
            epoch,
            seq,
            occurred_us,
            recorded_us,
            stream,
            type_,
            actor,
            cause,
            audience,
            body,
            leaf,
        ),
    )
    batch.heads[origin] = (epoch, seq + 1)
    batch.position = position + 1
    here = Entry(
        position, origin, epoch, seq, occurred, recorded, stream, type_, actor, cause, audience, body, leaf
    )
    return here, recorded_us


def cut(batch: Batch, positions: Sequence[int]) -> None:
    """Take entries out of the log that are kept beside it in the same commit (`set_aside`)."""
    for position in positions:
        batch.write_row(_CUT, (position,))


def read(db: Reader, after: int, limit: int, types: Sequence[str] = ()) -> list[Entry]:
    """Return the entries behind a position, oldest first; of the given types only, where any are given."""
    if types:
        return db.all(_AFTER_OF_TYPES, after=after, count=limit, types=list(types))
    return db.all(_AFTER, after=after, count=limit)


def read_rows(connection: Connection, after: int, limit: int) -> list[tuple[Any, ...]]:
    """Return the rows behind a position as they are stored: an entry's fields, but for the leaf."""
    params = _ROWS_AFTER.bind(connection.dialect, {"after": after, "count": limit})
    return connection.query(_ROWS_AFTER, params)


def read_all(db: Reader, after: int = -1, types: Sequence[str] = (), chunk: int = 2000) -> Iterator[Entry]:
    """Yield every entry behind a position, read in chunks."""
    while entries := read(db, after, chunk, types):
        yield from entries
        after = entries[-1].position


def follow_origin(db: Reader, origin: str, after: int, limit: int) -> list[Entry]:
    """Return an origin's entries behind a position, oldest first."""
    return db.all(_AFTER_OF_ORIGIN, origin=origin, after=after, count=limit)


def read_addressed(db: Reader, after: int, upto: int) -> list[tuple[int, str, str]]:
    """Return (position, origin, audience) of the entries in (after, upto] that are meant for somebody.

    It goes through them all: an index of the addressed ones would cost every commit a page.
    """
    return db.all(_ADDRESSED, after=after, upto=upto)


def read_at(db: Reader, positions: Sequence[int]) -> list[Entry]:
    """Return the entries at some positions, in order of position."""
    return db.all(_AT, positions=list(positions))


def read_stream(db: Reader, stream: str) -> list[Entry]:
    """Return a stream's entries, oldest first."""
    return db.all(_OF_STREAM, stream=stream)


def read_stream_back(db: Reader, stream: str, before: int, limit: int) -> list[Entry]:
    """Return a stream's entries before a position, newest first."""
    return db.all(_OF_STREAM_BACK, stream=stream, before=before, count=limit)


def find(db: Reader, entry_id: str) -> Entry | None:
    """Return the entry named origin/epoch/seq, or None."""
    origin, _, rest = entry_id.partition("/")
    epoch, _, seq = rest.partition("/")
    if not (epoch.isdigit() and seq.isdigit()):
        return None
    return db.one(_ONE, origin=origin, epoch=int(epoch), seq=int(seq))


def read_origin(db: Reader, origin: str, epoch: int, first: int, end: int) -> list[Entry]:
    """Return an origin's entries from seq `first` up to, not including, `end`."""
    return db.all(_OF_ORIGIN, origin=origin, epoch=epoch, first=first, end=end)


def leaves(db: Reader, origin: str, epoch: int, first: int, end: int) -> list[tuple[int, bytes]]:
    """Return (seq, leaf hash) of an origin's entries from `first` up to, not including, `end`."""
    return [(seq, leaf) for seq, leaf in db.all(_LEAVES, origin=origin, epoch=epoch, first=first, end=end)]


def heads(db: Reader) -> dict[str, tuple[int, int]]:
    """Return, for each origin, its latest epoch and the next seq in it."""
    found: dict[str, tuple[int, int]] = {}
    for origin, epoch, seq in db.all(_HEADS):
        found[origin] = max(found.get(origin, (0, 0)), (epoch, seq + 1))
    return found


def epochs(db: Reader) -> list[tuple[str, int, int]]:
    """Return (origin, epoch, number of entries) of every epoch in this database."""
    return sorted((origin, epoch, seq + 1) for origin, epoch, seq in db.all(_HEADS))


def last_position(db: Reader) -> int:
    """Return the last position; -1 where the log is empty."""
    last = db.value(_LAST_POSITION)
    return -1 if last is None else int(last)


def decode_entry(entry: Entry) -> Any:
    """Return the entry's event; `UnknownEvent` where this release does not know its type."""
    return decode(entry.type, entry.body)
