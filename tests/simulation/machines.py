"""Machines: a tower and a node of the real code, on virtual time, with a disk and a clock that may fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import Signer
from coldgrid.kernel.authorize import AllowAll, Authorizer, Principal
from coldgrid.kernel.clock import ClockGuard
from coldgrid.kernel.database import DriverError
from coldgrid.kernel.decider import Call, Decider, Outcome
from coldgrid.kernel.events import Command, Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.origins import ClockKind, OriginOpened
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import StorageFailed, StorageFull
from coldgrid.sync import handover, readings
from coldgrid.sync.acts import Phase
from coldgrid.sync.authority import Peer
from coldgrid.sync.carrier import Carrier, Request, Self
from coldgrid.sync.desk import HandDesk
from coldgrid.sync.post import Post
from coldgrid.tower.recovery import recover
from coldgrid.tower.staleness import LOOK_EVERY_S as STALENESS_EVERY_S
from coldgrid.tower.staleness import Staleness
from coldgrid.tower.sync_work import Handing
from tests.conftest import T0
from tests.simulation.disk import Disk, DiskConnection, PowerLost
from tests.simulation.server import Server, ServerConnection, on_server
from tests.simulation.views import change_over

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
NETWORK_NAME = "sim.example"
TICK_S = 15.0
LOOK_EVERY_S = 20.0


def signer_of(name: str) -> Signer:
    """Return a machine's key: it lies beside the database, on a disk of its own."""
    return Signer(name, Random(f"key of {name}").randbytes(32))


class MachineClock:
    """A host of the decider: virtual time, shown by a clock that may be off; chance from the seed."""

    clock: ClockKind = "virtual"

    def __init__(self, world: World, name: str) -> None:
        self.authorizer: Authorizer = AllowAll()
        self.off_s = 0.0
        self._world = world
        self._random = Random(f"{world.seed} entropy of {name}")

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self._world.now_s + self.off_s)

    def entropy(self, count: int) -> bytes:
        return self._random.randbytes(count)


class SimDesk(HandDesk):
    """What follows from a piece of work is done a moment later, as a service does it."""

    def __init__(self, decider: Decider, now: Callable[[], datetime], later: Callable[[], None]) -> None:
        super().__init__(decider, now)
        self._later = later

    def do(self, work: Callable[[Decider], T]) -> T:
        done = work(self.decider)
        self._later()
        return done


class Machine:
    """One host: it boots, works until it dies, and boots again with what is on its disk."""

    is_tower = False

    def __init__(self, world: World, name: str, home: str, path: Path) -> None:
        self.world, self.name, self.home = world, name, home
        self.clock = MachineClock(world, path.name)  # no two hosts draw the same
        kind = Server if self.is_tower and on_server() else Disk
        self.disk: Any = kind(path, Random(f"{world.seed} disk of {name}"))
        self.notary = Notary(signer_of(name), NETWORK_NAME, home)
        self.life = 0
        self.up = False
        self.settling = False

    # --- life ---------------------------------------------------------------------

    def boot(self) -> None:
        """Start with what is on the disk; it may die while it does."""
        if self.up:
            return
        self.life += 1
        self.up = True
        self.guarded(self._boot)

    def _boot(self) -> None:
        self.database = self.disk.database()
        self.decider = Decider(self.database, self.clock)
        self.desk = SimDesk(self.decider, self.clock.now, self._settle_soon)
        self.guard = ClockGuard(self.clock.now(), self.world.now_s)
        self.settling = False
        self.decider.listeners.append(self._hear)
        self.begin()
        self._settle_soon()
        self.later(self.world.random.uniform(0, TICK_S), self._tick)

    def boot_bare(self) -> None:
        """Open the database and nothing more."""
        self.life += 1
        self.up = True
        change_over(tower=self.is_tower)
        self.database = self.disk.database()
        self.decider = Decider(self.database, self.clock)
        self.desk = SimDesk(self.decider, self.clock.now, lambda: None)

    def begin(self) -> None:
        """Begin the machine's own work."""

    def die(self) -> None:
        """Lose everything that is not on the disk."""
        if not self.up:
            return
        self.up = False
        self.disk.commits_left = None
        with self.disk.dark():
            if hasattr(self, "decider"):
                self.decider.close()
                del self.decider
        self.world.say(f"{self.name} died")

    def guarded(self, work: Callable[..., T], *args: Any) -> T | None:
        """Run work of this machine; a disk that is full fails the work, a death ends the machine."""
        change_over(tower=self.is_tower)
        try:
            return work(*args)
        except PowerLost:
            self.die()
            self.world.after(self.world.random.uniform(1, 120), self.boot)
        except (DriverError, StorageFull, StorageFailed) as error:
            self.world.say(f"{self.name}: {error}"[:150])
        return None

    def later(self, delay_s: float, work: Callable[..., Any], *args: Any) -> None:
        """Run work of this machine later, if it lives as long."""
        life = self.life

        def run() -> None:
            if self.up and self.life == life:
                self.guarded(work, *args)

        self.world.after(delay_s, run)

    # --- work -----------------------------------------------------------------------

    def execute(self, command: Command, actor: str, key: str) -> Outcome | None:
        """Carry out a client's command; None: the machine died meanwhile, or is down."""
        if not self.up:
            return None
        call = Call(command, Principal(actor, frozenset({"quality", "supervisor"})), key)

        def work() -> Outcome:
            outcome = self.decider.execute([call])[0]
            self._settle_soon()
            return outcome

        return self.guarded(work)

    def reads(self) -> Reads:
        """Read what is committed."""
        return Reads(self.decider.connection)

    @property
    def connection(self) -> DiskConnection | ServerConnection:
        connection = self.decider.connection
        assert isinstance(connection, DiskConnection | ServerConnection)
        return connection

    def _settle_soon(self) -> None:
        if not self.settling:
            self.settling = True
            self.later(self.world.random.choice((0.001, 0.01, 0.5)), self._settle)

    def _settle(self) -> None:
        self.settling = False
        try:
            self.decider.settle()
        except DriverError:
            self.later(TICK_S, self._settle)
            raise

    def _tick(self) -> None:
        self.later(TICK_S, self._tick)
        random = self.world.random
        if self.guard.observe(self.clock.now(), self.world.now_s):
            while self.decider.fire_due():
                pass
        self._settle_soon()
        if random.random() < 0.3:
            self.sign()
        if random.random() < 0.05:
            self.connection.copy_back()

    def sign(self) -> None:
        """Sign the logs that have news: the tower all of them, a node its own."""
        heads = self.decider.heads
        own = dict(heads) if self.is_tower else {self.home: heads[self.home]}
        planned = checkpoints.plan(self.reads(), self.notary, own, self.clock.now())
        checkpoints.keep(self.decider, self.notary, planned)

    def accept_clock(self) -> None:
        """A person accepted the present time."""
        if self.up:
            self.guard.accept(self.clock.now(), self.world.now_s)

    def _hear(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Take notice of a commit."""


class Tower(Machine):
    """The tower: its post, and the polls that it holds."""

    is_tower = True

    def __init__(self, world: World, path: Path) -> None:
        super().__init__(world, "coldgrid", NETWORK_ORIGIN, path)
        self.keys: dict[str, list[Any]] = {}
        self.recovers = False  # its disk was put back: it begins anew before it serves

    def begin(self) -> None:
        if self.recovers:
            recover(self.decider)
            self.recovers = False
        handing = Handing(self.desk, self.notary)  # type: ignore[arg-type]
        self.post = Post(
            self.desk, self.notary, lambda site_id: self.keys.get(site_id, []), handing.answers()
        )

        self.staleness = Staleness(self.desk, self.post, self._elsewhere, self.decider.do)
        self.later(STALENESS_EVERY_S, self._look_at_sites)

    def _elsewhere(self) -> list[str]:
        hosting: Hosting = self.decider.shared.hot[Hosting]
        return hosting.elsewhere

    def _look_at_sites(self) -> None:
        self.later(STALENESS_EVERY_S, self._look_at_sites)
        self.staleness.look()

    def die(self) -> None:
        super().die()
        self.world.net.tower_died()

    def _hear(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        named = set(self.post.on_commit(recorded))
        if named:
            self.later(0.0, self.world.net.wake, named)
        for entry, event in recorded:
            if isinstance(event, OriginOpened) and entry.origin != NETWORK_ORIGIN:
                self.later(0.0, handover.settle, self.decider, entry.origin)
        self.world.laws.watch(self, recorded)


class Node(Machine):
    """A site's node: its carrier, and what it waits for."""

    def __init__(self, world: World, site_id: str, path: Path, name: str = "") -> None:
        super().__init__(world, name or f"{site_id}.node", site_id, path)
        self.site_id = site_id
        self.looking_at_s: float | None = None

    def begin(self) -> None:
        readings.turn_on(self.desk, self.site_id)
        tower = self.world.tower.notary.signer
        who = Self(self.site_id, "sim", self.notary, (tower.key, tower.witness_key))
        self.carrier = Carrier(self.desk, who)
        self.parcel_no = 0
        self.looking_at_s = None
        self.later(self.world.random.uniform(0, 1), self.cut)
        self._look_at(self.world.now_s)

    @property
    def peer(self) -> Peer:
        return Peer(self.site_id, self.name, "01")

    @property
    def linked(self) -> bool:
        """Whether its talk with the tower stands."""
        return self.up and self.carrier.state.phase is Phase.UP

    @property
    def us(self) -> int:
        """A clock that cannot jump."""
        return int(self.world.now_s * 1e6) + 1

    def cut(self) -> None:
        self.later(self.world.random.choice((20.0, 60.0, 300.0)), self.cut)
        self.parcel_no = readings.cut(self.desk, self.site_id)

    def look(self) -> None:
        """Look at what waits, and when to look again."""
        self.looking_at_s = None
        self.send(self.carrier.look(self.us, self.parcel_no))
        due = self.carrier.due_us
        wait_s = LOOK_EVERY_S if due is None else max(0.001, (due - self.us) / 1e6)
        self._look_at(self.world.now_s + min(wait_s, LOOK_EVERY_S))

    def _look_at(self, at_s: float) -> None:
        if self.looking_at_s is not None and self.looking_at_s <= at_s:
            return
        self.looking_at_s = at_s

        def look() -> None:
            if self.looking_at_s == at_s:
                self.look()

        self.later(max(0.0, at_s - self.world.now_s), look)

    def send(self, requests: Sequence[Request]) -> None:
        """Hand frames to the network."""
        for request in requests:
            self.world.net.carry(self, request)

    def receive(self, request: Request, answer: bytes) -> None:
        """Take an answer."""
        self.send(self.carrier.receive(request, answer, self.us))
        self._look_at(self.world.now_s)

    def fail(self, request: Request, why: str) -> None:
        """No answer came."""
        self.send(self.carrier.fail(request, why, self.us))
        self._look_at(self.world.now_s)

    def _hear(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        if any(entry.origin == self.site_id for entry, _ in recorded):
            self._look_at(self.world.now_s)
