"""Merkle log: leaves appended and kept, and inclusion proofs from a log of ten million entries on disk."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.result import Result
from coldgrid.evidence import merkle, tiles
from coldgrid.evidence.merkle import HASH_BYTES, Frontier
from coldgrid.evidence.tiles import KeptHead, LogId
from coldgrid.kernel.authorize import SYSTEM, AllowAll, Authorizer
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.origins import ClockKind
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.tx import Tx

LEAVES = 10_000_000
BATCH = 50_000  # a busy network's ten seconds
LOG = LogId("ATL1", 1)
AT = datetime(2026, 3, 1, tzinfo=UTC)


class BenchHost:
    """A clock that stands still."""

    clock: ClockKind = "virtual"
    authorizer: Authorizer = AllowAll()

    def now(self) -> datetime:
        """Stand still."""
        return AT

    def entropy(self, count: int) -> bytes:
        """Draw nothing."""
        return bytes(count)


def run() -> list[Result]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        decider = Decider(open_database(str(Path(folder) / "log.db")), BenchHost())
        hashing_s, keeping_s, root = grow(decider)
        proof_ms, cold_ms = prove(decider, root)
        decider.close()
    return [
        rate("Merkle append, hashed", hashing_s, 500_000),
        rate("Merkle append, kept durably in tiles", hashing_s + keeping_s, 500_000),
        proof("inclusion proof in 10 M leaves, p50", statistics.median(proof_ms), 0.5),
        proof("inclusion proof in 10 M leaves, p99", statistics.quantiles(proof_ms, n=100)[98], 2.0),
        proof("inclusion proof in 10 M leaves, p50 before anything is remembered", cold_ms, 2.0),
    ]


def rate(name: str, seconds: float, target: int) -> Result:
    """Return a figure that must reach its target."""
    per_s = LEAVES / seconds
    return Result(name, round(per_s), "leaves/s", f"≥ {target:,}", ok=per_s >= target)


def proof(name: str, ms: float, target_ms: float) -> Result:
    """Return a figure that must stay under its target."""
    return Result(name, round(ms, 3), "ms", f"≤ {target_ms}", ok=ms <= target_ms)


def grow(decider: Decider) -> tuple[float, float, bytes]:
    """Append ten million leaves, each batch a durable commit; return the seconds of hashing and keeping."""
    chance = random.Random(7)
    hashing_s = keeping_s = 0.0
    frontier = Frontier()
    for _ in range(LEAVES // BATCH):
        leaves = chance.randbytes(BATCH * HASH_BYTES)
        started = time.perf_counter()
        grown = frontier.append(leaves)
        root = frontier.root()
        hashed = time.perf_counter()
        head = KeptHead(LOG.origin, LOG.epoch, frontier.size, root, AT, "", 0)

        def work(tx: Tx, head: KeptHead = head, grown: list[merkle.Tile] = grown) -> None:
            tiles.keep(tx, head, grown)

        decider.within(SYSTEM, LOG.origin, work, "bench")
        hashing_s += hashed - started
        keeping_s += time.perf_counter() - hashed
    return hashing_s, keeping_s, frontier.root()


def prove(decider: Decider, root: bytes) -> tuple[list[float], float]:
    """Prove random entries from the tiles on disk; return the milliseconds of each, and of the first few."""
    chance = random.Random(11)
    tree = tiles.tree_of(Reads(decider.connection), LOG)
    took_ms = []
    for _ in range(2000):
        seq = chance.randrange(LEAVES)
        started = time.perf_counter()
        found = tree.inclusion(seq, LEAVES)
        took_ms.append((time.perf_counter() - started) * 1000)
        assert merkle.verify_inclusion(tree.leaf(seq), seq, LEAVES, found, root)
    return took_ms[1000:], statistics.median(took_ms[:20])
