"""The port for nodes, put together: what a composition root starts, and what the pages about nodes ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from coldgrid.kernel.events import Entry
from coldgrid.sync import enrolled, identity_files
from coldgrid.sync.codes import SECRET_ENTROPY_BYTES, EnrolmentCode, make_code
from coldgrid.sync.gate import Gate, Means
from coldgrid.sync.places import Limits
from coldgrid.sync.port import PortApp, Post
from coldgrid.sync.registrar import Registrar
from coldgrid.sync.tls_server import TlsPort, server_context

CHAIN_SUFFIX = ".tower"
EVERYWHERE = ("0.0.0.0", "::")
logger = structlog.get_logger("coldgrid.sync")


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
    """The port for nodes of a tower. Call `tend` now and then: it renews the tower's own certificate.

    Args:
        settings: See there.
        means: What the composition root lends.
        signing_keys: Returns the lines of the keys that the tower signs its logs with.
        post: Answers the frames of nodes; None: enrolment only.

    Raises:
        BadCertificate, PermissionError: the authority's file cannot be used; see `identity_files`.
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
        self.authority = identity_files.open_authority(
            settings.authority, settings.network, means.now(), means.entropy
        )
        self._chain = settings.authority.with_name(settings.authority.name + CHAIN_SUFFIX)
        self._renew_chain()
        if fresh:
            _warn_of_orphans(means)
        self.gate = Gate(settings.network, means)
        registrar = Registrar(self.authority, means, signing_keys)
        self.app = PortApp(registrar, self.gate, post)
        context = server_context(self.authority.pem, self._chain)
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

    def tend(self) -> str:
        """Renew the tower's certificate when two thirds of its life are over; say what was done."""
        if not self._renew_chain():
            return "tower's certificate is good"
        self.server.context.load_cert_chain(self._chain)
        return "tower's certificate renewed"

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
        return identity_files.tower_chain(self._chain, self.authority, hosts, self.now(), self._entropy)


def _warn_of_orphans(means: Means) -> None:
    """A new authority is nobody's to the nodes of the one before: its file was lost or left elsewhere."""
    with means.reader() as db:
        orphans = [node.node_id for node in enrolled.list_nodes(db) if node.revoked_at is None]
    if orphans:
        logger.error(
            "authority_made_anew", nodes=len(orphans), todo="restore its file, or let them join again"
        )
