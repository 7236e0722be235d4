"""Replay: the batch of a rebuild, which folds what the log writes to a row."""

from __future__ import annotations

from collections.abc import Callable

from coldgrid.kernel.driver import Connection
from coldgrid.kernel.folding import FoldingBatch


class ReplayBatch(FoldingBatch):
    """The batch of a rebuild: nothing in it is ever taken back."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, {}, 0, living=False)

    def undo(self, function: Callable[[], None]) -> None:
        """Forget it: nothing is taken back."""

    def flush_large(self) -> None:
        """Store the tables that hold many rows."""
        for held in self._held.values():
            if held.full:
                held.flush()
