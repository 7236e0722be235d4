"""A steady load for the alarm benchmark: `bench._mqtt_steady HOST PORT PREFIX RATE SITE/SENSOR=VALUE…`.

It writes packets itself: a general client would take half a core for this, of which there are two.
"""

from __future__ import annotations

import socket
import sys
import time
from datetime import UTC, datetime

from coldgrid.adapters import mqtt_packets as packets

TICK_S = 0.005
PACKET_IDS = 60_000


def main() -> None:
    """Publish at the rate until killed; the sensors take turns, each with its own present time."""
    host, port, prefix, rate, *topics = sys.argv[1:]
    sock = socket.create_connection((host, int(port)), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(packets.connect(f"{prefix}-load", keepalive_s=60, keep_session=False))
    assert sock.recv(4)[3] == 0, "the broker refused the load"
    sock.setblocking(False)
    told = [f"{prefix}/{topic}".partition("=") for topic in topics]
    each_tick, owed, turn = int(rate) * TICK_S, 0.0, 0
    next_s = time.perf_counter()
    while True:
        owed += each_tick
        now = datetime.now(UTC).isoformat()
        due = range(turn, turn + int(owed))
        packed = [_packet(told[number % len(told)], now, number) for number in due]
        turn, owed = due.stop, owed - len(due)
        sock.setblocking(True)
        sock.sendall(b"".join(packed))
        sock.setblocking(False)
        _forget_answers(sock)
        next_s += TICK_S
        time.sleep(max(0.0, next_s - time.perf_counter()))


def _packet(told: tuple[str, str, str], now: str, number: int) -> bytes:
    topic, _, value = told
    body = f'{{"at":"{now}","value":{value}}}'.encode()
    return packets.publish(topic, body, number % PACKET_IDS + 1)


def _forget_answers(sock: socket.socket) -> None:
    """Take what the broker acknowledged; nobody waits for it."""
    try:
        while sock.recv(65_536):
            pass
    except BlockingIOError:
        return


if __name__ == "__main__":
    main()
