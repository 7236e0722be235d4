"""A tower and nodes as real processes on loopback, and what a test looks at from outside."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.access.roles import Role
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Call, Outcome
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.ledger import balances_of_site
from coldgrid.telemetry.store import last_readings
from coldgrid.tower.application import build_tower
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.demo.serve import PLAN
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import load_plan
from coldgrid.tower.world.run import World
from tests.starting import Process, run, start

T = TypeVar("T")
# One for all: making a client reads the certificates of all the world, which costs as much as a page does.
_WEB = httpx.Client(timeout=2, trust_env=False)
READY_WITHIN_S = 90.0
# The world's readings end so long ago: what a test sends comes after them.
QUIET = timedelta(minutes=60)
GATEWAY_TOKEN = "gateway-of-atl1"
SITES = ["ATL1", "CLT1"]
NOTHING: Mapping[str, str] = {}


_seeds: dict[tuple[str, ...], Path] = {}


def seed_tower(folder: Path, sites: list[str] = SITES) -> None:
    """Put the demo network in force at a tower, with goods at some sites and a gateway's token for ATL1.

    Each process of pytest makes it once and copies it from then on.
    """
    if tuple(sites) not in _seeds:
        made = tempfile.TemporaryDirectory()
        atexit.register(made.cleanup)
        _seed(Path(made.name), sites)
        _seeds[tuple(sites)] = Path(made.name)
    shutil.copytree(_seeds[tuple(sites)], folder, dirs_exist_ok=True)


def _seed(folder: Path, sites: list[str]) -> None:
    settings = load_settings({}, database=str(folder / "tower.db"), signing_key=str(folder / "signing.key"))
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    seed_master(tower.decider.do)
    token_hash = sha256(GATEWAY_TOKEN.encode()).hexdigest()
    tower.decider.do(
        IssueToken(
            token_id="gw", label="gateway", token_hash=token_hash, roles=[Role.INTEGRATOR], sites=["ATL1"]
        )
    )
    plan = msgspec.structs.replace(
        load_plan(PLAN), starts_at=datetime.now(UTC) - QUIET, sites=sites, pallets_per_zone=2, warm_up_min=30
    )

    def execute(calls: list[Call]) -> list[Outcome]:
        outcomes = tower.decider.execute(calls)
        tower.decider.settle()
        return outcomes

    with tower.reader() as db:
        places = read_places(db, sites)
    world = World(plan, places, execute, tower.reader)  # type: ignore[arg-type]
    world.fill()
    world.warm_up()
    tower.decider.close()


class Machine:
    """One `coldgrid` process, which a test may kill and start again."""

    lead: tuple[str, ...] = ()  # what starts the process: in a network of its own, by a clock of its own

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], address: str) -> None:
        self.name = name
        self.address = address
        self._arguments = arguments
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
        self._environment = inherited | environment
        self._process: Process | None = None
        self.log = Path(environment["LOG_FILE"])

    def start(self) -> None:
        with self.log.open("a") as log_file:
            self._process = start(self._arguments, self._environment, log_file, log_file, lead=self.lead)
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"{self.name} ended: {self.log.read_text()[-2000:]}"
            try:
                if _WEB.get(f"{self.address}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"{self.name} never answered: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def command(self, *arguments: str) -> str:
        """Run a command with this machine's environment; return what it printed."""
        done = run(arguments, self._environment, lead=self.lead)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()


def tower_machine(folder: Path, port: int, sync_port: int, more: Mapping[str, str] = NOTHING) -> Machine:
    environment = {
        "COLDGRID_DATABASE": str(folder / "tower.db"),
        "COLDGRID_SIGNING_KEY": str(folder / "signing.key"),
        "COLDGRID_AUTHORITY_KEY": str(folder / "authority.pem"),
        "COLDGRID_PORT": str(port),
        "COLDGRID_SYNC_PORT": str(sync_port),
        "COLDGRID_CHECKPOINT_EVERY_S": "1",
        "LOG_FILE": str(folder / "tower.log"),
        **more,
    }
    return Machine("the tower", ["tower"], environment, f"http://127.0.0.1:{port}")


def node_machine(folder: Path, port: int, log_file: Path, more: Mapping[str, str] = NOTHING) -> Machine:
    environment = {
        "COLDGRID_PORT": str(port),
        "COLDGRID_CHECKPOINT_EVERY_S": "1",
        "COLDGRID_PARCEL_EVERY_S": "2",
        "LOG_FILE": str(log_file),
        **more,
    }
    return Machine(
        f"node in {folder.name}", ["node", "--data", str(folder)], environment, f"http://127.0.0.1:{port}"
    )


@contextmanager
def running(*machines: Machine) -> Iterator[None]:
    """End the machines whatever happens."""
    try:
        yield
    finally:
        for machine in reversed(machines):
            machine.kill()


def read(database: Path, look: Callable[[Reader], T]) -> T:
    """Look at the committed facts of a host from outside."""
    opened = open_database(str(database))
    try:
        with opened.reader() as connection:
            return look(Reads(connection))
    finally:
        opened.close()


def picture(db: Reader, site_id: str) -> dict[str, Any]:
    """What a site looks like: goods, holds, incidents, the newest readings, its log."""
    return {
        "balances": balances_of_site(db, site_id),
        "holds": open_holds(db, site_id),
        "incidents": open_incidents(db, site_id),
        "readings": last_readings(db, site_id),
        "log": [(e.id, e.leaf) for e in log.read_all(db) if e.origin == site_id],
    }


def send_readings(machine: Machine, sensor_id: str, values: list[float], until: datetime) -> None:
    """Send a sensor's readings, one each minute, the last at `until`, as the site's gateway does."""
    first = until - timedelta(minutes=len(values) - 1)
    lines = b"\n".join(
        msgspec.json.encode({"sensor_id": sensor_id, "at": first + timedelta(minutes=minute), "value": value})
        for minute, value in enumerate(values)
    )
    answer = httpx.post(
        f"{machine.address}/api/v1/readings",
        content=lines,
        headers={"authorization": f"Bearer {GATEWAY_TOKEN}", "content-type": "application/x-ndjson"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
