"""Parts: what every host consists of, be it the tower or a site's node, and the application around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from coldgrid.access.door import AccessDoor, Submit
from coldgrid.access.sessions import Limits
from coldgrid.kernel.clock import ClockAccepted
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.schema import RELEASE
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.storage_watch import StorageWatch
from coldgrid.network.profile import profile_of
from coldgrid.node.device_errands import DeviceErrands
from coldgrid.node.errands import Doing, Errands, errands_folder
from coldgrid.node.host import WALL, LiveHost
from coldgrid.node.host_errands import HostErrands
from coldgrid.node.live import Pinger
from coldgrid.node.supervised import supervised
from coldgrid.node.upgrade import bring_up
from coldgrid.node.words import say
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.hub import Hub

if TYPE_CHECKING:
    from coldgrid.node.background import BaseBackground

VERSION = RELEASE


class Work(Protocol):
    """Something that runs beside the application, such as the demo's world."""

    def start(self) -> None:
        """Start."""

    def stop(self) -> None:
        """Stop, and wait until it has."""


@dataclass(frozen=True)
class Parts:
    """A host that is put together but not yet serving."""

    settings: Settings
    database: Database
    decider: Decider
    service: DeciderService
    host: LiveHost
    hub: Hub
    door: AccessDoor

    @property
    def storage(self) -> StorageWatch:
        """Whether the storage takes what is written."""
        return self.service.storage

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of committed facts."""
        with self.database.reader() as connection:
            yield Reads(connection)


def build_parts(settings: Settings, own_host: LiveHost) -> Parts:
    """Put a host together on its database: decider and door. Its rooms are loaded; nothing runs yet.

    A database of an older release is brought up first.
    """
    bring_up(settings.database, system_now(), say)
    database = open_database(settings.database)
    decider = Decider(database, own_host)
    service = DeciderService(decider, own_host.until_due_s, own_host.timers_run)
    door = open_door(settings, database, service.submit)
    parts = Parts(settings, database, decider, service, own_host, Hub(), door)
    listen(parts)
    return parts


def open_door(settings: Settings, database: Database, submit: Submit) -> AccessDoor:
    """Return the door of a host, which reads `database` and notes with `submit` who comes and goes."""

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    limits = Limits(
        idle=timedelta(minutes=settings.session_idle_min), longest=timedelta(hours=settings.session_max_h)
    )

    return AccessDoor(
        reader,
        submit,
        system_now,
        limits=limits,
        unit=partial(usual_unit, settings),
        secure=settings.secure_cookies,
    )


def usual_unit(settings: Settings, db: Reader) -> str:
    """Return what temperatures show in until a reader chooses: the network's choice, else the setting."""
    named = profile_of(db)
    return settings.temperature_unit.lower() if named is None else named.unit.value


def listen(parts: Parts) -> None:
    """Let door and clock hear what the decider commits."""

    def hear_of_clock(recorded: Sequence[tuple[Entry, Any]]) -> None:
        """What a person says of another host's clock is of no concern here."""
        hosting = parts.decider.shared.hot[Hosting]
        if any(isinstance(event, ClockAccepted) and hosting.here(entry.origin) for entry, event in recorded):
            parts.host.accept_clock()

    parts.decider.listeners += [parts.door.on_commit, hear_of_clock]


def own_errands(
    parts: Parts, background: BaseBackground, tower_ahead_us: Callable[[], int | None] = lambda: None
) -> Doing:
    """Return the errands that every host does."""
    own = HostErrands(parts, VERSION, background.told, tower_ahead_us)
    devices = DeviceErrands(parts, background.driving)
    return {"retention": lambda _: background.retention.round(), **own.doing(), **devices.doing()}


def create_parts(
    parts: Parts,
    handlers: Sequence[ControllerRouterHandler],
    work: Sequence[Work],
    state: dict[str, Any],
    clock_note: Callable[[], str] = lambda: "",
    doing: Doing | None = None,
) -> Litestar:
    """Return the web application of a host. It starts the host's threads and stops them in reverse.

    `work` runs beside it, `state` is what its pages find in `request.app.state`, `doing` are errands that
    only this host does.
    """
    pinger = Pinger(parts.hub)
    parts.decider.listeners.append(pinger.on_commit)
    talk = state.get("talk")
    ahead_us = talk.tower_ahead_us if talk is not None else lambda: None
    own = own_errands(parts, state["background"], ahead_us)
    errands = Errands(errands_folder(parts.settings), {**own, **(doing or {})})
    manager = supervised(
        os.environ, parts.settings.host, parts.settings.port, lambda: parts.service.call(lambda decider: None)
    )
    beside: list[Work] = [pinger, *work, errands, *manager]

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        parts.service.start()
        for part in beside:
            part.start()
        try:
            yield
        finally:
            for part in reversed(beside):
                part.stop()
            parts.service.stop()
            parts.decider.close()

    services = Services(
        decider=parts.service,
        reader=parts.reader,
        authorizer=parts.host.authorizer,
        door=parts.door,
        now=parts.host.now,
        system_now=system_now,
        hub=parts.hub,
        clock_note=clock_note,
        search="/search",
        version=VERSION,
        state={"parts": parts, "settings": parts.settings, **state},
    )
    return create_app(services, handlers, lifespan=[running])


def system_now() -> datetime:
    """The system clock: sessions and signatures go by it."""
    return WALL.now()
