"""Ahead: what is urgent at a node is heard at the tower before the facts that lie before it.

Invariants
    H1  A copy is shown as heard, and is no fact: nothing is projected from it, and nobody reacts to it.
    H2  When the log reaches it, the copy goes; an entry that differs from its copy is a fork.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.judging import forked
from coldgrid.sync.messages import Place

COPIES_MAX = 200
READ_MAX = 5_000
# What opens something urgent, and the field that names it to people.
URGENT = {"telemetry.alarm_raised": "why", "orchestration.incident_opened": "title"}
RETURNED, ADVANCED = "telemetry.alarm_returned", "orchestration.incident_advanced"
CLOSED = "closed"

sync_ahead = sa.Table(
    "sync_ahead",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("occurred_at", Instant, nullable=False),
    sa.Column("heard_at", Instant, nullable=False),
    sa.Column("told", sa.Text, nullable=False),
    info={"service": True},
)


class HeardOf(msgspec.Struct, frozen=True):
    """Something urgent at a site whose facts are on their way. `told`: what it is, in its own words."""

    site_id: str
    epoch: int
    seq: int
    leaf: bytes
    stream: str
    type: str
    occurred_at: datetime
    heard_at: datetime
    told: str


_KEEP = Statement(upsert(sync_ahead, keys=["site_id", "epoch", "seq"]))
_PLACE = sa.tuple_(sync_ahead.c.epoch, sync_ahead.c.seq)
_LAST = sa.tuple_(
    sa.bindparam("last_epoch", type_=sa.BigInteger), sa.bindparam("last_seq", type_=sa.BigInteger)
)
_MINE = sync_ahead.c.site_id == sa.bindparam("whose")
_UPTO = Statement(sa.select(sync_ahead).where(_MINE).where(_PLACE <= _LAST), into=HeardOf)
_REACHED = Statement(sync_ahead.delete().where(_MINE).where(_PLACE <= _LAST))
_FORGET = Statement(sync_ahead.delete().where(_MINE))
_ALL = Statement(
    sa.select(sync_ahead).order_by(sync_ahead.c.occurred_at, sync_ahead.c.site_id, sync_ahead.c.seq),
    into=HeardOf,
)

# --- At the node --------------------------------------------------------------------


def urgent_after(db: Reader, site_id: str, place: Place) -> list[Entry]:
    """Return the entries behind a place that opened what is open still, oldest first."""
    last = log.find(db, f"{site_id}/{place.epoch}/{place.seq - 1}") if place.seq else None
    after = last.position if last is not None else -1
    opened: dict[str, Entry] = {}
    for entry in log.read(db, after, READ_MAX, [*URGENT, RETURNED, ADVANCED]):
        if entry.origin != site_id:
            continue
        if entry.type in URGENT:
            opened[entry.stream] = entry
        elif entry.type == RETURNED or getattr(log.decode_entry(entry), "status", "") == CLOSED:
            opened.pop(entry.stream, None)
    return sorted(opened.values(), key=lambda one: (one.epoch, one.seq))[:COPIES_MAX]


# --- At the tower -------------------------------------------------------------------


def new_of(db: Reader, site_id: str, entries: Sequence[Entry]) -> list[Entry]:
    """Return the urgent entries that were not heard of before; anything else is none that goes ahead.

    Raises:
        Refusal: forked: another was heard of at that place.
    """
    if not entries:
        return []
    known = _heard_upto(db, site_id, max(entries, key=lambda one: (one.epoch, one.seq)))
    for entry in entries:
        _check_same(known, entry)
    return [one for one in entries if one.type in URGENT and (one.epoch, one.seq) not in known]


def keep(tx: Tx, site_id: str, entries: Sequence[Entry], heard_at: datetime) -> None:
    """Keep copies of urgent entries (H1)."""
    for entry in entries:
        event = log.decode_entry(entry)
        tx.write(
            _KEEP,
            site_id=site_id,
            epoch=entry.epoch,
            seq=entry.seq,
            leaf=entry.leaf,
            stream=entry.stream,
            type=entry.type,
            occurred_at=entry.occurred_at,
            heard_at=heard_at,
            told=str(getattr(event, URGENT[entry.type], ""))[:200],
        )


def reached(db: Reader, site_id: str, entries: Sequence[Entry]) -> bool:
    """Hold entries of the log against their copies; tell whether there were any (H2).

    Raises:
        Refusal: forked.
    """
    known = _heard_upto(db, site_id, entries[-1])
    if known:
        for entry in entries:
            _check_same(known, entry)
    return bool(known)


def forget(tx: Tx, site_id: str, last: Entry) -> None:
    """Drop the copies that the log has reached."""
    tx.write(_REACHED, whose=site_id, last_epoch=last.epoch, last_seq=last.seq)


def forget_all(tx: Tx, site_id: str) -> None:
    """Drop every copy of a site: another history of it counts now."""
    tx.write(_FORGET, whose=site_id)


def heard_of(db: Reader) -> list[HeardOf]:
    """Return everything urgent whose facts are on their way, oldest first."""
    return db.all(_ALL)


def _heard_upto(db: Reader, site_id: str, last: Entry) -> dict[tuple[int, int], bytes]:
    found = db.all(_UPTO, whose=site_id, last_epoch=last.epoch, last_seq=last.seq)
    return {(one.epoch, one.seq): one.leaf for one in found}


def _check_same(known: dict[tuple[int, int], bytes], entry: Entry) -> None:
    heard = known.get((entry.epoch, entry.seq))
    if heard is not None and heard != entry.leaf:
        raise forked(entry.epoch, entry.seq + 1, heard, entry.leaf)
