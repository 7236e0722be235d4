"""Abiding: a node carries out what a person chose about its log, and with that leaves the quarantine.

Invariants
    A1  The node compares leaf by leaf: what both have stays; nothing else is touched.
    A2  keep = tower: what only the node has and the tower's copy contradicts is sent to the tower as a copy,
        set aside here, and the tower's entries are taken; of the feed likewise.
    A3  keep = node: the tower sets its own tail aside; the node's log stays as it is.
    A4  Either way the site goes on in the next epoch, which cites the last entry kept. Interrupted anywhere,
        the same is done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from coldgrid.kernel import hosting, log, luggage, rebuild
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.sync import choices, following
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.giving_way import FED_MAX, LEAF_BYTES, LEAVES_MAX, Chosen, forget_proofs, tail_of
from coldgrid.sync.handover import RowsPart
from coldgrid.sync.messages import Ask as AskMessage
from coldgrid.sync.messages import Code, FeedAsk, FeedPart, FeedPlace, Place, Tip, Told
from coldgrid.sync.outgoing import within_bytes
from coldgrid.sync.recovering import Ask, catch_up, take_past
from coldgrid.sync.wire import Refusal, expect

CAUSE = "sync.abided"
TAKING = "the tower's copy is taken"
SENT_AT_ONCE = 1_000
NOTHING = Tip(0, 0, b"")


def abide(desk: Desk, site_id: str, ask: Ask) -> str:
    """Carry out what was chosen; return which copy is kept. Say hello afterwards.

    Raises:
        Refusal: nothing is chosen, or the tower refused a step; ask again later.
    """
    chosen: Chosen = _put(ask, "copy.choice", None, Chosen)
    with desk.reader() as db:
        common = last_common(db, site_id, ask)
    if chosen.keep == choices.NODE:
        desk.do(partial(_open_next, site_id=site_id, end=chosen.end))
        _put(ask, "copy.give_way", common, bool)
        return choices.NODE
    _take_towers(desk, site_id, chosen, common, ask)
    with desk.reader() as db:
        end = _tip_at(db, site_id, chosen.end)
    desk.do(partial(_open_next, site_id=site_id, end=chosen.end))
    _put(ask, "copy.done", end, bool)
    return choices.TOWER


def is_abiding(db: Reader, site_id: str) -> bool:
    """Tell whether this node was interrupted while it took the tower's copy: it goes on when it talks."""
    return hosting.why_placed(db, site_id) == TAKING


def last_common(db: Reader, site_id: str, ask: Ask) -> Tip:
    """Return the last entry up to which both copies are the same (A1)."""
    last, epoch, first = NOTHING, log.FIRST_EPOCH, 0
    while True:
        there = _put(ask, "copy.leaves", (epoch, first), bytes)
        here = b"".join(leaf for _, leaf in log.leaves(db, site_id, epoch, first, first + LEAVES_MAX))
        same = _same(here, there)
        if same:
            last = Tip(epoch, first + same, here[(same - 1) * LEAF_BYTES : same * LEAF_BYTES])
        if here != there or (not here and first == 0):
            return last
        epoch, first = (epoch, first + same) if here else (epoch + 1, 0)


def _same(here: bytes, there: bytes) -> int:
    """Return how many leaves are the same from the beginning."""
    count = min(len(here), len(there)) // LEAF_BYTES
    for number in range(count):
        where = slice(number * LEAF_BYTES, (number + 1) * LEAF_BYTES)
        if here[where] != there[where]:
            return number
    return count


def _tip_at(db: Reader, site_id: str, end: Place) -> Tip:
    found = log.leaves(db, site_id, end.epoch, end.seq - 1, end.seq) if end.seq else []
    return Tip(end.epoch, end.seq, found[0][1] if found else b"")


# --- The tower's copy is kept -----------------------------------------------------


def _take_towers(desk: Desk, site_id: str, chosen: Chosen, common: Tip, ask: Ask) -> None:
    place, told = _told_otherwise(desk, site_id, ask)
    with desk.reader() as db:
        # Where the tower has nothing beyond, what the node has more is sent as ever.
        behind = Place(common.epoch, common.size) < chosen.end
        tail = tail_of(db, site_id, Place(common.epoch, common.size)) if behind else []
    aside = [*told, *tail]
    for start in range(0, len(aside), SENT_AT_ONCE):
        _send_aside(ask, aside[start : start + SENT_AT_ONCE])
    if aside or behind:
        desk.do(partial(_set_aside, site_id=site_id, aside=aside, place=place if told else None))
    catch_up(desk, ask)
    if not behind:
        return
    take_past(desk, site_id, ask)
    for table in chosen.waiting:  # what the tower knows to wait, where it is not here
        part = _put(ask, "copy.waiting", table, RowsPart)
        mine = [row for row in part.rows if luggage.belongs(table, row, site_id)]
        desk.do(partial(_put_rows, site_id=site_id, table=table, rows=mine))


def _send_aside(ask: Ask, entries: Sequence[Entry]) -> None:
    left = list(entries)
    while left:
        some = within_bytes(left)
        _put(ask, "copy.aside", pack_entries(some), int)
        left = left[len(some) :]


def _set_aside(decider: Decider, site_id: str, aside: Sequence[Entry], place: FeedPlace | None) -> None:
    """Set aside in one commit; from it on nothing is decided here until the next epoch is opened."""

    def also(tx: Tx) -> None:
        hosting.place(tx, site_id, here=False, why=TAKING)
        forget_proofs(tx, aside)
        if place is not None:
            following.move_to(tx, place)

    if aside:
        rebuild.without(decider, site_id, aside, "the tower's copy is kept", also)
    else:
        decider.take(site_id, also, CAUSE)


def _told_otherwise(desk: Desk, site_id: str, ask: Ask) -> tuple[FeedPlace, list[Entry]]:
    """Return the last place of the feed that the tower knows, and what this node was told beyond it."""
    with desk.reader() as db:
        place = following.followed(db)
        if isinstance(ask(FeedAsk(place, b"", 0)), FeedPart):
            return place, []
        told = [entry for entry in log.read_all(db) if entry.origin != site_id]
    for end in range(len(told), 0, -FED_MAX):
        start = max(0, end - FED_MAX)
        asked = [(entry.id, entry.leaf) for entry in told[start:end]]
        numbers: list[int] = _put(ask, "copy.fed", asked, list[int])
        known = max((number for number, seq in enumerate(numbers) if seq), default=-1)
        if known >= 0:
            last = told[start + known]
            return FeedPlace(numbers[known], last.id, last.leaf), told[start + known + 1 :]
    return FeedPlace(), told


def _put_rows(decider: Decider, site_id: str, table: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        decider.take(site_id, lambda tx: luggage.put_rows(tx, table, rows), CAUSE)


def _open_next(decider: Decider, site_id: str, end: Place) -> None:
    """Open the next epoch, unless that was done and nothing was recorded since (A4)."""
    epoch, seq = decider.heads.get(site_id, (0, 0))
    here = decider.shared.hot[Hosting].here(site_id)
    if not (here and seq == 1 and epoch > max(end.epoch, log.FIRST_EPOCH)):
        decider.reopen(site_id)
        decider.reload()


# --- Asking -----------------------------------------------------------------------


def _put(ask: Ask, kind: str, asked: Any, type_: Any) -> Any:
    told = expect(ask(AskMessage(kind, msgspec.msgpack.encode(asked))), Told)
    try:
        return msgspec.msgpack.decode(told.body, type=type_)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refusal(Code.MALFORMED, str(error)[:200]) from None
