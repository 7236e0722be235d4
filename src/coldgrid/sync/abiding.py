"""Abiding: a node carries out what a person chose about its log, and with that leaves the quarantine.

Invariants
    A1  The node compares leaf by leaf: what both have stays; nothing else is touched.
    A2  keep = tower: what only the node has and the tower's copy contradicts is sent to the tower as a copy,
        set aside here, and the tower's entries are taken; of the feed likewise.
    A3  keep = node: the tower sets its own tail aside; the node's log stays as it is.
    A4  Readings are measured, whichever copy is kept: those that the tower has and this node lacks are taken
        in as late ones, through the rules like any other (sealed ones: `taking_back`).
    A5  Either way the site goes on in the next epoch, which cites the last entry kept. Interrupted anywhere,
        the same is done again.
    A6  A tower that hands out no sealed blocks is waited for, before anything is changed: the node would seal
        readings again that are in them, and each would count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from coldgrid.evidence import witness
from coldgrid.kernel import hosting, log, luggage, rebuild
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.tx import Tx
from coldgrid.sync import choices, following, taking_back
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.giving_way import (
    BLOCKS_MAX,
    FED_MAX,
    LEAF_BYTES,
    LEAVES_MAX,
    Chosen,
    ReadingsPart,
    forget_proofs,
    tail_of,
)
from coldgrid.sync.handover import RowsPart
from coldgrid.sync.messages import Ask as AskMessage
from coldgrid.sync.messages import Blocks, Code, FeedAsk, FeedPart, FeedPlace, Place, Tip, Told
from coldgrid.sync.outgoing import within_bytes
from coldgrid.sync.recovering import Ask, catch_up, take_past
from coldgrid.sync.wire import Refusal, expect
from coldgrid.telemetry.blocks import block_hash
from coldgrid.telemetry.parcel_form import unpack_parcel
from coldgrid.telemetry.resending import backfills_of
from coldgrid.telemetry.sensors import sensors_of_site

CAUSE = "sync.abided"
TAKING = "the tower's copy is taken"
SENT_AT_ONCE = 1_000
NOTHING = Tip(0, 0, b"")
TOO_OLD = (
    "the tower's copy is to be kept, and this tower does not hand out its sealed readings yet: upgrade the"
    " tower; the node keeps what it has until then"
)


def abide(desk: Desk, site_id: str, ask: Ask) -> str:
    """Carry out what was chosen; return which copy is kept. Say hello afterwards.

    Raises:
        Refusal: nothing is chosen, the tower has to be upgraded first (A6), or it refused a step; ask again.
    """
    chosen: Chosen = _put(ask, "copy.choice", None, Chosen)
    if chosen.keep == choices.TOWER:
        _check_hands_out_blocks(ask)
    with desk.reader() as db:
        common = last_common(db, site_id, ask)
    if chosen.keep == choices.NODE:
        desk.do(partial(_open_next, site_id=site_id, end=chosen.end))
        _take_readings(desk, site_id, ask)
        _put(ask, "copy.give_way", common, bool)
        return choices.NODE
    _take_towers(desk, site_id, chosen, common, ask)
    with desk.reader() as db:
        end = _tip_at(db, site_id, chosen.end)
    desk.do(partial(_open_next, site_id=site_id, end=chosen.end))
    desk.do(partial(taking_back.take_in_again, site_id=site_id))
    _take_blocks(desk, site_id, ask)
    _take_readings(desk, site_id, ask)
    _raise_again(desk, site_id, common)
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
    desk.do(partial(_witness_anew, site_id=site_id))
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


def _witness_anew(decider: Decider, site_id: str) -> None:
    """A person said that the tower tells the right history: what was witnessed of another is forgotten."""
    decider.take(site_id, lambda tx: witness.forget(tx, NETWORK_ORIGIN), CAUSE)


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
    """Open the next epoch, unless that was done and nothing was recorded since (A5)."""
    epoch, seq = decider.heads.get(site_id, (0, 0))
    here = decider.shared.hot[Hosting].here(site_id)
    if not (here and seq == 1 and epoch > max(end.epoch, log.FIRST_EPOCH)):
        decider.reopen(site_id)
        decider.reload()


# --- Readings ---------------------------------------------------------------------


def _take_readings(desk: Desk, site_id: str, ask: Ask) -> None:
    """Take in what the tower has of the site's unsealed readings; what is here counts once (A4)."""
    after, more = 0, True
    while more:
        part = _put(ask, "copy.readings", after, ReadingsPart)
        for body in part.parcels:
            desk.do(partial(_ingest, site_id=site_id, body=body))
        after, more = after + len(part.parcels), part.more


def _check_hands_out_blocks(ask: Ask) -> None:
    """Ask for no block at all: a tower of an older release does not know the question (A6)."""
    try:
        _put(ask, "copy.blocks", [], Blocks)
    except Refusal as refusal:
        if refusal.code == Code.UNKNOWN:
            raise Refusal(Code.VERSION, TOO_OLD) from None
        raise


def _take_blocks(desk: Desk, site_id: str, ask: Ask) -> None:
    """Fetch the blocks that the tower's copy vouches for and that are not here, while there are any (A4)."""
    with desk.reader() as db:
        left = taking_back.lacking(db, site_id)
    while left:
        hashes = [bytes.fromhex(one.hash) for one in left[:BLOCKS_MAX]]
        fetched: Blocks = _put(ask, "copy.blocks", hashes, Blocks)
        desk.do(partial(taking_back.land, site_id=site_id, wanted=left, fetched=fetched))
        names = {block_hash(block.body) for block in fetched.blocks}
        asked, rest = left[:BLOCKS_MAX], left[BLOCKS_MAX:]
        again = [one for one in asked if one.hash not in names]
        # What the tower lacks as well is not asked for for ever.
        left = rest if len(again) == len(asked) else again + rest


def _raise_again(desk: Desk, site_id: str, common: Tip) -> None:
    """Raise what the log that is kept does not tell of, sensor by sensor (`taking_back.B3`)."""
    with desk.reader() as db:
        since = taking_back.since_when(db, site_id, common)
        active = [sensor.sensor_id for sensor in sensors_of_site(db, site_id) if sensor.active]
    for sensor_id in active:
        desk.do(partial(taking_back.raise_again, site_id=site_id, sensor_id=sensor_id, since=since))


def _ingest(decider: Decider, site_id: str, body: bytes) -> None:
    for command in backfills_of(Reads(decider.connection), site_id, unpack_parcel(body)):
        decider.do(command)


# --- Asking -----------------------------------------------------------------------


def _put(ask: Ask, kind: str, asked: Any, type_: Any) -> Any:
    told = expect(ask(AskMessage(kind, msgspec.msgpack.encode(asked))), Told)
    try:
        return msgspec.msgpack.decode(told.body, type=type_)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refusal(Code.MALFORMED, str(error)[:200]) from None
