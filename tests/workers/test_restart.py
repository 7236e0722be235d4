"""PostgreSQL itself restarts and crashes under load, and a machine's workers die: work goes on."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from coldgrid.kernel.postgres_lease import workers
from coldgrid.tower.workers.lookout import told_of
from tests.conftest import service_missing
from tests.patience import eventually
from tests.ports import free_port
from tests.workers.fleet import Fleet, Ledger, Tower, fleet

pytestmark = pytest.mark.timeout(600)


class Server:
    """A PostgreSQL server of the test's own, durable as servers are."""

    def __init__(self) -> None:
        found = [shutil.which("initdb") or "", *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))]
        programs = [Path(name).parent for name in found if name]
        if not programs:
            service_missing("a PostgreSQL server to restart")
        self._programs = programs[-1]
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self._folder = tempfile.mkdtemp(prefix="coldgrid-pg-")
        if self._user:
            shutil.chown(self._folder, self._user)
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-A", "trust", "-U", "postgres", "-N")
        self.control("start")

    def control(self, *words: str) -> None:
        """Let it start, stop or restart."""
        listen = f"-p {self._port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", *words, "-w", "-o", listen, "-l", f"{self._folder}/log")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", f"{self._folder}/data", *arguments]
        out = subprocess.DEVNULL
        subprocess.run(command, check=True, user=self._user, stdout=out, stderr=out, cwd="/", timeout=120)

    def end(self) -> None:
        self.control("stop", "-m", "immediate")
        shutil.rmtree(self._folder)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    try:
        yield made
    finally:
        made.end()


def test_a_server_that_restarts_and_one_that_crashes_lose_nothing(server: Server, tmp_path: Path) -> None:
    with fleet(tmp_path, server.url) as towers:
        towers.start(2)
        term = towers.lease().term
        ledger = Ledger()
        ledger.call(lambda: towers.towers, 4, keyed=True)
        ledger.call(lambda: towers.towers, 4, keyed=False)
        began_s = time.monotonic()
        eventually(lambda: ledger.flows(began_s, 100), "a flow of commands")
        for how in ("fast", "immediate"):
            server.control("restart", "-m", how)
            restarted_s = time.monotonic()
            eventually(partial(ledger.flows, restarted_s), f"commands after a restart, {how}")
        ledger.stop()
        assert towers.lease().term >= term + 2
        towers.audit(ledger)


# --- Several workers of one machine -----------------------------------------------


def pids(towers: Fleet) -> dict[int, str]:
    """The workers that beat now: their process and role."""
    with psycopg.connect(towers.url, autocommit=True) as connection:
        return {told_of(one).pid: told_of(one).role for one in workers(connection) if one.silent_s < 1}


def whole(towers: Fleet, count: int, without: int = 0) -> dict[int, str]:
    found = pids(towers)
    fits = len(found) == count and without not in found and sorted(found.values())[-1] == "leader"
    return found if fits else {}


def test_a_machines_workers_share_one_address_and_are_replaced_when_they_die(tmp_path: Path) -> None:
    with fleet(tmp_path) as towers:
        pool = Tower(towers.url, tmp_path / "keys", "--workers", "3")
        try:
            eventually(pool.ready, "the pool's readiness")
            first = eventually(lambda: whole(towers, 3), "three workers")
            towers.towers = [pool]
            ledger = Ledger()
            ledger.call(lambda: [pool], 6, keyed=True)
            began_s = time.monotonic()
            eventually(lambda: ledger.flows(began_s, 50), "a flow of commands")
            leader = next(pid for pid, role in first.items() if role == "leader")
            os.kill(leader, signal.SIGKILL)
            second = eventually(
                lambda: whole(towers, 3, leader), "a leader, and a worker in the dead one's place"
            )
            assert len(set(second) - set(first)) == 1
            ledger.stop()
            towers.towers = []
            pool.signal(signal.SIGTERM)
            assert pool.process.wait(timeout=60) == 0
            eventually(lambda: not any(alive(pid) for pid in second), "the end of every worker")
            towers.audit(ledger)
        finally:
            if pool.process.poll() is None:
                pool.kill()


def test_workers_end_with_the_process_that_keeps_them(tmp_path: Path) -> None:
    with fleet(tmp_path) as towers:
        pool = Tower(towers.url, tmp_path / "keys", "--workers", "2")
        try:
            eventually(pool.ready, "the pool's readiness")
            found = eventually(lambda: whole(towers, 2), "two workers")
        finally:
            pool.kill()
        eventually(lambda: not any(alive(pid) for pid in found), "the end of every worker")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
