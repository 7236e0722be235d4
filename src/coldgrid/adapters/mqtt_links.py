"""Links to an MQTT broker: sockets that are connected and subscribed, and come back by themselves.

One thread opens links, blocking and with backoff, and hands them over ready to read; whoever reads them
says when one broke. Several links share one subscription (`$share/…`), because a broker with its default
settings has at most 20 unacknowledged messages on each.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from queue import SimpleQueue

import msgspec
import structlog

from coldgrid.adapters import mqtt_packets as packets

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.2, 30.0
OPEN_TIMEOUT_S = 5.0
RECEIVE_BYTES = 256 * 1024
# Linux only: elsewhere the system's own habits have to do.
QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)
logger = structlog.get_logger("coldgrid.mqtt")


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is and how readings are subscribed to.

    `client_id` names the sessions that the broker keeps for us, so it must differ between installations on
    one broker; `group` is shared by all processes that split one stream among them.
    `site`: the one whose readings are wanted; `+` for all of them. `keep_session`: the broker keeps what
    arrives while we are away.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = ""
    tls: bool = False
    client_id: str = "coldgrid"
    group: str = "coldgrid"
    prefix: str = "coldgrid"
    site: str = "+"
    connections: int = 24
    keep_session: bool = True
    keepalive_s: int = 30


class BrokerRefused(ConnectionError):
    """The broker answered and does not let us in."""


class Link:
    """One connection. `sock` is None while it is down; `generation` tells its sessions apart."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sock: socket.socket | None = None
        self.parser = packets.Parser()
        self.early: list[packets.Message] = []
        self.generation = 0
        self.heard_s = 0.0
        self.pinged_s = 0.0

    def drop(self) -> None:
        """Close the socket; messages that it delivered can no longer be acknowledged."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
            self.generation += 1

    def receive(self) -> tuple[list[packets.Message], list[tuple[int, bytes]]]:
        """Return what has arrived.

        Raises:
            OSError: the link broke.
            MalformedPacket: the other side speaks something else.
        """
        assert self.sock is not None, "a link that is down receives nothing"
        try:
            data = self.sock.recv(RECEIVE_BYTES)
            while isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
                data += self.sock.recv(RECEIVE_BYTES)
            hurry(self.sock)
        except (BlockingIOError, ssl.SSLWantReadError):
            return [], []
        if not data:
            raise ConnectionResetError("the broker closed the link")
        return self.parser.feed(data)

    def send(self, data: bytes) -> None:
        """Send a few bytes: acknowledgements and pings always fit the socket's buffer, or the link is stuck.

        Raises:
            OSError: the link broke or is stuck.
        """
        assert self.sock is not None, "a link that is down sends nothing"
        self.sock.settimeout(OPEN_TIMEOUT_S)
        try:
            self.sock.sendall(data)
        finally:
            self.sock.setblocking(False)


class Opener:
    """Opens links one after the other on a thread of its own, and backs off while the broker is away."""

    def __init__(self, settings: MqttSettings, ready: Callable[[Link], None]) -> None:
        self.settings = settings
        self._ready = ready
        self._wanted: SimpleQueue[Link | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mqtt-open", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def want(self, link: Link) -> None:
        """Ask to open a link; it is handed to `ready` when it is subscribed."""
        self._wanted.put(link)

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        self._wanted.put(None)
        self._thread.join(timeout=OPEN_TIMEOUT_S + 1)

    def _loop(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while (link := self._wanted.get()) is not None and not self._stopping.is_set():
            try:
                link.sock = self._open(link)
            except (OSError, packets.MalformedPacket) as error:
                logger.warning("broker_unreachable", link=link.number, error=str(error), again_in_s=backoff_s)
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
                self._wanted.put(link)
                continue
            backoff_s = BACKOFF_MIN_S
            self._ready(link)

    def _open(self, link: Link) -> socket.socket:
        """Connect and subscribe; messages that come before the answer are the link's early ones."""
        settings = self.settings
        link.parser, link.early = packets.Parser(), []
        sock: socket.socket = socket.create_connection((settings.host, settings.port), OPEN_TIMEOUT_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if settings.tls:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=settings.host)
            client_id = f"{settings.client_id}-{link.number}"
            sock.sendall(
                packets.connect(
                    client_id,
                    keepalive_s=settings.keepalive_s,
                    username=settings.username,
                    password=settings.password,
                    keep_session=settings.keep_session,
                )
            )
            _await(link, sock, packets.CONNACK, _check_connack)
            sock.sendall(packets.subscribe(1, f"$share/{settings.group}/{settings.prefix}/{settings.site}/+"))
            _await(link, sock, packets.SUBACK, _check_suback)
            sock.setblocking(False)
            hurry(sock)
        except BaseException:
            sock.close()
            raise
        return sock


def subscribe_ahead(settings: MqttSettings) -> None:
    """Have the broker keep readings for us from now on, before anybody here takes them.

    Raises:
        OSError, MalformedPacket: the broker cannot be reached, or does not let us in.
    """
    opener = Opener(settings, lambda link: None)
    for number in range(settings.connections):
        link = Link(number)
        link.sock = opener._open(link)  # noqa: SLF001 (its own kind)
        link.send(packets.DISCONNECT)
        link.drop()


def forget_sessions(settings: MqttSettings) -> None:
    """Have the broker keep nothing more for us.

    Raises:
        OSError, MalformedPacket: the broker cannot be reached, or does not let us in.
    """
    subscribe_ahead(msgspec.structs.replace(settings, keep_session=False))  # such a one ends with its link


def hurry(sock: socket.socket) -> None:
    """Have the system confirm what comes next at once; it has to be asked after each time it did.

    A broker that gathers small packets (Nagle, the default of most) sends nothing more on a link until what
    it sent is confirmed. Confirmations that wait to travel with data of ours hold readings up, by 40 ms and
    more.
    """
    if QUICK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, QUICK, 1)


def _await(link: Link, sock: socket.socket, kind: int, check: Callable[[bytes], None]) -> None:
    """Read until a packet of this kind has come; a kept session may deliver messages before it."""
    while True:
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the broker closed the link")
        messages, others = link.parser.feed(data)
        link.early += messages
        for other, body in others:
            if other == kind:
                check(body)
                return


def _check_connack(body: bytes) -> None:
    if len(body) != 2 or body[1]:
        raise BrokerRefused(packets.REFUSALS.get(body[-1] if body else 0, "refused"))


def _check_suback(body: bytes) -> None:
    if len(body) != 3 or body[2] > 2:
        raise BrokerRefused("the subscription is not allowed")
