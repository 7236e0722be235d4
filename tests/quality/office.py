"""Quality's pages and API over a database of their own, with visitors of every role, after a bad night."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from litestar import Litestar

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import AllowAll, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.orchestration import pages as incident_pages
from coldgrid.quality import api, pages
from coldgrid.stock import pages as stock_pages
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor
from tests.conftest import T0, HandClock, Kernel
from tests.quality import night
from tests.stock.world import PALLET, dispatch

CSRF = "token-of-this-session"
ROLES = {
    "quinn": frozenset({"quality"}),
    "rita": frozenset({"responsible_person"}),
    "olga": frozenset({"operator"}),
    "aud": frozenset({"auditor"}),
    "far": frozenset({"quality"}),
}
SITES = {"far": frozenset({"CLT1"})}


class Doorman:
    """Lets everybody in as the person that the header `x-as` names, Quinn without one."""

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or "quinn"
        if who == "nobody":
            return Visitor()
        principal = Principal(who, ROLES[who], SITES.get(who))
        unit = connection.cookies.get("coldgrid_unit", "c")
        return Visitor(principal=principal, name=who.title(), csrf=CSRF, unit=unit)

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Nothing here is logged when read."""

    def fresh_key(self) -> str:
        return ""


@dataclass
class Office:
    """The running app and what the tests look at."""

    app: Litestar
    service: DeciderService
    clock: HandClock

    def read(self, look: Any) -> Any:
        return self.service.call(lambda decider: look(Reads(decider.connection))).result(timeout=30)


@contextmanager
def open_office(folder: Path) -> Iterator[Office]:
    """Serve quality's pages, with the incident and the unit pages that show its panels."""
    database = open_database(str(folder / "office.db"))
    kernel = Kernel(database, AllowAll())
    a_bad_night(kernel)
    instant = kernel.host.instant
    kernel.decider.close()
    database = open_database(str(folder / "office.db"))
    clock = HandClock(CedarAuthorizer())
    clock.instant = instant
    service = DeciderService(Decider(database, clock), lambda due: 3600.0)
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with database.reader() as connection:
            yield Reads(connection)

    services = Services(
        decider=service,
        reader=reader,
        authorizer=CedarAuthorizer(),
        door=Doorman(),
        now=clock.now,
        system_now=clock.now,
    )
    handlers = [*pages.handlers, *api.handlers, *incident_pages.handlers, *stock_pages.handlers]
    try:
        yield Office(create_app(services, handlers), service, clock)
    finally:
        service.stop()
        database.close()


def a_bad_night(kernel: Kernel) -> None:
    """The freezer failed and is cold again; three pallets wait for a decision, a part of one was shipped."""
    night.open_freezer(kernel)
    night.tell(kernel, night.steady, 0, 60)
    night.tell(kernel, night.failing(50), 60, 75)
    kernel.do(dispatch("d-1", (PALLET, 40)))
    night.tell(kernel, night.failing(50), 75, 240)
    night.tell(kernel, night.recovering(240, 10.0), 240, 420)
    assert kernel.host.instant > T0 + timedelta(minutes=400)
