"""The network demo: a tower and three nodes as processes, each site on a line with a switch.

The world runs here, in real time: a gateway at each site sends its readings to the site's node. Neither the
tower nor a node knows that this is a demo; only the nodes' clocks and disks can be made to fail (drills).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.access.roles import Role
from coldgrid.adapters.address import AddressTaken, check_address
from coldgrid.adapters.gateway import Gateway
from coldgrid.adapters.wan_switch import WanSwitch
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Call, Outcome
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.node.serve import serve
from coldgrid.node.words import say
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.stock.hold_book import open_holds
from coldgrid.telemetry.store import last_readings
from coldgrid.tower.application import build_tower
from coldgrid.tower.demo.machines import Machine
from coldgrid.tower.demo.network_page import switch_app
from coldgrid.tower.demo.people import LOGINS, PASSWORD, add_people, add_shift, shift_of
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.demo.serve import PLAN
from coldgrid.tower.world.climate import Climate
from coldgrid.tower.world.faults import Fault, FaultKind
from coldgrid.tower.world.places import Places, read_places
from coldgrid.tower.world.plan import load_plan
from coldgrid.tower.world.run import World

SITES = ("ATL1", "CLT1", "RNO1")
HOST = "127.0.0.1"
READ_EVERY_S = 10.0
# A freezer that lost its compressor warms within minutes here, for those who watch.
FREEZER_CONSTANT_MIN = 12.0
logger = structlog.get_logger("coldgrid.demo")


class Seen(msgspec.Struct, frozen=True):
    """What a host shows of a site: where its log ends, and what is open there."""

    epoch: int
    size: int
    incidents: int
    holds: int
    read_at: datetime | None


class SiteLine(msgspec.Struct, frozen=True, kw_only=True):
    """One site on the page."""

    site_id: str
    address: str
    runs: bool
    wan: str
    passed_bytes: int
    clock_s: float
    full: bool
    broken: bool
    gateway: str
    node: Seen | None
    tower: Seen | None

    @property
    def same(self) -> bool:
        """Tell whether both show the same facts; readings come a little later."""
        here, there = self.node, self.tower
        if here is None or there is None:
            return False
        return msgspec.structs.replace(here, read_at=None) == msgspec.structs.replace(there, read_at=None)


class Site:
    """One site of the demo: its node, its line, its gateway, its weather."""

    def __init__(self, site_id: str, folder: Path, ports: tuple[int, int, int], places: Places) -> None:
        self.site_id = site_id
        node_port, wan_port, sync_port = ports
        self.address = f"http://{HOST}:{node_port}"
        self.folder = folder / site_id.lower()
        self.wan = WanSwitch((HOST, wan_port), (HOST, sync_port))
        settings = {
            "COLDGRID_PORT": str(node_port),
            "COLDGRID_PUBLIC_URL": self.address,
            "COLDGRID_PARCEL_EVERY_S": "10",
        }
        arguments = ["node", "--data", str(self.folder), "--drills"]
        self.node = Machine(f"node of {site_id}", arguments, settings, self.folder)
        self.gateway = Gateway(self.address, token_of(site_id))
        self.climate = Climate(places.zones, places.sensors, [])
        self.freezer = next(z.zone_id for z in places.zones if z.temperature_class == "frozen")
        self.hangs, self.full, self.clock_s = False, False, 0.0
        self.refused = ""

    def join(self, code: str) -> None:
        """Enrol the node, take the site over, and serve it."""
        tower = f"https://{HOST}:{self.wan.address[1]}"
        self.node.do("node", "join", tower, "--code", code, "--data", str(self.folder))
        self.node.start(self.address)

    @property
    def broken(self) -> bool:
        """Tell whether the freezer's compressor stands still."""
        return any(fault.for_min is None for fault in self.climate.faults)


def token_of(site_id: str) -> str:
    """Return the token of a site's gateway: no secret, the demo listens on loopback."""
    return f"demo-gateway-{site_id.lower()}"


class NetworkDemo:
    """The whole demo. Its switches may be called from any thread."""

    def __init__(self, folder: Path, tower_port: int) -> None:
        self.folder = folder
        self.tower_address = f"http://{HOST}:{tower_port}"
        self.sync_port = tower_port + 1
        self.database = folder / "tower" / "tower.db"
        settings = {
            "COLDGRID_DATABASE": str(self.database),
            "COLDGRID_SIGNING_KEY": str(folder / "tower" / "signing.key"),
            "COLDGRID_AUTHORITY_KEY": str(folder / "tower" / "authority.pem"),
            "COLDGRID_PORT": str(tower_port),
            "COLDGRID_PUBLIC_URL": self.tower_address,
            "COLDGRID_SYNC_PORT": str(self.sync_port),
        }
        self.tower = Machine("tower", ["tower"], settings, folder / "tower")
        self.sites: dict[str, Site] = {}
        self.began = datetime.now(UTC)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="demo-weather", daemon=True)
        self._tower_port = tower_port

    # --- life -----------------------------------------------------------------------

    def start(self) -> None:
        """Make everything anew, start every process, and let every site join."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.database.parent.mkdir(parents=True)
        say("  The network opens: master data, goods, six hours of readings …")
        places = seed(self.database, self.began)
        self.tower.start(self.tower_address)
        for number, site_id in enumerate(SITES):
            ports = (self._tower_port + 2 + 2 * number, self._tower_port + 3 + 2 * number, self.sync_port)
            site = self.sites[site_id] = Site(site_id, self.folder, ports, places[site_id])
            site.wan.start()
            say(f"  {site_id} moves to a node of its own …")
            site.join(self.tower.do("tower", "code", site_id))
        self._thread.start()

    def stop(self) -> None:
        """End every process."""
        self._stopping.set()
        for site in self.sites.values():
            site.node.kill()
            site.wan.stop()
        self.tower.kill()

    # --- switches --------------------------------------------------------------------

    def switch(self, site_id: str, what: str) -> str:
        """Turn a switch of a site, and say what came of it.

        Raises:
            KeyError: there is no such site or switch.
        """
        site = self.sites[site_id]
        return {
            "cut": lambda: self._line(site, through=False),
            "hang": lambda: self._line(site, through=False, hang=True),
            "mend": lambda: self._line(site, through=True),
            "kill": lambda: self._power(site, on=False),
            "start": lambda: self._power(site, on=True),
            "ahead": lambda: self._skew(site, site.clock_s + 600),
            "behind": lambda: self._skew(site, site.clock_s - 600),
            "right": lambda: self._skew(site, 0),
            "fill": lambda: self._fill(site, full=True),
            "free": lambda: self._fill(site, full=False),
            "break": lambda: self._freezer(site, broken=True),
            "repair": lambda: self._freezer(site, broken=False),
        }[what]()

    def _line(self, site: Site, *, through: bool, hang: bool = False) -> str:
        site.hangs = hang
        if through:
            site.wan.mend()
            return f"{site.site_id}: the line is up"
        site.wan.cut(hang=hang)
        return f"{site.site_id}: {'nothing answers on the line' if hang else 'the line is cut'}"

    def _power(self, site: Site, *, on: bool) -> str:
        if on:
            site.clock_s, site.full = 0.0, False
            site.node.start(site.address)
            return f"{site.site_id}: the node serves again"
        site.node.kill()
        return f"{site.site_id}: the node was killed"

    def _skew(self, site: Site, seconds: float) -> str:
        answer = site.node.ask("skew", {"seconds": str(seconds)})
        if answer.ok:
            site.clock_s = seconds
        return f"{site.site_id}: {answer.text}"

    def _fill(self, site: Site, *, full: bool) -> str:
        answer = site.node.ask("fill", {"full": "yes" if full else "no"})
        if answer.ok:
            site.full = full
        return f"{site.site_id}: {answer.text}"

    def _freezer(self, site: Site, *, broken: bool) -> str:
        if not broken:
            site.climate.repair(site.freezer, self._minute())
            return f"{site.site_id}: the compressor of {site.freezer} runs again"
        fault = Fault(
            kind=FaultKind.COMPRESSOR,
            zone_id=site.freezer,
            at_min=self._minute(),
            constant_min=FREEZER_CONSTANT_MIN,
        )
        site.climate.faults.append(fault)
        return f"{site.site_id}: the compressor of {site.freezer} stands still"

    # --- watching ----------------------------------------------------------------------

    def watch(self) -> list[SiteLine]:
        """Look at every site from outside, and at what the tower shows of it."""
        return [self._line_of(site) for site in self.sites.values()]

    def _line_of(self, site: Site) -> SiteLine:
        wan = "hangs" if site.hangs else "up" if site.wan.is_through else "cut"
        return SiteLine(
            site_id=site.site_id,
            address=site.address,
            runs=site.node.runs,
            wan=wan,
            passed_bytes=site.wan.passed_bytes,
            clock_s=site.clock_s,
            full=site.full,
            broken=site.broken,
            gateway=f"{site.gateway.waiting:,} wait: {site.refused}" if site.refused else "sends",
            node=seen(site.folder / "node.db", site.site_id),
            tower=seen(self.database, site.site_id),
        )

    # --- weather -------------------------------------------------------------------------

    def _minute(self) -> float:
        return (datetime.now(UTC) - self.began).total_seconds() / 60

    def _feed(self) -> None:
        while not self._stopping.wait(READ_EVERY_S):
            at = datetime.now(UTC)
            for site in self.sites.values():
                try:
                    site.refused = site.gateway.send(site.climate.sample(at, self._minute()))
                except Exception:
                    logger.exception("gateway_failed", site=site.site_id)


def seen(database: Path, site_id: str) -> Seen | None:
    """Look at a site in a host's database, without its help; None while it cannot be read."""
    try:
        opened = open_database(str(database))
        try:
            with opened.reader() as connection:
                return _seen(Reads(connection), site_id)
        finally:
            opened.close()
    except Exception as error:  # a process that was killed in the middle of a write is opening it again
        logger.info("not_seen", database=database.name, why=str(error))
        return None


def _seen(db: Reader, site_id: str) -> Seen:
    epoch, size = log.heads(db).get(site_id, (0, 0))
    newest = max((reading.at for reading in last_readings(db, site_id).values()), default=None)
    return Seen(epoch, size, len(open_incidents(db, site_id)), len(open_holds(db, site_id)), newest)


def seed(database: Path, began: datetime) -> dict[str, Places]:
    """Put the demo's network in force, with people, goods and gateways at the three sites."""
    settings = load_settings({}, database=str(database), signing_key=str(database.parent / "signing.key"))
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))

    def execute(calls: Sequence[Call]) -> Sequence[Outcome]:
        outcomes = tower.decider.execute(calls)
        tower.decider.settle()
        return outcomes

    seed_master(tower.decider.do)
    add_people(tower.decider.do)
    for site_id in SITES:
        add_shift(tower.decider.do, site_id)
        token_hash = sha256(token_of(site_id).encode()).hexdigest()
        tower.decider.do(
            IssueToken(
                token_id=f"gateway-{site_id}",
                label=f"gateway of {site_id}",
                token_hash=token_hash,
                roles=[Role.INTEGRATOR],
                sites=[site_id],
            )
        )
    plan = msgspec.structs.replace(load_plan(PLAN), starts_at=began, sites=list(SITES), faults=[])
    with tower.reader() as db:
        places = read_places(db, plan.sites)
        each = {site_id: read_places(db, [site_id]) for site_id in SITES}
    world = World(plan, places, execute, tower.reader)
    world.fill()
    world.warm_up()
    tower.decider.close()
    return each


class DemoAddressTaken(AddressTaken):
    """Another process serves at an address that the demo network needs."""

    todo = "Stop that process, or choose other ports: coldgrid network-demo --port 8190 --tower-port 8180."


def serve_network(environment: Mapping[str, str], *, folder: Path, port: int, tower_port: int) -> None:
    """Run the demo until it is asked to stop.

    Raises:
        DemoAddressTaken: something serves at one of its ports, and would be taken for the demo's own.
    """
    began_s = time.monotonic()
    settings = load_settings({}, host=HOST, port=port)
    for one in (port, *range(tower_port, tower_port + 2 + 2 * len(SITES))):
        check_address(HOST, one, DemoAddressTaken)
    configure_logs("warning", json=False)
    demo = NetworkDemo(folder, tower_port)
    try:
        demo.start()
        _greet(demo, port, time.monotonic() - began_s)
        serve(switch_app(demo), settings)
    finally:
        demo.stop()


def _greet(demo: NetworkDemo, port: int, took_s: float) -> None:
    say(f"\n  Switches   http://{HOST}:{port}   (ready after {took_s:.0f} s)")
    say(f"  Tower      {demo.tower_address}")
    for site in demo.sites.values():
        say(f"  {site.site_id}       {site.address}")
    logins = ", ".join(login for login, *_ in LOGINS)
    shifts = ", ".join(shift_of(site_id) for site_id in SITES)
    say(f"\n  Sign in as {logins} with the password {PASSWORD},")
    say(f"  or at a node whose line is cut as its own shift: {shifts}. Stop with Ctrl C.\n")
