"""Handover: a site's log and its waiting work move between the tower and a node, or from node to node.

Invariants
    H1  Who gives a site away closes its epoch and takes what waits there (timers, effects) out of its own
        hands in one commit: nothing happens twice, and nothing is lost between the two.
    H2  What was taken out is kept at the tower until the new host has opened the next epoch here, or is put
        back when the tower takes the site again.
    H3  A site is handed over when its last epoch was closed, or when its only node asks for what the tower
        has: a node that is cut off for ever is the only other one that could still write.
    H4  Every step can be asked again, and answers the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from coldgrid.evidence import tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import hosting, log, luggage
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.luggage import Row
from coldgrid.kernel.origins import CloseOrigin, OriginClosed
from coldgrid.kernel.ownership import NETWORK_ORIGIN, Owner
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.enrolled import nodes_of
from coldgrid.sync.messages import Code, Place
from coldgrid.sync.node_words import CallBackSite, SiteCalledBack
from coldgrid.sync.receiving import forget_link, place_of
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry import arriving
from coldgrid.telemetry.losses import TellLosses

T = TypeVar("T")
CAUSE = "sync.handover"
ROWS_AT_ONCE = 500

# --- Vocabulary -------------------------------------------------------------------


class Begun(msgspec.Struct, frozen=True):
    """How a site stands that is to be handed over.

    `waiting`: its present node was asked to close it, ask again. Else `epoch`, `seq`, `leaf` are its last
    entry's, and `notes` the signed checkpoints of its epochs.
    """

    waiting: bool
    epoch: int = 0
    seq: int = 0
    leaf: bytes = b""
    tables: list[str] = []
    notes: list[str] = []


class RowsAsk(msgspec.Struct, frozen=True):
    """The next rows of a table, after this key."""

    table: str
    after: list[Any] = []


class RowsPart(msgspec.Struct, frozen=True):
    """Rows as the database holds them. `more`: there are others after them."""

    rows: list[list[Any]]
    more: bool


class Given(msgspec.Struct, frozen=True):
    """Work that waits, from a node that closed its log: (table, row); `done` with the last of it."""

    rows: list[tuple[str, list[Any]]]
    done: bool


class NodeMayWrite(Conflict):
    """The site's node may have gone on by itself: taking the site here could split its history."""

    todo = "Let the node come back and ask again; if it never will, say so with --lost."


# --- Table ------------------------------------------------------------------------

sync_luggage = sa.Table(
    "sync_luggage",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("row_no", sa.BigInteger, primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    info={"service": True},
)
# How far handing over came: `closed` here for a node, `given` by a node. `copied`: what waits at a node that
# works, in case that it is lost.
sync_handover = sa.Table(
    "sync_handover",
    metadata,
    sa.Column("site_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    info={"service": True},
)
_PACK = Statement(upsert(sync_luggage, keys=["site_id", "row_no"], set_=["table_name", "body"]))
_WHOSE = sync_luggage.c.site_id == sa.bindparam("whose")
_PACKED = Statement(
    sa.select(sync_luggage.c.table_name, sync_luggage.c.body).where(_WHOSE).order_by(sync_luggage.c.row_no)
)
_UNPACK = Statement(sync_luggage.delete().where(_WHOSE))
_MARK = Statement(upsert(sync_handover, keys=["site_id"], set_=["state", "at"]))
_UNMARK = Statement(sync_handover.delete().where(sync_handover.c.site_id == sa.bindparam("whose")))
_STATE = Statement(sa.select(sync_handover.c.state).where(sync_handover.c.site_id == sa.bindparam("whose")))
CLOSED, GIVEN, COPIED = "closed", "given", "copied"
HANDING = (CLOSED, GIVEN)


def read(body: bytes, form: type[T]) -> T:
    """Read what was asked.

    Raises:
        Refusal: malformed.
    """
    try:
        return msgspec.msgpack.decode(body, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refusal(Code.MALFORMED, str(error)[:200]) from None


# --- Both sides -------------------------------------------------------------------


def close_here(decider: Decider, site_id: str, reason: str) -> None:
    """Close a site's epoch here and pack what waits (H1); nothing where it is not here any more."""
    if not decider.shared.hot[Hosting].here(site_id):
        return

    def work(tx: Tx) -> None:
        tx.run(CloseOrigin(origin=site_id, reason=reason))
        tx.write(_UNPACK, whose=site_id)
        _pack(tx, site_id, luggage.take_waiting(tx, site_id))
        tx.write(_MARK, site_id=site_id, state=CLOSED, at=tx.now)

    decider.within(SYSTEM, site_id, work, CAUSE)
    decider.settle()


def _pack(tx: Tx, site_id: str, rows: Sequence[tuple[str, Row]], first: int = 0) -> None:
    for number, (name, row) in enumerate(rows, first):
        tx.write(
            _PACK, site_id=site_id, row_no=number, table_name=name, body=msgspec.msgpack.encode(list(row))
        )


def packed(db: Reader, site_id: str) -> list[tuple[str, list[Any]]]:
    """Return what is packed for a site."""
    return [(name, msgspec.msgpack.decode(body)) for name, body in db.all(_PACKED, whose=site_id)]


def unpack_here(tx: Tx, site_id: str) -> None:
    """Put what is packed back to work, and forget that it was packed."""
    for name, row in packed(tx, site_id):
        luggage.put_rows(tx, name, [row])
    forget_packed(tx, site_id)


def forget_packed(tx: Tx, site_id: str) -> None:
    """Drop what was packed: it works elsewhere now (H2)."""
    tx.write(_UNPACK, whose=site_id)
    tx.write(_UNMARK, whose=site_id)


def state_of(db: Reader, site_id: str) -> str:
    """Return how far handing a site over came; empty where nobody is at it."""
    return str(db.value(_STATE, whose=site_id) or "")


def is_closed(db: Reader, site_id: str, place: Place) -> bool:
    """Tell whether the last entry of a site's log closes it."""
    last = log.find(db, f"{site_id}/{place.epoch}/{place.seq - 1}") if place.seq else None
    return last is not None and last.type == tag_of(OriginClosed)


# --- The tower's side ---------------------------------------------------------------


@handles(CallBackSite, action="sync.call_back_site", owner=Owner.NETWORK)
def call_back_site(tx: Tx, command: CallBackSite) -> None:
    """Tell the site's node; it hears of it with its feed."""
    event = SiteCalledBack(site_id=command.site_id, reason=command.reason[:200])
    tx.record(f"handover/{command.site_id}", event)


def begin(decider: Decider, site_id: str, replace: bool) -> Begun:
    """Begin to hand a site over to the node that asks, or go on with it (H3, H4).

    Raises:
        Refusal: not_yours: another node has it, and the one that asks was not told to take its place.
    """
    close_here(decider, site_id, "handed over to a node")
    reads = Reads(decider.connection)
    place = place_of(decider, site_id)
    if not is_closed(reads, site_id, place):
        nodes = nodes_of(reads, site_id)
        if len(nodes) > 1 and not replace:
            why = f"{nodes[1].node_id} is the node of {site_id}; to take its place, join with --replace"
            raise Refusal(Code.NOT_YOURS, why)
        if len(nodes) > 1:
            _call_back(decider, site_id)
            return Begun(True)
    elif state_of(reads, site_id) not in HANDING:
        return Begun(True)  # its node closed it; what waits there is still on its way
    decider.take(site_id, lambda tx: forget_link(tx, site_id), CAUSE)
    found = log.leaves(reads, site_id, place.epoch, place.seq - 1, place.seq)
    waiting = luggage.waiting_tables() if state_of(reads, site_id) else []
    return Begun(
        False, place.epoch, place.seq, found[0][1] if found else b"", [*luggage.carried_tables(), *waiting]
    )


def _call_back(decider: Decider, site_id: str) -> None:
    """Call a site back, once."""
    reads = Reads(decider.connection)
    place = place_of(decider, site_id)
    called = log.read_stream(reads, f"handover/{site_id}")
    opened = log.find(reads, f"{site_id}/{place.epoch}/0")
    if not called or (opened is not None and called[-1].recorded_at < opened.recorded_at):
        decider.do(CallBackSite(site_id=site_id, reason="another host takes over"))


def notes_of(db: Reader, begun: Begun, site_id: str) -> list[str]:
    """Return the signed checkpoint of each epoch of a site."""
    heads = (tiles.head(db, LogId(site_id, epoch)) for epoch in range(log.FIRST_EPOCH, begun.epoch + 1))
    return [head.note for head in heads if head is not None and head.note]


def rows_for(db: Reads, site_id: str, ask: RowsAsk) -> RowsPart:
    """Return the next rows of a table that move with a site.

    Raises:
        Refusal: unknown: no such table is carried.
    """
    if ask.table in luggage.waiting_tables():
        rows = [row for name, row in packed(db, site_id) if name == ask.table]
        return RowsPart([] if ask.after else rows, False)
    if ask.table not in luggage.carried_tables():
        raise Refusal(Code.UNKNOWN, f"{ask.table[:60]} is no table that moves")
    found = luggage.rows_after(db, ask.table, site_id, tuple(ask.after), ROWS_AT_ONCE + 1)
    return RowsPart([list(row) for row in found[:ROWS_AT_ONCE]], len(found) > ROWS_AT_ONCE)


def _check_given(decider: Decider, site_id: str, given: Given) -> None:
    """Refuse what a node may not give: another's work, or what is none."""
    if decider.shared.hot[Hosting].here(site_id):
        raise Refusal(Code.NOT_YOURS, f"{site_id} is hosted here")
    for name, row in given.rows:
        if not luggage.belongs(name, row, site_id):
            raise Refusal(Code.NOT_YOURS, f"a row of {name[:60]!r} that is no waiting work of {site_id}")


def take_given(decider: Decider, site_id: str, given: Given, first: int) -> None:
    """Keep what a node gave that closed its log.

    Raises:
        Refusal: not_yours: the site is hosted here, or a row is not its; gap: its last entry is not here yet.
    """
    reads = Reads(decider.connection)
    _check_given(decider, site_id, given)
    if not is_closed(reads, site_id, place_of(decider, site_id)):
        raise Refusal(Code.GAP, "the end of the log is not here yet", wait_ms=1_000)

    def work(tx: Tx) -> None:
        if not first:
            tx.write(_UNPACK, whose=site_id)
        _pack(tx, site_id, [(name, tuple(row)) for name, row in given.rows], first)
        if given.done:
            tx.write(_MARK, site_id=site_id, state=GIVEN, at=tx.now)

    decider.take(site_id, work, CAUSE)


def take_copy(decider: Decider, site_id: str, given: Given) -> None:
    """Keep a copy of what waits at a node that works: a replacement goes on with it when the node is lost.

    Raises:
        Refusal: not_yours: the site is hosted here, or a row is not its.
    """
    _check_given(decider, site_id, given)

    def work(tx: Tx) -> None:
        if state_of(tx, site_id) in HANDING:
            return
        tx.write(_UNPACK, whose=site_id)
        _pack(tx, site_id, [(name, tuple(row)) for name, row in given.rows])
        tx.write(_MARK, site_id=site_id, state=COPIED, at=tx.now)

    decider.take(site_id, work, CAUSE)


def take_back(decider: Decider, site_id: str, *, lost: bool) -> bool:
    """Take a site back to the tower; return whether it is there, else its node was asked to close it.

    `lost`: its node never comes back: what the tower has is what there is.

    Raises:
        NodeMayWrite: it was closed here for a node that may have begun; see there.
    """
    if decider.shared.hot[Hosting].here(site_id):
        return True
    reads = Reads(decider.connection)
    closed = is_closed(reads, site_id, place_of(decider, site_id))
    state = state_of(reads, site_id)
    if not lost and state == CLOSED and nodes_of(reads, site_id):
        raise NodeMayWrite(site_id=site_id)
    if not lost and not (closed and state in HANDING):
        _call_back(decider, site_id)
        return False
    decider.take(site_id, lambda tx: _come_home(tx, site_id), CAUSE)
    decider.reopen(site_id)
    decider.reload()
    if lost:
        decider.take(site_id, lambda tx: arriving.give_up_all(tx, site_id), CAUSE)
        decider.do(TellLosses(site_id=site_id))
    return True


def _come_home(tx: Tx, site_id: str) -> None:
    unpack_here(tx, site_id)
    forget_link(tx, site_id)


def settle(decider: Decider, site_id: str) -> None:
    """A node has opened the next epoch: drop what was kept for it, and the link of the node before (H2)."""
    if not decider.shared.hot[Hosting].here(site_id):
        decider.take(site_id, lambda tx: forget_packed(tx, site_id), CAUSE)


# --- The node's side ----------------------------------------------------------------


def host_nothing(decider: Decider) -> None:
    """Make this the database of a node that hosts nothing yet."""
    if decider.shared.hot[Hosting].here(NETWORK_ORIGIN):
        work = "a node hosts its own site only"
        decider.take(
            NETWORK_ORIGIN, lambda tx: hosting.place(tx, hosting.EVERY_OTHER, here=False, why=work), CAUSE
        )
        decider.reload()
