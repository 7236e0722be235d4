"""The API and the pages of orders over a world of their own, with visitors of different roles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.network_flows import pages as flow_pages
from coldgrid.orders import api, pages
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor
from tests.conftest import T0, Kernel
from tests.orders.world import OTHER, SITE, stocked

CSRF = "token-of-this-session"
ROLES = {
    "shop": frozenset({"integrator"}),
    "web_only": frozenset({"integrator"}),
    "cara": frozenset({"customer_care"}),
    "dana": frozenset({"planner"}),
    "ada": frozenset({"admin"}),
    "otto": frozenset({"operator"}),
    "near": frozenset({"customer_care"}),
    "far": frozenset({"customer_care"}),
}
# Who is responsible for some sites alone.
CHANNELS = {"web_only": frozenset({"web"})}
SITES = {"near": frozenset({SITE}), "far": frozenset({OTHER})}
Client = TestClient[Litestar]


class Doorman:
    """Lets everybody in as the person that the header `x-as` or the cookie `as` names."""

    def __init__(self) -> None:
        self.keys = 0

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or connection.cookies.get("as") or "cara"
        principal = Principal(who, ROLES[who], SITES.get(who), CHANNELS.get(who))
        return Visitor(principal=principal, name=who.title(), csrf=CSRF, timezone="America/New_York")

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Nothing is kept."""

    def fresh_key(self) -> str:
        self.keys += 1
        return f"form-{self.keys}"


@dataclass
class Served:
    """The running app, and the kernel behind it while the service is not looking."""

    app: Litestar
    kernel: Kernel
    service: DeciderService


@contextmanager
def serving(folder: Path, near: int = 100, far: int = 100) -> Iterator[Served]:
    """Serve orders on a stocked world."""
    kernel = Kernel(open_database(f"sqlite:///{folder}/served.db"))
    stocked(kernel, near, far)
    authorizer: Authorizer = CedarAuthorizer()
    kernel.host.authorizer = authorizer
    service = DeciderService(kernel.decider, lambda due: 3_600.0, lambda: False)
    service.start()

    @contextmanager
    def reader() -> Iterator[Reader]:
        with kernel.database.reader() as connection:
            yield Reads(connection)

    services = Services(
        decider=service,
        reader=reader,
        authorizer=authorizer,
        door=Doorman(),
        now=lambda: T0,
        system_now=lambda: T0,
    )
    try:
        yield Served(
            create_app(services, [*api.handlers, *pages.handlers, *flow_pages.handlers]), kernel, service
        )
    finally:
        service.stop()
        kernel.close()
