"""Office: where a worker's commands go, to the decider in this process while it leads, else to the leader.

Invariants
    O1  Who submits cannot tell which worker decides, but for the time it takes.
    O2  A command that a leader took and did not answer goes on to the next one under its key. One without a
        key that was decided here has an unknown end: its caller is told so, and nothing is done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from coldgrid.access.sessions import CloseSession, OpenSession
from coldgrid.adapters.workers.link import LATER, Link, NobodyDecides
from coldgrid.kernel.authorize import SYSTEM, Principal
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call, Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.service import DeciderService, Stopping, Waiter
from coldgrid.tower.workers import figures

# After these, who was known by a session may be somebody else, or nobody.
SESSIONS = (OpenSession, CloseSession)


class Leading:
    """Takes commands for a term, followers' and ours. `forget` tells everybody of changed sessions."""

    def __init__(self, service: DeciderService, forget: Callable[[], None]) -> None:
        self.service = service
        self._forget = forget

    def queue(self, call: Call) -> asyncio.Future[Answer]:
        """Queue a call on the event loop."""
        future = self.service.queue(call)
        if isinstance(call.command, SESSIONS):
            future.add_done_callback(lambda done: self._forget())
        return future

    def submit(self, call: Call) -> Future[Answer]:
        """Queue a call from any thread."""
        future = self.service.submit(call.command, call.principal, call.key)
        if isinstance(call.command, SESSIONS):
            future.add_done_callback(lambda done: self._forget())
        return future


class Office:
    """Takes commands on a worker, whatever its role is at present."""

    def __init__(self, link: Link, on_lost: Callable[[], None]) -> None:
        self._link = link
        self._on_lost = on_lost
        self._leading: Leading | None = None

    @property
    def leads(self) -> bool:
        """Whether commands are decided in this process."""
        return self._leading is not None

    @property
    def waiting(self) -> int:
        """How many commands wait for an outcome from elsewhere, or for their turn here."""
        leading = self._leading
        return self._link.waiting + (0 if leading is None else leading.service.waiting)

    @property
    def decider(self) -> Decider:
        """The decider, for a handler that is marked `AT_LEADER`.

        Raises:
            NobodyDecides: it is in another process.
        """
        return self._service().decider

    def call(self, work: Callable[[Decider], Any]) -> Future[Any]:
        """Run a function on the decider's thread, for a handler that is marked `AT_LEADER`.

        Raises:
            NobodyDecides: it is in another process.
        """
        return self._service().call(work)

    def _service(self) -> DeciderService:
        leading = self._leading
        if leading is None:
            raise NobodyDecides()
        return leading.service

    def lead(self, leading: Leading) -> None:
        """Decide here from now on, first what waited for a leader. On the loop."""
        self._link.lead(None)
        self._leading = leading
        for call, waiter in self._link.hand_over():
            self._carry_on(call, waiter)

    def follow(self) -> None:
        """Decide here no more. On the loop."""
        self._leading = None

    def submit(
        self, command: Command, principal: Principal = SYSTEM, key: str | None = None
    ) -> Future[Answer]:
        """Queue a command from any thread; the future answers after the commit, or raises the rejection."""
        call, leading = Call(command, principal, key), self._leading
        if leading is None:
            figures.FORWARDED.inc()
            return self._link.submit(call)
        future: Future[Answer] = Future()
        leading.submit(call).add_done_callback(partial(self._passed, call, future))
        return future

    async def ask(self, command: Command, principal: Principal = SYSTEM, key: str | None = None) -> Answer:
        """Queue a command from the event loop and return its answer after the commit.

        Raises:
            Rejected: the command was refused.
        """
        call, leading = Call(command, principal, key), self._leading
        if leading is not None:
            try:
                return await leading.queue(call)
            except LATER as error:
                if not self._goes_on(call, error):
                    raise
        figures.FORWARDED.inc()
        return await self._link.queue(call)

    def _goes_on(self, call: Call, error: BaseException | None) -> bool:
        """Tell whether a command that this leader did not answer is for the next one (O2)."""
        if not isinstance(error, LATER):
            return False
        self._on_lost()
        return call.key is not None or isinstance(error, Stopping)

    def _passed(self, call: Call, waiter: Waiter, done: Future[Answer]) -> None:
        if self._goes_on(call, done.exception()):
            self._link.submit(call).add_done_callback(partial(_settle, waiter))
        else:
            _settle(waiter, done)

    def _carry_on(self, call: Call, waiter: Waiter) -> None:
        if self._leading is None:
            return
        inner = self._leading.queue(call)
        inner.add_done_callback(partial(_settle, waiter))


def _settle(waiter: Waiter, done: Any) -> None:
    if waiter.done() or done.cancelled():  # the caller gave up
        return
    error = done.exception()
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(done.result())
