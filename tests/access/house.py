"""The web with real people in it: a decider on a file, the access room, its pages, and one page to visit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.params import FromPath

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.access.door import AccessDoor
from coldgrid.access.pages import handlers
from coldgrid.access.passwords import hash_password
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.kernel.authorize import Authorizer
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db

PASSWORD = "seven quiet freezers hum"
T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@cache
def known_hash() -> str:
    return hash_password(PASSWORD)


@get("/", sync_to_thread=True)
def first_page(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    return page(request, "webkit/menu.html", db, title="First page")


@get("/health-of-goods", opt={"action": "quality.view", "reads": "quality"}, sync_to_thread=True)
def quality_page(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    return page(request, "webkit/menu.html", db, title="Quality")


@get("/sites/{site_id:str}", opt={"action": "network.view"}, sync_to_thread=True)
def site_page(request: Request[Any, Any, Any], db: Db, site_id: FromPath[str]) -> Response[str]:
    return page(request, "webkit/menu.html", db, title=site_id)


@get("/live", sync_to_thread=True)
def live_page(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    return page(request, "webkit/menu.html", db, title="Live page", topics=("incidents",))


class Clocks:
    """The host's business clock stands still; the system clock moves by hand."""

    clock: ClockKind = "virtual"

    def __init__(self) -> None:
        self.authorizer: Authorizer = CedarAuthorizer()
        self.system = T0
        self.drawn = 0

    def now(self) -> datetime:
        return T0

    def system_now(self) -> datetime:
        return self.system

    def entropy(self, count: int) -> bytes:
        self.drawn += 1
        return (self.drawn.to_bytes(8, "big") * (count // 8 + 1))[:count]


@dataclass
class House:
    """The running app and what the tests look at."""

    app: Litestar
    clocks: Clocks
    door: AccessDoor
    decider: DeciderService

    def add(
        self, person_id: str, *roles: Role, sites: list[str] | None = None, temporary: bool = False
    ) -> None:
        """Add a person whose login is their id, with the known password."""
        command = AddPerson(
            person_id=person_id,
            name=person_id.title() + " Ortiz",
            login=person_id,
            roles=list(roles),
            sites=sites,
            password_hash=known_hash(),
            temporary=temporary,
        )
        self.decider.submit(command).result(timeout=10)


@contextmanager
def housed(folder: Path, *, secure: bool = False) -> Iterator[House]:
    """Run the house over a database of its own."""
    database = open_database(f"sqlite:///{folder}/house.db")
    clocks = Clocks()
    decider = Decider(database, clocks)
    service = DeciderService(decider, lambda due: (due - T0) / timedelta(seconds=1))
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    door = AccessDoor(reader, service.submit, clocks.system_now, secure=secure)
    decider.listeners.append(door.on_commit)
    services = Services(
        decider=service,
        reader=reader,
        authorizer=clocks.authorizer,
        door=door,
        now=clocks.now,
        system_now=clocks.system_now,
    )
    try:
        app = create_app(services, [*handlers, first_page, quality_page, site_page, live_page])
        yield House(app, clocks, door, service)
    finally:
        service.stop()
        database.close()
