"""Run the test suite, each folder of tests in a process of its own.

Rooms register with the kernel when they are imported. In one process the tests of one room would run
with whatever rooms other tests had imported before; apart, each folder has just the rooms it asks for.

    python tools/run_tests.py JOBS [PYTEST ARGUMENTS …]    with arguments: one plain run of them
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5
COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error)")


def run(arguments: list[str]) -> tuple[int, dict[str, int]]:
    """Run pytest, pass its output on, and return its exit code and what its closing line counts."""
    command = [sys.executable, "-m", "pytest", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if COUNTS.search(line) and " in " in line:
            last = line
    return process.wait(), {word: int(count) for count, word in COUNTS.findall(last)}


def main() -> int:
    """Run everything; return 1 where anything failed."""
    jobs, *asked = sys.argv[1:]
    if asked:
        return run(["-n", jobs, *asked])[0]
    began_s = time.monotonic()
    folders = sorted(path for path in (ROOT / "tests").iterdir() if (path / "__init__.py").exists())
    parts = [[str(path.relative_to(ROOT))] for path in folders]
    parts.append(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py")))
    total = {"passed": 0, "failed": 0, "skipped": 0, "error": 0}
    broken = []
    for part in parts:
        print(f"== {' '.join(part)}", flush=True)
        code, counts = run(["-n", jobs, "-rfEs", *part])
        for word, count in counts.items():
            total[word] += count
        if code not in (0, NO_TESTS):
            broken.append(part[0])
    print(f"== {time.monotonic() - began_s:.0f} s; failing: {', '.join(broken) or 'none'}")
    print(f"{total['passed']} passed, {total['failed'] + total['error']} failed, {total['skipped']} skipped")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
