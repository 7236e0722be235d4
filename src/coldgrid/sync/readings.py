"""Readings over sync: sealed blocks by their hashes, and parcels of what is not sealed yet.

Invariants
    D1  What the tower wants is what the site's manifests name and it does not hold: no cursor can be wrong.
    D2  A block with other bytes than those vouched for is refused; nothing of its message is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.sync.desk import Desk
from coldgrid.sync.judging import LastParcel, check_parcel
from coldgrid.sync.messages import Block, Blocks, Code, Parcel, Parcels
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry import archive, arriving, chunks, landing, parcels, resending
from coldgrid.telemetry.arriving import Arrived, ForeignSensor
from coldgrid.telemetry.blocks import DAY_US, BlockDamaged, block_hash
from coldgrid.telemetry.losses import TellLosses, losses_of_site
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.parcel_form import ParcelDamaged
from coldgrid.telemetry.parcel_marks import is_again, mark_of
from coldgrid.telemetry.parcels import ParcelHead, ParcelHeads
from coldgrid.telemetry.watch import Watch

MANIFEST = tag_of(BlocksManifested)
CAUSE = "sync.readings"
# Of one message, before frames are made of it.
BYTES_MAX = 3 * 1024 * 1024
PARCELS_AT_ONCE = 64

# --- At the tower -----------------------------------------------------------------


def note_manifests(tx: Tx, read: Sequence[tuple[Entry, Any]]) -> None:
    """Want the blocks that a node's manifests name, in the commit that takes these in."""
    for _, event in read:
        if isinstance(event, BlocksManifested):
            arriving.want_blocks(tx, event)


def wanted(db: Reader, site_id: str) -> list[bytes]:
    """Return the hashes of blocks that a site's node is asked for."""
    return [bytes.fromhex(name) for name in arriving.wanted(db, site_id)]


def lost(db: Reader, site_id: str) -> int:
    """Return how many blocks a site's node said that it does not have any more."""
    return arriving.count_lost(db, site_id)


def take_blocks(desk: Desk, site_id: str, blocks: Blocks) -> int:
    """Store wanted blocks, and tell which of them the node has not; return how many were stored.

    Raises:
        Refusal: malformed: a block is not the one that was vouched for (D2).
    """
    bodies = {block_hash(block.body): block.body for block in blocks.blocks}
    gone = sorted({name.hex() for name in blocks.gone[: arriving.WANTED_MAX]})

    def work(tx: Tx) -> int:
        taken = arriving.take_blocks(tx, site_id, bodies) if bodies else 0
        if gone:
            arriving.give_up(tx, site_id, gone)
        return taken

    try:
        taken: int = desk.do(lambda decider: decider.take(site_id, work, CAUSE))
    except BlockDamaged as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    with desk.reader() as db:
        is_news = gone or any(one.hash in bodies for one in losses_of_site(db, site_id))
    if is_news:
        desk.do(lambda decider: decider.do(TellLosses(site_id=site_id)))
    return taken


def take_parcels(decider: Decider, site_id: str, sent: Parcels) -> int:
    """Store parcels in their order; return the last number that is here.

    Raises:
        Refusal: gap, malformed, not_yours, or rewound: they follow another parcel than the last one here.
    """

    def work(tx: Tx) -> int:
        last = last_parcel(tx, site_id)
        _check_same(sent, last)
        head = last.parcel_no
        if not sent.parcels and sent.after == head:
            head = arriving.pass_over(tx, site_id, sent.skip_to - 1)
        for parcel in sorted(sent.parcels, key=lambda one: one.parcel_no):
            expected = max(head + 1, sent.skip_to)
            if parcel.parcel_no > expected:
                raise Refusal(Code.GAP, f"parcel {expected} is missing", parcel_no=head)
            taken = Arrived(parcel.parcel_no, parcel.body, parcel.mark, parcel.again)
            if arriving.take_parcel(tx, site_id, taken):
                head = parcel.parcel_no
        arriving.settle_parcels(tx, site_id)
        return head

    try:
        return decider.take(site_id, work, CAUSE)
    except ParcelDamaged as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    except ForeignSensor as error:
        raise Refusal(Code.NOT_YOURS, str(error)) from None


def _check_same(sent: Parcels, last: LastParcel) -> None:
    """Refuse parcels of a node that has another one under the number of the last one here.

    One that counts on more than is here talks to a tower that was put back since: it greets again first.
    """
    if sent.after > last.parcel_no:
        raise Refusal(Code.GREET, f"parcel {sent.after} is not here; say hello again")
    known = [(sent.after, sent.after_mark), *((one.parcel_no, one.mark) for one in sent.parcels)]
    for parcel_no, mark in known:
        if parcel_no == last.parcel_no:
            check_parcel(parcel_no, mark, last)


def last_parcel(db: Reader, site_id: str) -> LastParcel:
    """Return the last parcel of a site that is known here: of its node's, or of its own."""
    parcel_no = parcels.head_of(db, site_id).parcel_no
    return LastParcel(parcel_no, mark_of(db, site_id, parcel_no))


def landed_no(desk: Desk, site_id: str) -> int:
    """Return the number of the last parcel of a site that is here."""
    return desk.do(lambda decider: _head(decider.shared.hot[ParcelHeads], site_id))


def _head(heads: ParcelHeads, site_id: str) -> int:
    head = heads.of.get(site_id)
    return 0 if head is None else head.parcel_no


# --- At the node ------------------------------------------------------------------


def turn_on(desk: Desk, site_id: str) -> None:
    """Put a node's readings into parcels from now on; what it took in before goes as blocks."""

    def work(tx: Tx) -> None:
        if site_id not in tx.hot(ParcelHeads).of:
            parcels.move_head(tx, site_id, ParcelHead(0, tx.hot(Watch).head(site_id).landed_no))

    desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def cut(desk: Desk, site_id: str) -> int:
    """Make a parcel of the readings that are in none yet; return the number of the last one."""

    def work(tx: Tx) -> int:
        landed = tx.hot(Watch).head(site_id).landed_no
        known = tx.hot(ParcelHeads).of.get(site_id)
        if known is not None and landed > known.landed_no:
            parcels.cut_parcel(tx, landing.flushes_of(tx, site_id), landed)
        return _head(tx.hot(ParcelHeads), site_id)

    return desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def parcels_to_send(db: Reader, site_id: str, after: int) -> Parcels:
    """Return the parcels after a number that fit into a message; those whose days are sealed are skipped."""
    open_days = chunks.waiting_days(db, site_id, 2**31, 1)
    open_us = open_days[0][1] * DAY_US if open_days else 0
    found: list[Parcel] = []
    skip_to, size = after + 1, 0
    waiting = parcels.parcels_after(db, site_id, after, PARCELS_AT_ONCE)
    if not waiting:  # all that is left was sealed since
        skip_to = max(skip_to, parcels.head_of(db, site_id).parcel_no + 1)
    for parcel in waiting:
        if not found and open_days and parcel.last_us < open_us:
            skip_to = parcel.parcel_no + 1
            continue
        size += len(parcel.body)
        if found and size > BYTES_MAX:
            break
        if not found:  # numbers before it are used and hold nothing (`telemetry.resending`)
            skip_to = parcel.parcel_no
        mark, again = mark_of(db, site_id, parcel.parcel_no), is_again(db, site_id, parcel.parcel_no)
        found.append(Parcel(parcel.parcel_no, parcel.body, mark, again))
    return Parcels(found, skip_to, after, mark_of(db, site_id, after))


def align(desk: Desk, site_id: str, parcel_no: int, mark: bytes) -> bool:
    """Go on behind the last parcel that the tower has; return whether readings were cut anew for that.

    Where another host goes on, or another copy, or the tower was put back: all that is not sealed is sent
    again, under numbers that were not used.
    """

    def work(tx: Tx) -> bool:
        if resending.goes_on(tx, site_id, parcel_no, mark):
            return False
        resending.cut_anew(tx, site_id, parcel_no)
        return True

    return desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def drop_sent(desk: Desk, site_id: str, upto: int) -> None:
    """Delete the parcels that the tower has."""

    def work(tx: Tx) -> None:
        parcels.drop_parcels(tx, site_id, upto)

    desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def blocks_to_send(db: Reader, hashes: Sequence[bytes]) -> Blocks:
    """Return the blocks with these hashes, as many as fit into a message, and which are not here any more.

    One whose bytes the storage changed is as good as lost: no tower takes it (D2).
    """
    found: list[Block] = []
    size, here = 0, set()
    for sensor_id, day, block_no, body in archive.blocks_named(db, [name.hex() for name in hashes]):
        name = bytes.fromhex(block_hash(bytes(body)))
        if name not in hashes:
            continue
        here.add(name)
        size += len(body)
        if not found or size <= BYTES_MAX:
            found.append(Block(sensor_id, day, block_no, bytes(body)))
    return Blocks(found, [name for name in hashes if name not in here])


def held(db: Reader, site_id: str) -> tuple[int, int]:
    """Return how many parcels wait at a node, and how many readings are in them."""
    return parcels.waiting(db, site_id)
