"""Taking back: what a node does with its sealed readings where the tower's copy of its log is kept.

Invariants
    B1  A block that the log kept does not vouch for is opened: its readings are taken in again, as late ones,
        and sealed anew under a number that nobody used.
    B2  A block that the log kept vouches for and that is not here is fetched from the tower, and its readings
        leave what is not sealed here: each is sealed once.
    B3  What the rules say of the readings here is in the log that is kept: alarms that were set aside are
        raised again, and so is a hole that a disk left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from coldgrid.kernel import log, set_aside
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.sync.messages import Blocks, Tip
from coldgrid.telemetry import archive, chunks, late, parcels
from coldgrid.telemetry.blocks import DAY_US, Readings, block_hash, without
from coldgrid.telemetry.ingest import roll
from coldgrid.telemetry.landing import joined
from coldgrid.telemetry.manifests import BlocksManifested, ManifestedBlock
from coldgrid.telemetry.resending import backfills_of
from coldgrid.telemetry.watch import Watch

CAUSE = "sync.taken_back"


def take_in_again(decider: Decider, site_id: str) -> None:
    """Open blocks that the log does not vouch for and take their readings in again, in one commit (B1)."""

    def work(tx: Tx) -> None:
        parts = archive.unseal(tx, site_id)
        for command in backfills_of(tx, site_id, parts) if parts else ():
            tx.run(command)

    decider.within(SYSTEM, site_id, work, CAUSE)


def since_when(db: Reader, site_id: str, common: Tip) -> datetime:
    """Return since when the log that is kept may lack what the rules said here.

    Asked again after an interruption, the tower's entries are here already: then what was set aside tells.
    """
    last = log.find(db, f"{site_id}/{common.epoch}/{common.size - 1}") if common.size else None
    found = [] if last is None else [last.recorded_at]
    found += [entry.occurred_at for entry in set_aside.read(db, site_id, common.epoch)]
    return min(found, default=from_micros(0))


def raise_again(decider: Decider, site_id: str, sensor_id: str, since: datetime) -> None:
    """Raise what the rules say of a sensor and the log does not, in one commit (B3)."""
    work = partial(late.look_again, sensor_id=sensor_id, from_us=to_micros(since))
    decider.within(SYSTEM, site_id, work, CAUSE)
    decider.settle()


def lacking(db: Reader, site_id: str) -> list[ManifestedBlock]:
    """Return the blocks that a site's log vouches for and that are not here, the oldest first."""
    found: list[ManifestedBlock] = []
    for entry in log.read_all(db, -1, [tag_of(BlocksManifested)]):
        event = log.decode_entry(entry)
        if entry.origin == site_id and isinstance(event, BlocksManifested) and event.blocks:
            here = archive.places_held(db, [block.hash for block in event.blocks])
            found += [one for one in event.blocks if (one.sensor_id, one.day, one.block_no) not in here]
    return found


def land(decider: Decider, site_id: str, wanted: Sequence[ManifestedBlock], fetched: Blocks) -> int:
    """Store fetched blocks in one commit; return how many. Damaged and strange ones are passed over (B2)."""
    bodies = {block_hash(block.body): block.body for block in fetched.blocks}
    known = [one for one in wanted if one.hash in bodies]

    def work(tx: Tx) -> None:
        roll(tx)
        for one in known:
            _take_out(tx, one, archive.land_block(tx, site_id, one, bodies[one.hash]))

    if known:
        decider.take(site_id, work, CAUSE)
    return len(known)


def _take_out(tx: Tx, block: ManifestedBlock, sealed: Readings) -> None:
    """Leave of a sensor's day in chunks what is not in a block; all flushes are in chunks by now."""
    from_us = block.day * DAY_US
    there = joined(chunks.chunked(tx, block.sensor_id, from_us, from_us + DAY_US))
    rest = without(there, sealed)
    if len(rest) == len(there):
        return
    chunks.drop_chunks(tx, block.sensor_id, block.day)
    if len(rest):
        landed_no = tx.hot(Watch).head(tx.origin).landed_no
        chunks.roll_into_chunks(tx, [parcels.as_flush([(block.sensor_id, rest)])], landed_no)
