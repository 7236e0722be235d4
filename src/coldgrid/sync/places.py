"""How much of the nodes' port anybody may have, who is at the other end, and what was refused.

Invariants
    Q1  Strangers, who show no certificate, together have a small part of the places, and one address a small
        part of that; a node has its own few. So neither strangers nor a node gone wrong shuts the others out.
    Q2  What is refused is counted under one of the program's own words, never the sender's.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from prometheus_client import Counter, Gauge

from coldgrid.access.throttle import Throttle
from coldgrid.sync import authority as ca
from coldgrid.sync.authority import BadCertificate, Shown
from coldgrid.sync.succession import issuer_of

REFUSED = Counter(
    "coldgrid_sync_port_refused_total", "What the port for nodes refused, by reason.", ["reason"]
)
CONNECTIONS = Gauge("coldgrid_sync_port_connections", "Open connections of the port for nodes.")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the port anybody may have, and for how long. `idle_s`: between two requests.

    A stranger is who shows no certificate; strangers together have a small part of the places.
    """

    connections_max: int = 4_000
    handshakes_max: int = 256
    handshakes_per_address: int = 64
    handshake_s: float = 10.0
    head_s: float = 10.0
    body_pause_s: float = 20.0
    body_s: float = 600.0
    idle_s: float = 600.0
    stranger_idle_s: float = 5.0
    strangers_max: int = 512
    strangers_per_address: int = 64
    per_node: int = 32
    refusals_allowed: int = 100
    refusals_window_s: float = 60.0


class Connection(msgspec.Struct, frozen=True):
    """Who is at the other end: `shown` is None without a certificate, `fault` says why one cannot be used.

    `pem`: the certificate itself, whose signature TLS has checked; `issuer`: by which authority's key.
    """

    address: str
    shown: Shown | None
    fault: str = ""
    pem: str = ""
    issuer: str = ""


class Refusals:
    """Counts what was refused, and who was refused too often (L3, L4). For the port's own thread."""

    def __init__(self, limits: Limits, now: Callable[[], datetime]) -> None:
        self._throttle = Throttle(limits.refusals_allowed, timedelta(seconds=limits.refusals_window_s))
        self._now = now

    def count(self, reason: str, address: str) -> None:
        """Count a refusal. `reason` is one of the program's own words, never the sender's."""
        REFUSED.labels(reason).inc()
        self._throttle.failed(address, self._now())

    def slows(self, address: str) -> bool:
        """Tell whether an address was refused too often of late."""
        return self._throttle.wait_s(address, self._now()) > 0


class Places:
    """Who holds how many places (Q1). For the port's own thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: Tally[str] = Tally()

    def take(self, peer: Connection) -> bool:
        """Give a connection its place; tell whether there was one, for a node or for a stranger (L2)."""
        limits, whose = self._limits, _whose(peer)
        if peer.shown is not None:
            free = self._held[whose] < limits.per_node
        else:
            free = self._held[""] < limits.strangers_max
            free = free and self._held[whose] < limits.strangers_per_address
        if not free:
            return False
        self._held[whose] += 1
        self._held[""] += peer.shown is None
        return True

    def give_back(self, peer: Connection) -> None:
        """Take a place back."""
        whose = _whose(peer)
        self._held[whose] -= 1
        if not self._held[whose]:
            del self._held[whose]
        self._held[""] -= peer.shown is None


def _whose(peer: Connection) -> str:
    """Who holds a place: a node by its name, a stranger by the address."""
    return peer.shown.identity.uri if peer.shown is not None else peer.address


def peer_of(transport: asyncio.Transport) -> Connection:
    """Return who is at the other end of a connection, by the certificate that TLS checked."""
    address = (transport.get_extra_info("peername") or ("",))[0]
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(True) if tls is not None else None
    if der is None:
        return Connection(address, None)
    try:
        certificate = ca.load_certificate(der)
        shown, pem = ca.read_shown(certificate), ca.pem_of(certificate)
        return Connection(address, shown, pem=pem, issuer=issuer_of(certificate))
    except BadCertificate as error:
        return Connection(address, None, str(error))
