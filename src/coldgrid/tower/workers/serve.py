"""Serving the tower as workers on one PostgreSQL database: one process here, or several on one address."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Response

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.channels import channels_of
from coldgrid.kernel.settings import Settings
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import VERSION, system_now
from coldgrid.node.serve import Listening, listening_on, serve
from coldgrid.node.upgrade import bring_up
from coldgrid.node.words import say
from coldgrid.tower.first_run.link import WELCOME, set_up_link
from coldgrid.tower.handlers import route_handlers
from coldgrid.tower.rooms import load_rooms
from coldgrid.tower.workers.background import WorkerBackground
from coldgrid.tower.workers.pool import Pool
from coldgrid.tower.workers.worker import Worker
from coldgrid.webkit.app import Services, create_app

Req = Request[Any, Any, Any]


def serve_shared(settings: Settings, *, nodes: bool, count: int) -> None:
    """Serve as `count` workers of this machine; any number of machines may do so on the same database."""
    load_rooms()
    bring_up(settings.database, system_now(), say)
    say(f"Coldgrid tower on http://{settings.host}:{settings.port}, {count} worker{'s' * (count != 1)}")
    if count == 1:
        _serve_one(settings, nodes=nodes)
        return
    try:
        listening = listening_on(settings)
    except OSError as error:
        say(f"Could not serve on {settings.host}:{settings.port}: {error}")
        sys.exit(1)

    def child(index: int) -> None:
        port = settings.worker_port and settings.worker_port + index
        _serve_one(msgspec.structs.replace(settings, worker_port=port), nodes=nodes, listening=listening)

    Pool(count, child).run()


def _serve_one(settings: Settings, *, nodes: bool, listening: Listening | None = None) -> None:
    channels = channels_of(settings, system_now, f"{settings.public_url}/api/v1/replies")
    with_nodes = nodes and settings.sync_port > 0
    worker = Worker(settings, LiveHost(CedarAuthorizer()), channels, with_nodes=with_nodes)
    serve(create(worker), settings, listening)


def create(worker: Worker) -> Litestar:
    """Return the web application of a worker. It starts the worker and stops it."""
    background = WorkerBackground(worker)

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        worker.on_lead = lambda: _greet(worker)
        await worker.start(app)
        background.start()
        try:
            yield
        finally:
            background.stop()
            await worker.stop()

    async def before(request: Req) -> Response[Any] | None:
        """Let the leader answer what it alone can."""
        if worker.office.leads or not request.route_handler.opt.get("at_leader"):
            return None
        return await worker.asks.page(request)

    state = {
        "parts": worker,
        "settings": worker.settings,
        "background": background,
        "notary": worker.notary,
        "home": "",
        "welcome": WELCOME,
        "worker": worker,
        "nodes": None,
        "node_port": None,
    }
    services = Services(
        decider=worker.office,
        reader=worker.reader,
        authorizer=worker.host.authorizer,
        door=worker.door,
        now=worker.host.now,
        system_now=system_now,
        hub=worker.hub,
        search="/search",
        version=VERSION,
        before=before,
        state=state,
    )
    return create_app(services, route_handlers(), lifespan=[running])


def _greet(worker: Worker) -> None:
    """Say where the first administrator sets the network up, while there is none."""
    if worker.door.nobody_yet():
        say(
            "Nobody can sign in yet. Set your network up here, within the hour; keep the address to yourself:"
        )
        say(set_up_link(worker.settings, worker.door))
