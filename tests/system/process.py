"""The tower as its operator starts it: a process of its own, on a seeded database, behind a port."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from coldgrid.access.sessions import OpenSession
from coldgrid.access.tokens import hash_token
from coldgrid.kernel.database import open_database
from tests.conftest import Kernel
from tests.ports import free_port
from tests.starting import Process, start
from tests.system.served import TOKEN, seed

READY_WITHIN_S = 60
SESSION = "a-session-of-the-tests"
MACHINE = {"authorization": f"Bearer {TOKEN}"}
ADMIN = {"cookie": f"coldgrid_session={SESSION}", "accept": "text/html"}


@contextmanager
def tower_process(
    database: Path, keys: Path, prepare: Callable[[Kernel], None] = lambda kernel: None, /, **settings: str
) -> Iterator[httpx.Client]:
    """Seed a database, serve it from a process of its own, and yield a client.

    Its requests go with the headers of a `MACHINE` or of an `ADMIN` who is signed in. `prepare` adds to what
    is seeded."""
    kernel = Kernel(open_database(str(database)))
    seed(kernel)
    prepare(kernel)
    now = datetime.now(UTC)
    opening = OpenSession(
        token_hash=hash_token(SESSION), person_id="ben", at=now, idle_since=now, opened_before=now
    )
    kernel.do(opening)
    kernel.close()
    tower = Tower(database, keys, settings)
    try:
        yield tower.start()
    finally:
        tower.kill()
        tower.client.close()


class Tower:
    """A tower that is started, killed and started again on one database and one port."""

    def __init__(self, database: Path, keys: Path, settings: Mapping[str, str]) -> None:
        self.port = free_port()
        self.environment = os.environ | {
            "COLDGRID_DATABASE": str(database),
            "COLDGRID_SIGNING_KEY": str(keys / "signing.key"),
            "COLDGRID_PORT": str(self.port),
            **{f"COLDGRID_{name.upper()}": value for name, value in settings.items()},
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def start(self) -> httpx.Client:
        """Start it and wait until it answers."""
        with Path(os.devnull).open("w") as nowhere:
            self.process = start(["serve"], self.environment, nowhere, nowhere)
        try:
            _wait_until_ready(self.client, self.process)
        except BaseException:
            self.kill()
            raise
        return self.client

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait(timeout=10)


def _wait_until_ready(client: httpx.Client, process: Process) -> None:
    until_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until_s:
        assert process.poll() is None, "the server ended by itself"
        try:
            if client.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the server never answered")
