"""The leader's port for other workers: takes their commands, and tells them how far the log goes.

Invariants
    P1  Nothing is read from a connection that did not show the database's secret within `HELLO_S`; what it
        sent before is bounded.
    P2  An outcome is sent after the commit that made it durable, as the decider answers it, in any order.
    P3  News of a position never waits for a command, and the newest takes the place of those not sent yet.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog

from coldgrid.adapters.workers import wire
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Call
from coldgrid.kernel.rejections import Rejected

HELLO_S = 5.0
NEWS_EVERY_S = 0.01
# What a follower may leave unread before it is cut off: it comes again.
UNREAD_BYTES_MAX = 256 * 1024 * 1024
logger = structlog.get_logger("coldgrid.workers")


class Takes(Protocol):
    """Takes calls on the event loop: the decider's service."""

    def queue(self, call: Call) -> asyncio.Future[Answer]:
        """Queue a call; the future answers after the durable commit, or raises the rejection."""


Replies = Callable[[str, bytes], Awaitable[bytes]]


class WorkerPort:
    """Serves the followers of one term.

    Args:
        takes: Carries commands out.
        replies: Answers a question by name; raises a rejection where it cannot.
        secret: What a follower must show.
        welcome: Who leads, by which term.
    """

    def __init__(self, takes: Takes, replies: Replies, secret: str, welcome: wire.Welcome) -> None:
        self._takes = takes
        self._replies = replies
        self._secret = secret.encode()
        self._welcome = welcome
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._followers: set[_Follower] = set()
        self._position = -1
        self._telling = False

    @property
    def followers(self) -> list[str]:
        """The names of the workers that are connected."""
        return sorted(follower.worker for follower in self._followers)

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> tuple[str, int]:
        """Listen, and return the address. Raises OSError where it is taken."""
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, host, port, ssl=context)
        name = self._server.sockets[0].getsockname()
        return name[0], name[1]

    async def stop(self) -> None:
        """Listen no more, and let every follower go: they ask the next leader."""
        if self._server is not None:
            self._server.close()
        for follower in list(self._followers):
            follower.leave()

    # --- telling ------------------------------------------------------------------

    def tell(self, position: int) -> None:
        """Tell the followers how far the log goes (P3). From any thread."""
        self._position = position
        if self._telling or not self._followers or self._loop is None or self._loop.is_closed():
            return
        self._telling = True
        self._loop.call_soon_threadsafe(self._loop.call_later, NEWS_EVERY_S, self._tell)

    def _tell(self) -> None:
        self._telling = False
        self._send_all(wire.News(self._position))

    def forget(self) -> None:
        """Tell the followers that sessions changed. From any thread."""
        if self._followers and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._send_all, wire.Forget())

    def _send_all(self, frame: wire.Frame) -> None:
        data = wire.pack(frame)
        for follower in list(self._followers):
            follower.write(data)

    # --- one connection -----------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        follower: _Follower | None = None
        try:
            hello = await asyncio.wait_for(wire.read(reader, wire.HELLO_BYTES_MAX), HELLO_S)
            shown = hello.secret.encode() if isinstance(hello, wire.Hello) else b""
            if not isinstance(hello, wire.Hello) or not hmac.compare_digest(shown, self._secret):
                logger.warning("worker_refused", peer=str(writer.get_extra_info("peername")))
                return
            follower = _Follower(hello.worker, writer)
            follower.write(wire.pack(self._welcome))
            self._followers.add(follower)
            if self._position >= 0:
                follower.write(wire.pack(wire.News(self._position)))
            while True:
                self._take(follower, await wire.read(reader))
        except (OSError, EOFError, TimeoutError, wire.BadFrame) as error:
            if isinstance(error, wire.BadFrame):
                logger.warning("worker_frame_refused", why=str(error))
        finally:
            if follower is not None:
                self._followers.discard(follower)
                follower.leave()
            writer.close()
            with suppress(OSError, ssl.SSLError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), HELLO_S)

    def _take(self, follower: _Follower, frame: wire.Frame) -> None:
        if isinstance(frame, wire.Calls):
            for sent in frame.calls:
                self._carry_out(follower, sent)
        elif isinstance(frame, wire.Question):
            follower.answering(asyncio.ensure_future(self._reply(follower, frame)))
        else:
            raise wire.BadFrame(f"{type(frame).__name__} is no frame of a follower")

    def _carry_out(self, follower: _Follower, sent: wire.SentCall) -> None:
        try:
            future = self._takes.queue(wire.take_call(sent))
        except (Rejected, wire.BadFrame) as error:
            follower.told(sent.no, error)
        else:
            future.add_done_callback(partial(_tell_outcome, follower, sent.no))

    async def _reply(self, follower: _Follower, asked: wire.Question) -> None:
        try:
            reply = wire.Reply(asked.no, True, await self._replies(asked.name, asked.body))
        except Exception as error:
            if not isinstance(error, Rejected):
                logger.exception("question_failed", name=asked.name)
            reply = wire.Reply(asked.no, False, wire.send_rejection(error))
        follower.write(wire.pack(reply))


def _tell_outcome(follower: _Follower, no: int, future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        follower.told(no, future.exception() or future.result())


class _Follower:
    """One connected follower: outcomes that are known in the same turn of the loop share a frame."""

    def __init__(self, worker: str, writer: asyncio.StreamWriter) -> None:
        self.worker = worker
        self._writer = writer
        self._known: list[wire.SentOutcome] = []
        self._replying: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()

    def told(self, no: int, outcome: Answer | BaseException) -> None:
        if not self._known:
            self._loop.call_soon(self._flush)
        self._known.append(wire.send_outcome(no, outcome))

    def answering(self, task: asyncio.Future[None]) -> None:
        self._replying.add(task)
        task.add_done_callback(self._replying.discard)

    def _flush(self) -> None:
        known, self._known = self._known, []
        self.write(wire.pack(wire.Outcomes(known)))

    def write(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            transport.abort()
            return
        self._writer.write(data)

    def leave(self) -> None:
        self._writer.transport.abort()
        for task in self._replying:
            task.cancel()
