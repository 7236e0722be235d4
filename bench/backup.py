"""A backup while the host works: how long the slowest command waited, and what the copy is worth.

A host in a process of its own decides `RATE` orders a second from 16 callers, on a database of
`COLDGRID_BENCH_BACKUP_MB` (2,048 unless told otherwise) that was filled with orders. First so for a while by
itself, then while `coldgrid backup` copies it in another process, then the copy is put back: hashes, every
projection made anew, every checkpoint and entry.

Other ways to copy are measured beside it where `COLDGRID_BENCH_BACKUP_WAYS` is set: the backup API in one go,
and `VACUUM INTO`, both without a word to the host about its write-ahead log.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench._orders_world import CHANNEL, Host, calls, open_world, order, stock_up
from bench.result import Result
from coldgrid.evidence import checkpoints
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import open_signer
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.service import DeciderService
from coldgrid.kernel.settings import load_settings
from coldgrid.kernel.sqlite_copy import leave_checkpoints
from coldgrid.node.errands import Errands, errands_folder
from coldgrid.node.host_errands import CHECKPOINTS
from coldgrid.node.serve import give_way

SIZE_MB = int(os.environ.get("COLDGRID_BENCH_BACKUP_MB", "2048"))
WAYS = bool(os.environ.get("COLDGRID_BENCH_BACKUP_WAYS"))
RATE, CALLERS = 1_000, 16
QUIET_S, WARM_S = 20.0, 2.0
FILL = 2_000
SLOWEST_MS = 250.0


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        database = folder / "tower.db"
        size_mb = _fill(database, folder / "signing.key")
        quiet = _under_load(database, _nothing)
        copied = _under_load(database, lambda: _backup(folder))
        others = _others(folder, database) if WAYS else []
        restored = _restore(folder)
        return [*_told(size_mb, quiet, copied, restored), *others]


def _told(size_mb: float, quiet: Load, copied: Load, restored: dict[str, Any]) -> list[Result]:
    made = copied.answer
    return [
        Result("database copied", round(size_mb), "MB", "2,048", ok=True),
        Result("commands a second meanwhile", round(copied.rate), "1/s", f"{RATE} asked for", ok=True),
        Result("without a backup: p50", round(quiet.at(0.5), 1), "ms", "", ok=True),
        Result("without a backup: slowest", round(quiet.at(1), 1), "ms", "for comparison", ok=True),
        Result("during a backup: p50", round(copied.at(0.5), 1), "ms", "", ok=True),
        Result("during a backup: p99", round(copied.at(0.99), 1), "ms", "", ok=True),
        Result(
            "during a backup: slowest command",
            round(copied.at(1), 1),
            "ms",
            f"≤ {SLOWEST_MS:g}",
            ok=copied.at(1) <= SLOWEST_MS,
        ),
        Result("backup made and checked", made["seconds"], "s", "", ok=True),
        Result("entries hashed in it", made["entries_hashed"], "", "all signed", ok=True),
        Result("put back and checked", round(restored["seconds"], 1), "s", "", ok=True),
        Result("tables rebuilt, equal", restored["tables_rebuilt"], "", "all", ok=True),
    ]


def _nothing() -> dict[str, Any]:
    time.sleep(QUIET_S)
    return {}


# --- A database -----------------------------------------------------------------------


def _fill(database: Path, key: Path) -> float:
    """Place orders until the file is large enough; sign the logs. Return its size in MB."""
    decider = open_world(str(database))
    first = 0
    while (size_mb := database.stat().st_size / 1e6) < SIZE_MB:
        for begin in range(first, first + FILL, 100):
            decider.execute(calls(begin, 100))
        decider.settle()
        first += FILL
    notary = Notary(open_signer(key, "coldgrid", os.urandom(32)), "bench")
    checkpoints.make_checkpoints(decider, notary)
    decider.close()
    return size_mb


# --- A host at work -------------------------------------------------------------------


class Load:
    """How long commands took, what the work beside them answered, and how many there were a second."""

    def __init__(self, took_s: list[float], seconds: float, answer: dict[str, Any]) -> None:
        self._took_s = sorted(took_s)
        self.rate = len(took_s) / seconds
        self.answer = answer

    def at(self, part: float) -> float:
        """The time in ms that this part of all commands took at most."""
        return 1_000 * self._took_s[min(len(self._took_s) - 1, int(part * len(self._took_s)))]


def _under_load(database: Path, beside: Any) -> Load:
    here, there = multiprocessing.Pipe()
    host = multiprocessing.get_context("spawn").Process(target=_serve, args=(str(database), there))
    host.start()
    try:
        assert here.recv() == "up"
        began_s = time.monotonic()
        answer = beside()
        seconds = time.monotonic() - began_s
        here.send("stop")
        took_s = here.recv()
    finally:
        host.join(60)
        host.kill()
    return Load(took_s, seconds, answer)


def _serve(database: str, pipe: Connection) -> None:
    """Decide, take errands, and place orders at the rate until told to stop; send how long each took."""
    decider = Decider(open_database(database), Host())
    stock_up(decider)
    service = DeciderService(decider, lambda due: 1.0)
    service.start()
    errands = _errands(service, Path(database))
    errands.start()
    give_way()
    stop = threading.Event()
    took_s: list[float] = []
    worker = threading.Thread(target=lambda: asyncio.run(_place(service, stop, took_s)))
    worker.start()
    time.sleep(WARM_S)
    took_s.clear()
    pipe.send("up")
    pipe.recv()
    stop.set()
    worker.join()
    errands.stop()
    service.stop()
    decider.close()
    pipe.send(took_s)


def _errands(service: DeciderService, database: Path) -> Errands:
    def leave(asked: dict[str, str]) -> str:
        alone = asked["alone"] == "yes"
        service.call(lambda decider: leave_checkpoints(decider.connection, alone=alone)).result(30)
        return "yes"

    settings = load_settings({}, signing_key=str(database.with_name("signing.key")))
    return Errands(errands_folder(settings), {CHECKPOINTS: leave})


async def _place(service: DeciderService, stop: threading.Event, took_s: list[float]) -> None:
    numbers = iter(range(10_000_000 + os.getpid() * 1_000_000, 2**60))
    loop = asyncio.get_running_loop()

    async def caller(offset: int) -> None:
        due_s = loop.time() + offset / RATE
        while not stop.is_set():
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            began_s = loop.time()
            await service.ask(order(next(numbers)), CHANNEL)
            took_s.append(loop.time() - began_s)
            due_s = max(due_s + CALLERS / RATE, loop.time() - 1)

    await asyncio.gather(*(caller(offset) for offset in range(CALLERS)))


# --- Ways to copy ---------------------------------------------------------------------


def _coldgrid(folder: Path, database: Path, *arguments: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDGRID_")}
    environment |= {
        "COLDGRID_DATABASE": str(database),
        "COLDGRID_SIGNING_KEY": str(folder / "signing.key"),
        "COLDGRID_AUTHORITY_KEY": str(folder / "authority.pem"),
        "COLDGRID_NETWORK": "bench",
    }
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "coldgrid.cli", *arguments, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    answer: dict[str, Any] = json.loads(done.stdout)
    return {"seconds": time.monotonic() - began_s, **answer}


def _backup(folder: Path) -> dict[str, Any]:
    return _coldgrid(folder, folder / "tower.db", "backup", str(folder / "copy"))


def _restore(folder: Path) -> dict[str, Any]:
    return _coldgrid(folder, folder / "there.db", "restore", str(folder / "copy"))


def _reading(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True)


def _others(folder: Path, database: Path) -> list[Result]:
    def plain() -> dict[str, Any]:
        with closing(_reading(database)) as source, closing(sqlite3.connect(folder / "plain.db")) as target:
            source.backup(target)
        return {}

    def vacuum() -> dict[str, Any]:
        with closing(_reading(database)) as source:
            source.execute("VACUUM INTO ?", (str(folder / "vacuum.db"),))
        return {}

    results = []
    for name, way in (("backup API in one go", plain), ("VACUUM INTO", vacuum)):
        began_s = time.monotonic()
        load = _under_load(database, way)
        results.append(Result(f"{name}: slowest command", round(load.at(1), 1), "ms", "compared", ok=True))
        results.append(Result(f"{name}: took", round(time.monotonic() - began_s), "s", "", ok=True))
        for made in (folder / "plain.db", folder / "vacuum.db"):
            made.unlink(missing_ok=True)
    return results
