"""Clock guard: notices when a wall clock does what no time can do, so that timers do not fire by mistake."""

from __future__ import annotations

from datetime import datetime, timedelta

JUMP_MAX = timedelta(minutes=5)


class ClockGuard:
    """Compares the wall clock with a monotonic one.

    A wall clock that moved more than five minutes further than the monotonic one, or went back by
    more than that, is implausible: timers stand still until a person accepted the new time.
    """

    def __init__(self, wall: datetime, monotonic_s: float) -> None:
        self._wall = wall
        self._monotonic_s = monotonic_s
        self.frozen_why = ""

    def observe(self, wall: datetime, monotonic_s: float) -> bool:
        """Take both clocks' readings; return whether timers may fire."""
        if self.frozen_why:
            return False
        drift = (wall - self._wall) - timedelta(seconds=monotonic_s - self._monotonic_s)
        if abs(drift) > JUMP_MAX:
            self.frozen_why = f"the wall clock jumped by {drift.total_seconds():.0f} s"
            return False
        self._wall, self._monotonic_s = wall, monotonic_s
        return True

    def accept(self, wall: datetime, monotonic_s: float) -> None:
        """A person accepted the present time."""
        self.__init__(wall, monotonic_s)  # type: ignore[misc]
