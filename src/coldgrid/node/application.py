"""The application of a node: it decides for its site alone, serves its pages, and talks to its tower."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar

from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import VerifierKey, parse_key
from coldgrid.kernel.events import Entry
from coldgrid.kernel.outbox import Channel
from coldgrid.kernel.settings import Settings
from coldgrid.node.background import BaseBackground, Loop, open_notary
from coldgrid.node.carrier import RENEWAL_EVERY_S, Talk
from coldgrid.node.errands import Doing
from coldgrid.node.handlers import SITE_MODULES, handlers_of
from coldgrid.node.host import LiveHost
from coldgrid.node.moving import Moving, has_given, is_home
from coldgrid.node.parts import VERSION, Parts, build_parts, create_parts, system_now
from coldgrid.node.rooms import load_rooms
from coldgrid.node.standing import TOPIC as STANDING_TOPIC
from coldgrid.node.standing import StandingTeller
from coldgrid.node.vouching import Voucher
from coldgrid.sync import readings
from coldgrid.sync.acts import Phase
from coldgrid.sync.carrier import Carrier, Self
from coldgrid.sync.desk import ServiceDesk
from coldgrid.sync.identity_files import NodeIdentity, begin_run, open_identity
from coldgrid.sync.node_words import SiteCalledBack
from coldgrid.sync.tls_client import TowerLink

NODE_MODULES = (*SITE_MODULES, "node.home", "node.pages")
TALK_HEALTH_EVERY_S = 1.0
GIVE_AGAIN_S = 1.0
COPY_LOOK_S, COPY_EVERY_S = 5.0, 600.0
logger = structlog.get_logger("coldgrid.node")


def build_node(settings: Settings, own_host: LiveHost) -> Parts:
    """Put a node together on its database. Nothing runs yet."""
    load_rooms()
    return build_parts(settings, own_host)


def notary_of(settings: Settings, site_id: str) -> Notary:
    """Open the key that a node signs with; it is made, and named after itself, before the site is known."""
    public = open_notary(settings, "node", site_id).signer.key.public
    return open_notary(settings, f"node.{public.hex()[:12]}", site_id)


def lines_of(notary: Notary) -> list[str]:
    """Return the lines of the keys that others verify this host's checkpoints and cosignatures with."""
    return [notary.signer.key.encode(), notary.signer.witness_key.encode()]


def keys_of(identity: NodeIdentity) -> list[VerifierKey]:
    """Return the keys that verify the tower's signatures."""
    return [parse_key(line) for line in identity.tower.signing_keys]


class Parcelling:
    """Turns parcels on before anything is heard.

    A reading taken in earlier would reach the tower only when its day is sealed.
    """

    def __init__(self, desk: ServiceDesk, site_id: str) -> None:
        self._desk = desk
        self._site_id = site_id

    def start(self) -> None:
        """Turn them on; where they are on nothing happens."""
        readings.turn_on(self._desk, self._site_id)

    def stop(self) -> None:
        """They stay on."""


class NodeWork:
    """Work beside the application: the talk with the tower, and giving the site back when asked."""

    def __init__(
        self, parts: Parts, folder: Path, background: BaseBackground, urgent: Callable[[], bool]
    ) -> None:
        notary, self._readings = background.notary, background.readings
        self.link = TowerLink(folder, begin_run(folder, secrets.token_bytes))
        identity = self.link.identity
        self.site_id = identity.tower.site_id
        self._parts = parts
        self._desk = ServiceDesk(parts.service, parts.reader, system_now)
        self.parcelling = Parcelling(self._desk, self.site_id)
        settings = parts.settings
        who = Self(self.site_id, VERSION, notary, tuple(keys_of(identity)), settings.sync_bytes_per_s)
        carrier = Carrier(self._desk, who)
        self.talk = Talk(self.site_id, self._desk, carrier, self.link, settings.parcel_every_s, urgent)
        self._moving = Moving(self.site_id, self._desk, self.link.post, keys_of(identity), logger.info)
        self._urgent = urgent
        self._copied_s, self._copy_told = -COPY_EVERY_S, "not copied yet"
        self._called_back = threading.Event()
        self._stopping = threading.Event()
        self._giver = threading.Thread(target=self._give_back, name="giving-back", daemon=True)
        parts.decider.listeners += [self.talk.on_commit, self._on_commit]
        self.loops = [
            Loop("tower", TALK_HEALTH_EVERY_S, self.talk.told),
            Loop("certificate", RENEWAL_EVERY_S, self.talk.renew),
            Loop("copy of what waits", COPY_LOOK_S, self._copy),
        ]

    def start(self) -> None:
        """Begin to talk; go on giving back where that was begun."""
        with self._parts.reader() as db:
            if has_given(db, self.site_id):
                self._called_back.set()
        self.talk.start()
        self._giver.start()

    def stop(self) -> None:
        """Talk no more."""
        self._stopping.set()
        self._called_back.set()
        self.talk.stop()

    def unsent(self) -> str:
        """Say why this node still needs its readings; empty when the tower has all (retention.N3)."""
        state = self.talk.state
        if state.phase is not Phase.UP:
            return "the tower does not answer"
        if state.place < state.backlog.head:
            return "the tower has not all facts"
        return "the tower asks for blocks" if state.wanted or state.ask_wanted else ""

    def _copy(self) -> str:
        """Let the tower keep what waits here: often while something goes on, else seldom, for bytes cost."""
        now_s = time.monotonic()
        if not (self._urgent() or now_s - self._copied_s >= COPY_EVERY_S):
            return self._copy_told
        if self.talk.state.phase is Phase.UP:
            self._copied_s = now_s
            self._copy_told = f"{self._moving.copy():,} timers and messages wait here, the tower has a copy"
        return self._copy_told

    def _on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        if any(isinstance(event, SiteCalledBack) and event.site_id == self.site_id for _, event in recorded):
            self._called_back.set()

    def _give_back(self) -> None:
        """Close, wait until the tower has everything, hand over what waits."""
        self._called_back.wait()
        while not self._stopping.is_set():
            try:
                if is_home(self._parts.decider, self.site_id):
                    self._moving.close()
                    self.talk.cut_now()
                if (
                    self._readings is not None
                ):  # the next host takes them up from its own session, or this one
                    self._readings.stop()
                    self._readings = None
                if self.talk.drained():
                    self._moving.give()
                    logger.warning("site_given_back", site=self.site_id)
                    return
            except Exception as error:
                logger.warning("giving_back_waits", why=f"{type(error).__name__}: {error}")
            self._stopping.wait(GIVE_AGAIN_S)


def create_node(
    parts: Parts, folder: Path, channels: Mapping[str, Channel], doing: Doing | None = None
) -> Litestar:
    """Return the web application of the node whose identity is in `folder`. `doing`: more errands (drills).

    Raises:
        NotEnrolled, BadCertificate, PermissionError: see `identity_files.open_identity`.
    """
    site_id = open_identity(folder).tower.site_id
    background = BaseBackground(parts, channels, notary_of(parts.settings, site_id))

    def urgent() -> bool:
        site = background.overview.picture().site(site_id)
        return site is not None and bool(site.incidents)

    node_work = NodeWork(parts, folder, background, urgent)
    teller = StandingTeller(parts, node_work.talk, site_id, system_now)
    background.loops += [*node_work.loops, teller.loop()]
    background.retention.unsent = node_work.unsent
    state = {
        "background": background,
        "notary": background.notary,
        "home": node_work.site_id,
        "shell_topics": (STANDING_TOPIC,),
        "talk": node_work.talk,
        "vouch": Voucher(node_work.link.post),
        "unsent": node_work.unsent,
    }
    return create_parts(
        parts, handlers_of(NODE_MODULES), [node_work.parcelling, background, node_work], state, doing=doing
    )
