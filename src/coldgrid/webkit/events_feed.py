"""The event feed: what happened since a position, as one page of JSON or as a stream that continues.

`GET /api/v1/events?after=-1&types=stock.hold_placed,orders.placed&limit=500`. With `Accept: text/event-
stream` every entry is an event whose `id` is its position, so a client that reconnects with `Last-Event-
ID` misses nothing. Whoever is responsible for some sites reads these sites' own logs alone; `next` goes on
where a page holds nothing of the types asked for, too. A stream ends when its token or session does, or its
rights change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import QueryParameter
from litestar.response import Stream

from coldgrid.kernel.events import Entry, event_types
from coldgrid.kernel.log import follow_origin, read
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Forbidden
from coldgrid.webkit.choices import check_words, malformed
from coldgrid.webkit.hub import KEEP_ALIVE, Message
from coldgrid.webkit.visitors import Visitor, visitor_of

LIMIT_MAX = 1_000
POLL_S = 0.25
KEEP_ALIVE_S = 10.0
WELCOME_S = 5.0
Req = Request[Any, Any, Any]


class FeedHasAllChannels(Forbidden):
    """The feed holds the orders of every channel, and yours are some."""

    todo = "Read your orders at /api/v1/orders, or ask an admin for a token without channels."


class FeedEntry(msgspec.Struct, frozen=True):
    """One entry of the log as the feed tells it; `body` is the event's canonical JSON, as it was hashed."""

    position: int
    origin: str
    epoch: int
    seq: int
    occurred_at: datetime
    recorded_at: datetime
    stream: str
    type: str
    actor: str
    cause: str
    body: msgspec.Raw
    leaf: str


class FeedPage(msgspec.Struct, frozen=True):
    """Entries in the order of their position; `next` is what to send as `after` next."""

    entries: list[FeedEntry]
    next: int


def told(entry: Entry) -> FeedEntry:
    """Return what the feed shows of an entry."""
    return FeedEntry(
        entry.position,
        entry.origin,
        entry.epoch,
        entry.seq,
        entry.occurred_at,
        entry.recorded_at,
        entry.stream,
        entry.type,
        entry.actor,
        entry.cause,
        msgspec.Raw(entry.body),
        entry.leaf.hex(),
    )


@get(
    "/api/v1/events",
    opt={
        "action": "events.read",
        "answers": {"application/json": FeedPage, "text/event-stream": str},
        "headers": {"Last-Event-ID": "Of a stream: the position to go on behind; it comes before `after`."},
    },
    tags=["events"],
    summary="What happened since a position",
    operation_id="events",
)
async def events(
    request: Req,
    after: Annotated[int, QueryParameter(ge=-1, le=2**62, description="Entries after this position")] = -1,
    types: Annotated[
        str, QueryParameter(max_length=2_000, description="Only these types, separated by commas")
    ] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = 100,
) -> Response[Any] | Stream:
    """Return the entries after a position in the order of their position, and where to go on."""
    wanted = frozenset(name.strip() for name in types.split(",") if name.strip())
    check_words("types", wanted, event_types())
    visitor = visitor_of(request)
    if visitor.principal.channels is not None:
        raise FeedHasAllChannels(yours=sorted(visitor.principal.channels))
    if "text/event-stream" in request.headers.get("accept", ""):
        start = _resumed(request, after)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(
            _follow(request, visitor, start, wanted), media_type="text/event-stream", headers=headers
        )
    entries, position = await asyncio.to_thread(_page, request, visitor, after, wanted, limit)
    body = msgspec.json.encode(FeedPage([told(entry) for entry in entries], position))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def _page(
    request: Req, visitor: Visitor, after: int, wanted: frozenset[str], limit: int
) -> tuple[list[Entry], int]:
    sites = visitor.principal.sites
    with request.app.state.reader() as db:
        if sites is not None:
            return _page_of_sites(db, sites, after, wanted, limit)
        entries = read(db, after, limit, sorted(wanted))
    return entries, entries[-1].position if entries else after


def _page_of_sites(
    db: Reader, sites: frozenset[str], after: int, wanted: frozenset[str], limit: int
) -> tuple[list[Entry], int]:
    """Return a page for whoever is responsible for some sites: what is in these sites' own logs."""
    found = [entry for site_id in sites for entry in follow_origin(db, site_id, after, limit)]
    found = sorted(found, key=lambda entry: entry.position)[:limit]
    position = found[-1].position if found else after
    return [entry for entry in found if not wanted or entry.type in wanted], position


def _resumed(request: Req, after: int) -> int:
    last = request.headers.get("last-event-id", "")
    if last and not (last.isascii() and last.removeprefix("-").isdigit() and len(last) < 19):
        raise malformed("Last-Event-ID", "is no position", "send the `id` of the last event that came")
    return int(last) if last else after


async def _follow(request: Req, visitor: Visitor, after: int, wanted: frozenset[str]) -> AsyncIterator[bytes]:
    """Yield entries as they come. Each client reads the log itself, so a slow one holds nothing in memory.

    However much comes, it is asked every `WELCOME_S` whether the client may still hear it.
    """
    loop = asyncio.get_running_loop()
    asked_at = said_at = loop.time()
    yield KEEP_ALIVE.encode()
    while not request.app.state.hub.stopping:
        if loop.time() - asked_at >= WELCOME_S:
            asked_at = loop.time()
            now = request.app.state.door.identify(request)
            if not now.known or now.principal != visitor.principal:
                return
        entries, position = await asyncio.to_thread(_page, request, visitor, after, wanted, LIMIT_MAX)
        if entries:
            yield b"".join(
                Message(e.type, msgspec.json.encode(told(e)).decode(), str(e.position)).encode()
                for e in entries
            )
            said_at = loop.time()
        elif loop.time() - said_at >= KEEP_ALIVE_S:
            said_at = loop.time()
            yield KEEP_ALIVE.encode()
        if position == after:
            await asyncio.sleep(POLL_S)
        after = position
