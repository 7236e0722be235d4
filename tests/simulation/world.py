"""A world: machines, lines and clocks on one heap of virtual time; all that happens follows from a seed."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from coldgrid.evidence.forks import SettleFork, open_forks
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.node.moving import Moving
from coldgrid.stock.ledger import balances_of_product
from coldgrid.sync.abiding import abide
from coldgrid.sync.choices import FEED_EPOCH, ChooseCopy
from coldgrid.sync.messages import Message, Place
from coldgrid.sync.wire import Refusal, decode, encode
from tests.network import master
from tests.orders.world import stocked
from tests.simulation.disk import Image
from tests.simulation.faults import Faults
from tests.simulation.folders import of_history
from tests.simulation.laws import VIRTUAL, LawBroken, Laws
from tests.simulation.machines import Machine, Node, Tower
from tests.simulation.net import Net
from tests.simulation.server import Tables
from tests.simulation.views import change_over
from tests.simulation.work import Office, Site
from tests.stock.world import ICE
from tests.telemetry.cold_room import sensor

SITES = ("ATL1", "CLT1", "TPA1", "SAV1")
SITES_LEAST = 2
HEAL_S = 3_600.0
CALM_S = 60.0


class World:
    """One history. `nodes`: how many of the sites have a node of their own."""

    def __init__(self, seed: int | str, nodes: int, folder: Path, tell: Callable[[str], None] | None = None):
        self.seed, self.folder = seed, folder
        self.random = Random(f"world {seed}")
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0
        self._tell = tell
        self.asked = self.received = self.orders = self.goods_before = 0
        self.refused: Counter[str] = Counter()
        self.net = Net(self)
        self.laws = Laws(self)
        self.tower = Tower(self, folder / "tower.db")
        self.nodes = [Node(self, site_id, folder / f"{site_id}.db") for site_id in SITES[:nodes]]
        self.sites = [Site(self, site_id) for site_id in SITES[: max(nodes, SITES_LEAST)]]
        self.office = Office(self)
        self.copies: list[Node] = []
        self.working = True
        for node in self.nodes:
            self.tower.keys[node.site_id] = [node.notary.signer.key, node.notary.signer.witness_key]

    # --- time -----------------------------------------------------------------------

    def after(self, delay_s: float, work: Callable[..., Any], *args: Any) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._count, work, args))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now_s + seconds
        while self._heap and self._heap[0][0] <= until:
            self.now_s, _, work, args = heapq.heappop(self._heap)
            work(*args)
        self.now_s = until

    def say(self, text: str) -> None:
        """Tell what happened, where somebody listens."""
        if self._tell is not None:
            self._tell(f"{self.now_s:9.2f} {text}")

    # --- who is who -------------------------------------------------------------------

    @property
    def machines(self) -> list[Machine]:
        return [self.tower, *self.nodes]

    def node_of(self, site_id: str) -> Node | None:
        return next((node for node in self.nodes if node.site_id == site_id), None)

    def host_of(self, origin: str) -> Machine:
        """Return the machine that decides for a site, or for the network."""
        return self.node_of(origin) or self.tower

    # --- a history --------------------------------------------------------------------

    def work(self, seconds: float, *, copies: bool, rewinds: bool) -> None:
        """Let people work and things fail for a while."""
        for site in self.sites:
            self.after(self.random.uniform(0, 30), site.flush)
            self._again(site.act, 8.0)
        self._again(self.office.act, 15.0)
        faults = Faults(self, copies=copies, rewinds=rewinds)
        faults.begin(seconds)
        self.run(seconds)
        self.working = False
        faults.heal()

    def _again(self, act: Callable[[], None], every_s: float) -> None:
        if self.working:
            act()
            self.after(self.random.expovariate(1 / every_s), self._again, act, every_s)

    def quiet(self) -> str:
        """Say what is still to do; empty: nothing."""
        if not all(machine.up for machine in self.machines):
            return "a machine is down"
        for node in self.nodes:
            if node.site_id in self.laws.may_bar and node.site_id in self.laws.barred():
                continue
            state = node.carrier.state
            head = Place(*node.decider.heads[node.site_id])
            if not node.linked:
                return f"{node.name} is {state.phase}: {state.code} {state.why}"
            if Place(*self.tower.decider.heads[node.site_id]) != head:
                return f"{node.name} has facts to send"
            lost = (
                node.site_id in self.laws.doubtful
            )  # a disk that is gone may have had blocks that are named
            if state.parcel_no < node.parcel_no or (state.wanted and not lost):
                return f"{node.name} has readings to send"
        if any(machine.decider.pump.due() for machine in self.machines):
            return "reactions wait"
        return ""

    def calm_down(self) -> None:
        """Wait until everything arrived.

        Raises:
            LawBroken: it never does.
        """
        until = self.now_s + HEAL_S
        self.run(600)
        while why := self.quiet():
            if self.now_s > until:
                raise LawBroken(f"it does not come to rest: {why}")
            self.run(CALM_S)

    def start_copy(self, site_id: str, image: Image) -> None:
        """Start a second host from a copy of a node's disk, key and all."""
        copy = Node(self, site_id, self.folder / f"copy{len(self.copies)}.db")
        copy.disk.put(image)
        self.copies.append(copy)
        copy.boot()

    def settle(self, site_id: str) -> None:
        """A person ends a quarantine: one of the copies is kept, or an empty host takes the site's place.

        Of the network's log there is one copy; nodes may have witnessed another, of a tower put back since.
        """
        if site_id == NETWORK_ORIGIN:
            self.settle_forks(site_id)
            return
        if site_id in self.laws.doubtful and self.random.random() < 0.4:
            self.say(f"an empty host takes the place of {site_id}")
            self.replace(site_id)
            return
        hosts = [one for one in (*self.nodes, *self.copies) if one.site_id == site_id]
        kept = self.random.choice(hosts)
        for host in hosts:
            if host is not kept:
                host.die()
        self.nodes = [kept if node.site_id == site_id else node for node in self.nodes]
        kept.boot()
        if not self.choose(kept, self.random.choice(("tower", "node"))):
            assert self.choose(kept, "tower"), f"{site_id} cannot take the tower's copy"

    def choose(self, node: Node, keep: str) -> bool:
        """A person chooses a copy, and the node carries it out; return whether it could."""
        change_over(tower=True)
        barred = [one for one in open_forks(self.tower.reads()) if one.origin == node.site_id]
        if keep == "node" and any(one.epoch == FEED_EPOCH for one in barred):
            return False
        self.say(f"the copy of the {keep} is kept of {node.site_id}")
        choice = ChooseCopy(site_id=node.site_id, keep=keep, reason="compared")
        self.tower.decider.do(choice, Principal("ana", frozenset({"admin"})))
        self.tower.decider.settle()

        def ask(message: Message) -> Message:
            change_over(tower=True)
            try:
                answer = self.tower.post.answer(node.peer, encode(message), final=True)
                self.tower.decider.settle()
            finally:
                change_over(tower=False)
            assert isinstance(answer, bytes)
            return decode(answer)

        change_over(tower=False)
        try:
            abide(node.desk, node.site_id, ask)
        except Refusal:
            if keep == "node":
                return False
            raise
        node.carrier.begin_anew()
        return True

    def replace(self, site_id: str) -> None:
        """A person trusts none of a site's hosts: an empty one takes its place, with what the tower has."""
        for machine in (*self.nodes, *self.copies):
            if isinstance(machine, Node) and machine.site_id == site_id:
                machine.die()
        self.settle_forks(site_id)
        fresh = Node(self, site_id, self.folder / f"{site_id}-again.db")
        self.nodes = [fresh if node.site_id == site_id else node for node in self.nodes]
        move(self, fresh)

    def settle_forks(self, origin: str) -> None:
        """A person says at the tower that what it has of a log counts."""
        change_over(tower=True)
        for fork in open_forks(self.tower.reads()):
            if fork.origin == origin:
                settled = SettleFork(
                    log_origin=origin, log_epoch=fork.epoch, reason="the tower's copy is kept"
                )
                self.tower.decider.do(settled)

    def close(self) -> None:
        for machine in (*self.machines, *self.copies):
            machine.die()


# --- The world before the history -------------------------------------------------------


class Hands:
    """Sets the scene by hand, as tests of single rooms do."""

    def __init__(self, machine: Machine) -> None:
        self.decider = machine.decider

    def do(self, command: Command, actor: str = "ana", roles: Any = (), **_: Any) -> Any:
        return self.decider.do(command, Principal(actor, frozenset(roles))).result


@lru_cache(4)
def scene(nodes: int) -> dict[str, Image | Tables]:
    """Return the disks of a small network at rest, whose first sites have moved to nodes of their own."""
    with of_history() as folder:
        world = World("scene", nodes, folder)
        world.tower.boot()
        change_over(tower=True)
        hands: Any = Hands(world.tower)
        stocked(hands)
        for extra in world.sites[SITES_LEAST:]:
            there = [master.site(extra.site_id, city="Tampa", region="FL", lat=27.9, lon=-82.5)]
            master.put_in_force(
                hands, *there, master.zone(extra.freezer), change_id=f"change-{extra.site_id}"
            )
        more = [sensor(name) for site in world.sites for name in site.sensors]
        more += [master.location(place) for site in world.sites for place in site.places]
        master.put_in_force(hands, *more, change_id="change-more")
        for node in world.nodes:
            move(world, node)
        world.run(300)
        images = {}
        for machine in world.machines:
            machine.die()
            images[machine.name] = machine.disk.image()
        return images


def move(world: World, node: Node) -> None:
    """Move a site to its node, over a line on which nothing is lost."""

    def post(frame: bytes) -> bytes:
        change_over(tower=True)
        try:
            answer = world.tower.post.answer(node.peer, frame, final=True)
            world.tower.decider.settle()
        finally:
            change_over(tower=False)
        assert isinstance(answer, bytes)
        return answer

    node.boot_bare()
    change_over(tower=False)
    moving = Moving(node.site_id, node.desk, post, [world.tower.notary.signer.key], lambda text: None)
    moving.take_over(replace=True)
    node.die()
    node.boot()


def play(seed: int, tell: Callable[[str], None] | None = None) -> dict[str, int]:
    """Play the history of a seed, and check every law.

    Raises:
        LawBroken: with what does not hold.
    """
    random = Random(f"shape {seed}")
    nodes = random.choice((1, 1, 2, 3, 4))
    with of_history() as folder:
        world = World(seed, nodes, folder, tell)
        images = scene(nodes)
        for machine in world.machines:
            machine.disk.put(images[machine.name])
        world.now_s = 600.0
        for machine in world.machines:
            machine.boot()
        for site in world.sites:
            site.at_us += 600_000_000
        try:
            world.goods_before = sum(
                one.qty
                for one in balances_of_product(world.tower.reads(), ICE)
                if one.location_id not in VIRTUAL or one.location_id == "TRANSIT"
            )
            chance = random.random()
            world.work(random.uniform(300, 1_800), copies=chance < 0.15, rewinds=chance > 0.85)
            world.calm_down()
            settled = 0
            while barred := world.laws.barred():
                settled += len(barred)
                for site_id in sorted(barred):
                    world.settle(site_id)
                world.calm_down()
            world.laws.check()
        finally:
            world.close()
        return {
            "asked": world.asked,
            "acknowledged": len(world.laws.acked),
            "frames": world.net.frames,
            "lost frames": world.net.failed,
            "lives": sum(machine.life for machine in world.machines),
            "promises": world.laws.promises,
            "copies found": settled,
            "towers put back": world.laws.rewinds,
        }
