"""Giving way: what the tower does when a person chose which copy of a site's log is kept.

Invariants
    W1  It answers only while a choice for the site waits to be carried out; each step can be asked again.
    W2  The tower gives its own entries up only behind a place that both sides have, by its leaf, and only
        such that no other site was told of.
    W3  Readings that the tower took stay, also where the manifests of their blocks are given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, cast

import msgspec

from coldgrid.evidence import tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import log, luggage, rebuild, set_aside
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.tx import Tx
from coldgrid.sync import choices, feeds, handover
from coldgrid.sync.choices import Choice, ChoiceFailed
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.handover import RowsAsk
from coldgrid.sync.messages import Blocks, Code, Columns, Place, Tip
from coldgrid.sync.readings import blocks_to_send
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry import arriving, resending
from coldgrid.telemetry.reading_times import sensor_of
from coldgrid.telemetry.sensors import sensors_of_site

CAUSE = "sync.copy"
LEAF_BYTES = 32
LEAVES_MAX = 4_000
FED_MAX = 1_000
PARCELS_MAX = 4
BLOCKS_MAX = 500
_pack = msgspec.msgpack.encode


class Chosen(msgspec.Struct, frozen=True):
    """Which copy is kept, and where the tower's ends. `waiting`: the tables of work that waits."""

    keep: str
    end: Place
    waiting: list[str]


class ReadingsPart(msgspec.Struct, frozen=True):
    """Readings of the site that are in no block, as parcels. `more`: there are others after them."""

    parcels: list[bytes]
    more: bool


def answers(desk: Desk) -> dict[str, Callable[[str, bytes], bytes]]:
    """Return what answers which kind of question of a node whose quarantine a person is ending."""

    def told(work: Callable[[Desk, str, Any], Any], type_: Any) -> Callable[[str, bytes], bytes]:
        def answer(site_id: str, body: bytes) -> bytes:
            try:
                asked = msgspec.msgpack.decode(body, type=type_)
            except (msgspec.MsgspecError, ValueError) as error:
                raise Refusal(Code.MALFORMED, str(error)[:200]) from None
            return _pack(work(desk, site_id, asked))

        return answer

    return {
        "copy.choice": told(_choice, None),
        "copy.leaves": told(_leaves, tuple[int, int]),
        "copy.fed": told(_fed, list[tuple[str, bytes]]),
        "copy.waiting": told(_waiting, str),
        "copy.readings": told(_readings, int),
        "copy.blocks": told(_blocks, list[bytes]),
        "copy.aside": told(_take_aside, Columns),
        "copy.give_way": told(_give_way, Tip),
        "copy.done": told(_done, Tip),
    }


def chosen_for(db: Reader, site_id: str) -> Choice:
    """Return the choice that is to be carried out.

    Raises:
        Refusal: quarantined: there is none (W1).
    """
    choice = choices.open_choice(db, site_id)
    if choice is None:
        raise Refusal(Code.QUARANTINED, "a person has to choose which copy is kept")
    return choice


# --- What the node asks -------------------------------------------------------------


def _choice(desk: Desk, site_id: str, asked: None) -> Chosen:
    with desk.reader() as db:
        return Chosen(chosen_for(db, site_id).keep, desk.place(site_id), luggage.waiting_tables())


def _leaves(desk: Desk, site_id: str, asked: tuple[int, int]) -> bytes:
    epoch, first = asked
    with desk.reader() as db:
        chosen_for(db, site_id)
        return b"".join(leaf for _, leaf in log.leaves(db, site_id, epoch, first, first + LEAVES_MAX))


def _fed(desk: Desk, site_id: str, asked: list[tuple[str, bytes]]) -> list[int]:
    """Return the number in the site's feed of each of these entries; 0: the tower knows no such entry."""
    with desk.reader() as db:
        chosen_for(db, site_id)
        return [feeds.number_of(db, site_id, *one) for one in asked[:FED_MAX]]


def _waiting(desk: Desk, site_id: str, table: str) -> handover.RowsPart:
    with desk.reader() as db:
        chosen_for(db, site_id)
        if table not in luggage.waiting_tables():
            raise Refusal(Code.UNKNOWN, f"{table[:60]!r} is no table of waiting work")
        return handover.rows_for(cast(Reads, db), site_id, RowsAsk(table))


def _readings(desk: Desk, site_id: str, after: int) -> ReadingsPart:
    """Return the next parcels of what is not sealed here, those before number `after` left out."""
    with desk.reader() as db:
        chosen_for(db, site_id)
        some = list(
            islice(resending.unsealed_parcels(db, site_id), max(after, 0), max(after, 0) + PARCELS_MAX + 1)
        )
    return ReadingsPart(some[:PARCELS_MAX], len(some) > PARCELS_MAX)


def _blocks(desk: Desk, site_id: str, hashes: list[bytes]) -> Blocks:
    """Return blocks that the tower's copy vouches for and the node lacks, as many as fit."""
    with desk.reader() as db:
        chosen_for(db, site_id)
        found = blocks_to_send(db, hashes[:BLOCKS_MAX])
        own = {sensor.sensor_id for sensor in sensors_of_site(db, site_id)}
    return Blocks([block for block in found.blocks if sensor_of(block.sensor_id) in own])


def _take_aside(desk: Desk, site_id: str, columns: Columns) -> int:
    """Keep what the node sets aside, so that it can be read here; it is the node's word, and no fact."""
    entries = unpack_entries(columns)

    def work(decider: Decider) -> None:
        chosen_for(Reads(decider.connection), site_id)
        why = f"set aside by the node of {site_id}"
        decider.take(site_id, lambda tx: set_aside.keep(tx, entries, why), CAUSE)

    desk.do(work)
    return len(entries)


def _done(desk: Desk, site_id: str, end: Tip) -> bool:
    """The node has taken the tower's copy: end the quarantine."""

    def work(decider: Decider) -> None:
        reads = Reads(decider.connection)
        choice = chosen_for(reads, site_id)
        _check_common(reads, site_id, end)
        head = decider.heads.get(site_id, (0, 0))
        if choice.keep != choices.TOWER or head != (end.epoch, end.size):
            raise Refusal(Code.GAP, "the node has not taken all of the tower's copy", end=head)
        _settle(decider, choice, end, 0)

    desk.do(work)
    return True


def _give_way(desk: Desk, site_id: str, common: Tip) -> bool:
    """Set aside what the tower has beyond what both have; the node's copy is taken from there on (W2)."""

    def work(decider: Decider) -> bool:
        reads = Reads(decider.connection)
        choice = chosen_for(reads, site_id)
        if choice.keep != choices.NODE:
            raise Refusal(Code.QUARANTINED, "the tower's copy is kept")
        _check_common(reads, site_id, common)
        tail = tail_of(reads, site_id, Place(common.epoch, common.size))
        told = next((one.id for one in tail if feeds.audiences_of(site_id, one.audience)), None)
        if told is not None:
            why = f"other sites were told of {told}; keep the tower's copy"
            failed = ChoiceFailed(site_id=site_id, keep=choice.keep, why=why)
            record = partial(_record, site_id=site_id, event=failed)
            decider.within(SYSTEM, NETWORK_ORIGIN, record, CAUSE)
            return False
        if tail:
            why = f"the node's copy is kept: {choice.reason}"
            rebuild.without(decider, site_id, tail, why, partial(forget_proofs, tail=tail))
        decider.take(site_id, lambda tx: arriving.take_back(tx, site_id), CAUSE)
        _settle(decider, choice, common, len(tail))
        return True

    given = desk.do(work)
    if not given:
        raise Refusal(Code.QUARANTINED, "the tower's copy cannot give way; a person has to choose again")
    return True


def _record(tx: Tx, site_id: str, event: ChoiceFailed) -> None:
    tx.record(f"origin/{site_id}", event)


def _settle(decider: Decider, choice: Choice, at: Tip, entries: int) -> None:
    who = Principal(choice.chosen_by)

    def work(tx: Tx) -> None:
        choices.settle(tx, choice, at.epoch, at.size, at.leaf, entries)

    decider.within(who, NETWORK_ORIGIN, work, CAUSE)
    decider.settle()


def _check_common(db: Reader, site_id: str, common: Tip) -> None:
    """Refuse a place that is not the same here (W2)."""
    found = log.leaves(db, site_id, common.epoch, common.size - 1, common.size) if common.size else []
    if common.size and [leaf for _, leaf in found] != [common.leaf]:
        raise Refusal(Code.FORKED, "that entry is another here", epoch=common.epoch, size=common.size)


# --- Both sides -------------------------------------------------------------------


def tail_of(db: Reader, origin: str, after: Place) -> list[Entry]:
    """Return an origin's entries behind a place, in order."""
    found: list[Entry] = []
    for whose, epoch, size in log.epochs(db):
        if whose == origin and epoch >= after.epoch:
            first = after.seq if epoch == after.epoch else 0
            found += log.read_origin(db, origin, epoch, first, size)
    return found


def forget_proofs(tx: Tx, tail: Sequence[Entry]) -> None:
    """Set aside what was signed of entries that leave the log: the trees are grown anew without them."""
    firsts: dict[LogId, int] = {}
    for entry in tail:
        log_id = LogId(entry.origin, entry.epoch)
        firsts[log_id] = min(entry.seq, firsts.get(log_id, entry.seq))
    for log_id, first in firsts.items():
        tiles.set_aside(tx, log_id, first)
