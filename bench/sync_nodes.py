"""The tower with 200 nodes at work: the share of a core that its whole process takes, pages and all.

The tower is the real one, a process of its own; the nodes are simulated (`_sync_swarm`) over loopback TLS, in
this process. Each tells one fact a second in a request of its own and reads 100 sensors once a second.

    COLDGRID_BENCH_NODES=1000               how many nodes
    COLDGRID_BENCH_NODES_EVERY_S=10         seconds between a node's facts
    COLDGRID_BENCH_NODES_SENSORS=23         how many sensors each reads, once a second
    COLDGRID_BENCH_NODES_CALM=10            for each urgent node so many calm ones
    COLDGRID_BENCH_NODES_S=60               how long is measured
    COLDGRID_BENCH_TOWER_DATABASE=postgresql://…    an empty database; its size is told too
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_bytes

import msgspec

from bench._sync_machines import HOST, TOWER_DATABASE, Pair, paired, spent
from bench._sync_night import Night
from bench._sync_swarm import PARCEL_EVERY_S, SENSORS, SimulatedNode
from bench.result import Result
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.evidence.notes import Signer
from coldgrid.kernel import hosting
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.events import Entry
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.structs import work_out_structs
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import SiteDefined, SiteSettings, list_sites
from coldgrid.network.zones import ZoneDefined, list_zones
from coldgrid.node.host import LiveHost
from coldgrid.sync import tls_client
from coldgrid.telemetry.rules import Role
from coldgrid.telemetry.sensors import Sensor, SensorDefined
from coldgrid.tower.application import build_tower
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.world.places import Places, read_places

NODES = int(os.environ.get("COLDGRID_BENCH_NODES", "200"))
MEASURED_S = float(os.environ.get("COLDGRID_BENCH_NODES_S", "60"))
EVERY_S = int(os.environ.get("COLDGRID_BENCH_NODES_EVERY_S", "1"))
CALM = int(os.environ.get("COLDGRID_BENCH_NODES_CALM", "0"))
WARM_UP_S = 5.0
HANDS = 50
PROVE_EVERY_S = 10


def run() -> list[Result]:
    """Measure."""
    night = Night()
    with paired(_seed) as pair:
        pair.tower.start(pair.tower_address)
        nodes = _join(pair, night)
        hands = [Hand(nodes[number::HANDS]) for number in range(HANDS)]
        for hand in hands:
            hand.start()
        time.sleep(WARM_UP_S)
        before, told_before = spent(pair.tower), _told(hands)
        began_s = time.perf_counter()
        time.sleep(MEASURED_S)
        took_s = time.perf_counter() - began_s
        work_s = spent(pair.tower).since(before).work_s
        told = [now - then for now, then in zip(_told(hands), told_before, strict=True)]
        for hand in hands:
            hand.stop()
    facts, proofs, readings = (count / took_s for count in told)
    # Where the machine is too busy for the full rate, each fact is taken to cost what those sent did.
    asked = NODES / EVERY_S
    cores = work_s / told[0] * asked
    name = f"tower with {NODES} nodes" + (" on PostgreSQL" if TOWER_DATABASE else "")
    return [
        Result(f"{name}, {asked:g} facts a second: of a core", cores, "cores", "< 1", ok=cores < 1),
        Result(f"{name}: facts sent", facts, "/s", f"{asked:g} while the machine has cores left", ok=True),
        Result(f"{name}: of a core meanwhile", work_s / took_s, "cores", "", ok=True),
        Result(f"{name}: checkpoints cosigned", proofs, "/s", "", ok=True),
        Result(f"{name}: readings taken in parcels", readings, "/s", "", ok=True),
        Result(f"{name}: processor for each fact, all included", work_s / told[0] * 1e3, "ms", "", ok=True),
    ]


def _told(hands: Sequence[Hand]) -> list[int]:
    return [sum(counts) for counts in zip(*(hand.told for hand in hands), strict=True)]


class Hand(threading.Thread):
    """Drives some nodes, each at its times; fails loudly when a request is refused."""

    def __init__(self, nodes: Sequence[SimulatedNode]) -> None:
        super().__init__(daemon=True)
        self._nodes = nodes
        self._stopping = threading.Event()
        self.told = [0, 0, 0]

    def run(self) -> None:
        """Go round once a second, spread over the second."""
        round_no, began_s = 0, time.monotonic()
        while not self._stopping.is_set():
            for place, node in enumerate(self._nodes):
                due_s = began_s + round_no + place / len(self._nodes)
                self._stopping.wait(max(0.0, due_s - time.monotonic()))
                if self._stopping.is_set():
                    break
                self._turn(node, round_no, place)
            round_no += 1

    def _turn(self, node: SimulatedNode, second: int, place: int) -> None:
        if (second + place) % EVERY_S == 0:
            node.tell()
            self.told[0] += 1
        if (second + place) % max(PROVE_EVERY_S, EVERY_S) == 0:
            node.prove()
            self.told[1] += 1
        if node.has_parcel(second):
            self.told[2] += node.read()

    def stop(self) -> None:
        """End, and the nodes' connections."""
        self._stopping.set()
        self.join(30)
        for node in self._nodes:
            node.close()


# --- Before ---------------------------------------------------------------------------


def site_of(number: int) -> str:
    """A site's code as the naming standard wants it."""
    return f"Z{chr(65 + number // 26 % 26)}{chr(65 + number % 26)}{1 + number // 676}"


def _seed(database: Path, began: datetime) -> Places:
    settings = load_settings(
        {}, database=TOWER_DATABASE or str(database), signing_key=str(database.parent / "signing.key")
    )
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    seed_master(tower.decider.do)
    for number in range(NODES):
        tower.decider.within(SYSTEM, "network", partial(_define, site_id=site_of(number)), "bench")
    with tower.reader() as db:
        places = read_places(db, [])
    tower.decider.close()
    return places


def _define(tx: Tx, site_id: str) -> None:
    """A site like Atlanta, with a hundred probes; a node hosts it."""
    like = next(one for one in list_sites(tx) if one.site_id == "ATL1")
    told = {name: getattr(like, name) for name in SiteSettings.__struct_fields__}
    told |= {"site_id": site_id, "name": f"Depot {site_id}"}
    tx.record(f"site/{site_id}", SiteDefined(site=SiteSettings(**told)))
    for zone in (one for one in list_zones(tx) if one.site_id == "ATL1"):
        zone_id = zone.zone_id.replace("ATL1", site_id)
        own = msgspec.structs.replace(zone, zone_id=zone_id, site_id=site_id, asset_id="")
        tx.record(f"zone/{zone_id}", ZoneDefined(zone=own))
    for number in range(SENSORS):
        sensor = Sensor(
            sensor_id=f"{site_id}-FRZ1-X{number}",
            site_id=site_id,
            zone_id=f"{site_id}-FRZ1",
            role=Role.ZONE_AIR,
            interval_s=1.0,
        )
        tx.record(f"sensor/{sensor.sensor_id}", SensorDefined(sensor=sensor))
    hosting.place(tx, site_id, here=False, why="a node")


def _join(pair: Pair, night: Night) -> list[SimulatedNode]:
    nights = [[entry for entry in night.of_sites if entry.origin == site] for site in night.sites]
    nights = [_opened_first(one) for one in nights if len(one) > 100]

    def join(number: int) -> SimulatedNode:
        site_id = site_of(number)
        folder = pair.folder / site_id
        code = pair.tower.ask("code", {"site": site_id})
        assert code.ok, code
        signer = Signer(f"{site_id}.node", number.to_bytes(2, "big") * 16)
        keys = [signer.key.encode(), signer.witness_key.encode()]
        now = datetime.now(UTC)
        tls_client.join(
            f"https://{HOST}:{_sync_port(pair)}", code.text.strip(), folder, now, token_bytes, keys
        )
        lived = nights[number % len(nights)]
        begun, parcel_at_s = _filled(lived) + number // len(nights), number * PARCEL_EVERY_S // NODES
        calm = number // len(nights) % (CALM + 1) > 0
        node = SimulatedNode(site_id, folder, signer, lived, begun, parcel_at_s)
        if calm:
            node.calm_down(parcel_at_s)
        node.greet("coldgrid")
        return node

    work_out_structs()
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(join, range(NODES)))


def _sync_port(pair: Pair) -> int:
    return pair.line.target[1]


def _opened_first(night: Sequence[Entry]) -> list[Entry]:
    return sorted(night, key=lambda entry: entry.type != "origin.opened")


def _filled(night: Sequence[Entry]) -> int:
    """How many of a night's facts are the goods that lie there when it begins."""
    first = next(n for n, entry in enumerate(night) if entry.type == "stock.goods_dispatched")
    return max(0, first - 2)
