"""The application: one process that decides, serves pages and API, and keeps its background work going."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from litestar import Litestar

from coldgrid.access.door import AccessDoor
from coldgrid.access.sessions import Limits
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import Settings
from coldgrid.tower.background import Background
from coldgrid.tower.handlers import route_handlers
from coldgrid.tower.host import LiveHost
from coldgrid.tower.live import Pinger
from coldgrid.tower.rooms import load_rooms
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
class Tower:
    """A tower that is put together but not yet serving."""

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


def build_tower(settings: Settings, own_host: LiveHost) -> Tower:
    """Put a tower together on its database: rooms, decider, door. Nothing runs yet."""
    load_rooms()
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
    return Tower(settings, database, decider, service, own_host, Hub(), door)


def create(
    tower: Tower,
    channels: Mapping[str, Channel],
    work: Sequence[Work] = (),
    clock_note: Callable[[], str] = lambda: "",
) -> Litestar:
    """Return the web application of a tower. It starts the tower's threads and stops them in reverse."""
    pinger = Pinger(tower.hub)
    tower.decider.listeners.append(pinger.on_commit)
    background = Background(tower, channels)
    parts: list[Work] = [pinger, background, *work]

    @asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        tower.service.start()
        for part in parts:
            part.start()
        try:
            yield
        finally:
            for part in reversed(parts):
                part.stop()
            tower.service.stop()
            tower.decider.close()

    services = Services(
        decider=tower.service,
        reader=_lends(tower),
        authorizer=tower.host.authorizer,
        door=tower.door,
        now=tower.host.now,
        system_now=system_now,
        hub=tower.hub,
        clock_note=clock_note,
        search="/search",
        version=VERSION,
        state={
            "tower": tower,
            "background": background,
            "settings": tower.settings,
            "notary": background.notary,
        },
    )
    return create_app(services, route_handlers(), lifespan=[running])


def _lends(tower: Tower) -> Callable[[], AbstractContextManager[Reader]]:
    return tower.reader


def system_now() -> datetime:
    """The system clock: sessions and signatures go by it."""
    return datetime.now(UTC)
