"""Login throttling: so many failures in a window, then wait.

In memory, for each process; times are passed in. Sign-in keeps rows beside it (`refusals`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import datetime, timedelta

WATCHED_MAX = 10_000


class Throttle:
    """Counts failures by key in a sliding window.

    `allowed` failures are free; then the key waits until the oldest leaves the window. Memory is bounded:
    beyond `WATCHED_MAX` keys the one that failed longest ago is forgotten.
    """

    def __init__(self, allowed: int, window: timedelta) -> None:
        self._allowed = allowed
        self._window = window
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait_s(self, key: str, now: datetime) -> int:
        """Return for how many seconds the key must wait; 0 when it may try."""
        failures = self._failures.get(key)
        if failures is None:
            return 0
        # What is counted at a time to come was counted before the clock was set back: it would never leave.
        while failures and not timedelta() <= now - failures[0] < self._window:
            failures.popleft()
        if not failures:
            del self._failures[key]
            return 0
        if len(failures) < self._allowed:
            return 0
        return max(1, int((failures[0] + self._window - now).total_seconds()) + 1)

    def failed(self, key: str, now: datetime) -> None:
        """Count a failure."""
        failures = self._failures.setdefault(key, deque(maxlen=self._allowed))
        failures.append(now)
        self._failures.move_to_end(key)
        if len(self._failures) > WATCHED_MAX:
            self._failures.popitem(last=False)

    def knows(self, key: str) -> bool:
        """Tell whether failures are counted for a key."""
        return key in self._failures

    def succeeded(self, key: str) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)
