"""A fleet: towers as their operator starts them on one PostgreSQL schema, and a ledger kept outside."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psycopg

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.roles import Role
from coldgrid.access.sessions import OpenSession
from coldgrid.access.tokens import hash_token
from coldgrid.kernel import log, rebuild
from coldgrid.kernel.database import open_database
from coldgrid.kernel.postgres_lease import Lease, look
from coldgrid.orchestration.incident_rules import IncidentNoted
from tests.conftest import POSTGRES, Kernel, service_missing
from tests.patience import eventually
from tests.ports import free_port
from tests.starting import start
from tests.system.served import seed

READY_WITHIN_S = 90.0
# A machine that is measured may stand still for a minute.
PATIENCE_S = 90.0
TOKEN = "a-token-of-the-fleet"
SESSION = "a-session-of-the-fleet"
MACHINE = {"authorization": f"Bearer {TOKEN}"}
ADMIN = {"cookie": f"coldgrid_session={SESSION}", "accept": "text/html"}
NOTE = "/api/v1/commands/orchestration.note_incident"


class Tower:
    """One worker: a process with a port of its own."""

    def __init__(self, url: str, keys: Path, *arguments: str, **settings: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        inherited = {name: text for name, text in os.environ.items() if "_BENCH_" not in name}
        environment = inherited | {
            "COLDGRID_DATABASE": url,
            "COLDGRID_SIGNING_KEY": str(keys / "signing.key"),
            "COLDGRID_AUTHORITY_KEY": str(keys / "authority.pem"),
            "COLDGRID_SYNC_PORT": "0",
            "COLDGRID_PORT": str(self.port),
            "COLDGRID_LOG_LEVEL": "warning",
            **{f"COLDGRID_{name.upper()}": value for name, value in settings.items()},
        }
        keys.mkdir(parents=True, exist_ok=True)
        self.told = keys / f"{self.port}.log"
        with self.told.open("wb") as out:
            self.process = start(["tower", *arguments], environment, out, out)

    def client(self, timeout_s: float = 40.0, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=timeout_s, headers=headers or MACHINE)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)

    def standing(self) -> dict[str, Any]:
        """What `/readyz` says; empty where nothing answers."""
        try:
            found: dict[str, Any] = httpx.get(f"{self.address}/readyz", timeout=2).json()
        except (httpx.TransportError, ValueError):
            return {}
        return found

    def ready(self) -> bool:
        assert self.process.poll() is None, self.told.read_text()[-3000:]
        return self.standing().get("status") == "ready"


class Fleet:
    """Towers on one schema."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.towers: list[Tower] = []

    def start(self, count: int = 1, **settings: str) -> list[Tower]:
        """Start towers at once, and wait until each is ready."""
        begun = [Tower(self.url, self.folder / "keys", **settings) for _ in range(count)]
        self.towers += begun
        for tower in begun:
            eventually(tower.ready, "a tower's readiness", READY_WITHIN_S)
        return begun

    def lease(self) -> Lease:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return look(connection)

    def leader(self) -> Tower:
        """The tower that decides now."""

        def found() -> Tower | None:
            lease = self.lease()
            pid = lease.holder.split("-")[-2] if lease.held and lease.certificate else ""
            return next((tower for tower in self.towers if str(tower.process.pid) == pid), None)

        leads: Tower = eventually(found, "a leader")
        return leads

    def followers(self) -> list[Tower]:
        leader = self.leader()
        return [tower for tower in self.towers if tower is not leader and tower.process.poll() is None]

    def stop(self) -> None:
        for tower in self.towers:
            if tower.process.poll() is None:
                tower.signal(signal.SIGCONT)
                tower.kill()

    def audit(self, ledger: Ledger) -> None:
        """Hold the log against the ledger: what was acknowledged is there once, nothing is there twice."""
        self.stop()
        kernel = Kernel(open_database(self.url))
        try:
            kernel.decider.settle()
            entries = list(log.read_all(kernel.reader()))
            assert [entry.position for entry in entries] == list(range(len(entries))), "a position is missing"
            noted = Counter(
                event.text for event in map(log.decode_entry, entries) if isinstance(event, IncidentNoted)
            )
            twice = [text for text, count in noted.items() if count > 1]
            assert not twice, f"done twice: {twice[:5]}"
            lost = [text for text in ledger.acknowledged if text not in noted]
            assert not lost, f"acknowledged and lost: {lost[:5]}"
            assert set(noted) <= set(ledger.sent), "nobody asked for this"
            assert rebuild.differences(kernel.decider) == []
        finally:
            kernel.close()


class Ledger:
    """Callers that note to an incident, and what they were told; kept by the test's own process."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}
        self.acknowledged: dict[str, float] = {}
        self.refused: list[tuple[str, int, str]] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def call(self, towers: Callable[[], list[Tower]], callers: int, *, keyed: bool) -> None:
        """Let callers note at these towers in turns, until `stop`. Keyed ones ask until answered."""
        for number in range(callers):
            name = f"{'keyed' if keyed else 'plain'}{len(self._threads)}.{number}"
            thread = threading.Thread(target=self._caller, args=[name, towers, keyed], daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=PATIENCE_S)
            assert not thread.is_alive(), "a caller still waits"

    def take_in(self, other: Ledger) -> None:
        """Stop both, and keep what the other was told as well."""
        self.stop()
        other.stop()
        self.sent |= other.sent
        self.acknowledged |= other.acknowledged

    def flows(self, since_s: float, count: int = 20) -> bool:
        """Whether so much was acknowledged since an instant."""
        return sum(at_s > since_s for at_s in list(self.acknowledged.values())) >= count

    def gap_s(self, since_s: float) -> float:
        """How long nothing was acknowledged after an instant."""
        return min(at_s for at_s in self.acknowledged.values() if at_s > since_s + 0.05) - since_s

    def _caller(self, name: str, towers: Callable[[], list[Tower]], keyed: bool) -> None:
        step = 0
        with httpx.Client(timeout=60, headers=MACHINE) as client:
            while not self._stopping.is_set():
                step += 1
                text = f"{name}-{step}"
                self.sent[text] = time.monotonic()
                while not self._note(client, towers, text, keyed, step) and keyed:
                    time.sleep(0.05)

    def _note(
        self, client: httpx.Client, towers: Callable[[], list[Tower]], text: str, keyed: bool, step: int
    ) -> bool:
        serving = towers()
        address = serving[step % len(serving)].address
        headers = {"idempotency-key": text} if keyed else {}
        body = {"site_id": "ATL1", "incident_id": "i1", "text": text}
        try:
            answer = client.post(address + NOTE, json=body, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            self.refused.append((text, answer.status_code, answer.text[:300]))
            return False
        self.acknowledged[text] = time.monotonic()
        return True


_schemas: list[str] = []


@contextmanager
def fleet(folder: Path, server: str = POSTGRES) -> Iterator[Fleet]:
    """Seed a schema of its own, and yield a fleet without towers."""
    schema = f"coldgrid_c_fleet_{os.getpid()}_{len(_schemas)}"
    _schemas.append(schema)
    try:
        with psycopg.connect(server, autocommit=True, connect_timeout=3) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {schema}".encode())
    except psycopg.OperationalError as error:
        service_missing(f"PostgreSQL ({error})")
    mark = "&" if "?" in server else "?"
    url = f"{server}{mark}options=-csearch_path%3D{schema}"
    made = Fleet(url, folder)
    try:
        _seed(url)
        yield made
    finally:
        made.stop()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())


def _seed(url: str) -> None:
    kernel = Kernel(open_database(url))
    try:
        seed(kernel)
        now = datetime.now(UTC)
        kernel.do(
            OpenSession(
                token_hash=hash_token(SESSION), person_id="ben", at=now, idle_since=now, opened_before=now
            )
        )
        token_hash = sha256(TOKEN.encode()).hexdigest()
        roles = [Role.INTEGRATOR, Role.TECHNICIAN]
        kernel.do(IssueToken(token_id="fleet", label="fleet", token_hash=token_hash, roles=roles))
    finally:
        kernel.close()
