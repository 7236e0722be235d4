"""Receiving: what the tower takes of a node's log, and what it refuses.

Invariants
    R1  A log is taken in order and without a gap, verbatim; what was taken is durable before it is answered.
    R2  An entry that differs from the one here is a fork: nothing is taken, both hashes are recorded, and the
        log is in quarantine until a person has settled it.
    R3  A log that is hosted here, or is in quarantine, takes nothing from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from coldgrid.evidence import forks
from coldgrid.evidence.forks import ForkSettled, LogForked
from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.collector import resting_collector
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.gathering import gather
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.origins import take_in
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, from_micros, metadata, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.sync import ahead, choices
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.judging import (
    Link,
    check_authority,
    check_known,
    check_opening,
    decide_facts,
    decide_greeting,
)
from coldgrid.sync.messages import Code, Columns, Facts, Hello, Key, Parcels, Place
from coldgrid.sync.readings import last_parcel, note_manifests, take_parcels
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry import arriving
from coldgrid.telemetry.parcel_marks import forget_mark

T = TypeVar("T")
Read = tuple[Entry, Any]
# All of a batch goes into one commit. After so many entries it is looked whether a command or another node
# waits: then that is the commit, and the others come behind it.
LOOKED_UP_AFTER = 250
# A few facts are written as they come: the way of a live one is the shortest so.
GATHERED_FROM = 32
# A chunk of so many takes long enough that only one at a time may wait at the decider.
BULK_FROM = 100
# A batch of so many is part of a backlog, of which more is to come.
RESTS_FROM = 500
TICKET_BYTES = 16
# A disk may have been mended: a node that greets later is asked again for what it did not have.
LOST_ASKED_AGAIN = timedelta(days=1)
CAUSE = "sync.received"

# --- Table ------------------------------------------------------------------------

# A service table: tickets are secrets of this connection, not facts.
sync_link = sa.Table(
    "sync_link",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("ticket", sa.LargeBinary, nullable=False),
    sa.Column("before", sa.LargeBinary, nullable=False),
    sa.Column("shown", sa.Boolean, nullable=False),
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("heard_at", Instant, nullable=False),
    sa.Column("ahead_us", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    info={"service": True},
)
_KEEP = Statement(
    upsert(
        sync_link,
        keys=["site_id"],
        set_=[name for name in Link.__struct_fields__ if name != "site_id"],
    )
)
_SHOWN = Statement(
    sync_link.update().where(sync_link.c.site_id == sa.bindparam("whose")).values(shown=sa.true())
)
_FORGET = Statement(sync_link.delete().where(sync_link.c.site_id == sa.bindparam("whose")))
_ONE = Statement(sa.select(sync_link).where(sync_link.c.site_id == sa.bindparam("site_id")), into=Link)
_ALL = Statement(sa.select(sync_link).order_by(sync_link.c.site_id), into=Link)

# --- Commands -----------------------------------------------------------------------


def greet(desk: Desk, site_id: str, hello: Hello) -> tuple[int, bytes, Place]:
    """Greet a node; return the version, its new ticket, and what is here of its log.

    Raises:
        Refusal: see `decide_greeting`; quarantined. A finding is recorded before it is raised (R2).
    """
    if hello.site_id != site_id:
        raise Refusal(Code.NOT_YOURS, f"the certificate is {site_id}'s, not {hello.site_id}'s")

    def work(decider: Decider) -> tuple[int, bytes, Place]:
        check_open(decider, site_id)
        head = place_of(decider, site_id)
        leaf = _leaf_at(Reads(decider.connection), site_id, head)

        def keep(tx: Tx) -> tuple[int, bytes, Place]:
            known = find_link(tx, site_id)
            greeting = decide_greeting(hello, known, head, leaf, last_parcel(tx, site_id))
            if greeting.again and known is not None:
                return greeting.version, known.ticket, head
            fresh = Link(
                site_id=site_id,
                ticket=tx.entropy(TICKET_BYTES),
                before=hello.ticket,
                shown=False,
                release=hello.release,
                version=greeting.version,
                heard_at=desk.now(),
                ahead_us=hello.now_us - to_micros(desk.now()),
                number=hello.number,
                nonce=hello.nonce,
            )
            tx.write(_KEEP, **msgspec.structs.asdict(fresh))
            arriving.ask_again(tx, site_id, tx.now - LOST_ASKED_AGAIN)
            return greeting.version, fresh.ticket, head

        return decider.take(site_id, keep, CAUSE)

    return _reported(desk, site_id, work)


def show_ticket(desk: Desk, site_id: str, ticket: bytes) -> None:
    """Take note that a node has its ticket.

    Raises:
        Refusal: greet, where it is not the one handed out last: another connection was greeted since.
    """
    with desk.reader() as db:
        link = find_link(db, site_id)
    if link is None or link.ticket != ticket:
        raise Refusal(Code.GREET, "this is not the ticket handed out last; say hello again")
    if not link.shown:
        desk.do(lambda decider: decider.take(site_id, lambda tx: tx.write(_SHOWN, whose=site_id), CAUSE))


def forget_link(tx: Tx, site_id: str) -> None:
    """Forget a node's ticket, its last parcel, and what it lost: another host goes on, or another copy."""
    tx.write(_FORGET, whose=site_id)
    forget_mark(tx, site_id)
    arriving.ask_again(tx, site_id, tx.now)


@projects(ForkSettled)
def _start_over(tx: Tx, event: ForkSettled) -> None:
    """A person settled which copy is kept: its host is greeted as if for the first time."""
    if not tx.rebuilding and tx.hot(Hosting).here(NETWORK_ORIGIN):  # a node is told of it too
        forget_link(tx, event.log_origin)
        ahead.forget_all(tx, event.log_origin)


def receive_facts(desk: Desk, site_id: str, facts: Facts) -> Place:
    """Take a batch of a node's log in; return the place after it (R1).

    Raises:
        Refusal: nothing of it, or nothing behind the place that a further Hello tells, was taken.
    """
    with resting_collector() if len(facts.columns.bodies) >= BULK_FROM else nullcontext():
        entries = unpack_entries(facts.columns)
        return _receive(
            desk, site_id, list(zip(entries, check_authority(site_id, entries), strict=True)), facts.keys
        )


def _receive(desk: Desk, site_id: str, read: Sequence[Read], keys: Sequence[Key]) -> Place:
    place, rests = Place(), len(read) >= RESTS_FROM
    while read:
        work = partial(_take, desk=desk, site_id=site_id, read=read, keys=keys, rests=rests)
        with desk.turn() if len(read) >= BULK_FROM else nullcontext():
            place, done = _reported(desk, site_id, work)
        read, keys = read[done:], []
    return place


def _take(
    decider: Decider, *, desk: Desk, site_id: str, read: Sequence[Read], keys: Sequence[Key], rests: bool
) -> tuple[Place, int]:
    """Take in the first of some entries, all of them where nobody waits; return how many are done with.

    `rests`: they are of a backlog, and what follows from them waits until it has come.
    """
    check_open(decider, site_id)
    head = place_of(decider, site_id)
    reads = Reads(decider.connection)
    entries = [entry for entry, _ in read]
    skip = decide_facts(entries, head, _known(reads, site_id, entries, head))
    new = read[skip:]
    _check_openings(reads, site_id, head, entries[skip:])
    reached = bool(new) and ahead.reached(reads, site_id, entries[skip:])
    gathers = len(new) >= GATHERED_FROM

    def work(tx: Tx) -> int:
        for key in keys:
            tx.take_key(key.subject, key.key)
        taken = 0
        while taken < len(new) and not (taken and desk.waits()):
            some = new[taken : taken + LOOKED_UP_AFTER]
            if gathers:
                gather(tx, some)
            else:
                take_in(tx, [entry for entry, _ in some], live=True)
            taken += len(some)
        note_manifests(tx, new[:taken])
        if reached:
            ahead.forget(tx, site_id, new[taken - 1][0])
        return taken

    taken = 0
    if new:
        try:
            taken = decider.take(site_id, work, CAUSE, gathers=gathers, rests=rests)
        except (LookupError, ValueError, AssertionError, TypeError) as error:
            # A projection failed, which none does on a valid event: the commit is undone, the log waits.
            why = f"the facts cannot be projected: {type(error).__name__}: {str(error)[:150]}"
            raise Refusal(Code.FAULT, why, entry=new[0][0].id) from error
    return place_of(decider, site_id), skip + taken


def hear_ahead(desk: Desk, site_id: str, columns: Columns) -> int:
    """Keep copies of urgent entries that the log has not reached (`ahead`); return how many were new.

    Raises:
        Refusal: not the site's, or too many; forked, where one differs from what is here or was heard before.
    """
    entries = unpack_entries(columns)
    if len(entries) > ahead.COPIES_MAX:
        raise Refusal(Code.TOO_LARGE, f"at most {ahead.COPIES_MAX} copies go ahead", entries=len(entries))
    check_authority(site_id, entries)

    def work(decider: Decider) -> int:
        check_open(decider, site_id)
        head = place_of(decider, site_id)
        reads = Reads(decider.connection)
        check_known(entries, _known(reads, site_id, entries, head), head)
        later = [entry for entry in entries if (entry.epoch, entry.seq) >= (head.epoch, head.seq)]
        new = ahead.new_of(reads, site_id, later)
        if new:
            decider.take(site_id, lambda tx: ahead.keep(tx, site_id, new, desk.now()), CAUSE)
        return len(new)

    return _reported(desk, site_id, work)


def receive_parcels(desk: Desk, site_id: str, sent: Parcels) -> int:
    """Store parcels of a node's readings; return the last number that is here (R2, R3).

    Raises:
        Refusal: not_yours, quarantined; gap, malformed, rewound: see `readings.take_parcels`.
    """

    def work(decider: Decider) -> int:
        check_open(decider, site_id)
        return take_parcels(decider, site_id, sent)

    return _reported(desk, site_id, work)


def _check_openings(db: Reader, site_id: str, head: Place, new: Sequence[Entry]) -> None:
    for number, entry in enumerate(new):
        if entry.seq == 0 and entry.epoch > log.FIRST_EPOCH:
            last = new[number - 1] if number else None
            before = Place(last.epoch, last.seq + 1) if last is not None else head
            check_opening(entry, before, last.leaf if last is not None else _leaf_at(db, site_id, head))


def _known(db: Reader, site_id: str, entries: Sequence[Entry], head: Place) -> dict[tuple[int, int], bytes]:
    """Return the leaves here of the entries that lie before the head."""
    before = [entry for entry in entries if (entry.epoch, entry.seq) < (head.epoch, head.seq)]
    known: dict[tuple[int, int], bytes] = {}
    for epoch in sorted({entry.epoch for entry in before}):
        seqs = [entry.seq for entry in before if entry.epoch == epoch]
        found = log.leaves(db, site_id, epoch, min(seqs), max(seqs) + 1)
        known |= {(epoch, seq): leaf for seq, leaf in found}
    return known


def _reported(desk: Desk, site_id: str, work: Callable[[Decider], T]) -> T:
    """Run work on the decider; a fork, a rewound disk or a clone is recorded before it is told (R2)."""
    try:
        return desk.do(work)
    except Refusal as refusal:
        if refusal.code in (Code.FORKED, Code.REWOUND, Code.CLONED):
            desk.do(partial(_report, site_id=site_id, refusal=refusal))
        raise


def report_feed(desk: Desk, site_id: str, refusal: Refusal) -> None:
    """Record that a node knows another feed than this tower's: under the node's name, as epoch 0.

    It is its word against ours, so it stops the talk with this node and nothing else; when many say the same,
    the tower was put back.
    """
    facts = {**refusal.facts, "epoch": 0}
    told = Refusal(refusal.code, refusal.why, **facts)
    desk.do(partial(_report, site_id=site_id, refusal=told))


def _report(decider: Decider, site_id: str, refusal: Refusal) -> None:
    head = place_of(decider, site_id)
    found = LogForked(
        log_origin=site_id,
        log_epoch=int(refusal.facts.get("epoch", head.epoch)),
        size=int(refusal.facts.get("size", head.seq)),
        signed=str(refusal.facts.get("here", "")),
        found=str(refusal.facts.get("there", "")),
        why=f"{refusal.code}: {refusal.why}",
    )
    decider.within(SYSTEM, NETWORK_ORIGIN, lambda tx: forks.report(tx, [found]), CAUSE)
    decider.settle()


# --- Queries ------------------------------------------------------------------------


def check_open(decider: Decider, site_id: str) -> None:
    """Refuse what is about a log that this host writes itself, or that is in quarantine.

    Raises:
        Refusal: not_yours, quarantined; chosen: the quarantine ends when the node does what was chosen.
    """
    if decider.shared.hot[Hosting].here(site_id):
        raise Refusal(Code.NOT_YOURS, f"{site_id} is hosted here")
    barred = [fork for fork in forks.quarantined(Reads(decider.connection)) if fork.origin == site_id]
    if barred:
        check_not_chosen(Reads(decider.connection), site_id)
        raise Refusal(Code.QUARANTINED, "a person has to choose which copy is kept", log=str(min(barred)))


def check_not_chosen(db: Reader, site_id: str) -> None:
    """Refuse while a person's choice waits for the node to carry it out.

    Raises:
        Refusal: chosen.
    """
    choice = choices.open_choice(db, site_id)
    if choice is not None:
        raise Refusal(Code.CHOSEN, "a person chose which copy is kept: carry it out", keep=choice.keep)


def place_of(decider: Decider, origin: str) -> Place:
    """Return where a log stands in a database; (0, 0) where nothing of it is there."""
    epoch, seq = decider.heads.get(origin, (0, 0))
    return Place(epoch, seq)


def _leaf_at(db: Reader, origin: str, head: Place) -> bytes:
    """Return the leaf of the last entry before a place; empty where there is none."""
    if not head.seq:
        return b""
    found = log.leaves(db, origin, head.epoch, head.seq - 1, head.seq)
    return found[0][1] if found else b""


def find_link(db: Reader, site_id: str) -> Link | None:
    """Return what is remembered of a node, or None."""
    return db.one(_ONE, site_id=site_id)


def links(db: Reader) -> list[Link]:
    """Return what is remembered of every node."""
    return db.all(_ALL)


def heard_at(link: Link) -> datetime:
    """Return when a node said hello, by its own clock."""
    return from_micros(to_micros(link.heard_at) + link.ahead_us)
