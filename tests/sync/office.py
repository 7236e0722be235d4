"""The pages and the API about nodes, over a tower's port, with visitors of different roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.sync import node_api, node_pages
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor
from tests.conftest import sqlite_kernel
from tests.sync.tower import TowerPort, served

CSRF = "token-of-this-session"
ROLES = {"ada": "admin", "otto": "operator", "max": "integrator", "aud": "auditor"}
Client = TestClient[Litestar]


class Doorman:
    """Lets everybody in as whom the header `x-as` or the cookie `as` names; `ada` without one."""

    def __init__(self) -> None:
        self.keys = 0

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or connection.cookies.get("as") or "ada"
        principal = Principal(who, frozenset({ROLES[who]}))
        return Visitor(principal=principal, name=who.title(), csrf=CSRF, by_token=who == "max")

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Nothing is kept."""

    def fresh_key(self) -> str:
        self.keys += 1
        return f"form-{self.keys}"


def app_of(tower: TowerPort, *, with_port: bool = True, more: Sequence[Any] = ()) -> Litestar:
    """The web application of the tower's pages about nodes."""

    @contextmanager
    def reader() -> Iterator[Reader]:
        with tower.kernel.database.reader() as connection:
            yield Reads(connection)

    services = Services(
        decider=tower.service,
        reader=reader,
        authorizer=CedarAuthorizer(),
        door=Doorman(),
        now=tower.clock.now,
        system_now=tower.clock.now,
        state={"node_port": tower.port} if with_port else {},
    )
    return create_app(services, [*more, *node_pages.handlers, *node_api.handlers])


@contextmanager
def office(folder: Path) -> Iterator[tuple[TowerPort, Litestar]]:
    """Serve a tower with its pages."""
    with sqlite_kernel() as kernel, served(kernel, folder) as tower:
        yield tower, app_of(tower)
