"""A tower and its nodes, each a decider on a database of its own; the test holds the line between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import Signer, VerifierKey
from coldgrid.kernel import hosting, log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import CloseOrigin
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.tables import to_micros
from coldgrid.sync import readings
from coldgrid.sync.acts import Phase
from coldgrid.sync.authority import Peer
from coldgrid.sync.carrier import Carrier, Request, Self
from coldgrid.sync.desk import HandDesk
from coldgrid.sync.messages import Place
from coldgrid.sync.post import Post, Wait
from tests.conftest import Kernel, sqlite_kernel
from tests.telemetry.cold_room import cold_room

NETWORK_NAME = "coldgrid"


def notary_of(name: str, home: str, seed: int) -> Notary:
    return Notary(Signer(name, bytes([seed]) * 32), NETWORK_NAME, home)


def desk_of(kernel: Kernel) -> HandDesk:
    return HandDesk(kernel.decider, kernel.host.now)


class Tower:
    """The tower's side: a kernel with a small network, and its post."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.notary = notary_of("coldgrid", "network", 1)
        self.keys: dict[str, tuple[VerifierKey, ...]] = {}
        cold_room(kernel)
        self.open_post()

    def open_post(self) -> None:
        """Make the post anew, as after a restart."""
        self.post = Post(desk_of(self.kernel), self.notary, lambda site_id: self.keys.get(site_id, ()))
        self.kernel.decider.listeners.append(self._hear)

    def _hear(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        self.post.on_commit(recorded)

    def lets_go_of(self, site_id: str) -> None:
        """Leave a site to its node."""
        if site_id in self.kernel.decider.heads:
            self.kernel.do(CloseOrigin(origin=site_id, reason="moves to its node"))
        else:
            self.kernel.decider.take(
                site_id, lambda tx: hosting.place(tx, site_id, here=False, why="a node"), "test"
            )

    def place(self, site_id: str) -> Place:
        return Place(*self.kernel.decider.heads.get(site_id, (0, 0)))


class Node:
    """A node's side: a kernel that hosts one site, and its carrier. `release`: what it says it is."""

    release = "test"

    def __init__(self, tower: Tower, kernel: Kernel, site_id: str = "ATL1") -> None:
        self.tower, self.kernel, self.site_id = tower, kernel, site_id
        self.notary = notary_of(f"{site_id}.node", site_id, 2)
        tower.keys[site_id] = (self.notary.signer.key, self.notary.signer.witness_key)
        kernel.decider.take(site_id, lambda tx: hosting.host_only(tx, site_id), "test")
        kernel.decider.reload()
        self.desk = desk_of(kernel)
        readings.turn_on(self.desk, site_id)
        self.wake()

    def wake(self) -> None:
        """Begin to talk anew, as after a restart: only what is in the database is known."""
        self.desk = desk_of(self.kernel)
        signer = self.tower.notary.signer
        who = Self(self.site_id, self.release, self.notary, (signer.key, signer.witness_key))
        self.carrier = Carrier(self.desk, who)
        self.held: list[Request] = []

    @property
    def now_us(self) -> int:
        return to_micros(self.kernel.host.instant)

    def answer(self, request: Request, *, final: bool = False) -> bytes | Wait:
        return self.tower.post.answer(
            Peer(self.site_id, f"{self.site_id}.node", "01"), request.frame, final=final
        )

    def talk(self, rounds: int = 500) -> None:
        """Exchange frames until nothing is left to say; polls end with what they have."""
        queue = [*self.held, *self.carrier.look(self.now_us, readings.cut(self.desk, self.site_id))]
        self.held = []
        for _ in range(rounds):
            if not queue:
                break
            request = queue.pop(0)
            answer = self.answer(request)
            if isinstance(answer, Wait):
                self.held.append(request)
                continue
            self.carrier.foresee()
            queue += self.carrier.receive(request, answer, self.now_us)
        assert not queue, "they never stop talking"

    def sign(self) -> None:
        """Sign the node's own log: what it was fed of others has gaps."""
        decider = self.kernel.decider
        own = {origin: head for origin, head in decider.heads.items() if origin == self.site_id}
        planned = checkpoints.plan(Reads(decider.connection), self.notary, own, self.kernel.host.now())
        checkpoints.keep(decider, self.notary, planned)

    @property
    def up(self) -> bool:
        return self.carrier.state.phase is Phase.UP

    @property
    def code(self) -> str:
        return self.carrier.state.code


def own_log(kernel: Kernel, origin: str) -> list[Entry]:
    """An origin's entries, without their local positions."""
    entries = [entry for entry in log.read_all(kernel.reader()) if entry.origin == origin]
    return [msgspec.structs.replace(entry, position=-1) for entry in entries]


@contextmanager
def network_of(*sites: str) -> Iterator[tuple[Tower, list[Node]]]:
    """Yield a tower on SQLite with a node for each of the sites."""
    with ExitStack() as stack:
        tower = Tower(stack.enter_context(sqlite_kernel()))
        nodes = []
        for site_id in sites:
            tower.lets_go_of(site_id)
            nodes.append(Node(tower, stack.enter_context(sqlite_kernel()), site_id))
        yield tower, nodes
