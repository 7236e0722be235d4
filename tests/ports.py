"""Ports for the servers that tests start: below those that a system gives to outgoing connections.

Each process of pytest holds a block of them by a lock until it ends, so that folders, workers and whole runs
side by side never meet on one, and a server that a test kills finds its own port free again.
"""

from __future__ import annotations

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

FIRST, LAST, BLOCK = 20_000, 32_000, 100
_held: list[IO[str]] = []


def _blocks() -> Iterator[int]:
    for first in range(FIRST, LAST, BLOCK):
        lock = (Path(tempfile.gettempdir()) / f"coldgrid-test-ports-{first}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held.append(lock)
        yield from range(first, first + BLOCK)


_numbers = _blocks()


def free_port() -> int:
    """Return a port that nobody listens on and that no other test will be given."""
    for port in _numbers:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port is left between {FIRST} and {LAST}")


def free_ports(count: int) -> list[int]:
    """Return so many of them."""
    return [free_port() for _ in range(count)]
