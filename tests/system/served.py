"""The real tower in this process: a small network with goods, an order, sensors and a waiting approval."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from httpx import ASGITransport, AsyncClient, Response
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.roles import Role
from coldgrid.access.words import AddPerson
from coldgrid.kernel import log
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import open_database
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.orchestration.approvals import RequestApproval
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.tower.application import Tower, build_tower, create
from coldgrid.tower.rooms import load_rooms
from tests.conftest import T0, Kernel
from tests.network.master import put_in_force
from tests.orchestration.night import advice
from tests.orders.world import order, stocked
from tests.stock.world import FREEZER, SITE, hold, receive, sscc
from tests.telemetry.cold_room import AIR, sensor

TOKEN = "a-token-of-the-tests"
Client = TestClient[Litestar]


class StandingHost(LiveHost):
    """A live host whose business clock stands still; whoever is signed in may do everything."""

    def __init__(self) -> None:
        super().__init__(AllowAll())
        self.instant = T0

    def now(self) -> datetime:
        return self.instant

    def timers_run(self) -> bool:
        return False


class Sent(NamedTuple):
    """A request to send."""

    path: str
    content: bytes
    media_type: str = "application/json"


@dataclass
class System:
    """A running tower, and a client that comes with a machine's token."""

    tower: Tower
    host: StandingHost
    client: Client

    def post_all(self, requests: Sequence[Sent]) -> list[Response]:
        """Send many requests, some at a time, on the application's own loop; return the answers in order."""

        async def send_all() -> list[Response]:
            turn = asyncio.Semaphore(16)
            transport = ASGITransport(self.client.app, raise_app_exceptions=False)
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with AsyncClient(transport=transport, base_url="http://system", headers=headers) as client:

                async def send(one: Sent) -> Response:
                    async with turn:
                        told = {"content-type": one.media_type}
                        return await client.post(one.path, content=one.content, headers=told)

                return await asyncio.gather(*(send(one) for one in requests))

        return self.client.blocking_portal.call(send_all)

    def last_position(self) -> int:
        """The log's last position, when everything that was asked for is done."""
        self.tower.service.call(lambda decider: decider.settle()).result(30)
        with self.tower.reader() as db:
            return log.last_position(db)


def seed(kernel: Kernel) -> None:
    """Give a network something of every kind."""
    load_rooms()
    stocked(kernel)
    put_in_force(kernel, sensor(), sensor("ATL1-FRZ1-T2"), change_id="change-sensors")
    kernel.do(receive(sscc(3), 30))
    kernel.do(hold("h1", sscc(3)))
    kernel.do(order())
    kernel.do(
        OpenIncident(
            site_id=SITE,
            incident_id="i1",
            severity=Severity.OPERATOR_ACTIONABLE,
            title="Too warm",
            zone_id=FREEZER,
        )
    )
    kernel.do(
        RequestApproval(
            site_id=SITE,
            approval_id="ap1",
            incident_id="i1",
            role="supervisor",
            subject="Move the goods",
            decision=advice("ATL1-FRZ2", moves=True),
        )
    )
    kernel.do(AddPerson(person_id="ben", name="Ben", login="ben", roles=[Role.ADMIN]))
    token_hash = sha256(TOKEN.encode()).hexdigest()
    kernel.do(IssueToken(token_id="machine", label="tests", token_hash=token_hash, roles=[Role.INTEGRATOR]))


@contextmanager
def running(
    folder: Path,
    database: str = "",
    channels: Mapping[str, Channel] | None = None,
    kernel: Kernel | None = None,
    **settings: Any,
) -> Iterator[System]:
    """Serve a seeded network. `kernel`: one on the database, to seed and close; else it is made."""
    database = database or str(folder / "system.db")
    first = kernel or Kernel(open_database(database))
    seed(first)
    first.close()
    with serving(folder, database, channels, **settings) as system:
        yield system


@contextmanager
def serving(
    folder: Path, database: str, channels: Mapping[str, Channel] | None = None, **settings: Any
) -> Iterator[System]:
    """Serve what is in a database already."""
    made = load_settings({}, database=database, signing_key=str(folder / "signing.key"), **settings)
    host = StandingHost()
    tower = build_tower(made, host)
    with TestClient(create(tower, channels or {}), raise_server_exceptions=False) as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        client.follow_redirects = False
        yield System(tower, host, client)


__all__ = ["AIR", "TOKEN", "Sent", "System", "running", "seed", "serving"]
