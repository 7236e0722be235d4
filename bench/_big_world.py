"""1,000 sites × 50 sensors, one of whose freezers fails: the demo's night with more sites beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from litestar import Litestar

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.dispatcher import Rehearsal
from coldgrid.evidence.checkpoints import make_checkpoints
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Call, Decider, Outcome
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import Site, SiteDefined, SiteSettings, list_sites
from coldgrid.network.zones import Zone, ZoneDefined, list_zones
from coldgrid.node.host import LiveHost
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor, SensorDefined, list_sensors
from coldgrid.tower.application import build_tower, create
from coldgrid.tower.demo.people import add_people
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.demo.serve import PLAN
from coldgrid.tower.world.climate import Sample
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import load_plan
from coldgrid.tower.world.run import World, readings_of

SITES = 1_000
ZONES = 5
PER_ZONE = 10
# The compressor of the demo's plan fails at minute 75; its incident is open and goods are held by now.
PLAYED_MIN = 125
# At once: how many sites are defined, or read in, by one transaction.
CHUNK = 25


class StandingHost(LiveHost):
    """A business clock that stands where it was put."""

    def __init__(self, instant: datetime) -> None:
        super().__init__(CedarAuthorizer())
        self.instant = instant

    def now(self) -> datetime:
        """Tell where it stands."""
        return self.instant


@dataclass(frozen=True)
class BigWorld:
    """The application, not yet serving, and how much is registered."""

    app: Litestar
    sites: int
    sensors: int


def big_world(folder: Path) -> BigWorld:
    """Play the demo's night until an incident is open, with so many sites beside it that read as well."""
    settings = load_settings({}, database=str(folder / "big.db"), signing_key=str(folder / "signing.key"))
    plan = load_plan(PLAN)
    host = StandingHost(plan.starts_at)
    tower = build_tower(settings, host)
    decider = tower.decider

    def execute(calls: Sequence[Call]) -> Sequence[Outcome]:
        outcomes = decider.execute(calls)
        decider.settle()
        return outcomes

    seed_master(decider.do)
    add_people(decider.do)
    with tower.reader() as db:
        places = read_places(db, plan.sites)
    more = _more(decider)
    world = World(plan, places, execute, tower.reader)
    world.fill()
    world.warm_up()
    for _ in range(PLAYED_MIN):
        host.instant += timedelta(minutes=1)
        decider.fire_due()
        decider.settle()
        world.step(host.instant)
    for first in range(0, len(more), CHUNK * ZONES * PER_ZONE):
        some = more[first : first + CHUNK * ZONES * PER_ZONE]
        samples = [Sample(sensor.sensor_id, host.instant, -24.0) for sensor in some]
        execute(readings_of(some, samples, "one-look"))
    reads = Reads(decider.connection)
    app = create(tower, {name: Rehearsal() for name in ("email", "sms", "voice", "webhook", "siren")})
    # Every site's log is signed before the first page is asked for, as it would be by then.
    make_checkpoints(decider, app.state.notary)
    return BigWorld(app, len(list_sites(reads)), len(list_sensors(reads)))


def _more(decider: Decider) -> list[Sensor]:
    """Define the sites that are missing, each like Atlanta; return their sensors."""
    reads = Reads(decider.connection)
    sites = list_sites(reads)
    site = next(one for one in sites if one.site_id == "ATL1")
    zone = next(one for one in list_zones(reads) if one.zone_id == "ATL1-FRZ1")
    sensors: list[Sensor] = []
    wanted = [_code(number) for number in range(SITES - len(sites))]
    for first in range(0, len(wanted), CHUNK):
        chunk = wanted[first : first + CHUNK]

        def define(tx: Tx, chunk: list[str] = chunk) -> None:
            for site_id in chunk:
                sensors.extend(_define(tx, site_id, site, zone))

        decider.within(SYSTEM, "network", define, f"bench-{first}")
    return sensors


def _code(number: int) -> str:
    """A site's code as the naming standard wants it: three letters and a digit."""
    letters = "".join(chr(ord("A") + number // 26**place % 26) for place in (2, 1, 0))
    return f"Z{letters[1:]}{1 + number // 26**2}"


def _define(tx: Tx, site_id: str, site: Site, zone: Zone) -> list[Sensor]:
    names = SiteSettings.__struct_fields__
    told = {name: getattr(site, name) for name in names} | {"site_id": site_id, "name": f"Depot {site_id}"}
    tx.record(f"site/{site_id}", SiteDefined(site=SiteSettings(**told)))
    sensors = []
    for number in range(1, ZONES + 1):
        zone_id = f"{site_id}-FRZ{number}"
        like = msgspec.structs.replace(zone, zone_id=zone_id, site_id=site_id, asset_id="")
        tx.record(f"zone/{zone_id}", ZoneDefined(zone=like))
        for count in range(1, PER_ZONE + 1):
            sensor = Sensor(
                sensor_id=f"{zone_id}-T{count}", site_id=site_id, zone_id=zone_id, role=Role.ZONE_AIR
            )
            tx.record(f"sensor/{sensor.sensor_id}", SensorDefined(sensor=sensor))
            sensors.append(sensor)
    return sensors
