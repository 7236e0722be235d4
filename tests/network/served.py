"""The pages and the API of network and catalog over a database of their own, with visitors of many roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.catalog import api as catalog_api
from coldgrid.catalog import pages as catalog_pages
from coldgrid.kernel.authorize import SYSTEM, Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.network import api as network_api
from coldgrid.network import pages as network_pages
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor

T0 = datetime(2026, 3, 6, 14, 0, tzinfo=UTC)
CSRF = "token-of-this-session"
ROLES = {
    "dana": frozenset({"planner"}),
    "ada": frozenset({"admin"}),
    "otto": frozenset({"operator"}),
    "sue": frozenset({"supervisor"}),
    "max": frozenset({"integrator"}),
}
Client = TestClient[Litestar]


class Doorman:
    """Lets everybody in as whom the header `x-as` or the cookie `as` names; `first` without one."""

    def __init__(self, first: str = "dana") -> None:
        self.first = first
        self.notes: list[tuple[str, str, str]] = []
        self.keys = 0

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or connection.cookies.get("as") or self.first
        sites = frozenset({"ATL1"}) if who in {"otto", "sue"} else None
        return Visitor(
            principal=Principal(who, ROLES[who], sites),
            name=who.title(),
            csrf=CSRF,
            timezone="America/New_York",
            unit=connection.cookies.get("coldgrid_unit", "c"),
        )

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        self.notes.append((visitor.principal.actor_id, kind, subject))

    def fresh_key(self) -> str:
        self.keys += 1
        return f"form-{self.keys}"


class Host:
    """A clock that stands still, in front of the real rules of who may do what."""

    clock: ClockKind = "virtual"
    authorizer: Authorizer = CedarAuthorizer()

    def now(self) -> datetime:
        return T0

    def entropy(self, count: int) -> bytes:
        return bytes(count)


@dataclass
class Served:
    """The running app and what the tests look at."""

    app: Litestar
    door: Doorman
    service: DeciderService
    reader: Callable[[], AbstractContextManager[Reader]]

    def do(self, command: Command, principal: Principal = SYSTEM) -> Any:
        return self.service.submit(command, principal).result(timeout=30).result


@contextmanager
def serving(folder: Path, first: str = "dana") -> Iterator[Served]:
    """Serve network and catalog."""
    database = open_database(f"sqlite:///{folder}/served.db")
    service = DeciderService(Decider(database, Host()), lambda due: (due - T0) / timedelta(seconds=1))
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    door = Doorman(first)
    services = Services(
        decider=service,
        reader=reader,
        authorizer=Host.authorizer,
        door=door,
        now=lambda: T0,
        system_now=lambda: T0,
    )
    handlers = [
        *network_pages.handlers,
        *network_api.handlers,
        *catalog_pages.handlers,
        *catalog_api.handlers,
    ]
    try:
        yield Served(create_app(services, handlers), door, service, reader)
    finally:
        service.stop()
        database.close()
