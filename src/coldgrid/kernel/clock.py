"""Clock guard: notices when a wall clock does what no time can do, so that timers do not fire by mistake."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import NETWORK_ORIGIN, Owner
from coldgrid.kernel.registry import handles

if TYPE_CHECKING:
    from coldgrid.kernel.tx import Tx

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

    def trusted(self, wall: datetime, monotonic_s: float) -> datetime:
        """Return the wall clock's time where it is plausible; else the last plausible one, moved on."""
        expected = self._wall + timedelta(seconds=monotonic_s - self._monotonic_s)
        return expected if self.frozen_why or abs(wall - expected) > JUMP_MAX else wall

    def accept(self, wall: datetime, monotonic_s: float) -> None:
        """A person accepted the present time."""
        self.__init__(wall, monotonic_s)  # type: ignore[misc]


class ClockAccepted(Event, frozen=True, tag="kernel.clock_accepted"):
    """A person looked at the clock of this origin's host and found it right: its timers run again.

    `why`: what the guard had seen.
    """

    why: str
    reason: str


class AcceptClock(Command, frozen=True, tag="kernel.accept_clock"):
    """Ask that timers run again by the clock as it is now. `origin`: one that the host writes itself.

    `why`: what the guard said, as it was read by who accepts it.
    """

    reason: Annotated[str, msgspec.Meta(min_length=3, max_length=500)]
    why: Annotated[str, msgspec.Meta(max_length=500)] = ""
    origin: str = NETWORK_ORIGIN


@handles(AcceptClock, action="kernel.accept_clock", owner=Owner.ANY, direct=True)
def accept_clock(tx: Tx, command: AcceptClock) -> None:
    """Put on record that a person accepted the clock; the host's guard hears of it with the commit."""
    tx.record("kernel/clock", ClockAccepted(why=command.why, reason=command.reason))
