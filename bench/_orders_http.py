"""Orders over HTTP with 32 connections, against an empty JSON POST on the same server.

The server runs in a process of its own; the client's one thread speaks HTTP/1.1 on raw sockets.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec

from bench._orders_world import order
from bench.result import Result

CONNECTIONS = 32
ROUNDS = 5
SECONDS = 1.5
START_S = 30.0


def measure(folder: Path) -> list[Result]:
    """Measure."""
    port = _free_port()
    command = [sys.executable, "-m", "bench._orders_server", str(port), str(folder / "http.db")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        empty_s, orders_s = asyncio.run(_measure(port))
    finally:
        server.terminate()
        server.wait(timeout=15)
    ratio = statistics.median(a / b for a, b in zip(orders_s, empty_s, strict=True))
    told = f"HTTP, {CONNECTIONS} connections"
    return [
        Result(
            f"{told}, empty JSON POST", round(statistics.median(empty_s)), "1/s", "the yardstick", ok=True
        ),
        Result(f"{told}, orders", round(statistics.median(orders_s)), "orders/s", "", ok=True),
        Result(f"{told}, orders of the yardstick", round(ratio, 2), "×", "≥ 0.35", ok=ratio >= 0.35),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("the server did not start")


async def _measure(port: int) -> tuple[list[float], list[float]]:
    numbers = count()
    empty_s, orders_s = [], []
    for turn in range(ROUNDS + 1):
        empty = await _load(port, lambda: _post("/api/v1/empty", b"{}"))
        orders = await _load(port, lambda: _post("/api/v1/orders", msgspec.json.encode(order(next(numbers)))))
        if turn:  # the first round fills caches
            empty_s.append(empty)
            orders_s.append(orders)
    return empty_s, orders_s


def _post(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _load(port: int, request: Callable[[], bytes]) -> float:
    """Keep every connection busy; return the requests answered per second."""
    stop_at = time.perf_counter() + SECONDS
    done = await asyncio.gather(*(_connection(port, request, stop_at) for _ in range(CONNECTIONS)))
    return sum(done) / SECONDS


async def _connection(port: int, request: Callable[[], bytes], stop_at: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    done = 0
    while time.perf_counter() < stop_at:
        writer.write(request())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        done += 1
    writer.close()
    return done
