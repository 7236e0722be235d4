"""The port for nodes: what a request of an admitted node costs the tower, and what a handshake costs."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bench.result import Result
from coldgrid.sync import identity_files
from coldgrid.sync.tls_client import TowerLink
from coldgrid.sync.trusting import pinned_context

REQUESTS, HANDSHAKES, FRAMES = 1_500, 200, 30
FRAME_BYTES = 1_000_000


def run() -> list[Result]:
    """Measure processor time of the server's process, and answers as a node sees them."""
    server = subprocess.Popen(
        [sys.executable, "-m", "bench._node_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    source, sink = server.stdout, server.stdin

    def ask(what: str) -> float:
        sink.write(f"{what}\n")
        sink.flush()
        return float(source.readline())

    try:
        url, folder = source.readline().split()
        return _measured(url, Path(folder), ask)
    finally:
        sink.close()
        server.wait(timeout=30)


def _measured(url: str, folder: Path, ask: Callable[[str], float]) -> list[Result]:
    link = TowerLink(folder, identity_files.begin_run(folder, random.Random(0).randbytes))
    for _ in range(100):
        link.post(b"warm")
    took_s: list[float] = []

    def once() -> None:
        began_s = time.perf_counter()
        link.post(bytes(200))
        took_s.append(time.perf_counter() - began_s)

    request_s = _cost(once, REQUESTS, ask)
    took_s.sort()
    frame = random.Random(1).randbytes(FRAME_BYTES)
    frame_s = _cost(lambda: link.post(frame), FRAMES, ask)
    where = urlsplit(url)
    context = pinned_context(link.identity.tower.authority, folder / "node.pem")

    def handshake() -> None:
        with socket.create_connection((where.hostname or "", where.port or 0)) as raw:
            context.wrap_socket(raw).close()

    handshake_s = _cost(handshake, HANDSHAKES, ask)
    admit_s = ask("admit")
    link.close()
    return [
        Result("nodes' port: admission alone", admit_s * 1e6, "µs", "≤ 100", ok=admit_s <= 100e-6),
        Result(
            "nodes' port: a request, tower's processor",
            request_s * 1e6,
            "µs",
            "≤ 1,000",
            ok=request_s <= 1e-3,
        ),
        Result(
            "nodes' port: a request, answered (p50)",
            took_s[REQUESTS // 2] * 1e3,
            "ms",
            "≤ 5",
            ok=took_s[REQUESTS // 2] <= 5e-3,
        ),
        Result("nodes' port: 1 MB there and back, tower's processor", frame_s * 1e3, "ms", "", ok=True),
        Result(
            "nodes' port: a handshake, tower's processor",
            handshake_s * 1e3,
            "ms",
            "≤ 5",
            ok=handshake_s <= 5e-3,
        ),
    ]


def _cost(work: Callable[[], object], times: int, ask: Callable[[str], float]) -> float:
    """Return the server's processor time for one run of `work`, in seconds."""
    before_s = ask("cpu")
    for _ in range(times):
        work()
    return (ask("cpu") - before_s) / times
