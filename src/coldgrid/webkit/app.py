"""The web application: the shell, the guards and the refusals around whatever handlers the rooms bring.

A composition root makes `Services`, collects the rooms' handlers and calls `create_app`. Handlers find
what they need in `request.app.state` or ask for `db`, a reader of committed facts that lives as long as
the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from litestar import Litestar, Request, Response, Router, get
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.params import FromQuery
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

import coldgrid
from coldgrid.kernel.authorize import Authorizer, Principal
from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.webkit import docs_page, preferences
from coldgrid.webkit.assets import static_file
from coldgrid.webkit.choices import check_names
from coldgrid.webkit.commands import commands_router
from coldgrid.webkit.csrf import check_csrf
from coldgrid.webkit.events_feed import events
from coldgrid.webkit.headers import add_headers
from coldgrid.webkit.hub import TOPICS_MAX, Hub, may_follow
from coldgrid.webkit.problems import refuse, refuse_fault, refuse_http
from coldgrid.webkit.shell import environment, render
from coldgrid.webkit.visitors import Door, admit, visitor_of

BODY_BYTES_MAX = 1_048_576


class Decides(Protocol):
    """The decider, as the web sees it."""

    def submit(self, command: Command, principal: Principal, key: str | None = None) -> Future[Any]:
        """Queue a command; the future answers after the durable commit, or raises the rejection."""


@dataclass(frozen=True)
class Services:
    """What the web needs from its composition root.

    `now` is the business clock that pages show, `system_now` the one that sessions and limits go by.
    `reader` lends a reader of committed facts; `templates` adds rooms' template folders. `clock_note`
    says beside the brand what is special about the clock, such as "60 × real time", or "". `before` may
    answer in place of a handler, once the guards have admitted the request.
    """

    decider: Decides
    reader: Callable[[], AbstractContextManager[Reader]]
    authorizer: Authorizer
    door: Door
    now: Callable[[], datetime]
    system_now: Callable[[], datetime]
    hub: Hub = field(default_factory=Hub)
    brand: str = "Coldgrid"
    clock_note: Callable[[], str] = lambda: ""
    search: str = ""
    version: str = "0"
    templates: dict[str, Path] = field(default_factory=dict)
    before: Callable[[Request[Any, Any, Any]], Awaitable[Response[Any] | None]] | None = None
    state: dict[str, Any] = field(default_factory=dict)


def provide_db(request: Request[Any, Any, Any]) -> Generator[Reader, None, None]:
    """Lend a reader for the time of a request."""
    with request.app.state.reader() as db:
        yield db


@get("/stream", include_in_schema=False)
async def stream(request: Request[Any, Any, Any], topics: FromQuery[str] = "") -> Stream:
    """Open the page's one event stream. Topics that the visitor may not follow are left out."""
    hub: Hub = request.app.state.hub
    visitor = visitor_of(request)
    hub.check_room()
    asked = [topic for topic in topics.split(",") if topic][:TOPICS_MAX]
    followed = [topic for topic in asked if may_follow(visitor, topic)]

    def still_welcome() -> bool:
        now = request.app.state.door.identify(request)
        return bool(now.known and now.principal == visitor.principal)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(hub.listen(followed, still_welcome), media_type="text/event-stream", headers=headers)


def create_app(
    services: Services,
    route_handlers: Sequence[ControllerRouterHandler],
    *,
    lifespan: Sequence[Any] = (),
    debug: bool = False,
) -> Litestar:
    """Return the application: webkit's own pages, the rooms' handlers, and every guard around them."""

    async def bind_hub(app: Litestar) -> None:
        app.state.hub.start(asyncio.get_running_loop())

    own: list[ControllerRouterHandler] = [
        static_file,
        stream,
        events,
        commands_router,
        docs_page.api_page,
        docs_page.openapi_document,
        preferences.choose,
        preferences.badges,
        preferences.menu,
    ]
    return Litestar(
        # In one router: Litestar 2.25 prepares a handler again for each later handler of the same path, and a
        # handler with `sync_to_thread` does not survive being prepared twice.
        route_handlers=[Router("/", route_handlers=[*own, *route_handlers])],
        state=State(_state(services), deep_copy=False),
        guards=[admit, check_csrf, check_names],
        dependencies={"db": Provide(provide_db)},
        exception_handlers={
            Rejected: refuse,
            HTTPException: refuse_http,
            Exception: refuse_fault,
        },
        before_request=services.before,
        before_send=[add_headers],
        compression_config=CompressionConfig(
            backend="gzip",
            gzip_compress_level=5,
            minimum_size=1_000,
            exclude=["^/stream", "^/static", "^/api/v1/events"],
        ),
        openapi_config=docs_page.openapi_config(services.version),
        request_max_body_size=BODY_BYTES_MAX,
        multipart_form_part_limit=200,
        on_startup=[bind_hub],
        lifespan=list(lifespan),
        logging_config=None,
        debug=debug,
    )


def _state(services: Services) -> dict[str, Any]:
    root = Path(coldgrid.__file__).parent
    return {
        "decider": services.decider,
        "reader": services.reader,
        "authorizer": services.authorizer,
        "door": services.door,
        "now": services.now,
        "system_now": services.system_now,
        "hub": services.hub,
        "brand": services.brand,
        "clock_note": services.clock_note,
        "search": services.search,
        "templates": environment(root, services.templates),
        "render": render,
        **services.state,
    }
