"""Readings over sync: sealed blocks by their hashes, and parcels of what is not sealed yet.

Invariants
    D1  What the tower wants is what the site's manifests name and it does not hold: no cursor can be wrong.
    D2  A block with other bytes than those vouched for is refused; nothing of its message is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from coldgrid.kernel.events import Entry, decode, tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Block, Blocks, Code, Parcel, Parcels
from coldgrid.sync.wire import Refusal
from coldgrid.telemetry import archive, arriving, chunks, landing, parcels
from coldgrid.telemetry.arriving import ForeignSensor
from coldgrid.telemetry.blocks import DAY_US, BlockDamaged, block_hash
from coldgrid.telemetry.manifests import BlocksManifested
from coldgrid.telemetry.parcels import ParcelDamaged, ParcelHead, ParcelHeads
from coldgrid.telemetry.watch import Watch

MANIFEST = tag_of(BlocksManifested)
CAUSE = "sync.readings"
# Of one message, before frames are made of it.
BYTES_MAX = 3 * 1024 * 1024
PARCELS_AT_ONCE = 64

# --- At the tower -----------------------------------------------------------------


def note_manifests(tx: Tx, entries: Sequence[Entry]) -> None:
    """Want the blocks that a node's manifests name, in the commit that takes these in."""
    for entry in entries:
        if entry.type == MANIFEST:
            manifest = decode(entry.type, entry.body)
            if isinstance(manifest, BlocksManifested):
                arriving.want_blocks(tx, manifest)


def wanted(db: Reader, site_id: str) -> list[bytes]:
    """Return the hashes of blocks that a site's node is asked for."""
    return [bytes.fromhex(name) for name in arriving.wanted(db, site_id)]


def take_blocks(desk: Desk, site_id: str, blocks: Blocks) -> int:
    """Store wanted blocks; return how many were.

    Raises:
        Refusal: malformed: a block is not the one that was vouched for (D2).
    """
    bodies = {block_hash(block.body): block.body for block in blocks.blocks}
    try:
        taken: int = desk.do(
            lambda decider: decider.take(site_id, lambda tx: arriving.take_blocks(tx, site_id, bodies), CAUSE)
        )
    except BlockDamaged as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    return taken


def take_parcels(desk: Desk, site_id: str, sent: Parcels) -> int:
    """Store parcels in their order; return the last number that is here.

    Raises:
        Refusal: gap, malformed, or not_yours.
    """

    def work(tx: Tx) -> int:
        head = arriving.arrived_head(tx, site_id).parcel_no
        for parcel in sorted(sent.parcels, key=lambda one: one.parcel_no):
            expected = max(head + 1, sent.skip_to)
            if parcel.parcel_no > expected:
                raise Refusal(Code.GAP, f"parcel {expected} is missing", parcel_no=head)
            if arriving.take_parcel(tx, site_id, parcel.parcel_no, parcel.body):
                head = parcel.parcel_no
        arriving.settle_parcels(tx, site_id)
        return head

    try:
        return desk.do(lambda decider: decider.take(site_id, work, CAUSE))
    except ParcelDamaged as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    except ForeignSensor as error:
        raise Refusal(Code.NOT_YOURS, str(error)) from None


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
    for parcel in parcels.parcels_after(db, site_id, after, PARCELS_AT_ONCE):
        if not found and open_days and parcel.last_us < open_us:
            skip_to = parcel.parcel_no + 1
            continue
        size += len(parcel.body)
        if found and size > BYTES_MAX:
            break
        found.append(Parcel(parcel.parcel_no, parcel.body))
    return Parcels(found, skip_to)


def drop_sent(desk: Desk, site_id: str, upto: int) -> None:
    """Delete the parcels that the tower has."""

    def work(tx: Tx) -> None:
        parcels.drop_parcels(tx, site_id, upto)

    desk.do(lambda decider: decider.take(site_id, work, CAUSE))


def blocks_to_send(db: Reader, hashes: Sequence[bytes]) -> Blocks:
    """Return the blocks with these hashes, as many as fit into a message."""
    found: list[Block] = []
    size = 0
    for sensor_id, day, block_no, body in archive.blocks_named(db, [name.hex() for name in hashes]):
        size += len(body)
        if found and size > BYTES_MAX:
            break
        found.append(Block(sensor_id, day, block_no, bytes(body)))
    return Blocks(found)


def backlog_no(desk: Desk, site_id: str) -> int:
    """Return the number of a node's last parcel."""
    return landed_no(desk, site_id)


def held(db: Reader, site_id: str) -> tuple[int, int]:
    """Return how many parcels wait at a node, and how many readings are in them."""
    return parcels.waiting(db, site_id)
