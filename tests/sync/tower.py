"""A tower's port for nodes on a loopback socket, with a clock that only tests move."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import REGISTRY

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import AllowAll, Principal
from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.sync.authority import Peer
from coldgrid.sync.gate import Means
from coldgrid.sync.node_port import NodePort, PortSettings
from coldgrid.sync.node_words import IssueCode, RevokeNode
from coldgrid.sync.places import Limits
from coldgrid.sync.tls_client import Joined, join
from tests.conftest import Kernel
from tests.network.master import put_in_force, site, small_network

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ADMIN = Principal("ada", frozenset({"admin"}))
QUICK = Limits(handshake_s=5.0, head_s=3.0, body_pause_s=1.0, body_s=3.0)


class SystemClock:
    """The system clock of tower and nodes, moved by hand."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class Hold:
    """The post has nothing to tell yet."""

    hold_ms: int


class Echo:
    """A post that answers with who asked and what, and holds what begins with `hold` until there is news."""

    def __init__(self) -> None:
        self.heard: list[tuple[Peer, bytes]] = []
        self.news = threading.Event()

    def on_commit(self, recorded: Sequence[tuple[Any, Any]]) -> list[str]:
        return []

    def answer(self, peer: Peer, frame: bytes, *, final: bool = False) -> bytes | Hold:
        self.heard.append((peer, frame))
        if frame.startswith(b"fault"):
            raise RuntimeError("the post fails")
        if frame.startswith(b"hold") and not self.news.is_set() and not final:
            return Hold(300 if frame == b"hold shortly" else 30_000)
        return f"{peer.site_id} {peer.node_id} ".encode() + frame


@dataclass
class TowerPort:
    """What the tests look at."""

    kernel: Kernel
    service: DeciderService
    port: NodePort
    clock: SystemClock
    post: Echo
    entropy: Any

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port.server.address[1]}"

    def do(self, command: Command, principal: Principal = ADMIN) -> Any:
        return self.service.submit(command, principal).result(timeout=30).result

    def code(self, site_id: str = "ATL1", node_id: str = "") -> str:
        """Issue a code, and return it as a person types it."""
        code = self.port.draw_code()
        self.do(
            IssueCode(
                code_id=self.port.draw_id(),
                site_id=site_id,
                secret_hash=code.secret_hash,
                at=self.clock.at,
                node_id=node_id,
            )
        )
        return code.encode()

    def join(self, folder: Path, code: str = "", **more: Any) -> Joined:
        return join(self.url, code or self.code(), folder, self.clock.at, self.entropy, **more)

    def revoke(self, node_id: str) -> None:
        self.do(RevokeNode(node_id=node_id, reason="stolen"))

    def settle(self) -> None:
        """Wait until everything submitted so far was carried out."""
        self.service.call(lambda decider: None).result(timeout=30)

    def events(self) -> list[str]:
        """Return the types of everything recorded about nodes, in order."""
        self.settle()
        entries: list[str] = self.service.call(
            lambda decider: [type(event).__struct_config__.tag for _, event in self.kernel.events()]
        ).result(timeout=30)
        return [tag for tag in entries if tag.startswith("sync.")]


def refused(reason: str) -> float:
    """Return how often the port refused for a reason, in this process."""
    return REGISTRY.get_sample_value("coldgrid_sync_port_refused_total", {"reason": reason}) or 0.0


@contextmanager
def served(
    kernel: Kernel,
    folder: Path,
    limits: Limits = QUICK,
    network: str = "cold.example",
    *,
    number: int = 0,
    put_back: bool = False,
) -> Iterator[TowerPort]:
    """Serve the port over a kernel; two sites are known, ATL1 and CLT1. `number`: of the port; 0: any."""
    kernel.host.authorizer = AllowAll()
    if not put_back:
        small_network(kernel)
        put_in_force(kernel, site("CLT1", lat=35.2, lon=-80.9), change_id="change-clt")
    kernel.host.authorizer = CedarAuthorizer()
    clock, post, entropy = SystemClock(), Echo(), Random(str(folder)).randbytes
    service = DeciderService(kernel.decider, lambda due: 3_600.0, lambda: False)
    service.start()
    settings = PortSettings(
        network=network,
        authority=folder / "tower" / "authority.pem",
        host="127.0.0.1",
        port=number,
        url="",
        hosts=("127.0.0.1",),
        limits=limits,
    )

    @contextmanager
    def reader() -> Iterator[Any]:
        with kernel.database.reader() as connection:
            yield Reads(connection)

    means = Means(reader, service.submit, clock.now, entropy)
    port = NodePort(settings, means, lambda: [TOWER_KEY], post)
    kernel.decider.listeners.append(port.on_commit)
    port.start()
    try:
        yield TowerPort(kernel, service, port, clock, post, entropy)
    finally:
        port.stop()
        service.stop()


TOWER_KEY = "coldgrid+0fa5c4be+AWwaC+TnYQr8YD1mLN2gVwVIHPuB6KXZkn3qR7C3ql7X"
