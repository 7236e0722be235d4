"""Every page with 1,000 sites × 50 sensors registered: what a reader waits for, background work included.

The tower serves from this process, as it always does, so the overview's looks at the whole network
compete with the pages. A page is asked for as its reader would, signed in, over loopback HTTP.
"""

from __future__ import annotations

import asyncio
import re
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server

from bench._big_world import BigWorld, big_world
from bench.result import Result
from coldgrid.kernel.logs import configure_logs
from coldgrid.tower.demo.people import PASSWORD

TARGET_MS = 100.0
WARM_UP = 2
ROUNDS = 9
# Beside the pages of the navigation, the first of each kind that they link to.
FOLLOWED = (
    r"/incidents/incident-[^/?#\"]+",
    r"/sites/ATL1",
    r"/decisions/[^/?#\"]+",
    r"/orders/[^/?#\"]+",
    r"/stock/sites/ATL1",
    r"/network/sites/[^/?#\"]+",
    r"/catalog/[^/?#\"]+",
    r"/playbooks/[^/?#\"]+",
    r"/quality/excursions/[^/?#\"]+",
    r"/evidence/logs/[^?#\"]+",
)


def run() -> list[Result]:
    """Measure the pages; one row for each, the slowest first, and the worst of all on top."""
    configure_logs("error", json=False)
    with tempfile.TemporaryDirectory() as folder:
        world = big_world(Path(folder))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(
            world.app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False
        )
        loop = asyncio.new_event_loop()
        serving = threading.Thread(target=loop.run_until_complete, args=(server.serve(),), daemon=True)
        serving.start()
        try:
            return _measured(world, f"http://127.0.0.1:{port}")
        finally:
            world.app.state.hub.stop()
            loop.call_soon_threadsafe(server.stop)
            serving.join(timeout=15)


def _measured(world: BigWorld, address: str) -> list[Result]:
    with httpx.Client(base_url=address, follow_redirects=True, timeout=60) as client:
        _sign_in(client)
        medians_ms = {path: _median_ms(client, path) for path in _pages(client)}
    ordered = sorted(medians_ms.items(), key=lambda item: -item[1])
    told = f"{world.sites:,} sites, {world.sensors:,} sensors"
    worst = Result(f"slowest page, {told}", ordered[0][1], "ms", "< 100 ms", ok=ordered[0][1] < TARGET_MS)
    return [worst] + [
        Result(f"page {_shape(path)}", took_ms, "ms", "< 100 ms", ok=took_ms < TARGET_MS)
        for path, took_ms in ordered
    ]


def _sign_in(client: httpx.Client) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            form = client.get("/login").text
            break
        except httpx.ConnectError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))
    client.post("/login", data={**hidden, "login": "dana", "password": PASSWORD}).raise_for_status()


def _pages(client: httpx.Client) -> Iterator[str]:
    """The pages of the navigation, then the first of each kind that these link to."""
    home = client.get("/").text
    rail = list(dict.fromkeys(re.findall(r'<a href="(/[a-z/]*)"', home)))
    yield from rail
    linked = "\n".join(client.get(path).text for path in rail)
    orders = re.findall(r'href="(/orders/[^"?/]+)"', linked)
    linked += client.get(orders[0]).text + client.get("/decisions?show=made").text
    for wanted in FOLLOWED:
        found = re.search(rf'href="({wanted})"', linked)
        if found:
            yield found.group(1)


def _median_ms(client: httpx.Client, path: str) -> float:
    took = []
    for n in range(WARM_UP + ROUNDS):
        began_s = time.perf_counter()
        client.get(path).raise_for_status()
        if n >= WARM_UP:
            took.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(took)


def _shape(path: str) -> str:
    return re.sub(r"/[^/]*[0-9][^/]*", "/…", path)
