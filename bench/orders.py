"""Orders promised and sourced: three lines over twenty sites, durable, with and without the envelope.

The envelope is what makes an order more than a row: the command log with the retry's answer, two events with
their leaf hashes, the decision record inside one of them, personal data sealed. Every rate is held against
the machine's own rate of one-row durable commits, measured in turns with it, so that a busy machine slows
both; the figure is the median of the rounds. SQLite runs in WAL mode with synchronous=FULL.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg

from bench import _orders_http
from bench._orders_world import CHANNEL, calls, open_world, order
from bench.result import Result
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.service import DeciderService
from coldgrid.node.serve import give_way
from coldgrid.orders.facts import SourcingFacts
from coldgrid.orders.intake import request_of
from coldgrid.orders.reach import cell_of
from coldgrid.orders.sourcing import Need, Question, source
from coldgrid.stock.index import PromisableIndex

ROUNDS = 9
GROUP = 100
CALLERS = 64
POSTGRES = os.environ.get("COLDGRID_BENCH_POSTGRES", "postgresql:///test")
SCHEMA = "coldgrid_bench_orders"

Rates = dict[str, list[float]]


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_embedded(Path(folder)),
            *_pure(Path(folder)),
            *_postgres(),
            *_orders_http.measure(Path(folder)),
        ]


# --- SQLite ---------------------------------------------------------------------


def _embedded(folder: Path) -> list[Result]:
    decider = open_world(str(folder / "orders.db"))
    numbers = count(0, GROUP * 1_000)
    one_row, bare = OneRow(folder / "one.db"), Bare(folder / "bare.db", decider)
    give_way()
    # As in the product: one thread decides, and beside it another copies the log back.
    service = DeciderService(decider, lambda due: 3_600.0, lambda: False)
    service.start()
    parts: dict[str, Callable[[int], int]] = {
        "commit": one_row.commit,
        "alone": lambda first: service.call(lambda it: _in_groups(it, first, 1, 200)).result(),
        "groups": lambda first: service.call(lambda it: _in_groups(it, first, GROUP, 1_000)).result(),
        "callers": lambda first: _callers(service, first, 1_600),
        "bare alone": lambda first: bare.place(first, 1, 200),
        "bare groups": lambda first: bare.place(first, GROUP, 1_000),
    }
    rates = _in_turns(parts, numbers)
    service.stop()
    decider.close()
    return _against_commits(rates)


def _in_turns(parts: dict[str, Callable[[int], int]], numbers: Iterator[int]) -> Rates:
    """Run each part once per round, so that whatever else the machine does hits all alike; per second."""
    rates: Rates = {name: [] for name in parts}
    for name, part in parts.items():
        part(next(numbers))  # caches and statements
        assert name in rates
    for _ in range(ROUNDS):
        for name, part in parts.items():
            first = next(numbers)
            started = time.perf_counter()
            done = part(first)
            rates[name].append(done / (time.perf_counter() - started))
    return rates


def _against_commits(rates: Rates) -> list[Result]:
    commit = statistics.median(rates["commit"])
    results = [Result("SQLite, one-row durable commits", round(commit), "1/s", "the yardstick", ok=True)]
    for name, told, target in (
        ("alone", "orders, one caller", 0.35),
        ("callers", f"orders, {CALLERS} callers", 1.2),
        ("groups", f"orders, groups of {GROUP}", 1.5),
        ("bare alone", "without the envelope, one at a time", None),
        ("bare groups", f"without the envelope, groups of {GROUP}", None),
    ):
        ratio = statistics.median(a / b for a, b in zip(rates[name], rates["commit"], strict=True))
        results.append(Result(f"{told}", round(statistics.median(rates[name])), "orders/s", "", ok=True))
        aim = "for comparison" if target is None else f"≥ {target}"
        ok = target is None or ratio >= target
        results.append(Result(f"{told}, of the yardstick", round(ratio, 2), "×", aim, ok=ok))
    return results


class OneRow:
    """The yardstick: one row, one durable commit."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE one (number INTEGER PRIMARY KEY, told TEXT)")

    def commit(self, first: int, commits: int = 1_000) -> int:
        """Commit so many rows one by one."""
        for number in range(first, first + commits):
            self.connection.execute("INSERT INTO one VALUES (?, 'a row')", (number,))
        return commits


def _in_groups(decider: Decider, first: int, size: int, orders: int) -> int:
    for begin in range(first, first + orders, size):
        for outcome in decider.execute(calls(begin, size)):
            assert not isinstance(outcome, Rejected), outcome
    return orders


def _callers(service: DeciderService, first: int, orders: int) -> int:
    """So many callers on an event loop, as in the product; each waits for its answer before the next.

    Whoever is free places the channel's next order, so that numbers grow as a shop's do.
    """
    work = iter(calls(first, orders))

    async def caller() -> None:
        for call in work:
            await service.ask(call.command, CHANNEL, call.key)

    async def everybody() -> None:
        await asyncio.gather(*[caller() for _ in range(CALLERS)])

    asyncio.run(everybody())
    return orders


class Bare:
    """The same sourcing, and rows for order and promises; no log, no hashes, no decision, no retries."""

    def __init__(self, path: Path, decider: Decider) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.execute("CREATE TABLE orders (order_id TEXT PRIMARY KEY, placed REAL, lines INT)")
        self.connection.execute(
            "CREATE TABLE promises (order_id TEXT, line INT, site TEXT, lot TEXT, qty INT)"
        )
        self.facts: SourcingFacts = decider.shared.hot[SourcingFacts]
        self.index: PromisableIndex = decider.shared.hot[PromisableIndex]

    def place(self, first: int, size: int, orders: int) -> int:
        """Source orders and commit them in groups."""
        for begin in range(first, first + orders, size):
            heads, promises = [], []
            for number in range(begin, begin + size):
                picks = self._source(number)
                heads.append((f"web-{number}", time.time(), 3))
                promises += [
                    (f"web-{number}", p.line, p.bucket.site_id, p.bucket.lot_id, p.qty) for p in picks
                ]
            self.connection.execute("BEGIN")
            self.connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", heads)
            self.connection.executemany("INSERT INTO promises VALUES (?, ?, ?, ?, ?)", promises)
            self.connection.execute("COMMIT")
        return orders

    def _source(self, number: int) -> list:  # type: ignore[type-arg]
        asked = order(number)
        needs, stock = needs_of(self.facts, self.index, number)
        cell = cell_of(asked.ship_to.lat, asked.ship_to.lon)
        reach = self.facts.sites.reach(cell, int(time.time()) // 60)
        picks = source(needs, stock, Question(reach, self.facts.policy)).picks
        self.index.add_promised([pick.bucket.allocation(1, pick.qty) for pick in picks], 1)
        return picks


def needs_of(facts: SourcingFacts, index: PromisableIndex, number: int) -> tuple[list[Need], list]:  # type: ignore[type-arg]
    """An order's lines as sourcing wants them, with their buckets."""
    needs, stock = [], []
    for line in request_of(order(number), None).lines:
        goods = facts.goods[line.product_id]
        need = Need(
            line.line_no, line.product_id, line.qty, goods.unit_g, goods.temperature_class, goods.life_min
        )
        needs.append(need)
        stock.append(index.candidates(line.product_id, goods.owner))
    return needs, stock


def _pure(folder: Path) -> list[Result]:
    """The sourcing decision alone."""
    decider = open_world(str(folder / "pure.db"))
    facts: SourcingFacts = decider.shared.hot[SourcingFacts]
    asked = order(1)
    reach = facts.sites.reach(cell_of(asked.ship_to.lat, asked.ship_to.lon), int(time.time()) // 60)
    needs, stock = needs_of(facts, decider.shared.hot[PromisableIndex], 1)
    question = Question(reach, facts.policy)
    best_s = 1.0
    for _ in range(50):
        started = time.perf_counter()
        for _ in range(200):
            source(needs, stock, question)
        best_s = min(best_s, (time.perf_counter() - started) / 200)
    decider.close()
    told = "sourcing 3 lines over 20 sites, decision only"
    return [Result(told, round(best_s * 1e6, 1), "µs", "≤ 25", ok=best_s <= 25e-6)]


# --- PostgreSQL -----------------------------------------------------------------


def _postgres() -> list[Result]:
    """Groups of 100 against pgbench's TPC-B with 8 clients, in turns."""
    told = f"PostgreSQL, orders in groups of {GROUP}"
    try:
        with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
            connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
    except psycopg.OperationalError as error:
        return [Result(told, float("nan"), "orders/s", f"no server: {error}"[:60], ok=False)]
    pgbench = shutil.which("pgbench")
    if pgbench is None:
        return [Result(told, float("nan"), "orders/s", "pgbench is not installed", ok=False)]
    mark = "&" if "?" in POSTGRES else "?"
    decider = open_world(f"{POSTGRES}{mark}options=-csearch_path%3D{SCHEMA}")
    try:
        ratios, orders_s, tpcb_s = _against_pgbench(decider, pgbench)
    finally:
        decider.close()
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE".encode())
    ratio = statistics.median(ratios)
    return [
        Result(
            "PostgreSQL, pgbench TPC-B, 8 clients",
            round(statistics.median(tpcb_s)),
            "1/s",
            "the yardstick",
            ok=True,
        ),
        Result(told, round(statistics.median(orders_s)), "orders/s", "", ok=True),
        Result(f"{told}, of the yardstick", round(ratio, 2), "×", "≥ 1", ok=ratio >= 1),
    ]


def _against_pgbench(decider: Decider, pgbench: str) -> tuple[list[float], list[float], list[float]]:
    environment = {**os.environ, "PGOPTIONS": f"-c search_path={SCHEMA}"}
    subprocess.run(
        [pgbench, "-i", "-q", "-s", "10", POSTGRES], env=environment, check=True, capture_output=True
    )
    numbers = count(0, 100_000)
    _in_groups(decider, next(numbers), GROUP, 1_000)
    ratios, orders_s, tpcb_s = [], [], []
    for _ in range(3):
        done = subprocess.run(
            [pgbench, "-c", "8", "-j", "2", "-T", "4", "-n", POSTGRES],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
        tpcb_s.append(float(line.split()[2]))
        started = time.perf_counter()
        placed = _in_groups(decider, next(numbers), GROUP, 5_000)
        orders_s.append(placed / (time.perf_counter() - started))
        ratios.append(orders_s[-1] / tpcb_s[-1])
    return ratios, orders_s, tpcb_s
