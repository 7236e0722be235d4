"""The pages and the API of this room over a database of their own, with visitors of different roles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.evidence import api, pages
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.kernel.authorize import SYSTEM, AllowAll, Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor
from tests.conftest import T0
from tests.evidence.conftest import NODE, TOWER

CSRF = "token-of-this-session"
ROLES = {
    "quinn": frozenset({"quality"}),
    "rea": frozenset({"responsible_person"}),
    "ada": frozenset({"admin"}),
    "otto": frozenset({"operator"}),
    "max": frozenset({"integrator"}),
}
SITES = {"otto": frozenset({"DFW1"})}
Client = TestClient[Litestar]


class Doorman:
    """Lets everybody in as the person that the header `x-as` names, Quinn without one."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str, str]] = []

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or "quinn"
        return Visitor(principal=Principal(who, ROLES[who], SITES.get(who)), name=who.title(), csrf=CSRF)

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        self.notes.append((visitor.principal.actor_id, kind, subject))

    def fresh_key(self) -> str:
        return "form-1"


class Host:
    """A clock that stands still. Commands are not what these tests ask about: all are allowed."""

    clock: ClockKind = "virtual"
    authorizer: Authorizer = AllowAll()

    def now(self) -> Any:
        return T0

    def entropy(self, count: int) -> bytes:
        return bytes(count)


@dataclass
class Served:
    """The running app and what the tests look at."""

    app: Litestar
    door: Doorman
    service: DeciderService
    notary: Notary

    def do(self, command: Command) -> Any:
        return self.service.submit(command, SYSTEM).result(timeout=30).result

    def sign(self) -> None:
        self.service.call(lambda decider: make_checkpoints(decider, self.notary)).result(timeout=30)

    def edit(self, sql: str) -> None:
        self.service.call(lambda decider: decider.connection.command(sql)).result(timeout=30)


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve this room."""
    database = open_database(f"sqlite:///{folder}/served.db")
    service = DeciderService(Decider(database, Host()), lambda due: (due - T0) / timedelta(seconds=1))
    service.start()
    notary = Notary(TOWER, "coldgrid.example")

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    door = Doorman()
    services = Services(
        decider=service,
        reader=reader,
        authorizer=CedarAuthorizer(),
        door=door,
        now=lambda: T0,
        system_now=lambda: T0,
        state={"notary": notary, "witness_keys": [NODE.key, NODE.witness_key]},
    )
    try:
        yield Served(create_app(services, [*pages.handlers, *api.handlers]), door, service, notary)
    finally:
        service.stop()
        database.close()
