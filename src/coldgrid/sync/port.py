"""What the port for nodes answers: who certifies, enrolment, renewal, and the frames of admitted nodes.

    GET  /sync/v1/authority   anybody        the authority's certificate, to be held against a code's pin
    POST /sync/v1/enrol       a code         a certificate for a new key
    POST /sync/v1/renew       a certificate  the next one; also for some time after it expired
    GET  /sync/v1/standing    an admitted node   who the tower takes it for
    POST /sync/v1             an admitted node   a frame of the sync protocol, to the post

Invariants
    R1  Each request is admitted by itself against the table of enrolled nodes (`Gate`), on whatever
        connection it came: what was revoked a moment ago is refused now.
    R2  A refusal is a problem document (RFC 9457) with a stable code, and is counted by that code.
    R3  A stranger costs little: small bodies, few attempts, no signature before the code was right.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from coldgrid.access.throttle import Throttle
from coldgrid.kernel.rejections import Forbidden, NotFound, Rejected
from coldgrid.sync.gate import Gate
from coldgrid.sync.node_words import NoCertificate
from coldgrid.sync.places import Connection, Refusals
from coldgrid.sync.registrar import Registrar
from coldgrid.webkit.problems import (
    PROBLEM_JSON,
    BodyTooLarge,
    MethodNotAllowed,
    RequestFailed,
    TooMany,
    document_of,
)

JSON, FRAME = "application/json", "application/x-coldgrid-sync"
FRAME_BYTES_MAX = 4 * 1024 * 1024
ASKED_BYTES_MAX = 16 * 1024
ATTEMPTS, ATTEMPTS_WINDOW = 10, timedelta(minutes=15)
HANDS = 32
ROUTES = {
    "/sync/v1/authority": "GET",
    "/sync/v1/enrol": "POST",
    "/sync/v1/renew": "POST",
    "/sync/v1/standing": "GET",
    "/sync/v1": "POST",
}
Send = Callable[[dict[str, Any]], Any]
Receive = Callable[[], Any]
logger = structlog.get_logger("coldgrid.sync")


class NoSuchPlace(NotFound):
    """There is nothing at this address of the port for nodes."""


class Waits(Protocol):
    """There is nothing to tell yet: ask again on news of the site, or after `hold_ms` for good."""

    @property
    def hold_ms(self) -> int:
        """How long to wait at most."""


class Post(Protocol):
    """Answers frames. Called on a thread that may block; several at once."""

    def answer(self, peer: Any, frame: bytes, *, final: bool = False) -> bytes | Waits:
        """Return the frame that answers, or that there is nothing to tell yet. `final`: answer now."""

    def on_commit(self, recorded: Sequence[tuple[Any, Any]]) -> Iterable[str]:
        """Take notice of what was committed; return the sites that it is news for, `*` for all of them."""


class PortApp:
    """The ASGI application of the port for nodes.

    `post` None: enrolment only. Tell `heard_news` when a site may have something new to fetch.
    """

    def __init__(self, registrar: Registrar, gate: Gate, post: Post | None = None) -> None:
        self.registrar = registrar
        self.gate = gate
        self.post = post
        self.refusals: Refusals | None = None  # the port's, once there is one
        self._attempts = Throttle(ATTEMPTS, ATTEMPTS_WINDOW)
        self._pool = ThreadPoolExecutor(HANDS, thread_name_prefix="sync-hand")
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}
        self._lock = threading.Lock()

    def heard_news(self, site_id: str) -> None:
        """Wake the requests of a site (`*`: of all) that wait for news; from any thread."""
        with self._lock:
            sites = list(self._waiting) if site_id == "*" else [site_id]
            waiting = [one for site in sites for one in self._waiting.get(site, ())]
        for loop, event in waiting:
            with suppress(RuntimeError):  # its port has stopped
                loop.call_soon_threadsafe(event.set)

    def polling(self, site_id: str) -> bool:
        """Tell whether a request of a site is open: it waits for news at this moment; from any thread."""
        with self._lock:
            return site_id in self._waiting

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request (R2)."""
        connection: Connection = scope["coldgrid.connection"]
        try:
            body, media_type = await self._answer(scope, receive, connection)
            status = 200
        except _Gone:
            return
        except Rejected as rejected:
            status, body, media_type = self._refuse(scope, connection, rejected)
        except Exception:
            logger.exception("sync_port_failed", path=scope["path"][:200])
            status, body, media_type = self._refuse(scope, connection, RequestFailed())
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        if status != 200 and scope["method"] != "GET":
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refuse(
        self, scope: dict[str, Any], connection: Connection, rejected: Rejected
    ) -> tuple[int, bytes, str]:
        document = document_of(rejected, scope["path"])
        if self.refusals is not None:
            self.refusals.count(document.code, connection.address)
        return document.status, msgspec.json.encode(document), PROBLEM_JSON

    async def _answer(
        self, scope: dict[str, Any], receive: Receive, connection: Connection
    ) -> tuple[bytes, str]:
        path, method = scope["path"], scope["method"]
        allowed = ROUTES.get(path)
        if allowed is None:
            raise NoSuchPlace(path=path[:200])
        if method != allowed:
            raise MethodNotAllowed(method=method[:20])
        if path == "/sync/v1/authority":
            return msgspec.json.encode(self.registrar.authority_told()), JSON
        if path == "/sync/v1/enrol":
            return await self._enrol(receive, connection), JSON
        if connection.shown is None:
            raise NoCertificate(why=connection.fault) if connection.fault else NoCertificate()
        run = _header(scope, b"coldgrid-run")
        if path == "/sync/v1/renew":
            asked = await _read(receive, ASKED_BYTES_MAX)
            return await self._do(lambda: self.registrar.renew(self.gate, connection, run, asked)), JSON
        if path == "/sync/v1/standing":
            return await self._do(lambda: self._standing(connection, run)), JSON
        return await self._frame(receive, connection, run), FRAME

    async def _enrol(self, receive: Receive, connection: Connection) -> bytes:
        """Let a node in; an address with many wrong codes waits (R3)."""
        now = self.registrar.now()
        wait_s = self._attempts.wait_s(connection.address, now)
        if wait_s:
            raise TooMany(retry_after_s=wait_s)
        asked = await _read(receive, ASKED_BYTES_MAX)
        try:
            granted: bytes = await self._do(lambda: self.registrar.enrol(asked))
            return granted
        except Forbidden:
            self._attempts.failed(connection.address, now)
            raise

    def _standing(self, connection: Connection, run: str) -> bytes:
        return msgspec.json.encode(self.gate.admit(connection, run))

    async def _frame(self, receive: Receive, connection: Connection, run: str) -> bytes:
        if self.post is None:
            raise NoSuchPlace(path="/sync/v1")
        post, frame = self.post, await _read(receive, FRAME_BYTES_MAX)
        assert connection.shown is not None
        site_id, loop = connection.shown.identity.site_id, asyncio.get_running_loop()
        ends_s: float | None = None
        final = False
        while True:
            event = asyncio.Event()
            waiter = (loop, event)
            with self._lock:  # before asking: news that comes between is not missed
                self._waiting.setdefault(site_id, set()).add(waiter)
            try:
                answer = await self._do(partial(self._put, post, connection, run, frame, final))
                if isinstance(answer, bytes):
                    return answer
                if ends_s is None:
                    ends_s = loop.time() + answer.hold_ms / 1000
                final = not await _news(event, receive, ends_s - loop.time())
            finally:
                with self._lock:
                    self._waiting[site_id].discard(waiter)
                    if not self._waiting[site_id]:
                        del self._waiting[site_id]

    def _put(self, post: Post, connection: Connection, run: str, frame: bytes, final: bool) -> bytes | Waits:
        return post.answer(self.gate.admit(connection, run), frame, final=final)

    async def _do(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Gone(Exception):
    """The sender is not there any more."""


async def _news(event: asyncio.Event, receive: Receive, within_s: float) -> bool:
    """Wait for news, and tell whether there was any in time; raises `_Gone` when the sender leaves."""
    news, left = asyncio.ensure_future(event.wait()), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({news, left}, timeout=max(0.0, within_s), return_when=asyncio.FIRST_COMPLETED)
        if left.done():
            raise _Gone()
        return news.done()
    finally:
        news.cancel()
        left.cancel()


async def _read(receive: Receive, bytes_max: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone()
        body += message["body"]
        if len(body) > bytes_max:
            raise BodyTooLarge(limit_bytes=bytes_max)
        if not message["more_body"]:
            return bytes(body)


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
