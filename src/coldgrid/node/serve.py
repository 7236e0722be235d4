"""Serving: one process on one address. The server runs in the process that decides, so nothing is forked."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

from granian.constants import Interfaces
from granian.errors import FatalError
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar

from coldgrid.kernel.settings import Settings
from coldgrid.node.words import say

# Open event streams are cut after this long: everything acknowledged is durable already.
STOP_WITHIN_S = 3.0
# Python's own is 5 ms: then each hand-over between busy threads costs more than a durable commit.
SWITCH_S = 0.0002


def serve(app: Litestar, settings: Settings) -> None:
    """Serve until the process is asked to stop."""
    give_way()
    try:
        asyncio.run(_serve(app, settings))
    except FatalError as error:  # what could not start has said why
        say(f"Could not serve on {settings.host}:{settings.port}: {error}")
        sys.exit(1)


def give_way() -> None:
    """Let no thread keep another from the interpreter for long: a bad reading goes through three of them.

    What is alive now stays alive, so the collector need not look at it again each time.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()


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
        if app.state.hub is not None:
            app.state.hub.stop()
        server.stop()  # type: ignore[no-untyped-call]
        loop.call_later(STOP_WITHIN_S, os._exit, 0)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve()
