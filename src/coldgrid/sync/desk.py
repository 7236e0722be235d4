"""Desk: how sync reaches a database's one decider, live from any thread or by hand in a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.rejections import Unavailable
from coldgrid.kernel.resting import REST_MAX
from coldgrid.kernel.service import DeciderService
from coldgrid.sync.messages import Code, Pace, Place
from coldgrid.sync.pace import pace_of
from coldgrid.sync.wire import Refusal

T = TypeVar("T")
BUSY_WAIT_MS = 2_000


class Desk(Protocol):
    """Runs work on the decider, lends readers of committed facts, and tells the system clock."""

    def do(self, work: Callable[[Decider], T]) -> T:
        """Run a function on the decider, between two groups of commands, and return what it does."""

    def reader(self) -> AbstractContextManager[Reader]:
        """Lend a reader."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait for the turn of large work, and hold it."""

    def pace(self) -> Pace:
        """Return how a node that drains a backlog goes on."""

    def waits(self) -> bool:
        """Tell whether somebody waits for the decider: who does large work lets them go first."""

    def now(self) -> datetime:
        """The host's system clock."""

    def place(self, origin: str) -> Place:
        """Where a log ends here; at once, without waiting for the decider. (0, 0): nothing of it is here."""


class HandDesk:
    """The desk of a decider that is driven by hand: in tests, in the simulator, in a command of the CLI."""

    def __init__(self, decider: Decider, now: Callable[[], datetime]) -> None:
        self.decider = decider
        self.now = now

    def do(self, work: Callable[[Decider], T]) -> T:
        """Run a function and what follows from it, now."""
        done = work(self.decider)
        self.decider.settle()
        return done

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else works here."""
        yield

    def pace(self) -> Pace:
        """As fast as can be."""
        return Pace()

    def waits(self) -> bool:
        """Nobody else is here."""
        return False

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of what is committed."""
        yield Reads(self.decider.connection)

    def place(self, origin: str) -> Place:
        """Where a log ends here."""
        return Place(*self.decider.heads.get(origin, (0, 0)))


class ServiceDesk:
    """The desk of a serving process. `within_s`: how long work may wait for the decider."""

    def __init__(
        self,
        service: DeciderService,
        reader: Callable[[], AbstractContextManager[Reader]],
        now: Callable[[], datetime],
        within_s: float = 30.0,
    ) -> None:
        self._service = service
        self._within_s = within_s
        self._turn, self._counting = threading.Lock(), threading.Lock()
        self._waiting = 0
        self.reader = reader
        self.now = now

    def pace(self) -> Pace:
        """Return how a node that drains a backlog goes on, by what waits here."""
        decider = self._service.decider
        rested_s = decider.pump.lanes.oldest_s(decider.host.now())
        return pace_of(self._service.waiting, self._waiting, behind=rested_s > REST_MAX.total_seconds())

    def waits(self) -> bool:
        """Tell whether a command or other work waits behind what runs now."""
        return self._service.waiting > 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the turn of large work: one at a time waits at the decider, and a command waits for one."""
        self._count(1)
        try:
            with self._turn:
                yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._counting:
            self._waiting += more

    def place(self, origin: str) -> Place:
        """Where a log ends here, as of the last commit."""
        return Place(*self._service.decider.heads.get(origin, (0, 0)))

    def do(self, work: Callable[[Decider], T]) -> T:
        """Run a function on the decider's thread.

        Raises:
            Refusal: the decider has too much to do, or its storage fails; what was asked may be done yet.
        """
        try:
            done: T = self._service.call(work).result(self._within_s)
        except TimeoutError:
            raise Refusal(Code.BUSY, "the decider is busy", wait_ms=BUSY_WAIT_MS) from None
        except Unavailable as error:
            raise Refusal(Code.BUSY, str(error), wait_ms=BUSY_WAIT_MS) from None
        return done
