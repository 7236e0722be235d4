"""Play histories: `python -m tests.simulation --seed 7`, or many: `--seeds 1000 [--first 0] [--jobs 2]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice

from coldgrid.kernel.logs import configure_logs
from tests.simulation.folders import FOLDER, FolderGone, of_run
from tests.simulation.server import RUN, TOWER, drop_schemas, on_server
from tests.simulation.world import play


def tell(text: object, end: str = "\n") -> None:
    """Write to the standard output."""
    sys.stdout.write(f"{text}{end}")
    sys.stdout.flush()


def attempt(seed: int) -> tuple[int, dict[str, int], str]:
    """Play a seed; return what happened, and what went wrong."""
    configure_logs("critical", json=False)
    try:
        try:
            return seed, play(seed), ""
        except FolderGone:  # which says nothing of the history
            return seed, play(seed), ""
    except Exception:
        return seed, {}, traceback.format_exc(limit=6)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one, and tell what happens")
    parser.add_argument("--seeds", type=int, default=100, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no further one after so long")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tower", choices=("sqlite", "postgresql"), default="sqlite", help="its database")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of names have an order, and a replay the same one
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})
    with of_run() as folder:
        # What the product itself makes beside its tables, as a rebuild does, lies there as well.
        os.environ |= {TOWER: asked.tower, RUN: str(os.getpid()), FOLDER: str(folder), "TMPDIR": str(folder)}
        return asked_for(asked)


def asked_for(asked: argparse.Namespace) -> int:
    """Do what is asked for on the command line."""
    try:
        if asked.seed is not None:
            configure_logs("warning", json=False)
            tell(play(asked.seed, tell=tell))
            return 0
        return many(range(asked.first, asked.first + asked.seeds), asked.jobs, asked.seconds)
    finally:
        if on_server():
            drop_schemas()


def many(seeds: range, jobs: int, seconds: float) -> int:
    """Play seeds on several processes; say how far it is, and which failed."""
    began, failed, done, sums = time.monotonic(), [], 0, Counter[str]()
    left = iter(seeds)
    with ProcessPoolExecutor(jobs) as pool:
        running = {pool.submit(attempt, seed) for seed in islice(left, jobs)}
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            passed_s = time.monotonic() - began
            for future in ready:
                seed, counts, why = future.result()
                done += 1
                sums.update(counts)
                if why:
                    failed.append(seed)
                    tell(f"\nseed {seed} fails; again: python -m tests.simulation --seed {seed}\n{why}")
                if not seconds or passed_s < seconds:
                    running |= {pool.submit(attempt, seed) for seed in islice(left, 1)}
            told = f"{done}/{len(seeds)} histories, {len(failed)} failed, {done / passed_s * 60:.0f} a minute"
            tell(f"\r{told}", end="" if sys.stdout.isatty() else "\n")
    tell("\n" + ", ".join(f"{count:,} {name}" for name, count in sums.items()))
    if failed:
        tell(f"failed: {sorted(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
