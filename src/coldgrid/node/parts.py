"""Parts: what every host consists of, be it the tower or a site's node, and the application around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from coldgrid.access.door import AccessDoor
from coldgrid.access.sessions import Limits
from coldgrid.kernel.clock import ClockAccepted
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import Settings
from coldgrid.node.host import WALL, LiveHost
from coldgrid.node.live import Pinger
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.hub import Hub

VERSION = "0.1.0"


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

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of committed facts."""
        with self.database.reader() as connection:
            yield Reads(connection)


def build_parts(settings: Settings, own_host: LiveHost) -> Parts:
    """Put a host together on its database: decider and door. Its rooms are loaded; nothing runs yet."""
    database = open_database(settings.database)
    decider = Decider(database, own_host)
    service = DeciderService(decider, own_host.until_due_s, own_host.timers_run)

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    limits = Limits(
        idle=timedelta(minutes=settings.session_idle_min), longest=timedelta(hours=settings.session_max_h)
    )
    door = AccessDoor(
        reader,
        service.submit,
        system_now,
        limits=limits,
        unit=settings.temperature_unit.lower(),
        secure=settings.secure_cookies,
    )
    decider.listeners.append(door.on_commit)

    def hear_of_clock(recorded: Sequence[tuple[Entry, Any]]) -> None:
        """What a person says of another host's clock is of no concern here."""
        hosting = decider.shared.hot[Hosting]
        if any(isinstance(event, ClockAccepted) and hosting.here(entry.origin) for entry, event in recorded):
            own_host.accept_clock()

    decider.listeners.append(hear_of_clock)
    return Parts(settings, database, decider, service, own_host, Hub(), door)


def create_parts(
    parts: Parts,
    handlers: Sequence[ControllerRouterHandler],
    work: Sequence[Work],
    state: dict[str, Any],
    clock_note: Callable[[], str] = lambda: "",
) -> Litestar:
    """Return the web application of a host. It starts the host's threads and stops them in reverse.

    `work` runs beside it, `state` is what its pages find in `request.app.state`.
    """
    pinger = Pinger(parts.hub)
    parts.decider.listeners.append(pinger.on_commit)
    beside: list[Work] = [pinger, *work]

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
