"""Questions: what followers ask the leader beside commands, and how it replies.

`newest`: what every sensor measured last, out of the rules' memory. The list of sensors goes along only when
it differs from the one that the asker has; the columns are 24 bytes a sensor.
`heard`: when each node was heard, and which are calling.
`page`: a whole request, for a route that only the deciding process can serve (`webkit.leading`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from litestar import Request, Response
from litestar.datastructures import Cookie

from coldgrid.adapters.workers.link import Link, NobodyDecides
from coldgrid.kernel.rejections import Unavailable
from coldgrid.kernel.service import DeciderService
from coldgrid.telemetry.arrivals import Arrivals
from coldgrid.telemetry.newest import Newest, copy_newest
from coldgrid.telemetry.sensors import Sensor
from coldgrid.telemetry.watch import Watch
from coldgrid.tower.sync_work import NodeWork

WITHIN_S = 20.0
PAGE_WITHIN_S = 90.0
PAGE_BYTES_MAX = 32 * 1024 * 1024
# Of a request that was passed on: it is not passed on again, whoever leads then.
PASSED_ON = "coldgrid.passed_on"
# Headers that whoever sends the answer writes itself.
CHARSET = "; charset=utf-8"
OWN = frozenset({"content-type", "content-length", "set-cookie"})
_pack = msgspec.msgpack.encode
App = Callable[..., Awaitable[None]]


class TooLongToPassOn(Unavailable):
    """This answer is too long to be passed on from the worker that decides."""

    todo = "Ask that worker itself: the health page says where it serves."


class _Columns(msgspec.Struct, frozen=True, array_like=True):
    token: str
    sensors: list[Sensor] | None
    last_us: bytes
    good_us: bytes
    good_e4: bytes


class _Heard(msgspec.Struct, frozen=True, array_like=True):
    port: bool
    heard: dict[str, datetime]
    polling: list[str]


class _Asked(msgspec.Struct, frozen=True, array_like=True):
    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: str
    scheme: str


class _Page(msgspec.Struct, frozen=True, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


# --- The leader -------------------------------------------------------------------


class Replies:
    """Replies for a term. `app` is this worker's own web application, `nodes` its work with nodes, if any."""

    def __init__(self, service: DeciderService, app: App, nodes: NodeWork | None) -> None:
        self._service = service
        self._app = app
        self._nodes = nodes
        self._sensors: list[Sensor] = []
        self._token = ""

    async def __call__(self, name: str, body: bytes) -> bytes:
        """Reply to a question.

        Raises:
            KeyError: this release knows no such question.
        """
        replies = {"newest": self._newest, "heard": self._heard, "page": self._page}
        return await replies[name](body)

    async def _newest(self, body: bytes) -> bytes:
        newest: Newest = await asyncio.wrap_future(self._service.call(_copy))
        if newest.sensors != self._sensors or not self._token:
            self._sensors, self._token = newest.sensors, secrets.token_hex(8)
        sensors = None if body.decode() == self._token else newest.sensors
        columns = (newest.last_us, newest.good_us, newest.good_e4)
        return _pack(_Columns(self._token, sensors, *(column.tobytes() for column in columns)))

    async def _heard(self, body: bytes) -> bytes:
        if self._nodes is None:
            return _pack(_Heard(False, {}, []))
        heard = dict(self._nodes.post.heard)
        return _pack(_Heard(True, heard, [site for site in heard if self._nodes.port.app.polling(site)]))

    async def _page(self, body: bytes) -> bytes:
        asked = msgspec.msgpack.decode(body, type=_Asked)
        page = await _run(self._app, asked)
        if len(page.body) > PAGE_BYTES_MAX:
            raise TooLongToPassOn(bytes=len(page.body), limit=PAGE_BYTES_MAX)
        return _pack(page)


def _copy(decider: Any) -> Newest:
    return copy_newest(decider.shared.hot[Watch], decider.shared.hot[Arrivals])


async def _run(app: App, asked: _Asked) -> _Page:
    """Run a request through an ASGI application, and return its answer whole."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": asked.scheme,
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "root_path": "",
        "headers": asked.headers,
        "client": (asked.client, 0),
        "server": None,
        "state": {},
        "extensions": {PASSED_ON: {}},
    }
    coming = [{"type": "http.request", "body": asked.body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if coming:
            return coming.pop()
        await asyncio.sleep(WITHIN_S)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    headers = [(bytes(name), bytes(value)) for name, value in start.get("headers", [])]
    return _Page(start["status"], headers, b"".join(message.get("body", b"") for message in sent))


# --- A follower -------------------------------------------------------------------


class Asks:
    """Asks the leader, from any thread.

    `loop` is the one that the link lives on.
    """

    def __init__(self, link: Link, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._link = link
        self._loop = loop
        self._sensors: list[Sensor] = []
        self._token = ""

    def _ask(self, name: str, body: bytes = b"") -> bytes:
        asking = self._link.ask(name, body, WITHIN_S)
        return asyncio.run_coroutine_threadsafe(asking, self._loop()).result(WITHIN_S + 5)

    def newest(self) -> Newest:
        """Return what every sensor measured last."""
        told = msgspec.msgpack.decode(self._ask("newest", self._token.encode()), type=_Columns)
        if told.sensors is not None:
            self._sensors, self._token = told.sensors, told.token
        columns = (np.frombuffer(one, np.int64) for one in (told.last_us, told.good_us, told.good_e4))
        return Newest(self._sensors, *columns)

    def heard(self) -> SimpleNamespace | None:
        """Return when nodes were heard, with the names that pages look for; None where none can come."""
        told = msgspec.msgpack.decode(self._ask("heard"), type=_Heard)
        if not told.port:
            return None
        app = SimpleNamespace(polling=frozenset(told.polling).__contains__)
        return SimpleNamespace(post=SimpleNamespace(heard=told.heard), port=SimpleNamespace(app=app))

    async def page(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Let the leader answer a request in our place.

        Raises:
            NobodyDecides: there is none that can be reached, or it was passed on once already.
        """
        scope: Any = request.scope
        if PASSED_ON in (scope.get("extensions") or {}):
            raise NobodyDecides()
        asked = _Asked(
            scope["method"],
            scope["path"],
            scope["query_string"],
            [(bytes(n), bytes(v)) for n, v in scope["headers"] if n.lower() != b"accept-encoding"],
            await request.body(),
            request.client.host if request.client else "",
            scope["scheme"],
        )
        told = msgspec.msgpack.decode(await self._link.ask("page", _pack(asked), PAGE_WITHIN_S), type=_Page)
        return _response(told)


def _response(told: _Page) -> Response[bytes]:
    """Return an answer as it came: its media type as it was, each cookie in a header of its own."""
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in told.headers]
    plain = {name: value for name, value in headers if name not in OWN}
    cookies = [_Verbatim(key=value) for name, value in headers if name == "set-cookie"]
    kind = dict(headers).get("content-type", "application/octet-stream")
    kind = kind.removesuffix(CHARSET)  # which is written again
    return Response(told.body, status_code=told.status, media_type=kind, headers=plain, cookies=cookies)


class _Verbatim(Cookie):
    """A cookie as another worker wrote it: `key` is the whole of its header."""

    def to_encoded_header(self) -> tuple[bytes, bytes]:
        """Return the header."""
        return b"set-cookie", self.key.encode("latin-1")
