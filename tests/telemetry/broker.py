"""A publisher for tests and benches, and a way to the broker that can be cut."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from coldgrid.adapters import mqtt_packets as packets
from tests.conftest import service_missing

ADDRESS = os.environ.get("COLDGRID_TEST_MQTT", "mqtt://127.0.0.1:1883")


def broker() -> tuple[str, int]:
    """Return the broker's address; skip where there is none."""
    parts = urlsplit(ADDRESS)
    host, port = parts.hostname or "127.0.0.1", parts.port or 1883
    try:
        socket.create_connection((host, port), 2).close()
    except OSError as error:
        service_missing(f"an MQTT broker at {host}:{port} ({error})")
    return host, port


class Publisher:
    """Publishes at QoS 1 and waits for every acknowledgement of the broker."""

    def __init__(self, name: str, address: tuple[str, int] | None = None) -> None:
        self.sock = socket.create_connection(address or broker(), 5)
        self.parser = packets.Parser()
        self.sock.sendall(packets.connect(name, keepalive_s=60, keep_session=False))
        self._await(1)
        self.next_id = 1

    def publish(self, messages: list[tuple[str, bytes]]) -> None:
        """Publish, at most 20 at a time as the broker allows."""
        for start in range(0, len(messages), 20):
            part = messages[start : start + 20]
            data = b""
            for topic, payload in part:
                data += packets.publish(topic, payload, self.next_id)
                self.next_id = self.next_id % 65_535 + 1
            self.sock.sendall(data)
            self._await(len(part))

    def _await(self, count: int) -> None:
        while count > 0:
            data = self.sock.recv(4096)
            assert data, "the broker closed the publisher's link"
            count -= len(self.parser.feed(data)[1])

    def close(self) -> None:
        self.sock.close()


def forget_sessions(client_id: str, connections: int) -> None:
    """Have the broker forget the sessions that it keeps for a consumer."""
    for number in range(connections):
        sock = socket.create_connection(broker(), 5)
        sock.sendall(packets.connect(f"{client_id}-{number}", keepalive_s=5, keep_session=False))
        sock.recv(4)
        sock.sendall(packets.DISCONNECT)
        sock.close()


class Proxy:
    """Passes bytes between a client and the broker until it is cut; then it refuses until it is mended."""

    def __init__(self) -> None:
        self.target = broker()
        self.pairs: list[socket.socket] = []
        self.server: socket.socket | None = None
        self.port = 0
        self.mend()

    def mend(self) -> None:
        """Accept connections."""
        server = socket.create_server(("127.0.0.1", self.port))
        self.server, self.port = server, server.getsockname()[1]
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        assert self.server is not None
        for sock in [self.server, *self.pairs]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.server = None
        self.pairs.clear()

    def _accept(self, server: socket.socket) -> None:
        while self.server is server:
            try:
                client, _ = server.accept()
            except OSError:
                return
            upstream = socket.create_connection(self.target, 5)
            upstream.settimeout(None)  # nobody speaks for a while: that is no reason to hang up
            self.pairs += [client, upstream]
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
