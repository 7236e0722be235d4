"""The port that nodes talk to: TLS 1.3 with the peer's certificate at hand for every request.

The web server of the pages does not tell an application who the peer is, so this port has a server of its
own: a listener that is stingy with strangers, in front of uvicorn's HTTP/1.1 protocol.

Invariants
    L1  TLS settles that the peer holds the key of a certificate of our authority, or shows none. Whether that
        certificate counts now is asked for each request (`port.py`): times are not left to TLS.
    L2  Nobody holds a place for nothing: first byte, handshake, request head and body have deadlines, places
        are limited, for one address too.
    L3  An address that was refused often is slowed down, not locked out: a node may share it with others.
    L4  Whatever comes is answered or dropped, and counted by reason; nothing ends the listener but `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter as Tally
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from coldgrid.sync.places import CONNECTIONS, REFUSED, Connection, Limits, Places, Refusals, peer_of
from coldgrid.sync.trusting import NO_CHECK_TIME

TLS_HANDSHAKE = 0x16
BACKLOG = 512
HEAD_BYTES_MAX = 16 * 1024
SLOWED_S = 0.25
STRANGERS_SLOWED = 4
DESCRIPTORS_WAIT_S = 0.5
START_WITHIN_S = 10.0
SHUTDOWN_S = 2.0
NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks TLS: use https.\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
App = Callable[..., Any]
logger = structlog.get_logger("coldgrid.sync")


def server_context(authority_pem: str, chain: Path) -> ssl.SSLContext:
    """Return the TLS settings of the port: TLS 1.3, certificates of our authority or none (L1)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=authority_pem)
    context.load_cert_chain(chain)
    context.num_tickets = 0  # every connection shows its certificate
    return context


class NodeProtocol(H11Protocol):
    """HTTP/1.1 over one connection, with deadlines, telling the application who is at the other end."""

    def __init__(self, port: TlsPort) -> None:
        super().__init__(port.config, port.state, {})
        self._port = port
        self._deadline: asyncio.TimerHandle | None = None
        self._body_ends_s = 0.0
        self._waits_for = ""
        self._placed = False
        self.peer = Connection("", None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Learn who it is, and wait for a request."""
        super().connection_made(transport)
        self.peer = peer_of(transport)
        if self.peer.shown is None:
            self.timeout_keep_alive = self._port.limits.stranger_idle_s  # type: ignore[assignment]
        self._placed = self._port.places.take(self.peer)
        if not self._placed:
            self._port.refusals.count("too_many", self.peer.address)
            transport.abort()
        app, peer = self.app, self.peer

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            scope["coldgrid.connection"] = peer
            await app(scope, receive, send)

        self.app = cast(Any, with_peer)
        CONNECTIONS.inc()
        self._await("head", self._port.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        CONNECTIONS.dec()
        if self._placed:
            self._port.places.give_back(self.peer)
        self._await("", 0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and set the deadline for the next ones (L2)."""
        if self.transport.is_closing():  # TLS still delivers what was under way
            return
        super().data_received(data)
        state = str(self.conn.their_state)
        limits = self._port.limits
        if state == "SEND_BODY":
            if self._waits_for != "body":
                self._body_ends_s = self.loop.time() + limits.body_s
            self._await("body", min(limits.body_pause_s, self._body_ends_s - self.loop.time()))
        elif state == "IDLE":
            if self._waits_for != "head":
                self._await("head", limits.head_s)
        else:
            self._await("", 0)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._port.refusals.count("not_http", self.peer.address)
        super().send_400_response(msg)

    def _await(self, what: str, within_s: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._waits_for = what
        if what:
            self._deadline = self.loop.call_later(max(0.0, within_s), self._too_slow)

    def _too_slow(self) -> None:
        if self.flow.read_paused:  # the application is behind, not the sender
            self._await(self._waits_for, self._port.limits.body_pause_s)
            return
        self._port.refusals.count(f"slow_{self._waits_for}", self.peer.address)
        if not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
            self.transport.close()
            self.loop.call_later(1.0, self.transport.abort)


class TlsPort:
    """Serves an application to nodes on a thread of its own; start and stop it like other background work.

    Args:
        app: The ASGI application; it finds a `Connection` at `scope["coldgrid.connection"]`.
        host, port: Where to listen; port 0 takes a free one, see `address`.
        context: See `server_context`; load a renewed chain into it at any time.
        now: The system clock.
    """

    def __init__(
        self,
        app: App,
        address: tuple[str, int],
        context: ssl.SSLContext,
        now: Callable[[], datetime],
        limits: Limits = Limits(),  # noqa: B008 (frozen)
    ) -> None:
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it writes a line for each bad request
        self.limits = limits
        self.context = context
        self.refusals = Refusals(limits, now)
        self.places = Places(limits)
        self.state = ServerState()
        self.config = Config(
            app,
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=int(limits.idle_s),
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        )
        self.config.load()
        self.address = address
        self._waiting: Tally[str] = Tally()
        self._welcomes: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    # --- from other threads -------------------------------------------------------------

    def start(self) -> None:
        """Listen. Raises OSError where the address is taken."""
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        listener = socket.create_server(self.address, family=family, backlog=BACKLOG)
        listener.setblocking(False)
        self._listener, self.address = listener, listener.getsockname()[:2]
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener, ready)), name="sync-port", daemon=True
        )
        self._thread.start()
        if not ready.wait(START_WITHIN_S):
            raise OSError(f"the port for nodes at {self.address} did not start")

    def stop(self, within_s: float = 3.0) -> None:
        """Finish the requests under way, for so long; then close everything."""
        if self._loop is None or self._stopping is None or self._thread is None:
            return
        with suppress(RuntimeError):  # it ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=within_s + 5)

    def cut(self, node_id: str) -> None:
        """Close every connection of a node now, in the middle of a request too."""
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cut, node_id)

    # --- on the port's thread -----------------------------------------------------------

    async def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        accepting = asyncio.create_task(self._accept(listener))
        ready.set()
        await self._stopping.wait()
        accepting.cancel()
        listener.close()
        for task in list(self._welcomes):
            task.cancel()
        for connection in list(self.state.connections):
            connection.shutdown()
        ends_s = self._loop.time() + 3.0
        while self.state.tasks and self._loop.time() < ends_s:
            await asyncio.sleep(0.02)
        for connection in list(self.state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)

    async def _accept(self, listener: socket.socket) -> None:
        loop, limits = asyncio.get_running_loop(), self.limits
        while True:
            try:
                sock, (address, *_) = await loop.sock_accept(listener)
            except OSError as error:  # no descriptors left: those who are here go on
                logger.warning("sync_port_cannot_accept", why=str(error))
                await asyncio.sleep(DESCRIPTORS_WAIT_S)
                continue
            slowed = self.refusals.slows(address)
            allowed = STRANGERS_SLOWED if slowed else limits.handshakes_per_address
            if (
                len(self.state.connections) >= limits.connections_max
                or self._waiting.total() >= limits.handshakes_max
                or self._waiting[address] >= allowed
            ):
                REFUSED.labels("too_many").inc()
                sock.close()
                continue
            self._waiting[address] += 1
            task = loop.create_task(self._welcome(sock, address, SLOWED_S if slowed else 0.0))
            self._welcomes.add(task)
            task.add_done_callback(self._welcomes.discard)

    async def _welcome(self, sock: socket.socket, address: str, pause_s: float) -> None:
        """Take a connection as far as the end of its handshake, or refuse it."""
        reason = ""
        try:
            async with asyncio.timeout(self.limits.handshake_s + pause_s):
                reason = await self._shake_hands(sock, pause_s)
        except TimeoutError:
            reason = "slow_handshake"
        except ssl.SSLError as error:
            reason = _word_of(error)
        except OSError:
            reason = "gone"
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
            if reason:
                self.refusals.count(reason, address)

    async def _shake_hands(self, sock: socket.socket, pause_s: float) -> str:
        loop = asyncio.get_running_loop()
        first = b""
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # asyncio leaves this to us: our listener does not name its protocol. Without it, 40 ms an answer.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.sleep(pause_s)
            await _readable(loop, sock)
            first = sock.recv(1, socket.MSG_PEEK)
            if first and first[0] != TLS_HANDSHAKE:
                sock.send(NOT_TLS)
                sock.recv(HEAD_BYTES_MAX)  # what lies unread would take our answer back
                return "not_tls"
        finally:
            if not first or first[0] != TLS_HANDSHAKE:
                sock.close()
        if not first:
            return "gone"
        await loop.connect_accepted_socket(
            lambda: NodeProtocol(self),
            sock,
            ssl=self.context,
            ssl_handshake_timeout=self.limits.handshake_s,
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        return ""

    def _cut(self, node_id: str) -> None:
        for connection in list(self.state.connections):
            shown = connection.peer.shown if isinstance(connection, NodeProtocol) else None
            if shown is not None and shown.identity.node_id == node_id:
                connection.transport.abort()


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _word_of(error: ssl.SSLError) -> str:
    """Return our word for a failed handshake: few, so that nobody floods the metrics."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "foreign_certificate"
    alert = (error.reason or "").upper()
    if "ALERT_UNKNOWN_CA" in alert or "BAD_CERTIFICATE" in alert:
        return "peer_refused_us"
    return "bad_handshake"
