"""The event feed: what happened since a position, as one page of JSON or as a stream that continues.

`GET /api/v1/events?after=-1&types=stock.hold_placed,orders.placed&limit=500`. With `Accept: text/event-
stream` every entry is an event whose `id` is its position, so a client that reconnects with `Last-Event-
ID` misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import QueryParameter
from litestar.response import Stream

from coldgrid.kernel.events import Entry
from coldgrid.kernel.log import read
from coldgrid.webkit.hub import KEEP_ALIVE, Message
from coldgrid.webkit.problems import Malformed

LIMIT_MAX = 1_000
POLL_S = 0.25
KEEP_ALIVE_POLLS = 40
Req = Request[Any, Any, Any]


class FeedEntry(msgspec.Struct, frozen=True):
    """One entry of the log as the feed tells it; `body` is the event's canonical JSON, as it was hashed."""

    position: int
    origin: str
    epoch: int
    seq: int
    occurred_at: Any
    recorded_at: Any
    stream: str
    type: str
    actor: str
    cause: str
    body: msgspec.Raw
    leaf: str


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
    opt={"action": "events.read"},
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
    if "text/event-stream" in request.headers.get("accept", ""):
        start = _resumed(request, after)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Stream(_follow(request, start, wanted), media_type="text/event-stream", headers=headers)
    entries, position = await asyncio.to_thread(_page, request, after, wanted, limit)
    body = msgspec.json.encode({"entries": [told(entry) for entry in entries], "next": position})
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


def _page(request: Req, after: int, wanted: frozenset[str], limit: int) -> tuple[list[Entry], int]:
    with request.app.state.reader() as db:
        entries = read(db, after, limit, sorted(wanted))
    return entries, entries[-1].position if entries else after


def _resumed(request: Req, after: int) -> int:
    last = request.headers.get("last-event-id", "")
    if last and not (last.isascii() and last.removeprefix("-").isdigit() and len(last) < 19):
        raise Malformed(detail="Last-Event-ID must be a position")
    return int(last) if last else after


async def _follow(request: Req, after: int, wanted: frozenset[str]) -> AsyncIterator[bytes]:
    """Yield entries as they come. Each client reads the log itself, so a slow one holds nothing in memory."""
    quiet = 0
    yield KEEP_ALIVE.encode()
    while not request.app.state.hub.stopping:
        entries, position = await asyncio.to_thread(_page, request, after, wanted, LIMIT_MAX)
        quiet = 0 if entries else quiet + 1
        if entries:
            yield b"".join(
                Message(e.type, msgspec.json.encode(told(e)).decode(), str(e.position)).encode()
                for e in entries
            )
        if quiet >= KEEP_ALIVE_POLLS:
            quiet = 0
            if not request.app.state.door.identify(request).known:
                return
            yield KEEP_ALIVE.encode()
        if position == after:
            await asyncio.sleep(POLL_S)
        after = position
