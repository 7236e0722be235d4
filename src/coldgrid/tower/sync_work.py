"""The tower's work with its nodes: the port they come to, the post that answers them, handing sites over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import structlog

from coldgrid.access.vouching import Asked, vouch
from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import VerifierKey, parse_key
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.origins import OriginOpened
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reads
from coldgrid.node import vouching
from coldgrid.node.application import lines_of
from coldgrid.node.background import Loop
from coldgrid.node.parts import system_now
from coldgrid.node.words import say
from coldgrid.stock.reserves import NoteStaleness
from coldgrid.sync import enrolled, feeds, handover, wire
from coldgrid.sync import messages as m
from coldgrid.sync.authorities import nodes_without
from coldgrid.sync.choices import ChooseCopy
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.codes import EnrolmentCode
from coldgrid.sync.desk import ServiceDesk
from coldgrid.sync.gate import Means
from coldgrid.sync.handover import Begun, Given, RowsAsk
from coldgrid.sync.messages import FeedPlace
from coldgrid.sync.node_port import NodePort, PortSettings
from coldgrid.sync.node_words import IssueCode, RevokeNode
from coldgrid.sync.outgoing import within_bytes
from coldgrid.sync.post import Post
from coldgrid.tower.catching_up import CatchingUp
from coldgrid.tower.staleness import LOOK_EVERY_S, Staleness

if TYPE_CHECKING:
    from coldgrid.tower.application import Tower

TEND_EVERY_S = 3600.0
FETCH_EVERY_S = 1.0
TELL_EVERY_S = 5.0
TOLD_WITHIN_S = 60.0
_pack = msgspec.msgpack.encode
logger = structlog.get_logger("coldgrid.sync")


class Handing:
    """Answers the nodes that take a site over or give it back (`sync.handover`)."""

    def __init__(self, desk: ServiceDesk, notary: Notary) -> None:
        self._desk = desk
        self._notary = notary

    def answers(self) -> dict[str, Callable[[str, bytes], bytes]]:
        """Return what answers which kind of question."""
        return {
            "handover.feed": self._feed,
            "handover.begin": self._begin,
            "handover.rows": self._rows,
            "handover.give": self._give,
            "handover.copy": self._copy,
        }

    def _feed(self, site_id: str, body: bytes) -> bytes:
        place = handover.read(body, FeedPlace)
        feeds.refresh(self._desk)
        with self._desk.reader() as db:
            feed = feeds.feed_after(db, site_id, place)
        entries = within_bytes(feed.entries) if feed.entries else []
        more = feed.more or len(entries) < len(feed.entries)
        columns = pack_entries(entries) if entries else None
        return wire.encode(m.FeedPart(feed.first_feed_seq, columns, feed.keys, more))

    def _begin(self, site_id: str, body: bytes) -> bytes:
        replace = handover.read(body, bool)
        begun = self._desk.do(partial(handover.begin, site_id=site_id, replace=replace))
        if not begun.waiting:
            begun = self._proved(site_id, begun)
        return _pack(begun)

    def _proved(self, site_id: str, begun: Begun) -> Begun:
        """Sign the end of the log that is handed over, so that the node can check what it is given.

        A pass of its own that began before the log was closed may keep an earlier end meanwhile.
        """
        ends = {site_id: (begun.epoch, begun.seq)}
        more = True
        while more:
            with self._desk.reader() as db:
                planned = checkpoints.plan(db, self._notary, ends, self._desk.now())
            keep = partial(checkpoints.keep, notary=self._notary, planned=planned)
            kept = self._desk.do(keep)
            more = planned.more or len(kept) < len(planned.heads)
        with self._desk.reader() as db:
            return msgspec.structs.replace(begun, notes=handover.notes_of(db, begun, site_id))

    def _rows(self, site_id: str, body: bytes) -> bytes:
        ask = handover.read(body, RowsAsk)
        with self._desk.reader() as db:
            return _pack(handover.rows_for(cast(Reads, db), site_id, ask))

    def _give(self, site_id: str, body: bytes) -> bytes:
        first, given = handover.read(body, tuple[int, Given])
        self._desk.do(lambda decider: handover.take_given(decider, site_id, given, first))
        return b""

    def _copy(self, site_id: str, body: bytes) -> bytes:
        given = handover.read(body, Given)
        self._desk.do(lambda decider: handover.take_copy(decider, site_id, given))
        return b""


class NodeWork:
    """Runs beside the application: listens for nodes, answers them, and settles what was handed over."""

    def __init__(self, tower: Tower, notary: Notary) -> None:
        self._tower = tower
        settings = tower.settings
        # Certificates expire by a clock that a jump of this machine's does not move.
        now = tower.host.trusted_now
        means = Means(tower.reader, tower.service.submit, now, secrets.token_bytes)
        self.desk = ServiceDesk(tower.service, tower.reader, system_now)
        answers = {**Handing(self.desk, notary).answers(), vouching.KIND: self._vouch}
        self.post = Post(self.desk, notary, self._keys_of, answers)
        self.port = NodePort(
            PortSettings(
                network=settings.network,
                authority=Path(settings.authority_key),
                host=settings.sync_host,
                port=settings.sync_port,
                url=settings.sync_url,
                hosts=(settings.sync_host,),
            ),
            means,
            lambda: lines_of(notary),
            self.post,
        )
        self._wanted: set[str] = set()
        self._catching_up = CatchingUp(tower)
        tower.decider.listeners += [self.port.on_commit, self._on_commit]
        self.loops = [
            Loop("certificate of the tower", TEND_EVERY_S, self.port.tend),
            Loop("sites called back", FETCH_EVERY_S, self.fetch_wanted),
            Loop("pages about nodes", TELL_EVERY_S, self._tell_pages),
            Loop("silent sites", LOOK_EVERY_S, self._staleness().look),
        ]

    def _staleness(self) -> Staleness:
        tower = self._tower

        def note(command: NoteStaleness) -> None:
            tower.service.submit(command, SYSTEM).result(TOLD_WITHIN_S)

        def elsewhere() -> list[str]:
            hosting: Hosting = tower.decider.shared.hot[Hosting]
            return hosting.elsewhere

        return Staleness(self.desk, self.post, elsewhere, note)

    def _tell_pages(self) -> str:
        """Let open pages look again at who was heard when: silence makes no commit."""
        self._tower.hub.publish("nodes", "nodes", "", latest=True)
        return f"{len(self.post.heard)} nodes heard since the start"

    def start(self) -> None:
        """Listen."""
        settings = self._tower.settings
        try:
            self.port.start()
        except OSError as error:
            say(f"The port for nodes, {settings.sync_host}:{settings.sync_port}: {error.strerror or error}")
            say("Choose another with COLDGRID_SYNC_PORT.")
            raise

    def stop(self) -> None:
        """Listen no more."""
        self._catching_up.stop()
        self.port.stop()

    def issue_code(self, site_id: str, node_id: str = "") -> EnrolmentCode:
        """Make a code for a site's node.

        Raises:
            Rejected: no such site, or a node that cannot come back.
        """
        code = self.port.draw_code()
        command = IssueCode(
            code_id=self.port.draw_id(),
            site_id=site_id,
            secret_hash=code.secret_hash,
            at=system_now(),
            node_id=node_id,
        )
        self._tower.service.submit(command, SYSTEM).result(TOLD_WITHIN_S)
        return code

    def take_back(self, site_id: str, *, lost: bool) -> str:
        """Take a site back, and say how far that came. `lost`: cut its nodes off for ever first.

        Raises:
            Rejected: it may not be taken now.
        """
        if lost:
            with self._tower.reader() as db:
                nodes = enrolled.nodes_of(db, site_id)
            for node in nodes:
                command = RevokeNode(node_id=node.node_id, reason="the site was taken back without its node")
                self._tower.service.submit(command, SYSTEM).result(TOLD_WITHIN_S)
        self._wanted.add(site_id)
        untold = self._catching_up.keep(site_id)
        told = self._fetch(site_id, lost=lost)
        return f"{told}\n{untold}; let its gateways wait" if untold else told

    def choose(self, site_id: str, keep: str, reason: str) -> str:
        """Choose which copy of a quarantined log is kept, and say what happens now.

        Raises:
            Rejected: nothing of the site is in quarantine, or the choice is none.
        """
        command = msgspec.convert({"site_id": site_id, "keep": keep, "reason": reason}, ChooseCopy)
        self._tower.service.submit(command, SYSTEM).result(TOLD_WITHIN_S)
        return f"the {keep}'s copy of {site_id} is kept; its node hears of it within a minute"

    def rotate_ca(self, *, now: bool) -> str:
        """Replace the authority that certifies nodes, or end the one before (`now`), and say what follows.

        Raises:
            Rejected: one is being replaced already, or there is none to end.
        """
        if now:
            self.port.end_authority()
        else:
            ends_at = self.port.replace_authority()
        with self._tower.reader() as db:
            without = [node.node_id for node in nodes_without(db, self.port.authority.certificate)]
        if now:
            told = f"needs a new code: {', '.join(without)}" if without else "no node needs a new code"
            return f"the authority before counts no more; {told}"
        return (
            f"a new authority certifies from now on; the one before counts until {ends_at:%Y-%m-%d}.\n"
            f"{len(without)} nodes go over, within a minute where they are connected: see Set up, Nodes.\n"
            f"Make a backup now, and copy {self.port.settings.authority} to every worker that stands by."
        )

    def _fetch(self, site_id: str, *, lost: bool = False) -> str:
        here: bool = self.desk.do(lambda decider: handover.take_back(decider, site_id, lost=lost))
        if not here:
            return f"the node of {site_id} is asked to close its log; the site comes when it has"
        self._wanted.discard(site_id)
        self._catching_up.take(site_id)
        return f"{site_id} is at the tower"

    def fetch_wanted(self) -> str:
        """Take the sites that their nodes have given meanwhile; say which are awaited."""
        for site_id in list(self._wanted):
            with self._tower.reader() as db:
                given = handover.state_of(db, site_id) == handover.GIVEN
            if given:
                self._fetch(site_id)
        return ", ".join(sorted(self._wanted)) or "no site is awaited"

    def _vouch(self, site_id: str, body: bytes) -> bytes:
        asked = msgspec.msgpack.decode(body, type=Asked)
        with self._tower.reader() as db:
            return _pack(vouch(self._tower.door, db, site_id, asked))

    def _keys_of(self, site_id: str) -> Sequence[VerifierKey]:
        with self._tower.reader() as db:
            return [parse_key(line) for node in enrolled.nodes_of(db, site_id) for line in node.signing_keys]

    def _on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Where a node opened an epoch, its site was handed over."""
        for entry, event in recorded:
            if isinstance(event, OriginOpened) and entry.origin != NETWORK_ORIGIN:
                self._tower.service.call(partial(_settle, site_id=entry.origin))


def _settle(decider: Decider, site_id: str) -> None:
    """The site's newest node hosts it: what was kept for it goes, and the nodes before it are cut off."""
    db = Reads(decider.connection)
    if handover.state_of(db, site_id) not in handover.HANDING:
        return
    handover.settle(decider, site_id)
    nodes = enrolled.nodes_of(db, site_id)
    for node in nodes[1:]:
        decider.do(RevokeNode(node_id=node.node_id, reason=f"{nodes[0].node_id} took its place"))
