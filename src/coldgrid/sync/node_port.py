"""The port for nodes, put together: what a composition root starts, and what the pages about nodes ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

from coldgrid.kernel.events import Entry
from coldgrid.sync import enrolled, identity_files
from coldgrid.sync.authority import Authority
from coldgrid.sync.certifying import Certifying
from coldgrid.sync.codes import SECRET_ENTROPY_BYTES, EnrolmentCode, make_code
from coldgrid.sync.gate import REGISTRAR, Gate, Means
from coldgrid.sync.places import Limits
from coldgrid.sync.port import PortApp, Post
from coldgrid.sync.registrar import ANSWER_WITHIN_S, Registrar
from coldgrid.sync.succession import OVERLAP
from coldgrid.sync.tls_server import TlsPort, server_context

CHAIN_SUFFIX = ".tower"
EVERYWHERE = ("0.0.0.0", "::")
logger = structlog.get_logger("coldgrid.sync")


class AuthorityEndsSoon(Exception):
    """The authority has to be replaced now, so that nodes which are away hear of it in time."""


class PortSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the port is set up.

    `network` is in every certificate and stays for ever. `authority` is the file of the authority's key, made
    when missing; the tower's own key lies beside it. `url` is the address that nodes are told.
    """

    network: str
    authority: Path
    host: str
    port: int
    url: str
    hosts: tuple[str, ...] = ()
    limits: Limits = Limits()


class NodePort:
    """The port for nodes of a tower.

    Call `tend` now and then: it renews the tower's own certificate, and ends the authority before in time.

    Args:
        settings: See there.
        means: What the composition root lends.
        signing_keys: Returns the lines of the keys that the tower signs its logs with.
        post: Answers the frames of nodes; None: enrolment only.

    Raises:
        BadCertificate, PermissionError: the authority's file cannot be used; see `Certifying`.
    """

    def __init__(
        self,
        settings: PortSettings,
        means: Means,
        signing_keys: Callable[[], list[str]] = list,
        post: Post | None = None,
    ) -> None:
        self.settings = settings
        self.now = means.now
        self._entropy = means.entropy
        fresh = not settings.authority.exists()
        self.means = means
        self.certifying = Certifying(settings.authority, settings.network, means.now, means.entropy)
        self._chain = settings.authority.with_name(settings.authority.name + CHAIN_SUFFIX)
        self._renew_chain()
        if fresh:
            _warn_of_orphans(means)
        self.gate = Gate(settings.network, means, self.certifying.issuers)
        registrar = Registrar(self.certifying, means, signing_keys)
        self.app = PortApp(registrar, self.gate, post)
        context = server_context(self.certifying.trusted_pem, self._chain)
        self.server = TlsPort(self.app, (settings.host, settings.port), context, means.now, settings.limits)
        self.app.refusals = self.server.refusals
        self.gate.on_cut(self.server.cut)

    def url_for(self, host: str) -> str:
        """Return the address that nodes join at; `host` is what this tower is called where it is asked."""
        if self.settings.url:
            return self.settings.url
        bound, port = self.server.address
        name = host if bound in EVERYWHERE else bound
        return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"

    def start(self) -> None:
        """Listen. Raises OSError where the address is taken."""
        self.server.start()

    def stop(self) -> None:
        """Stop listening, and end what is under way."""
        self.server.stop()
        self.app.close()

    @property
    def authority(self) -> Authority:
        """Who certifies here now."""
        return self.certifying.authority

    def tend(self) -> str:
        """Renew the tower's certificate when two thirds of its life are over; say what was done.

        Raises:
            AuthorityEndsSoon: the authority ends before a new one would have reached every node.
        """
        ended, renewed = self.certifying.end_when_due(), self._renew_chain()
        if ended or renewed:
            self._trust()
        if ended:
            self._cut_off_all()
        self._note()
        ends_at = self.authority.certificate.not_valid_after_utc
        if ends_at - self.now() < OVERLAP:
            raise AuthorityEndsSoon(f"the authority ends on {ends_at:%Y-%m-%d}: coldgrid tower rotate-ca")
        return "tower's certificate renewed" if renewed else "tower's certificate is good"

    def replace_authority(self) -> datetime:
        """Make a new authority, from which all certificates come from now on; return when the old one ends.

        Raises:
            Conflict: one is being replaced, or this one's time is over; see `Certifying.replace`.
        """
        self.certifying.replace()
        self._renew_chain()
        self._trust()
        self._note()
        succession = self.certifying.succession
        assert succession is not None
        return succession.ends_at

    def end_authority(self) -> None:
        """Let the authority before the present one count no more, from now on.

        Raises:
            NoAuthorityToEnd: there is none.
        """
        self.certifying.end()
        self._renew_chain()
        self._trust()
        self._cut_off_all()
        self._note()

    def _trust(self) -> None:
        """Show and accept what counts now, on every connection from here on."""
        self.server.context = server_context(self.certifying.trusted_pem, self._chain)

    def _cut_off_all(self) -> None:
        """Let every node come again: who has no certificate of the present authority does not get in."""
        with self.means.reader() as db:
            nodes = enrolled.list_nodes(db)
        for node in nodes:
            self.server.cut(node.node_id)

    def _note(self) -> None:
        with self.means.reader() as db:
            unsaid = self.certifying.unsaid(db)
        if unsaid is not None:
            self.means.submit(unsaid, REGISTRAR, None).result(ANSWER_WITHIN_S)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Listener of the decider: cuts off who was revoked, and wakes who waits for news."""
        self.gate.on_commit(recorded)
        if self.app.post is not None:
            for site_id in self.app.post.on_commit(recorded):
                self.app.heard_news(site_id)

    def draw_code(self) -> EnrolmentCode:
        """Draw an enrolment code of this authority; nobody knows it yet."""
        return make_code(self._entropy(SECRET_ENTROPY_BYTES), self.authority.fingerprint)

    def draw_id(self) -> str:
        """Draw an identifier for a code."""
        return f"code-{self._entropy(8).hex()}"

    def _renew_chain(self) -> bool:
        hosts = self.settings.hosts
        link = self.certifying.link_pem
        return identity_files.tower_chain(self._chain, self.authority, hosts, self.now(), self._entropy, link)


def _warn_of_orphans(means: Means) -> None:
    """A new authority is nobody's to the nodes of the one before: its file was lost or left elsewhere."""
    with means.reader() as db:
        orphans = [node.node_id for node in enrolled.list_nodes(db) if node.revoked_at is None]
    if orphans:
        logger.error(
            "authority_made_anew", nodes=len(orphans), todo="restore its file, or let them join again"
        )
