"""The gate: admits each request of a node, notes that it was heard, and finds out copies.

It is asked on many threads at once. What it knows of runs is kept in memory and written down now and then;
after a restart it goes on from there.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from coldgrid.kernel import log
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.cascade import system
from coldgrid.kernel.events import Command, Entry
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.sync import enrolled
from coldgrid.sync.admission import Node, Run, clone_suspected, decide_admission, may_recognise
from coldgrid.sync.authority import BACKDATED, Entropy, Peer, Shown
from coldgrid.sync.node_words import (
    AuthorityOutlived,
    NoCertificate,
    NodeCloned,
    NodeEnrolled,
    NodeRevoked,
    NoteNodeSeen,
    RecogniseCertificate,
    ReportClone,
    RunNotNamed,
    TakeUpCertificate,
)
from coldgrid.sync.places import Connection

RECOGNISED_WITHIN_S = 30.0
NOTED_EVERY = timedelta(seconds=60)
Submit = Callable[[Command, Principal, str | None], Future[Any]]
REGISTRAR = system("sync.registrar")
_RUN = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{16})")
logger = structlog.get_logger("coldgrid.sync")


def run_header(run: Run) -> str:
    """Return how a node says which run it is, in the header `coldgrid-run`."""
    return f"{run.starts}-{run.name}"


def parse_run(text: str) -> Run:
    """Read the header.

    Raises:
        RunNotNamed: it is missing or is none.
    """
    match = _RUN.fullmatch(text)
    if match is None:
        raise RunNotNamed(given=text[:50])
    return Run(int(match[1]), match[2])


@dataclass(frozen=True)
class Means:
    """What a composition root lends: readers, the decider, the system clock, the host's randomness."""

    reader: Callable[[], AbstractContextManager[Reader]]
    submit: Submit
    now: Callable[[], datetime]
    entropy: Entropy


class _Heard(msgspec.Struct, frozen=True):
    """The last run heard of a node, of which enrolment, when, and when that was written down."""

    code_id: str
    run: Run
    at: datetime
    noted_at: datetime


class Gate:
    """Admits requests of nodes.

    Args:
        network: The name in every certificate of this network.
        means: What the composition root lends.
        issuers: Returns the keys of the authorities that count (`Certifying.issuers`).
    """

    def __init__(self, network: str, means: Means, issuers: Callable[[], frozenset[str]]) -> None:
        self.reader = means.reader
        self.submit = means.submit
        self.now = means.now
        self._network = network
        self._issuers = issuers
        self._lock = threading.Lock()
        self._heard: dict[str, _Heard] | None = None
        self._taken_up: set[str] = set()
        self._cut: list[Callable[[str], None]] = []

    def admit(self, connection: Connection, run: str, *, renewing: bool = False) -> Peer:
        """Return which node sends a request.

        Raises:
            Forbidden: it is not admitted: `admission.decide_admission`, `AuthorityOutlived`, `NodeCloned`.
        """
        shown = connection.shown
        if shown is None or shown.identity.network != self._network:
            raise NoCertificate(why=connection.fault or "of another network")
        at = self.now()
        with self.reader() as db:
            node = enrolled.find_node(db, shown.identity.node_id)
            held = enrolled.find_certificate(db, shown.serial)
            heard = self._known(db)
            lost = node if held is None and node is not None and self._was_lost(db, shown, node) else None
        if lost is not None:
            self._recognise(connection)
            with self.reader() as db:
                node, held = enrolled.find_node(db, lost.node_id), enrolled.find_certificate(db, shown.serial)
        peer = decide_admission(shown, node, held, at, renewing=renewing)
        if connection.issuer not in self._issuers():  # it ended while the connection was open
            raise AuthorityOutlived(node_id=shown.identity.node_id)
        assert node is not None
        assert held is not None
        self._note(node, parse_run(run), heard, peer)
        if held.taken_up_at is None and not renewing:
            self._take_up(held.serial, at)
        return peer

    def _was_lost(self, db: Reader, shown: Shown, node: Node) -> bool:
        """Tell whether this tower gave a certificate out and lost its record (admission.N5)."""
        newest = enrolled.find_certificate(db, node.serial)
        return newest is not None and may_recognise(shown, node, newest, recovered_at(db))

    def _recognise(self, connection: Connection) -> None:
        shown = connection.shown
        assert shown is not None
        command = RecogniseCertificate(
            node_id=shown.identity.node_id,
            serial=shown.serial,
            key_hash=shown.key_hash,
            certificate=connection.pem,
            issued_at=shown.not_before + BACKDATED,
            not_after=shown.not_after,
        )
        self.submit(command, REGISTRAR, None).result(RECOGNISED_WITHIN_S)
        logger.warning("certificate_recognised", node=command.node_id, serial=command.serial)

    def last_heard(self) -> dict[str, datetime]:
        """Return when each node was last heard of, to the second in this process."""
        with self.reader() as db:
            heard = self._known(db)
        with self._lock:
            return {node_id: last.at for node_id, last in heard.items()}

    def on_cut(self, cut: Callable[[str], None]) -> None:
        """Call `cut` with a node's id as soon as its open connections must end."""
        self._cut.append(cut)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Listener of the decider: ends the connections of who was revoked, or enrolled anew elsewhere."""
        for _, event in recorded:
            if isinstance(event, NodeRevoked | NodeEnrolled):
                for cut in self._cut:
                    cut(event.node_id)

    def _known(self, db: Reader) -> dict[str, _Heard]:
        with self._lock:
            if self._heard is None:
                self._heard = {
                    seen.node_id: _Heard(seen.code_id, Run(seen.starts, seen.run), seen.seen_at, seen.seen_at)
                    for seen in enrolled.seen_nodes(db).values()
                }
            return self._heard

    def _note(self, node: Node, run: Run, heard: dict[str, _Heard], peer: Peer) -> None:
        """Note that a node was heard of; refuse a run that cannot be its own."""
        at = self.now()
        with self._lock:
            last = heard.get(node.node_id)
            if last is not None and last.code_id != node.code_id:
                last = None  # enrolled anew since: runs count from the beginning
            why = clone_suspected(last.run if last else None, run)
            write = last is None or last.run != run or at - last.noted_at >= NOTED_EVERY
            if not why:
                noted_at = at if write or last is None else last.noted_at
                heard[node.node_id] = _Heard(node.code_id, run, at, noted_at)
        if why:
            self._tell(ReportClone(node_id=node.node_id, serial=peer.serial, why=why, at=at))
            raise NodeCloned(node_id=node.node_id, why=why)
        if write:
            self._tell(
                NoteNodeSeen(
                    node_id=node.node_id, code_id=node.code_id, starts=run.starts, run=run.name, at=at
                )
            )

    def _take_up(self, serial: str, at: datetime) -> None:
        with self._lock:
            if serial in self._taken_up:
                return
            self._taken_up.add(serial)
        self._tell(TakeUpCertificate(serial=serial, at=at))

    def _tell(self, command: Command) -> None:
        self.submit(command, REGISTRAR, None).add_done_callback(_report)


def recovered_at(db: Reader) -> datetime | None:
    """Return when the network's log was begun anew last, because a tower was put back; None: it never was."""
    epoch = max((epoch for origin, epoch, _ in log.epochs(db) if origin == NETWORK_ORIGIN), default=0)
    opened = log.find(db, f"{NETWORK_ORIGIN}/{epoch}/0") if epoch > log.FIRST_EPOCH else None
    return None if opened is None else opened.recorded_at


def _report(done: Future[Any]) -> None:
    fault = done.exception()
    if fault is not None:
        logger.warning("gate_could_not_note", why=str(fault))
