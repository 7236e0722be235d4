"""Hosts: the clocks and the randomness that an entrypoint gives the decider."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from coldgrid.kernel.authorize import Authorizer
from coldgrid.kernel.clock import ClockGuard
from coldgrid.kernel.origins import ClockKind

# Real seconds that a look at a scaled clock counts at most: at the demo's speed two minutes, within which
# no probe counts as silent.
SERVED_MAX_S = 2.0


class WallClock:
    """This machine's clock. `wrong_by`: how far a drill lets it go wrong; zero outside drills."""

    def __init__(self) -> None:
        self.wrong_by = timedelta()

    def now(self) -> datetime:
        """What the clock shows."""
        return datetime.now(UTC) + self.wrong_by


WALL = WallClock()


class LiveHost:
    """The wall clock and the system's randomness; a guard freezes timers when the clock jumps."""

    clock: ClockKind = "live"

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer
        self.guard = ClockGuard(WALL.now(), time.monotonic())

    def now(self) -> datetime:
        """The business clock: here the machine's."""
        return self.machine_now()

    def machine_now(self) -> datetime:
        """The wall clock, but where that was set back and nobody has accepted it.

        A time before what was recorded already would have every reading refused as one of the future.
        """
        return max(WALL.now(), self.trusted_now())

    def entropy(self, count: int) -> bytes:
        """Random bytes."""
        return secrets.token_bytes(count)

    def until_due_s(self, due: datetime) -> float:
        """Real seconds until a business instant."""
        return (due - self.now()).total_seconds()

    def accept_clock(self) -> None:
        """A person found the clock right: let timers fire by it from now on."""
        self.guard.accept(WALL.now(), time.monotonic())

    def trusted_now(self) -> datetime:
        """The system clock; after a jump that nobody has accepted, what it would show without it."""
        return self.guard.trusted(WALL.now(), time.monotonic())

    def timers_run(self) -> bool:
        """Tell whether timers may fire."""
        return self.guard.observe(WALL.now(), time.monotonic())


class ScaledHost(LiveHost):
    """A business clock that starts where it is told and runs `scale` times as fast as the monotonic one.

    It advances only as far as it was served: the host looks several times a second, so a longer while between
    two looks means that the process stood still (stopped, or its machine slept), and counts `SERVED_MAX_S`.
    """

    clock: ClockKind = "scaled"

    def __init__(
        self,
        authorizer: Authorizer,
        start: datetime,
        scale: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(authorizer)
        self.start = start
        self.scale = scale
        self._monotonic = monotonic
        self._looking = threading.Lock()
        self._looked_s: float | None = None
        self._served_s = 0.0

    def now(self) -> datetime:
        """The business clock."""
        with self._looking:
            if self._looked_s is not None:
                looked_s = self._monotonic()
                self._served_s += min(max(0.0, looked_s - self._looked_s), SERVED_MAX_S)
                self._looked_s = looked_s
            return self.start + timedelta(seconds=self._served_s * self.scale)

    def restart(self) -> None:
        """Let the business clock start now; until then it stands at its first instant."""
        with self._looking:
            self._looked_s, self._served_s = self._monotonic(), 0.0

    def until_due_s(self, due: datetime) -> float:
        """Real seconds until a business instant."""
        return (due - self.now()).total_seconds() / self.scale

    def timers_run(self) -> bool:
        """A clock that counts what was served cannot jump."""
        return True


class VirtualHost:
    """A clock that only its driver moves, and seeded randomness: the same seed gives the same log."""

    clock: ClockKind = "virtual"

    def __init__(self, authorizer: Authorizer, start: datetime, seed: int) -> None:
        self.authorizer = authorizer
        self.instant = start
        self._random = random.Random(f"keys {seed}")

    def now(self) -> datetime:
        """The business clock."""
        return self.instant

    def entropy(self, count: int) -> bytes:
        """Bytes that depend on the seed alone."""
        return self._random.randbytes(count)
