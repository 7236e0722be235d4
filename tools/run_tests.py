"""Run the test suite, each folder of tests in a process of its own.

Rooms register with the kernel when they are imported. In one process the tests of one room would run
with whatever rooms other tests had imported before; apart, each folder has just the rooms it asks for.

    python tools/run_tests.py JOBS [PYTEST ARGUMENTS …]    with arguments: one plain run of them

Folders run side by side, for half of the suite's time is spent waiting for servers, browsers and clocks: two
lanes take the longest that is left, a narrow third one the shortest. Where no more than a few tests failed,
each is run once more with nothing beside it: a busy machine is no fault of the program. What passes only
then is named at the end, for it says that something depends on how fast a machine is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5
# The longest ones first, so that none is left over at the end.
LONGEST = ("tower", "node", "workers", "system", "sync", "simulation", "faults")
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")
FAILED = re.compile(r"(?:FAILED|ERROR) (tests/\S+?\.py(?:::[\w:]+(?:\[.*?\])?)?)(?: - .*)?$")
SECOND_LOOKS_MAX = 5


def run(arguments: list[str], *, aloud: bool = True) -> tuple[int, list[str]]:
    """Run pytest; return its exit code and what it said, with what it cost. `aloud`: pass that on at once."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "pytest", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if aloud:
            sys.stdout.write(line)
            sys.stdout.flush()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = used.ru_utime + used.ru_stime
    said.append(f"took {time.monotonic() - began_s:.0f} s, {cpu_s:.0f} s of a core\n")
    return process.returncode, said


def parts() -> list[list[str]]:
    """Return what runs in a process of its own: each folder, the longest first, and the files beside them."""
    folders = [path.name for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists()]
    rank = {name: place for place, name in enumerate(LONGEST)}
    folders.sort(key=lambda name: (rank.get(name, len(rank)), name))
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py"))
    return [*([f"tests/{name}"] for name in folders), files]


def counted(said: list[str]) -> Iterator[tuple[str, int]]:
    """Yield what the closing line of a run counts."""
    last = next((line for line in reversed(said) if COUNTS.search(line) and " in " in line), "")
    for count, word in COUNTS.findall(last):
        yield word, int(count)


def failing(said: list[str]) -> list[str]:
    """Return the tests that a run's summary names as failed."""
    return [found[1] for line in said if (found := FAILED.match(line.rstrip()))]


class Results:
    """What the folders' runs came to."""

    def __init__(self) -> None:
        self.total = {"passed": 0, "failed": 0, "skipped": 0, "error": 0}
        self.broken: list[str] = []
        self.failed: list[str] = []
        self.unnamed = False  # something failed that was no test

    def take(self, part: list[str], code: int, said: list[str]) -> None:
        """Print what a run said and count it."""
        print(f"== {' '.join(part)}\n{''.join(said)}", flush=True)
        for word, count in counted(said):
            self.total[word] += count
        if code not in (0, NO_TESTS):
            named = failing(said)
            self.broken.append(part[0])
            self.failed += named
            self.unnamed |= not named

    def tell(self, took_s: float) -> None:
        """Print the closing lines."""
        passed, failed, skipped = self.total["passed"], self.total["failed"], self.total["skipped"]
        print(f"== {took_s:.0f} s; failing: {', '.join(self.broken) or 'none'}")
        print(f"{passed} passed, {failed + self.total['error']} failed, {skipped} skipped", flush=True)

    def good(self) -> bool:
        """Tell whether nothing failed, or nothing that fails alone, too."""
        if self.unnamed or len(self.failed) > SECOND_LOOKS_MAX:
            return False
        passing = [test for test in self.failed if run(["-p", "no:xdist", test])[0] == 0]
        for test in passing:
            print(f"== passed only alone, look into it: {test}")
        return passing == self.failed


def main() -> int:
    """Run everything; return 1 where anything failed."""
    jobs, *asked = sys.argv[1:]
    if asked:
        return run(["-n", jobs, *asked])[0]
    began_s = time.monotonic()
    results, left, guard = Results(), deque(parts()), Lock()

    def lane(jobs: str, *, shortest: bool) -> None:
        while True:
            with guard:
                if not left:
                    return
                part = left.pop() if shortest else left.popleft()
                print(f"== {' '.join(part)}: begun", flush=True)
            code, said = run(["-n", jobs, "-rfEs", *part], aloud=False)
            with guard:
                results.take(part, code, said)

    with ThreadPoolExecutor() as pool:
        lanes = [pool.submit(lane, jobs, shortest=False) for _ in range(2)]
        lanes.append(pool.submit(lane, "1", shortest=True))
    for one in lanes:
        one.result()
    results.tell(time.monotonic() - began_s)
    return 0 if results.good() else 1


if __name__ == "__main__":
    sys.exit(main())
