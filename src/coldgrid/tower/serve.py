"""Serving: one process on one address. The server runs in the process that decides, so nothing is forked."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.channels import channels_of
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.settings import Settings, load_settings
from coldgrid.tower.application import build_tower, create, system_now
from coldgrid.tower.host import LiveHost
from coldgrid.tower.words import say

# Open event streams are cut after this long: everything acknowledged is durable already.
STOP_WITHIN_S = 3.0


def serve(app: Litestar, settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    asyncio.run(_serve(app, settings))


async def _serve(app: Litestar, settings: Settings) -> None:
    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        app.state.hub.stop()
        server.stop()  # type: ignore[no-untyped-call]
        loop.call_later(STOP_WITHIN_S, os._exit, 0)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve()


def serve_live(environment: Mapping[str, str], **overrides: Any) -> None:
    """Serve the tower on the wall clock; the first start prints the link that makes the first admin."""
    settings = load_settings(environment, **overrides)
    configure_logs(settings.log_level, json=settings.log_json)
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    address = f"http://{settings.host}:{settings.port}"
    say(f"Coldgrid tower on {address}")
    if tower.door.nobody_yet():
        say("Nobody can sign in yet. Make the first administrator at")
        say(f"{address}/setup?token={tower.door.set_up_token}")
    channels = channels_of(settings, system_now, f"{settings.public_url}/api/v1/replies")
    serve(create(tower, channels), settings)
