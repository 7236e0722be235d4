"""The port for nodes in a process of its own: where it is, then its processor time for each line read."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from coldgrid.sync import identity_files
from coldgrid.sync.places import Connection, Limits
from tests.conftest import sqlite_kernel
from tests.sync.tower import served


def main() -> None:
    with tempfile.TemporaryDirectory() as where, sqlite_kernel() as kernel:
        folder = Path(where) / "node"
        with served(kernel, Path(where), Limits()) as tower:
            tower.join(folder)
            connection = Connection("127.0.0.1", identity_files.open_identity(folder).shown)
            print(f"{tower.url} {folder}", flush=True)
            for line in sys.stdin:
                if line.strip() == "admit":
                    began_s = time.thread_time()
                    for _ in range(2_000):
                        tower.port.gate.admit(connection, "9-" + "a" * 16)
                    print((time.thread_time() - began_s) / 2_000, flush=True)
                else:
                    print(time.process_time(), flush=True)


if __name__ == "__main__":
    main()
