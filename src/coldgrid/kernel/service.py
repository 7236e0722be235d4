"""The decider's thread: drains waiting commands into groups, fires timers, runs cursor reactions.

While one group is being committed the next one gathers, so many callers share one durable commit
and a single caller waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

import structlog

from coldgrid.kernel.ahead import compile_ahead
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.cascade import CURSOR_CHUNK
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.database import start_keeper
from coldgrid.kernel.decider import GROUP_MAX, Call, Decider, Outcome
from coldgrid.kernel.driver import DriverError, fault
from coldgrid.kernel.events import Command
from coldgrid.kernel.metrics import QUEUE, REACTIONS_REST, TIMERS_FROZEN
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.rejections import Unavailable
from coldgrid.kernel.storage_watch import StorageWatch
from coldgrid.kernel.structs import work_out_structs
from coldgrid.kernel.tx import Tx
from coldgrid.kernel.wal import LogKeeper

logger = structlog.get_logger("coldgrid.service")

Waiter: TypeAlias = "Future[Answer] | asyncio.Future[Answer]"
Job = tuple[Call, Waiter] | Callable[[], None] | None
WAIT_MAX_S = 0.25
# How long a group waits for callers that its predecessor answered: their next command is on its way.
LINGER_S = 0.0003


class Stopping(Unavailable):
    """The service is stopping; nothing was stored."""

    todo = "Try again in a moment."


class DeciderService:
    """Runs a decider on a thread of its own. `submit` may be called from any thread.

    Args:
        decider: Not yet used by anybody else.
        until_due_s: Turns a business instant into real seconds from now (a scaled clock runs faster).
        timers_run: Tells whether timers may fire (the clock guard's verdict).
    """

    def __init__(
        self,
        decider: Decider,
        until_due_s: Callable[[datetime], float],
        timers_run: Callable[[], bool] = lambda: True,
    ) -> None:
        self.decider = decider
        self._until_due_s = until_due_s
        self._timers_run = timers_run
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._stopping = False
        self._leaving = threading.Event()
        self._expected = 1
        self._keeper: LogKeeper | None = None
        self.storage = StorageWatch()
        self._thread = threading.Thread(target=self._loop, name="decider", daemon=True)

    @property
    def waiting(self) -> int:
        """How many commands and functions wait for their turn, more or less."""
        return self._jobs.qsize()

    def start(self) -> None:
        """Start the thread, what copies a file's log back beside it, and what readies the first alarm."""
        decider = self.decider
        work_out_structs()
        ready = threading.Thread(
            target=compile_ahead,
            args=(decider.database.dialect, self._leaving.wait),
            name="statements",
            daemon=True,
        )
        ready.start()
        self._keeper = start_keeper(decider.database, decider.connection)
        self._thread.start()

    def submit(
        self, command: Command, principal: Principal = SYSTEM, key: str | None = None
    ) -> Future[Answer]:
        """Queue a command; the future gives its answer after the commit, or raises the rejection."""
        future: Future[Answer] = Future()
        if self._stopping:
            future.set_exception(Stopping())
        else:
            self._jobs.put((Call(command, principal, key), future))
        return future

    async def ask(self, command: Command, principal: Principal = SYSTEM, key: str | None = None) -> Answer:
        """Queue a command from an event loop and return its answer after the commit.

        All of a loop's callers that share a commit are woken at once, which `submit` cannot do.

        Raises:
            Rejected: the command was refused.
        """
        return await self.queue(Call(command, principal, key))

    def queue(self, call: Call) -> asyncio.Future[Answer]:
        """Queue a call from an event loop; the loop's future gives its answer after the commit.

        Raises:
            Stopping: nothing is taken any more.
        """
        if self._stopping:
            raise Stopping
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._jobs.put((call, waiter))
        return waiter

    def call(self, work: Callable[[Decider], Any]) -> Future[Any]:
        """Run a function on the decider's thread between two groups."""
        future: Future[Any] = Future()

        def job() -> None:
            try:
                future.set_result(work(self.decider))
            except BaseException as error:
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def stop(self) -> None:
        """Carry out what waits, then stop; later commands are refused."""
        self._stopping = True
        self._leaving.set()
        self._jobs.put(None)
        self._thread.join(timeout=30)
        if self._keeper is not None:
            self._keeper.stop()

    def _loop(self) -> None:
        running = True
        while running:
            running = self._turn()

    def _turn(self) -> bool:
        """Take one group, or wait for the next timer; return whether to go on."""
        group, jobs, running = self._gather()
        QUEUE.set(self._jobs.qsize())
        try:
            if group:
                self._carry_out(group)
            for job in jobs:
                job()
            self._settle(idle=not (group or jobs))
            REACTIONS_REST.set(self.decider.pump.lanes.oldest_s(self.decider.host.now()))
            self.decider.answer_requests()
            may_fire = self._timers_run()
            TIMERS_FROZEN.set(0 if may_fire else 1)
            if may_fire:
                self.decider.fire_due(waits=lambda: not self._jobs.empty())
        except Exception as error:
            logger.exception("turn_failed")
            if isinstance(error, DriverError):
                self.storage.see([fault(error)], self.decider.host.now())
        return running

    def _settle(self, *, idle: bool) -> None:
        """Run cursor reactions until none is left, or a command waits: at least one, however busy it is.

        What a commit set going must not keep the next commit waiting longer than one reaction takes. What
        rests is run as well where nothing else is to be done (`idle`).
        """
        decider = self.decider

        def some(tx: Tx, now: datetime | None) -> None:
            for _ in range(CURSOR_CHUNK):
                decider.pump.run(tx.batch, decider.unit, 1, now)
                if not (decider.pump.due(now) and self._jobs.empty()):
                    return

        while decider.pump.due(now := None if idle else decider.host.now()):
            decider.take(NETWORK_ORIGIN, partial(some, now=now), "cursor")
            if not self._jobs.empty():
                return

    def _gather(self) -> tuple[list[tuple[Call, Waiter]], list[Callable[[], None]], bool]:
        group: list[tuple[Call, Waiter]] = []
        jobs: list[Callable[[], None]] = []
        try:
            job = self._jobs.get(timeout=self._wait_s())
            while True:
                if job is None:
                    return group, jobs, False
                if isinstance(job, tuple):
                    group.append(job)
                else:
                    jobs.append(job)
                if len(group) >= GROUP_MAX or jobs:
                    break
                job = self._next(len(group))
        except Empty:
            pass
        self._expected = len(group)
        return group, jobs, True

    def _next(self, gathered: int) -> Job:
        """The next job that waits, or comes while the group is smaller than the last one was.

        Raises:
            Empty: there is none.
        """
        try:
            return self._jobs.get_nowait()
        except Empty:
            if gathered >= self._expected:
                raise
            return self._jobs.get(timeout=LINGER_S)

    def _wait_s(self) -> float:
        if self.decider.pump.due(self.decider.host.now()):
            return 0.0
        due = self.decider.next_due_at
        return WAIT_MAX_S if due is None else min(WAIT_MAX_S, max(0.0, self._until_due_s(due)))

    def _carry_out(self, group: list[tuple[Call, Waiter]]) -> None:
        outcomes: list[Outcome | BaseException]
        try:
            outcomes = [*self.decider.execute([call for call, _ in group])]
        except BaseException as error:
            _answer(group, [error] * len(group))
            raise
        self.storage.see(outcomes, self.decider.host.now())
        _answer(group, outcomes)


def _answer(group: Sequence[tuple[Call, Waiter]], outcomes: Sequence[Outcome | BaseException]) -> None:
    """Give each caller its outcome; those of an event loop all in one call on that loop."""
    by_loop: dict[
        asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Outcome | BaseException]]
    ] = {}
    for (_, waiter), outcome in zip(group, outcomes, strict=True):
        if isinstance(waiter, asyncio.Future):
            by_loop.setdefault(waiter.get_loop(), []).append((waiter, outcome))
        elif isinstance(outcome, BaseException):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, told)


def _wake(told: Sequence[tuple[asyncio.Future[Answer], Outcome | BaseException]]) -> None:
    for waiter, outcome in told:
        if waiter.done():  # the caller gave up
            continue
        if isinstance(outcome, BaseException):
            waiter.set_exception(outcome)
        else:
            waiter.set_result(outcome)
