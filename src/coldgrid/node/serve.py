"""Serving: one process on one address. The server runs in the process that decides, so nothing is forked."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import NamedTuple

from granian._granian import ListenerSpec as SocketSpec
from granian._granian import SocketHolder
from granian.constants import Interfaces
from granian.errors import FatalError
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar

from coldgrid.adapters.address import check_address
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.structs import work_out_structs
from coldgrid.node.words import say

# Open event streams are cut after this long: everything acknowledged is durable already.
STOP_WITHIN_S = 3.0
BACKLOG = 1024
# Python's own is 5 ms: then each hand-over between busy threads costs more than a durable commit.
SWITCH_S = 0.0002
# How many more objects than before make the collector look at the young ones. Python's own 700 has it look at
# a commit's rows a dozen times while they wait; they are freed without it as soon as the commit is done.
YOUNG_MAX = 100_000


class Listening(NamedTuple):
    """An address that several processes accept connections of: whichever is awake takes the next."""

    holder: SocketHolder


def listening_on(settings: Settings) -> Listening:
    """Listen, before the processes that accept are forked.

    Raises:
        OSError: the address is taken.
    """
    return Listening(SocketSpec(settings.host, settings.port, BACKLOG).build())


class _Shared(Server):
    """A server on an address that listens already."""

    holder: SocketHolder

    def _init_shared_socket(self) -> None:
        self._ssp, self._shd = None, self.holder  # type: ignore[assignment]


def serve(app: Litestar, settings: Settings, listening: Listening | None = None) -> None:
    """Serve until the process is asked to stop. `listening`: the address is shared with other processes.

    Raises:
        AddressTaken: a process that shares it with nobody has it.
    """
    if listening is None:
        check_address(settings.host, settings.port)
    give_way()
    work_out_structs()
    try:
        asyncio.run(_serve(app, settings, listening))
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
    gc.set_threshold(YOUNG_MAX, 10, 10)


async def _serve(app: Litestar, settings: Settings, listening: Listening | None) -> None:
    server = (Server if listening is None else _Shared)(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        log_level=LogLevels.error,
    )
    if listening is not None:
        assert isinstance(server, _Shared)
        server.holder = listening.holder
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if app.state.hub is not None:
            app.state.hub.stop()
        server.stop()  # type: ignore[no-untyped-call]
        loop.call_later(STOP_WITHIN_S, os._exit, 0)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve()
