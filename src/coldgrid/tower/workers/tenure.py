"""Tenure: what a worker runs for as long as it leads. Made anew for each term, and taken down with it.

Everything of which there may be one only is here: the decider, checkpoints, the audit of the log, effects,
readings from a broker, the port for nodes, errands. All of them write through the decider, whose connection
writes for this term alone; so whatever of an old tenure still moves can no longer change anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from coldgrid.access.door import AccessDoor
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.driver import DatabaseInUse
from coldgrid.kernel.events import Entry
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.postgres import PostgresConnection, PostgresDatabase
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import Settings
from coldgrid.node.background import Health
from coldgrid.node.errands import Errands, errands_folder
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import Parts, Work, listen, own_errands
from coldgrid.tower.application import errands_of
from coldgrid.tower.background import Background
from coldgrid.tower.first_run.link import set_up_link
from coldgrid.tower.sync_work import NodeWork
from coldgrid.webkit.hub import Hub

PORT_AGAIN_S = 1.0
logger = structlog.get_logger("coldgrid.workers")
Listener = Callable[[Sequence[tuple[Entry, Any]]], None]


class Lasting(Protocol):
    """What a worker has whatever its role: a tenure uses it and leaves it behind."""

    settings: Settings
    host: LiveHost
    hub: Hub
    door: AccessDoor
    channels: Mapping[str, Channel]
    with_nodes: bool


class LeasedDatabase(PostgresDatabase):
    """The database for one term: its writer is the connection that holds the lease, and never another."""

    def __init__(self, url: str, held: PostgresConnection) -> None:
        super().__init__(url)
        self._held: PostgresConnection | None = held

    def writer(self) -> PostgresConnection:
        """Return the connection that holds the lease.

        Raises:
            DatabaseInUse: it was lost; who decides now is another tenure's affair.
        """
        held, self._held = self._held, None
        if held is None:
            raise DatabaseInUse(why="the term of this worker is over")
        return held


class Tenure:
    """One term of a worker. `listeners` hear of every commit."""

    def __init__(self, worker: Lasting, held: PostgresConnection, listeners: Sequence[Listener]) -> None:
        self.term = held.term
        self.held = held
        settings, host = worker.settings, worker.host
        database = LeasedDatabase(settings.database, held)
        self.decider = Decider(database, host)
        self.service = DeciderService(self.decider, host.until_due_s, host.timers_run)
        parts = Parts(settings, database, self.decider, self.service, host, worker.hub, worker.door)
        listen(parts)
        self.decider.listeners += listeners
        self.background = Background(parts, worker.channels)
        # Every worker has its own picture for its own pages.
        self.background.loops = [loop for loop in self.background.loops if loop.name != "overview"]
        doing = {
            **own_errands(parts, self.background),
            "setup": lambda asked: set_up_link(settings, worker.door, new=True),
        }
        self.nodes: NodeWork | None = None
        self._port: PatientPort | None = None
        beside: list[Work] = [self.background]
        if worker.with_nodes:
            self.nodes = NodeWork(parts, self.background.notary)
            self.background.loops += self.nodes.loops
            self._port = PatientPort(self.nodes)
            beside.append(self._port)
            doing |= errands_of(self.nodes)
        self._beside = [*beside, Errands(errands_folder(settings), doing)]
        self._began: list[Work] = []
        self._failed: list[Health] = []

    @property
    def usable(self) -> bool:
        """Whether the connection that holds the lease still answers."""
        return self.decider.connection is self.held and self.held.usable()

    def begin(self) -> None:
        """Decide."""
        self.service.start()

    def begin_duties(self) -> None:
        """Take up everything beside deciding."""
        for part in self._beside:
            self._began.append(part)
            try:
                part.start()
            except Exception as error:  # what else is to be done does not wait for it
                logger.exception("duty_did_not_begin", part=type(part).__name__)
                self._failed.append(Health(type(part).__name__, False, f"did not begin: {error}", None))

    def end(self) -> None:
        """Lay everything down, the lease last: what was taken is carried out or refused first."""
        for part in reversed(self._began):
            try:
                part.stop()
            except Exception:
                logger.exception("duty_did_not_end", part=type(part).__name__)
        self.service.stop()
        self.decider.close()

    def health(self) -> list[Health]:
        """Say how each duty is."""
        waiting = [] if self._port is None or not self._port.why else [self._port.health()]
        return [*self.background.health(), *waiting, *self._failed]


class PatientPort:
    """Opens the port for nodes as soon as its address is free: a leader that was stopped may have it yet."""

    def __init__(self, nodes: NodeWork) -> None:
        self._nodes = nodes
        self.why = ""
        self._open = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="port-for-nodes", daemon=True)

    def start(self) -> None:
        """Try at once, then again and again."""
        if not self._try():
            self._thread.start()

    def stop(self) -> None:
        """Close it, or cease to try."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._open:
            self._nodes.stop()

    def health(self) -> Health:
        """Say what it waits for."""
        return Health("port for nodes", not self.why, self.why or "open", None)

    def _run(self) -> None:
        while not self._stopping.wait(PORT_AGAIN_S) and not self._try():
            pass

    def _try(self) -> bool:
        try:
            self._nodes.port.start()
        except OSError as error:
            self.why = f"waits for its address: {error.strerror or error}"
            return False
        self.why, self._open = "", True
        return True
