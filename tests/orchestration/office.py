"""This room's pages and API over a database of their own, with visitors of every role, on a bad night."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import AllowAll, Authorizer, Principal
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Command
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import Settings
from coldgrid.network.change_rules import ApproveChange, DraftChange
from coldgrid.orchestration import pages
from coldgrid.orchestration.escalation import AcknowledgePage, pages_of
from coldgrid.orchestration.incidents import NoteIncident, OpenIncident, Severity, UpdateIncident
from coldgrid.orchestration.playbooks import SignalRuns
from coldgrid.webkit.app import Services, create_app
from coldgrid.webkit.visitors import Connection, Visitor
from tests.conftest import T0
from tests.network.master import group, site, zone
from tests.orchestration.night import OPS_STEPS, SITE_STEPS, ZONE, World

CSRF = "token-of-this-session"
SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
ROLES = {
    "sam": frozenset({"supervisor"}),
    "quinn": frozenset({"quality"}),
    "ada": frozenset({"admin"}),
    "owner": frozenset({"operator"}),
    "far": frozenset({"supervisor"}),
    "aud": frozenset({"auditor"}),
}
SITES = {"far": frozenset({"DFW1"}), "sam": frozenset({"ATL1"}), "owner": frozenset({"ATL1"})}
Client = TestClient[Litestar]


class Doorman:
    """Lets everybody in as the person that the header `x-as` names, Sam without one."""

    def identify(self, connection: Connection) -> Visitor:
        who = connection.headers.get("x-as") or "sam"
        if who == "nobody":
            return Visitor()
        principal = Principal(who, ROLES[who], SITES.get(who))
        unit = connection.cookies.get("coldgrid_unit", "c")
        return Visitor(principal=principal, name=who.title(), csrf=CSRF, unit=unit)

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Nothing here is logged when read."""

    def fresh_key(self) -> str:
        return ""


class Host:
    """A clock that is moved by hand."""

    clock: ClockKind = "virtual"

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer
        self.instant = T0

    def now(self) -> datetime:
        return self.instant

    def entropy(self, count: int) -> bytes:
        return bytes(count)


@dataclass
class Office:
    """The running app and what the tests look at."""

    app: Litestar
    service: DeciderService
    host: Host
    world: World

    def do(self, command: Command, actor: str = "system", roles: Any = ("system",)) -> Any:
        principal = Principal(actor, frozenset(roles))
        return self.service.submit(command, principal).result(timeout=30).result

    def read(self, look: Any) -> Any:
        return self.service.call(lambda decider: look(Reads(decider.connection))).result(timeout=30)

    def signal(self, name: str, **data: Any) -> None:
        self.do(SignalRuns(site_id="ATL1", zone_id=ZONE, signal=name, data=data, signal_id=f"fact/{name}"))


@contextmanager
def open_office(folder: Path, authorizer: Authorizer | None = None) -> Iterator[Office]:
    """Serve this room, by the house's own policies unless another authorizer is given."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch)
        host = Host(authorizer or CedarAuthorizer())
        database = open_database(f"sqlite:///{folder}/office.db")
        service = DeciderService(Decider(database, host), lambda due: 3600.0)
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
            now=host.now,
            system_now=host.now,
            state={"settings": Settings(webhook_secret=SECRET)},
        )
        try:
            yield Office(create_app(services, [*pages.handlers]), service, host, world)
        finally:
            service.stop()
            database.close()


def begin_the_night(office: Office) -> None:
    """An excursion half an hour old: people paged, a transfer that waits for its approval, tasks to do."""
    items = [group(steps=SITE_STEPS), group("GRP-OPS", steps=OPS_STEPS), site(), zone(), zone("ATL1-FRZ2")]
    office.do(DraftChange(change_id="change-office", items=items, reason="opening"), actor="dora")
    office.do(ApproveChange(change_id="change-office", reason="checked"), actor="ana")
    office.do(
        OpenIncident(
            site_id="ATL1",
            incident_id="incident-1",
            zone_id=ZONE,
            asset_id="compressor-3",
            severity=Severity.OPERATOR_ACTIONABLE,
            title="ATL1-FRZ1 warms",
            cause_id="alarm-1",
            playbook="freezer-excursion",
            facts={
                "value_c": -11.2,
                "trend_c_per_h": 4.5,
                "units": 38,
                "at_stake_cents": 4_128_000,
                "currency": "USD",
                "limit_at": T0 + timedelta(minutes=47),
                "products": ["ICE-VAN-1L", "PEAS-1KG"],
            },
        )
    )
    first = office.read(lambda db: pages_of(db, "incident-1"))[0]
    office.do(AcknowledgePage(site_id="ATL1", page_id=first.page_id, takes_it=False, via="sms"))
    office.do(UpdateIncident(site_id="ATL1", incident_id="incident-1", severity=Severity.EXCURSION_RISK))
    office.signal("excursion_opened", excursion_id="x1")
    office.do(
        NoteIncident(site_id="ATL1", incident_id="incident-1", text="Ice on the coil", attachments=["ab12"]),
        actor="owner",
        roles={"operator"},
    )


ALLOW = AllowAll()
