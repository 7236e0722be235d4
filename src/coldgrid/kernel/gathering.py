"""Gathering: the batch for facts by the hundred, which writes to a row what its writes add up to.

Invariants
    A1  What the database has after the commit is what `Batch` would have left (held_rows.W1 to W3).
    A2  A failure takes back all of it: there is no going back to a mark in the middle.

Facts of another host come as they were recorded there: hundreds in one commit, many of them about the same
rows. Written one after the other, much of their time goes into statements that take turns at a table.
"""

from __future__ import annotations

from coldgrid.kernel.batch import Mark
from coldgrid.kernel.driver import Connection
from coldgrid.kernel.folding import FoldingBatch


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
