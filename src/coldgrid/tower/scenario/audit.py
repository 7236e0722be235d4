"""Audit: what a log shows by itself, recomputed from the events and from nothing else.

The figures here do not trust the tables or the hot state that the run used: they fold the log again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from coldgrid.kernel import rebuild
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.tx import Tx
from coldgrid.stock.buckets import Allocation
from coldgrid.stock.dispatch import GoodsDispatched
from coldgrid.stock.hold_facts import HoldExtended, HoldPlaced, HoldReleased
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.promise_book import Promised, PromiseMoved


def log_hash(entries: Iterable[Entry]) -> str:
    """Return one hash over every entry's leaf, in local order."""
    digest = sha256()
    for entry in entries:
        digest.update(entry.leaf)
    return digest.hexdigest()


def oversold(decider: Decider) -> int:
    """Replay the log and count the promises that no goods covered when they were made."""
    count = 0

    def watch(tx: Tx, event: Any) -> None:
        nonlocal count
        if isinstance(event, Promised | PromiseMoved):
            count += sum(short(tx, allocation) for allocation in event.allocations)

    def short(tx: Tx, allocation: Allocation) -> bool:
        bucket = tx.hot(PromisableIndex).bucket(allocation.key)
        return bucket is None or bucket.short > 0

    with rebuild.scratch(decider.database) as target:
        rebuild.replay(Reads(decider.connection), target, watch=watch)
    return count


def held_shipped(events: Iterable[Any]) -> int:
    """Count the units that went to customers while a hold on them was open."""
    holds: dict[str, set[str]] = defaultdict(set)
    count = 0
    for event in events:
        if isinstance(event, HoldPlaced | HoldExtended):
            for unit in event.units:
                holds[unit.sscc].add(event.hold_id)
        elif isinstance(event, HoldReleased):
            for released in event.units:
                holds[released.sscc].discard(event.hold_id)
        elif isinstance(event, GoodsDispatched):
            count += sum(bool(holds[line.sscc]) for line in event.lines)
    return count
