"""Storage watch: whether the storage refuses what is to be written, so that people and monitors are told.

Small writes may still find room on a full disk, so that something was written is no proof that all is well:
a refusal counts until a write succeeds and nothing was refused for a minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from coldgrid.kernel.rejections import StorageFailed, StorageFull

HOLDS = timedelta(seconds=60)


class StorageWatch:
    """Written by the decider's thread, read by any. `since`: when the storage began to refuse."""

    def __init__(self) -> None:
        self.since: datetime | None = None
        self.is_full = False
        self._last: datetime | None = None

    def see(self, outcomes: Iterable[object], now: datetime) -> None:
        """Take in how the commands of a group ended. `now`: of the business clock."""
        refused = [one for one in outcomes if isinstance(one, StorageFull | StorageFailed)]
        if refused:
            self.is_full = isinstance(refused[-1], StorageFull)
            self._last = now
            self.since = self.since or now
        elif self._last is not None and abs(now - self._last) > HOLDS:
            self.since = self._last = None
