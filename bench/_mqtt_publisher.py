"""A fast publisher for the MQTT benchmark.

    python -m bench._mqtt_publisher HOST PORT NAME PREFIX FIRST_SENSOR SENSORS MESSAGES

Each of its links keeps 20 messages unacknowledged, which is what a broker with its default settings allows.
It prepares all packets, says so, waits for a line, publishes, and ends when all are acknowledged.
"""

from __future__ import annotations

import selectors
import socket
import sys

from bench._cold_world import SITE, START_US, sensor_ids
from coldgrid.adapters import mqtt_packets as packets

LINKS = 8
WINDOW = 20
STEP_MS = 1_000


class Outlet:
    """One link and the packets that it still has to send."""

    def __init__(self, sock: socket.socket, waiting: list[bytes]) -> None:
        self.sock = sock
        self.waiting = waiting
        self.sent = self.acknowledged = 0

    def push(self) -> None:
        """Send what the window allows."""
        end = min(len(self.waiting), self.acknowledged + WINDOW)
        if end > self.sent:
            self.sock.sendall(b"".join(self.waiting[self.sent : end]))
            self.sent = end

    def pull(self) -> None:
        """Take acknowledgements."""
        data = self.sock.recv(4096)
        assert data, "the broker closed the publisher's link"
        self.acknowledged += len(data) // 4


def main() -> None:
    """Publish `count` readings of sensors from `first` on, one message each."""
    host, port, name, prefix = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    first, sensors, count = int(sys.argv[5]), int(sys.argv[6]), int(sys.argv[7])
    outlets = []
    names = sensor_ids(first + sensors)[first:]
    for link in range(LINKS):
        sock = socket.create_connection((host, port), 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(packets.connect(f"{name}-{link}", keepalive_s=60, keep_session=False))
        assert sock.recv(4)[3] == 0, "the broker refused the publisher"
        waiting = []
        # A sensor's readings all go over one link, so that they arrive in order.
        own = names[link::LINKS]
        for number in range(count // LINKS):
            at_ms = START_US // 1_000 + (number // len(own)) * STEP_MS
            payload = b'{"at":%d,"value":%.1f}' % (at_ms, -21.5 + number % 7 / 10)
            topic = f"{prefix}/{SITE}/{own[number % len(own)]}"
            waiting.append(packets.publish(topic, payload, number % 60_000 + 1))
        outlets.append(Outlet(sock, waiting))
    print("ready", flush=True)
    sys.stdin.readline()
    selector = selectors.DefaultSelector()
    for outlet in outlets:
        selector.register(outlet.sock, selectors.EVENT_READ, outlet)
        outlet.push()
    while any(outlet.acknowledged < len(outlet.waiting) for outlet in outlets):
        for key, _ in selector.select(10):
            key.data.pull()
            key.data.push()


if __name__ == "__main__":
    main()
