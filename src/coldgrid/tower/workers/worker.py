"""Worker: one of several processes that are the tower together. It follows, and leads while it has the lease.

Invariants
    W1  At most one worker decides: whoever has the lease (`kernel.postgres_lease`). One that lost it lays
        everything down that only one may do, and follows.
    W2  Whoever follows takes over when the holder's session is gone, or when the holder was silent for
        `lease_s` by the database's clock in two looks.
    W3  Only a worker with the same keys takes over: else logs would be signed, and nodes certified, by
        another.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from litestar import Litestar

from coldgrid.access.door import ABOUT_ACCESS
from coldgrid.adapters.workers import identity
from coldgrid.adapters.workers.link import Leader, Link
from coldgrid.adapters.workers.port import WorkerPort
from coldgrid.adapters.workers.wire import Welcome
from coldgrid.kernel.clock import JUMP_MAX
from coldgrid.kernel.events import Entry
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.postgres import PostgresConnection, PostgresDatabase
from coldgrid.kernel.postgres_lease import Lease
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import Settings
from coldgrid.kernel.storage_watch import StorageWatch
from coldgrid.node.background import Health, open_notary
from coldgrid.node.host import LiveHost
from coldgrid.node.live import Pinger
from coldgrid.node.parts import open_door, system_now
from coldgrid.tower.background import SIGNER
from coldgrid.tower.workers import figures
from coldgrid.tower.workers.feed import Feed
from coldgrid.tower.workers.keys import own_keys, why_not
from coldgrid.tower.workers.lookout import Lookout, Told
from coldgrid.tower.workers.office import Leading, Office
from coldgrid.tower.workers.questions import Asks, Replies
from coldgrid.tower.workers.tenure import Tenure
from coldgrid.webkit.hub import Hub

BEAT_S = 0.3
AGAIN_S = 1.0
OPEN_WITHIN_S = 15.0
# A balancer need not hear of a change of leaders, which takes less.
LEADERLESS_S = 6.0
logger = structlog.get_logger("coldgrid.workers")


class Worker:
    """One worker. `channels` carry effects out while it leads; `with_nodes`: it then listens for nodes."""

    def __init__(
        self, settings: Settings, host: LiveHost, channels: Mapping[str, Channel], *, with_nodes: bool
    ) -> None:
        self.name = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.settings = settings
        self.host = host
        self.channels = channels
        self.with_nodes = with_nodes
        self.database = PostgresDatabase(settings.database)
        self.link = Link(self.name, self._news, self._forget, self.poke)
        self.office = Office(self.link, self.poke)
        self.door = open_door(settings, self.database, self.office.submit)
        self.door.shared = True
        self.hub = Hub()
        self.pinger = Pinger(self.hub)
        self.feed = Feed(self.reader, self._hear, self._wanted)
        self.notary = open_notary(settings, SIGNER, NETWORK_ORIGIN)
        self.asks = Asks(self.link, self._the_loop)
        self.lookout = Lookout(settings.database, self.name, settings.lease_s)
        self.tenure: Tenure | None = None
        self.app: Litestar | None = None
        self.on_lead: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._port: WorkerPort | None = None
        self._where = ("", "")
        self._woken, self._settled = threading.Event(), threading.Event()
        self._stopping = False
        self._failed = ""
        self._duties: list[Health] = []
        self._changing: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Lend a reader of committed facts."""
        with self.database.reader() as connection:
            yield Reads(connection)

    # --- life -------------------------------------------------------------------------

    async def start(self, app: Litestar) -> None:
        """Begin, on the web's event loop; return when somebody decides, or after a while without."""
        self.app = app
        self._loop = asyncio.get_running_loop()
        self.link.start()
        self.pinger.start()
        self._thread.start()
        await asyncio.to_thread(self._settled.wait, OPEN_WITHIN_S)
        await asyncio.to_thread(self.feed.start)

    async def stop(self) -> None:
        """Lay down what this worker leads, and end."""
        self._stopping = True
        self.poke()
        await asyncio.to_thread(self._thread.join, 5)
        changing = self._changing
        if changing is not None:
            await asyncio.to_thread(changing.join, 10)
        if self.tenure is not None:
            self._fall("asked to stop")
            assert self._changing is not None
            await asyncio.to_thread(self._changing.join, 30)
        await self.link.stop()
        self.feed.stop()
        self.pinger.stop()
        self.lookout.leave()
        self.database.close()

    def poke(self) -> None:
        """Look at once. From any thread."""
        self._woken.set()

    def _the_loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "the worker was not started"
        return self._loop

    # --- roles ------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._tick()
            except Exception:
                logger.exception("worker_turn_failed")
            self._woken.wait(BEAT_S)
            self._woken.clear()

    def _tick(self) -> None:
        lease = self.lookout.beat(self.told(), *self._where)
        tenure = self.tenure
        if tenure is not None:
            why = self._lost_by(tenure, lease)
            if why:
                self._fall(why)
            return
        if lease is None or (self._changing is not None and self._changing.is_alive()):
            return
        self._follow(lease)
        if self._stopping:
            return
        refused = self.why_not
        if refused:
            self._settled.set()
        elif self.lookout.is_free(lease):
            self._changing = threading.Thread(target=self._rise, args=[lease.secret], name="rising")
            self._changing.start()

    @property
    def storage(self) -> StorageWatch:
        """Whether the storage takes what is written; who does not lead writes nothing."""
        return StorageWatch() if self.tenure is None else self.tenure.service.storage

    @property
    def why_not(self) -> str:
        """Why this worker must not lead; empty where it may (W3)."""
        return why_not(self._keys(), self.lookout.keys_seen)

    def _keys(self) -> list[str]:
        return own_keys(self.settings, self.notary, with_nodes=self.with_nodes)

    def _lost_by(self, tenure: Tenure, lease: Lease | None) -> str:
        """Say why a tenure is over; empty while it lasts (W1)."""
        if not tenure.usable:
            return "the connection that held the lease is gone"
        if lease is not None and (lease.term != tenure.term or not lease.held):
            return f"term {lease.term} has begun"
        return ""

    def _follow(self, lease: Lease) -> None:
        host, _, port = lease.address.rpartition(":")
        leader = None
        if lease.certificate and lease.holder != self.name and lease.held:
            leader = Leader(lease.holder, lease.term, host, int(port), lease.certificate, lease.secret)
            self._settled.set()
        self._the_loop().call_soon_threadsafe(self._follow_on_loop, leader)
        self.host.guard.frozen_why = self.lookout.leader.frozen_why

    def _follow_on_loop(self, leader: Leader | None) -> None:
        if not self.office.leads:
            self.link.lead(leader)

    # --- leading ----------------------------------------------------------------------

    def _rise(self, secret: str) -> None:
        """Take the lease if it is to be had, and lead."""
        held = tenure = None
        try:
            held = self.database.candidate(self.name)
            if held is None:
                return
            self._judge_clock(held)
            tenure = Tenure(self, held, [self.pinger.on_commit, self.feed.on_commit, self._committed])
            self.feed.lead()
            opening = asyncio.run_coroutine_threadsafe(self._open(tenure, secret), self._the_loop())
            opening.result(OPEN_WITHIN_S)
            logger.info("leads", worker=self.name, term=tenure.term)
            tenure.begin_duties()
            self.on_lead()
            self._failed = ""
        except Exception as error:
            self._failed = f"could not lead: {type(error).__name__}: {error}"
            logger.exception("could_not_lead", worker=self.name)
            self._undo(held, tenure)
        finally:
            self.poke()

    def _undo(self, held: PostgresConnection | None, tenure: Tenure | None) -> None:
        if tenure is not None and self.tenure is tenure:
            self._lay_down(tenure)
        elif held is not None:
            held.close()
            self.feed.follow()
        time.sleep(AGAIN_S)

    async def _open(self, tenure: Tenure, secret: str) -> None:
        """Take commands, our own and those of other workers. On the loop."""
        assert self.app is not None
        certificate, context = identity.make_identity(system_now())
        leading = Leading(tenure.service, self._forget_everywhere)
        replies = Replies(tenure.service, self.app, tenure.nodes)
        self._port = WorkerPort(leading, replies, secret, Welcome(self.name, tenure.term))
        host, port = await self._port.start(self.settings.worker_host, self.settings.worker_port, context)
        tenure.begin()
        self.tenure = tenure
        self.office.lead(leading)
        self._where = (f"{host}:{port}", certificate)
        if tenure.nodes is not None:
            self.app.state.nodes, self.app.state.node_port = tenure.nodes, tenure.nodes.port
        figures.LEADS.set(1)
        self._settled.set()
        self.poke()

    def _judge_clock(self, held: PostgresConnection) -> None:
        """Timers go by this machine's clock from now on: freeze them where it is far from the database's."""
        row = held.driver.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None, "SELECT of an expression has a row"
        off = self.host.now() - row[0]
        self.host.accept_clock()
        if self.host.clock == "live" and abs(off) > JUMP_MAX:
            self.host.guard.frozen_why = (
                f"the clock of {platform.node()} is {off.total_seconds():.0f} s off the database's"
            )

    def _fall(self, why: str) -> None:
        """Lead no more: followers and our own pages go to the next leader at once, duties end beside."""
        tenure = self.tenure
        if tenure is None:
            return
        logger.warning("leads_no_more", worker=self.name, term=tenure.term, why=why)
        self._changing = threading.Thread(target=self._lay_down, args=[tenure], name="falling")
        self._changing.start()

    def _lay_down(self, tenure: Tenure) -> None:
        self._where, self.tenure = ("", ""), None
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._the_loop()).result(OPEN_WITHIN_S)
        finally:
            tenure.end()
            self.feed.follow()
            self.poke()

    async def _close(self) -> None:
        assert self.app is not None
        self.office.follow()
        if self._port is not None:
            await self._port.stop()
            self._port = None
        self.app.state.nodes = self.app.state.node_port = None
        figures.LEADS.set(0)

    # --- what is heard ----------------------------------------------------------------

    def _committed(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        port = self._port
        if port is not None:
            port.tell(recorded[-1][0].position)

    def _news(self, position: int) -> None:
        self.feed.news(position)

    def _wanted(self, entry: Entry) -> bool:
        """Whether anybody here wants to hear of an entry: pages that are open, or the door."""
        return self.hub.streams > 0 or entry.type.startswith(ABOUT_ACCESS)

    def _hear(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        self.door.on_commit(recorded)
        self.pinger.on_commit(recorded)

    def _forget(self) -> None:
        self.door.forget_all()

    def _forget_everywhere(self) -> None:
        self.door.forget_all()
        port = self._port
        if port is not None:
            port.forget()

    # --- what is told -----------------------------------------------------------------

    def told(self) -> Told:
        """What this worker says of itself."""
        tenure, port = self.tenure, self._port
        figures.WAITING.set(self.office.waiting)
        figures.LEADERLESS.set(self.leaderless)
        if tenure is None:
            return Told(
                role="follower",
                pid=os.getpid(),
                serves=self._serves(),
                reached=self.link.connected,
                stands_back=self.why_not or self._failed,
            )
        return Told(
            role="leader",
            term=tenure.term,
            pid=os.getpid(),
            serves=self._serves(),
            keys=self._keys(),
            frozen_why=self.host.guard.frozen_why,
            followers=[] if port is None else port.followers,
            parts=self._duties,
        )

    def look_at_duties(self) -> str:
        """Look how the leader's duties are, for the next beats: a beat itself waits for none of them."""
        tenure = self.tenure
        self._duties = [] if tenure is None else tenure.health()
        return f"{len(self._duties)} duties" if tenure is not None else "this worker follows"

    def standing(self) -> dict[str, Any]:
        """Say for machines what this worker is, whether anybody decides, and why it must not, if so."""
        seen, lease, silent = self.lookout, self.lookout.lease, self.leaderless
        return {
            "worker": self.name,
            "role": "leader" if self.office.leads else "follower",
            "term": lease.term if lease is not None else 0,
            "leader": lease.holder if lease is not None and lease.certificate and not silent else None,
            "leaderless": silent,
            "stands_back": self.why_not or seen.why or self._failed,
        }

    @property
    def leaderless(self) -> bool:
        """Whether nobody has decided for longer than a change of leaders takes."""
        return not self.office.leads and time.monotonic() - self.lookout.led_s > LEADERLESS_S

    def _serves(self) -> str:
        return f"{self.settings.host}:{self.settings.port}"
