"""The tower as one worker and as four on one PostgreSQL: processor per request, and how long a change takes.

On few cores several workers answer no more than one: what can be measured there is what a request costs. So
reads and orders are told as processor time of the workers, less what they take while nobody asks. A leader
that spends no more on an order when others pass it on keeps the rate it had, and all the rest is spread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg

from bench.result import Result
from coldgrid.kernel import postgres_lease
from coldgrid.kernel.database import open_database
from coldgrid.kernel.postgres_lease import workers
from coldgrid.tower.workers.lookout import told_of
from tests.conftest import Kernel
from tests.orders.world import order
from tests.patience import eventually
from tests.stock.world import receive, sscc
from tests.workers.fleet import ADMIN, MACHINE, Fleet, Ledger, Tower, fleet

SERVER = os.environ.get("COLDGRID_BENCH_POSTGRES", "postgresql:///test")
READ_CONNECTIONS, ORDER_CONNECTIONS = 4, 32
WARM = 40
READS, ROUNDS = 1_200, 3
ORDERS_S, IDLE_S = 4.0, 4.0
CHANGES = 3
FENCES = 4_000
TICKS_S = os.sysconf("SC_CLK_TCK")
PAGES = ("/", "/orders", "/api/v1/orders/web-1")


class Cost(NamedTuple):
    """Processor ms per request, of all workers and of the leader; requests a second; idle ms a second."""

    all_ms: float
    leader_ms: float
    rate: float
    idle_ms: float


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), SERVER) as towers:
        _stock(towers.url)
        numbers = count(1000)
        reads: dict[int, list[Cost]] = {1: [], 4: []}
        orders: dict[int, list[Cost]] = {1: [], 4: []}
        for _ in range(ROUNDS):
            for size in (1, 4):
                with _pool(towers, size) as (tower, pids):
                    reads[size].append(_measured(tower, pids, READ_CONNECTIONS, _reads()))
                    orders[size].append(_measured(tower, pids, ORDER_CONNECTIONS, _orders(numbers)))
        return [*_told(reads, orders), _fence(towers.url), *_changes(towers)]


def _stock(url: str) -> None:
    kernel = Kernel(open_database(url))
    for number in range(20):
        kernel.do(receive(sscc(100 + number), 100_000))
    kernel.close()


@contextmanager
def _pool(towers: Fleet, size: int) -> Iterator[tuple[Tower, list[int]]]:
    """Serve with so many workers; yield the tower and its processes, the leader's first."""
    tower = Tower(towers.url, towers.folder / "keys", "--workers", str(size))
    try:
        eventually(tower.ready, "a tower's readiness")
        yield tower, eventually(lambda: _pids(towers.url, size), "every worker")
    finally:
        tower.signal(signal.SIGTERM)
        tower.process.wait(timeout=60)


def _pids(url: str, size: int) -> list[int]:
    with psycopg.connect(url, autocommit=True) as connection:
        told = [told_of(one) for one in workers(connection) if one.silent_s < 1]
    found = sorted(told, key=lambda one: one.role != "leader")
    whole = len(found) == size and found[0].role == "leader" and all(one.reached for one in found[1:])
    return [one.pid for one in found] if whole else []


# --- One load ---------------------------------------------------------------------


class Load(NamedTuple):
    """What to send, and when to stop: after so many, or after so long."""

    request: Callable[[], bytes]
    most: int
    within_s: float


def _reads() -> Load:
    turns = count()
    headers = "".join(f"{name}: {value}\r\n" for name, value in ADMIN.items())

    def request() -> bytes:
        path = PAGES[next(turns) % len(PAGES)]
        return f"GET {path} HTTP/1.1\r\nhost: bench\r\n{headers}\r\n".encode()

    return Load(request, READS, 120)


def _orders(numbers: Iterator[int]) -> Load:
    def request() -> bytes:
        body = msgspec.json.encode(order(next(numbers), qty=1))
        head = (
            f"POST /api/v1/orders HTTP/1.1\r\nhost: bench\r\nauthorization: {MACHINE['authorization']}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    return Load(request, 1_000_000, ORDERS_S)


def _measured(tower: Tower, pids: list[int], connections: int, load: Load) -> Cost:
    asyncio.run(_send(tower.port, WARM, Load(load.request, 8 * WARM, 60)))  # every worker's caches
    idle = _spent(pids)
    time.sleep(IDLE_S)
    idle = [(after - before) / IDLE_S for before, after in zip(idle, _spent(pids), strict=True)]
    before, began_s = _spent(pids), time.perf_counter()
    done = asyncio.run(_send(tower.port, connections, load))
    took_s = time.perf_counter() - began_s
    spent = [b - a - i * took_s for a, b, i in zip(before, _spent(pids), idle, strict=True)]
    return Cost(sum(spent) / done * 1e3, spent[0] / done * 1e3, done / took_s, idle[-1] * 1e3)


def _spent(pids: list[int]) -> list[float]:
    """Processor seconds of each process so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return [(int(one[11]) + int(one[12])) / TICKS_S for one in fields]


async def _send(port: int, connections: int, load: Load) -> int:
    left = count(1)
    ends_s = time.perf_counter() + load.within_s

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        done = 0
        while next(left) <= load.most and time.perf_counter() < ends_s:
            writer.write(load.request())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            done += 1
        writer.close()
        return done

    return sum(await asyncio.gather(*(one() for _ in range(connections))))


# --- Figures ----------------------------------------------------------------------


def _told(reads: dict[int, list[Cost]], orders: dict[int, list[Cost]]) -> list[Result]:
    read = {size: _middle(costs) for size, costs in reads.items()}
    placed = {size: _middle(costs) for size, costs in orders.items()}
    more = read[4].all_ms / read[1].all_ms
    idle_ms = read[4].idle_ms
    kept = placed[1].leader_ms / placed[4].leader_ms
    results = []
    for size, cost in read.items():
        told = f"a read, {size} worker{'s' * (size > 1)}, processor"
        results.append(Result(told, round(cost.all_ms, 2), "ms", "", ok=True))
    results.append(Result("a read, four workers against one", round(more, 2), "×", "≤ 1.10", ok=more <= 1.10))
    for size in (1, 4):
        told = f"an order, {size} worker{'s' * (size > 1)}"
        results += [
            Result(f"{told}, processor of the leader", round(placed[size].leader_ms, 2), "ms", "", ok=True),
            Result(f"{told}, processor of all", round(placed[size].all_ms, 2), "ms", "", ok=True),
            Result(f"{told}, on the wall", round(placed[size].rate), "orders/s", "", ok=True),
        ]
    results.append(Result("a follower that nobody asks, of a core", round(idle_ms / 10, 1), "%", "", ok=True))
    aim = "≥ 0.85"
    told = "orders a second of the leader's processor, four workers against one"
    return [*results, Result(told, round(kept, 2), "×", aim, ok=kept >= 0.85)]


def _middle(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(one) for one in zip(*costs, strict=True)))


def _fence(url: str) -> Result:
    """What each transaction of a decider takes longer for its term, in turns with one that has none."""
    took: dict[bool, list[float]] = {True: [], False: []}
    with psycopg.connect(url, autocommit=True) as driver:
        assert postgres_lease.take(driver, "bench") is not None
        driver.execute("CREATE TEMP TABLE row (number integer)")
        driver.execute("SET synchronous_commit = off")  # the disk's time is the same with and without
        for number in range(2 * FENCES):
            fenced = bool(number % 2)
            began_s = time.perf_counter()
            driver.pgconn.exec_(postgres_lease.BEGIN_FENCED if fenced else b"BEGIN")
            driver.execute("INSERT INTO row VALUES (1)")
            driver.execute("COMMIT")
            took[fenced].append(time.perf_counter() - began_s)
    # The quiet tenth: what others do on the machine is no part of it.
    with_s, without_s = (statistics.quantiles(took[fenced], n=10)[0] for fenced in (True, False))
    more_us = (with_s - without_s) * 1e6
    return Result(
        "the lease's term, checked in each group", round(more_us, 1), "µs", "≤ 20", ok=more_us <= 20
    )


def _changes(towers: Fleet) -> list[Result]:
    """How long nothing is acknowledged when the leader is killed, and when it is stopped."""
    towers.start(2)
    took: dict[str, list[float]] = {"killed": [], "stopped": []}
    for _ in range(CHANGES):
        for how, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
            leader, others = towers.leader(), towers.followers()
            took[how].append(_change(leader, others, number))
            if how == "killed":
                leader.process.wait(timeout=30)
                towers.towers.remove(leader)
                towers.start(1)
            else:
                leader.signal(signal.SIGCONT)
                eventually(partial(_follows, leader), "that the old leader follows")
    return [
        Result(
            f"leader {how}: until commands flow again, worst of {CHANGES}",
            round(max(gaps), 2),
            "s",
            "≤ 5",
            ok=max(gaps) <= 5,
        )
        for how, gaps in took.items()
    ]


def _follows(tower: Tower) -> bool:
    return tower.standing().get("role") == "follower"


def _change(leader: Tower, others: list[Tower], number: int) -> float:
    ledger = Ledger()
    ledger.call(lambda: others, 4, keyed=True)
    began_s = time.monotonic()
    eventually(lambda: ledger.flows(began_s, 40), "a flow of commands")
    at_s = time.monotonic()
    leader.signal(number)
    eventually(lambda: ledger.flows(at_s + 0.2), "commands again")
    gap_s = ledger.gap_s(at_s)
    ledger.stop()
    return gap_s
