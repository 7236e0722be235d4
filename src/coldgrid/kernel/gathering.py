"""Gathering: the batch for facts by the hundred, which writes to a row what its writes add up to.

Invariants
    A1  What the database has after the commit is what `Batch` would have left (held_rows.W1 to W3).
    A2  A failure takes back all of it: there is no going back to a mark in the middle.

Facts of another host come as they were recorded there: hundreds in one commit, many of them about the same
rows. Written one after the other, much of their time goes into statements that take turns at a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coldgrid.kernel import log
from coldgrid.kernel.batch import Mark
from coldgrid.kernel.driver import Connection
from coldgrid.kernel.events import Entry, UnknownEvent
from coldgrid.kernel.folding import FoldingBatch, FoldingTx
from coldgrid.kernel.registry import projections
from coldgrid.kernel.tx import Tx


class GatheringBatch(FoldingBatch):
    """A transaction of the decider that is kept or taken back as a whole (A2)."""

    def __init__(self, connection: Connection, heads: dict[str, tuple[int, int]], position: int) -> None:
        super().__init__(connection, heads, position, living=True)

    def mark(self) -> Mark:
        """Refuse: no part of it may be taken back by itself (A2)."""
        raise AssertionError("what is gathered is kept or taken back as a whole")

    def take_back_all(self) -> None:
        """Undo every change of hot state; the caller rolls the transaction back."""
        self._held.clear()
        self.writers.clear()
        super().take_back_all()


def gather(tx: Tx, read: Sequence[tuple[Entry, Any]]) -> None:
    """Append another host's entries verbatim, with the events in them, and project them.

    As `origins.take_in` does for a host at work, but the caller has seen to it that each leaf is that of its
    bytes, and that the entries follow what is here.
    """
    batch = tx.batch
    assert isinstance(batch, GatheringBatch)
    projecting = FoldingTx(batch, tx.shared)
    recorded = batch.recorded
    for entry, event in read:
        here, recorded_us = log.append_timed(batch, entry)
        if isinstance(event, UnknownEvent):
            continue
        todo = projections.get(type(event))
        if todo:
            projecting.turn_to(here, recorded_us)
            for projection in todo:
                projection(projecting, event)
        recorded.append((here, event))
