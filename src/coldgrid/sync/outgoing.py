"""Outgoing: what a node has to send, and what it keeps of the tower's answers.

Invariants
    O1  Only what is committed is sent: it is read on a reader's connection.
    O2  The ticket is durable before anything is sent under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import msgspec
import sqlalchemy as sa

from coldgrid.evidence import tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import OriginOpened
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.acts import Backlog
from coldgrid.sync.desk import Desk
from coldgrid.sync.feeds import keys_for
from coldgrid.sync.messages import Key, Place, Tip

# Of one batch, before compression: what a phone's link carries in a few seconds.
BATCH_BYTES_MAX = 2 * 1024 * 1024
NONCE_BYTES = 8
CAUSE = "sync.kept"


class Kept(msgspec.Struct, frozen=True):
    """What a node keeps: the ticket to show, what the tower has of its log, how often it said hello."""

    ticket: bytes = b""
    epoch: int = 0
    seq: int = 0
    number: int = 0


sync_upload = sa.Table(
    "sync_upload",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("ticket", sa.LargeBinary, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    info={"service": True},
)
_KEEP = Statement(upsert(sync_upload, keys=["site_id"], set_=["ticket", "epoch", "seq", "number", "at"]))
_ONE = Statement(
    sa.select(*(sync_upload.c[name] for name in Kept.__struct_fields__)).where(
        sync_upload.c.site_id == sa.bindparam("site_id")
    ),
    into=Kept,
)


def kept(db: Reader, site_id: str) -> Kept:
    """Return what a node keeps of its talk with the tower."""
    return db.one(_ONE, site_id=site_id) or Kept()


def keep(desk: Desk, site_id: str, ticket: bytes, place: Place) -> None:
    """Write down a new ticket and what the tower has (O2)."""

    def work(tx: Tx) -> None:
        number = kept(tx, site_id).number
        _write(tx, site_id, Kept(ticket, place.epoch, place.seq, number))

    desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def next_hello(desk: Desk, site_id: str) -> tuple[Kept, bytes]:
    """Count a greeting before it is sent; return what is kept, and this greeting's nonce."""

    def work(tx: Tx) -> tuple[Kept, bytes]:
        known = kept(tx, site_id)
        counted = msgspec.structs.replace(known, number=known.number + 1)
        _write(tx, site_id, counted)
        return counted, tx.entropy(NONCE_BYTES)

    return desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def count_from(desk: Desk, site_id: str, number: int) -> None:
    """Go on counting greetings from where the tower stands: this disk counted fewer."""

    def work(tx: Tx) -> None:
        known = kept(tx, site_id)
        if known.number < number < 2**53:
            _write(tx, site_id, msgspec.structs.replace(known, number=number))

    desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def _write(tx: Tx, site_id: str, now: Kept) -> None:
    tx.write(_KEEP, site_id=site_id, at=tx.now, **msgspec.structs.asdict(now))


def backlog_of(db: Reader, site_id: str, head: Place, parcel_no: int) -> Backlog:
    """Return what waits at a node whose log ends at `head`."""
    made = tiles.head(db, LogId(site_id, head.epoch)) if head.seq else None
    checkpoint = Place() if made is None else Place(made.epoch, made.size)
    return Backlog(head, parcel_no, checkpoint)


def facts_waiting(db: Reader, site_id: str, place: Place) -> int:
    """Return how many facts of a node's log the tower has not taken, when it has those before `place`."""
    sizes = {epoch: size for origin, epoch, size in log.epochs(db) if origin == site_id}
    later = sum(size for epoch, size in sizes.items() if epoch > place.epoch)
    return later + max(0, sizes.get(place.epoch, 0) - place.seq)


def tips_of(db: Reader, site_id: str, head: Place) -> list[Tip]:
    """Return how each epoch of a node's log ends, the newest first: what it says of itself when it greets."""
    found: list[Tip] = []
    epoch, size = head.epoch, head.seq
    while size:
        last = log.leaves(db, site_id, epoch, size - 1, size)
        found.append(Tip(epoch, size, last[0][1] if last else b""))
        opened = log.find(db, f"{site_id}/{epoch}/0")
        event = log.decode_entry(opened) if opened is not None else None
        cited = event.cites_entry.split("/") if isinstance(event, OriginOpened) else []
        epoch, size = (int(cited[1]), int(cited[2]) + 1) if len(cited) == 3 else (0, 0)
    return found


def facts_after(db: Reader, site_id: str, place: Place, head: Place, entries_max: int) -> list[Entry]:
    """Return entries of a node's log from a place on, of one epoch, within what a batch may hold."""
    epoch, first = max(place.epoch, log.FIRST_EPOCH), place.seq
    entries = log.read_origin(db, site_id, epoch, first, first + entries_max)
    if not entries and epoch < head.epoch:
        entries = log.read_origin(db, site_id, epoch + 1, 0, entries_max)
    return within_bytes(entries)


def within_bytes(entries: Sequence[Entry]) -> list[Entry]:
    """Return as many of the first entries as fit into a batch, and one at least."""
    left = BATCH_BYTES_MAX

    def fits(entry: Entry) -> bool:
        nonlocal left
        left -= len(entry.body)
        return left > 0

    return list(takewhile(fits, entries)) or list(entries[:1])


def keys_sealed_in(db: Reader, entries: Sequence[Entry]) -> list[Key]:
    """Return the keys that these entries need: the tower keeps those it does not have."""
    return keys_for(db, entries)
