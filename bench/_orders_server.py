"""A server with the orders API and an empty POST, for `bench/_orders_http.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, Request, Response, post

from bench._orders_world import CHANNEL, Host, open_world
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.orders import api
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor


class Door:
    """Knows every request as the channel's machine."""

    visitor = Visitor(principal=CHANNEL, name="channel", by_token=True)

    def identify(self, connection: Connection) -> Visitor:
        """Return the machine."""
        return self.visitor

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Keep nothing."""

    def fresh_key(self) -> str:
        """Forms are not measured."""
        return "key"


@post("/api/v1/empty", status_code=200)
async def empty(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Read the body and answer."""
    await request.body()
    return Response(b"{}", media_type="application/json")


def build(path: str) -> Litestar:
    """Put the application together."""
    decider = open_world(path)
    service = DeciderService(decider, lambda due: 3_600.0, lambda: False)
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with decider.database.reader() as connection:
            yield Reads(connection)

    def now() -> datetime:
        return datetime.now(UTC)

    services = Services(
        decider=service, reader=reader, authorizer=Host.authorizer, door=Door(), now=now, system_now=now
    )
    return create_app(services, [*api.handlers, empty])


if __name__ == "__main__":
    import asyncio

    server = Server(
        build(sys.argv[2]),
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    asyncio.run(server.serve())
