"""A follower's link to the leader: commands go out in batches, outcomes come back in any order.

Invariants
    K1  A command is sent under a key, its caller's or one of ours, and sent again under the same key whenever
        the leader changes before it was answered: it is never lost and never done twice.
    K2  Nothing waits longer than `WAIT_S`: then its caller is told that nobody decides at present. With a key
        of their own they may ask again.
    K3  A question is not sent again: what the leader does for it may have no key.

All of it happens on one event loop; `submit` alone may be called from any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

import structlog

from coldgrid.adapters.workers import identity, wire
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call
from coldgrid.kernel.driver import DatabaseLost
from coldgrid.kernel.rejections import Unavailable
from coldgrid.kernel.service import Stopping, Waiter

WAIT_S = 30.0
WAITING_MAX = 20_000
CONNECT_S = 2.0
AGAIN_S = 0.1
FRAME_CALLS_MAX = 200
FRAME_BYTES = 256 * 1024
# What a leader that lost its lease or its database says: the next one decides.
LATER = (Stopping, DatabaseLost)
logger = structlog.get_logger("coldgrid.workers")


class NobodyDecides(Unavailable):
    """No worker decides at present; whether it was done is not known."""

    todo = "Try again with the same key: what was done is not done twice."


class TooManyWait(Unavailable):
    """Too many commands wait for the worker that decides; nothing was stored."""

    todo = "Send less at once."


class Leader(NamedTuple):
    """Where the leader takes commands: who it is, its term, address, certificate, and what to show there."""

    worker: str
    term: int
    host: str
    port: int
    certificate: str
    secret: str


class _Waiting:
    __slots__ = ("call", "key", "own_key", "until_s", "waiter")

    def __init__(self, call: Call, key: str, own_key: bool, waiter: Waiter, until_s: float) -> None:
        self.call = call
        self.key = key
        self.own_key = own_key
        self.waiter = waiter
        self.until_s = until_s


class Link:
    """Carries commands to whoever leads.

    Args:
        worker: Who we are; also the beginning of the keys that we make.
        on_news: Told how far the log goes.
        on_forget: Told that sessions changed.
        on_lost: Told that the leader cannot be reached, or decides no more.
    """

    def __init__(
        self,
        worker: str,
        on_news: Callable[[int], None] = lambda position: None,
        on_forget: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._on_news = on_news
        self._on_forget = on_forget
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._leader: Leader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._unsent: list[int] = []
        self._no = 0
        self._early: list[tuple[Call, Waiter]] = []
        self.resent = 0

    @property
    def waiting(self) -> int:
        """How many commands wait for an outcome."""
        return len(self._waiting)

    @property
    def connected(self) -> bool:
        """Whether the leader is reached now."""
        return self._writer is not None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        self._loop.call_later(1.0, self._sweep)
        for call, waiter in self._early:
            self._enqueue(call, waiter)

    async def stop(self) -> None:
        """End; what waits is told that nobody decides."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for no in list(self._waiting):
            self._settle(no, NobodyDecides())

    def lead(self, leader: Leader | None) -> None:
        """Say who leads; None: nobody, or we do. On the loop."""
        if leader == self._leader:
            return
        self._leader = leader
        self._changed.set()
        self._drop()

    def hand_over(self) -> list[tuple[Call, Waiter]]:
        """Give what waits back, each with its key: we lead now. On the loop."""
        given = [(_keyed(one), one.waiter) for one in self._waiting.values()]
        self._waiting.clear()
        self._unsent.clear()
        return given

    # --- asking -------------------------------------------------------------------

    def submit(self, call: Call) -> Future[Answer]:
        """Send a command, from any thread."""
        future: Future[Answer] = Future()
        if self._loop is None:
            self._early.append((call, future))
        elif self._loop.is_closed():
            future.set_exception(NobodyDecides())
        else:
            self._loop.call_soon_threadsafe(self._enqueue, call, future)
        return future

    def queue(self, call: Call) -> asyncio.Future[Answer]:
        """Send a command, on the loop."""
        assert self._loop is not None, "the link was not started"
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._enqueue(call, waiter)
        return waiter

    def _enqueue(self, call: Call, waiter: Waiter) -> None:
        assert self._loop is not None
        if len(self._waiting) >= WAITING_MAX:
            _tell(waiter, TooManyWait(waiting=len(self._waiting)))
            return
        self._no += 1
        key = call.key if call.key is not None else f"{self._worker}/{self._no}"
        until_s = self._loop.time() + WAIT_S
        self._waiting[self._no] = _Waiting(call, key, call.key is None, waiter, until_s)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(self._no)

    async def ask(self, name: str, body: bytes, within_s: float = WAIT_S) -> bytes:
        """Ask the leader something by name, once (K3). On the loop.

        Raises:
            NobodyDecides: it is not reached, or was lost before it replied.
            Rejected: what the leader raised.
        """
        if self._writer is None or self._loop is None:
            raise NobodyDecides()
        self._no += 1
        no = self._no
        future = self._asked[no] = self._loop.create_future()
        self._writer.write(wire.pack(wire.Question(no, name, body)))
        try:
            return await asyncio.wait_for(future, within_s)
        except TimeoutError:
            raise NobodyDecides() from None
        finally:
            self._asked.pop(no, None)

    # --- sending ------------------------------------------------------------------

    def _flush(self) -> None:
        if self._writer is None:
            return
        numbers, self._unsent = self._unsent, []
        calls: list[wire.SentCall] = []
        size = 0
        for no in numbers:
            one = self._waiting.get(no)
            if one is None:
                continue
            try:
                sent = wire.send_call(no, one.call, one.key)
            except (TypeError, ValueError) as error:  # what MessagePack cannot say is a fault of ours
                self._settle(no, wire.take_rejection(wire.send_rejection(error)))
                continue
            calls.append(sent)
            size += len(sent.body)
            if len(calls) >= FRAME_CALLS_MAX or size >= FRAME_BYTES:
                self._writer.write(wire.pack(wire.Calls(calls)))
                calls, size = [], 0
        if calls:
            self._writer.write(wire.pack(wire.Calls(calls)))

    def _send_all_again(self) -> None:
        """Send all that waits, oldest first, to a leader that knows nothing of it, or all of it (K1)."""
        self.resent += len(self._waiting) - len(self._unsent)
        self._unsent = list(self._waiting)
        self._flush()

    # --- the connection -----------------------------------------------------------

    async def _run(self) -> None:
        while True:
            leader = self._leader
            self._changed.clear()
            if leader is None:
                await self._changed.wait()
                continue
            try:
                await self._talk(leader)
            except (OSError, EOFError, TimeoutError, wire.BadFrame) as error:
                logger.info(
                    "leader_not_reached", leader=leader.worker, why=f"{type(error).__name__}: {error}"
                )
            finally:
                self._lost()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), AGAIN_S)

    async def _talk(self, leader: Leader) -> None:
        context = identity.client_context(leader.certificate)
        opening = asyncio.open_connection(
            leader.host, leader.port, ssl=context, server_hostname=identity.NAME
        )
        reader, writer = await asyncio.wait_for(opening, CONNECT_S)
        try:
            writer.write(wire.pack(wire.Hello(leader.secret, self._worker)))
            welcome = await asyncio.wait_for(wire.read(reader, wire.HELLO_BYTES_MAX), CONNECT_S)
            if not isinstance(welcome, wire.Welcome) or welcome.term != leader.term:
                raise wire.BadFrame("another term is served there")
            if self._leader != leader:
                return
            self._writer = writer
            self._on_forget()  # what was told while we were not connected
            self._send_all_again()
            while True:
                self._take(await wire.read(reader))
        finally:
            self._writer = None
            writer.transport.abort()

    def _take(self, frame: wire.Frame) -> None:
        if isinstance(frame, wire.Outcomes):
            for sent in frame.outcomes:
                self._take_outcome(sent)
        elif isinstance(frame, wire.News):
            self._on_news(frame.position)
        elif isinstance(frame, wire.Reply):
            future = self._asked.pop(frame.no, None)
            if future is None or future.done():
                return
            if frame.ok:
                future.set_result(frame.body)
            else:
                future.set_exception(wire.take_rejection(frame.body))
        elif isinstance(frame, wire.Forget):
            self._on_forget()
        else:
            raise wire.BadFrame(f"{type(frame).__name__} is no frame of a leader")

    def _take_outcome(self, sent: wire.SentOutcome) -> None:
        one = self._waiting.get(sent.no)
        if one is None:
            return
        if sent.ok:
            answer = wire.take_answer(sent.body, type(one.call.command), own_key=one.own_key)
            self._settle(sent.no, answer)
            return
        rejected = wire.take_rejection(sent.body)
        if isinstance(rejected, LATER):  # stays, and is sent to whoever decides next (K1)
            self._on_lost()
            assert self._loop is not None
            self._loop.call_later(AGAIN_S, self._send_later, sent.no)
            return
        self._settle(sent.no, rejected)

    def _send_later(self, no: int) -> None:
        if no in self._waiting and no not in self._unsent:
            self._unsent.append(no)
            self._flush()

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()

    def _lost(self) -> None:
        self._writer = None
        for future in self._asked.values():
            if not future.done():
                future.set_exception(NobodyDecides())
        self._asked.clear()
        self._on_lost()

    # --- outcomes -----------------------------------------------------------------

    def _settle(self, no: int, outcome: Answer | BaseException) -> None:
        one = self._waiting.pop(no, None)
        if one is not None:
            _tell(one.waiter, outcome)

    def _sweep(self) -> None:
        """Give up what waited too long (K2)."""
        assert self._loop is not None
        now_s = self._loop.time()
        for no, one in list(self._waiting.items()):
            if one.until_s < now_s:
                self._settle(no, NobodyDecides())
        self._loop.call_later(1.0, self._sweep)


def _keyed(one: _Waiting) -> Call:
    return Call(one.call.command, one.call.principal, one.key)


def _tell(waiter: Waiter, outcome: Any) -> None:
    if waiter.done():  # the caller gave up
        return
    if isinstance(outcome, BaseException):
        waiter.set_exception(outcome)
    else:
        waiter.set_result(outcome)
