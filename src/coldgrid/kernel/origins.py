"""Origins: who may extend the log, and from which epoch on; moving one to another host; taking facts in.

Invariants
    G1  An epoch begins with `origin.opened` at seq 0 and, when the origin moves, ends with `origin.closed`.
    G2  A closed origin is extended only by the host that opened the next epoch, citing the last entry.
    G3  Entries of other hosts are taken in verbatim, in order, without a gap; a fork is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from coldgrid.kernel import hosting, log
from coldgrid.kernel.events import Command, Entry, Event, UnknownEvent, decode, envelope_bytes, leaf_hash
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, projections
from coldgrid.kernel.rejections import Conflict

if TYPE_CHECKING:
    from coldgrid.kernel.tx import Tx

ClockKind = Literal["live", "scaled", "virtual"]


class OriginOpened(Event, frozen=True, tag="origin.opened"):
    """A host began an epoch of an origin. `cites` is the id and leaf (hex) of the entry it goes on from."""

    origin: str
    clock: ClockKind
    cites_entry: str = ""
    cites_leaf: str = ""


class OriginClosed(Event, frozen=True, tag="origin.closed"):
    """A host ended its epoch of an origin; `last_seq` is this entry's own."""

    origin: str
    reason: str
    last_seq: int


class CloseOrigin(Command, frozen=True, tag="origin.close"):
    """Ask to end this host's epoch of an origin, so that another host can go on."""

    origin: str
    reason: str


class OriginFork(Conflict):
    """Two different entries claim the same place in an origin's log; a person must choose."""

    todo = "Quarantine the copy; compare both hashes; keep one."


class OriginGap(Conflict):
    """The entries do not follow what is here."""

    todo = "Send the entries from the sequence number named as `expected`."


@handles(CloseOrigin, action="origin.close", owner=Owner.ANY, direct=True)
def close_origin(tx: Tx, command: CloseOrigin) -> None:
    """Record the end of an epoch; the decider refuses further commands of the origin (G2)."""
    _, seq = tx.batch.heads[command.origin]
    event = OriginClosed(origin=command.origin, reason=command.reason, last_seq=seq)
    tx.record(f"origin/{command.origin}", event)
    hosting.place(tx, command.origin, here=False, why=command.reason)


def open_epoch(tx: Tx, clock: ClockKind) -> None:
    """Begin the next epoch of the unit of work's origin, citing the last entry (G1)."""
    head = tx.batch.heads.get(tx.origin)
    cites_entry = cites_leaf = ""
    if head is None:
        tx.batch.heads[tx.origin] = (log.FIRST_EPOCH, 0)
    else:
        epoch, seq = head
        cites_entry = f"{tx.origin}/{epoch}/{seq - 1}"
        last = log.find(tx, cites_entry)
        cites_leaf = last.leaf.hex() if last is not None else ""
        tx.batch.heads[tx.origin] = (epoch + 1, 0)
    opened = OriginOpened(origin=tx.origin, clock=clock, cites_entry=cites_entry, cites_leaf=cites_leaf)
    tx.record(f"origin/{tx.origin}", opened)


def take_in(tx: Tx, entries: Sequence[Entry], *, gapless: bool = True, live: bool = False) -> int:
    """Append another host's entries verbatim and project them; return how many were new (G3).

    Reactions in the group do not run: what followed from these facts is in the same log. With `live`, as
    when they arrive from a host at work, listeners and cursor reactions see them, for what follows from
    them elsewhere is not. With `gapless=False` the entries are a feed of one audience: in order, but not
    every one of the origin's.

    Raises:
        OriginGap: an entry does not follow what is here.
        OriginFork: an entry differs from the one here, or its leaf is not that of its bytes.
    """
    taken = 0
    for entry in entries:
        if leaf_hash(envelope_bytes(entry)) != entry.leaf:
            raise OriginFork(entry=entry.id, leaf=entry.leaf.hex(), why="the leaf is not that of the bytes")
        epoch, seq = tx.batch.heads.get(entry.origin, (log.FIRST_EPOCH, 0))
        if (entry.epoch, entry.seq) < (epoch, seq):
            known = log.find(tx, entry.id)
            if known is None or known.leaf != entry.leaf:
                raise OriginFork(
                    entry=entry.id, leaf=entry.leaf.hex(), here=known.leaf.hex() if known else ""
                )
            continue
        if gapless and (entry.epoch, entry.seq) not in ((epoch, seq), (epoch + 1, 0)):
            raise OriginGap(entry=entry.id, expected=f"{entry.origin}/{epoch}/{seq}")
        _apply(tx, log.append_verbatim(tx.batch, entry), live)
        taken += 1
    return taken


def _apply(tx: Tx, entry: Entry, live: bool) -> None:
    event = decode(entry.type, entry.body)
    if isinstance(event, UnknownEvent):
        return
    projecting = tx.as_of(entry)
    projecting.rebuilding = False  # a live fact, only another host's
    for projection in projections.get(type(event), ()):
        projection(projecting, event)
    if live:
        tx.batch.recorded.append((entry, event))
