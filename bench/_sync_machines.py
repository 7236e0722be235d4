"""A tower and a node of the demo's network as processes on loopback, and the counted line between them."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from coldgrid.adapters.gateway import Gateway
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reads
from coldgrid.tower.demo import network
from coldgrid.tower.demo.machines import Machine
from coldgrid.tower.world.climate import Climate
from coldgrid.tower.world.places import Places

HOST, SITE = "127.0.0.1", "ATL1"
TOWER_PORT, SYNC_PORT, NODE_PORT = (
    int(port) for port in os.environ.get("COLDGRID_BENCH_SYNC_PORTS", "8560,8561,8562").split(",")
)
# Where the tower keeps its log instead of a file of its own: an empty database of a PostgreSQL server.
TOWER_DATABASE = os.environ.get("COLDGRID_BENCH_TOWER_DATABASE", "")
# IPv4 and TCP with time stamps, which is what a phone's link carries of a segment besides its bytes.
SEGMENT_HEAD_BYTES = 52
# struct tcp_info: bytes_acked, bytes_received, segs_out, segs_in
_TCP_INFO = struct.Struct("<120xQQII")


class Passed(NamedTuple):
    """What went over a line, both ways: bytes of TLS, and segments."""

    tls_bytes: int
    segments: int

    @property
    def wire_bytes(self) -> int:
        """With the headers of TCP and IP."""
        return self.tls_bytes + SEGMENT_HEAD_BYTES * self.segments


Seed = Callable[[Path, datetime], Places]


class CountedLine:
    """Passes TCP on to the tower, and asks the kernel what each of the node's connections took."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._listener = socket.create_server((HOST, 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closed = Passed(0, 0)
        self.is_up = True
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def passed(self) -> Passed:
        """What went through so far."""
        with self._lock:
            all_told = [self._closed, *(_told(sock) for sock in self._open)]
        return Passed(sum(one.tls_bytes for one in all_told), sum(one.segments for one in all_told))

    def close(self) -> None:
        """Let nobody through any more."""
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self.is_up:
                    near.close()
                    continue
                threading.Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        far = socket.create_connection(self.target)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(near)
        with suppress(OSError), selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            _pump(ready)
        with self._lock:
            self._open.discard(near)
            last = _told(near)
            self._closed = Passed(
                self._closed.tls_bytes + last.tls_bytes, self._closed.segments + last.segments
            )
        near.close()
        far.close()


def _pump(ready: selectors.DefaultSelector) -> None:
    while True:
        for key, _ in ready.select():
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(65_536)
            if not data:
                return
            key.data.sendall(data)


def _told(sock: socket.socket) -> Passed:
    told = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    acked, received, segments_out, segments_in = told
    return Passed(acked + received, segments_out + segments_in)


class Pair:
    """The tower, one site's node, the line between them, and the site's gateway and weather."""

    def __init__(self, folder: Path, settings: dict[str, str], seed: Seed) -> None:
        self.folder = folder
        self.tower_db = folder / "tower" / "tower.db"
        self.tower_db.parent.mkdir(parents=True)
        self.node_folder = folder / "node"
        tower = {
            "COLDGRID_DATABASE": TOWER_DATABASE or str(self.tower_db),
            "COLDGRID_SIGNING_KEY": str(folder / "tower" / "signing.key"),
            "COLDGRID_AUTHORITY_KEY": str(folder / "tower" / "authority.pem"),
            "COLDGRID_PORT": str(TOWER_PORT),
            "COLDGRID_SYNC_PORT": str(SYNC_PORT),
        }
        self.tower = Machine("tower", ["tower"], tower, folder / "tower")
        arguments = ["node", "--data", str(self.node_folder)]
        own = {"COLDGRID_PORT": str(NODE_PORT)} | settings
        self.node = Machine("node", arguments, own, self.node_folder)
        self.node_address = f"http://{HOST}:{NODE_PORT}"
        self.tower_address = f"http://{HOST}:{TOWER_PORT}"
        self.gateway = Gateway(self.node_address, network.token_of(SITE))
        self.line = CountedLine((HOST, SYNC_PORT))
        self.began = datetime.now(UTC)
        self.places = seed(self.tower_db, self.began)
        self.climate = Climate(self.places.zones, self.places.sensors, [])

    def start(self) -> None:
        """Serve both."""
        self.join()
        self.node.start(self.node_address)

    def join(self) -> None:
        """Serve the tower, and let the node join over the counted line."""
        self.tower.start(self.tower_address)
        code = self.tower.do("tower", "code", SITE)
        tower = f"https://{HOST}:{self.line.port}"
        self.node.do("node", "join", tower, "--code", code, "--data", str(self.node_folder))

    def read(self) -> str:
        """Send one reading of every sensor to the node; return why it was not taken, or ""."""
        at = datetime.now(UTC)
        return self.gateway.send(self.climate.sample(at, (at - self.began) / timedelta(minutes=1)))

    def tower_end(self) -> tuple[int, int]:
        """Where the site's log ends at the tower: epoch and size."""
        with closing(open_database(str(self.tower_db))) as database, database.reader() as connection:
            return log.heads(Reads(connection)).get(SITE, (0, 0))

    def tower_size(self) -> int:
        """How much of the site's log the tower has."""
        return self.tower_end()[1]

    def end(self) -> None:
        """End the processes."""
        self.node.kill()
        self.tower.kill()
        self.line.close()


def demo(database: Path, began: datetime) -> Places:
    """Seed the demo's network."""
    return network.seed(database, began)[SITE]


@contextmanager
def paired(seed: Seed = demo, **settings: str) -> Iterator[Pair]:
    """Yield a pair that nobody started; `settings` are the node's, without COLDGRID_."""
    with tempfile.TemporaryDirectory() as folder:
        told = {f"COLDGRID_{name.upper()}": value for name, value in settings.items()}
        pair = Pair(Path(folder), told, seed)
        try:
            yield pair
        finally:
            pair.end()


class Spent(NamedTuple):
    """What a process spent: processor time, and how long its threads were ready but had no core, seconds."""

    work_s: float
    waited_s: float

    def since(self, start: Spent) -> Spent:
        """Return what was spent meanwhile."""
        return Spent(self.work_s - start.work_s, max(0.0, self.waited_s - start.waited_s))


def spent(machine: Machine) -> Spent:
    """Ask the kernel what a machine's process has spent so far."""
    process, waited_ns = Path(f"/proc/{pid_of(machine)}"), 0
    for task in (process / "task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            waited_ns += int((task / "schedstat").read_text().split()[1])
    # Of the whole process: what threads did that have ended since must not be taken off again.
    user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
    return Spent((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), waited_ns / 1e9)


def pid_of(machine: Machine) -> int:
    """Return a machine's process id."""
    assert machine.pid is not None, f"{machine.name} does not run"
    return machine.pid
