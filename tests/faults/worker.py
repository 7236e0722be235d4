"""A process to be killed: it carries out commands as fast as it can and says which were acknowledged.

Run as `python -m tests.faults.worker DATABASE ROUND`. Each acknowledged command is one line, `ack KEY`,
written after its future answered; the parent kills this process at a moment of its own choosing.
"""

from __future__ import annotations

import sys
import threading

from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.service import DeciderService
from tests.conftest import HandClock
from tests.kernel.rooms import Bump

CALLERS = 6


def main(database: str, turn: str) -> None:
    """Load the decider from several threads until somebody ends this process."""
    service = DeciderService(Decider(open_database(database), HandClock()), lambda due: 1.0)
    service.start()
    out = threading.Lock()

    def call(caller: int) -> None:
        step = 0
        while True:
            key = f"{turn}-{caller}-{step}"
            service.submit(Bump(site_id="ATL1", name=key), key=key).result(30)
            with out:
                sys.stdout.write(f"ack {key}\n")
                sys.stdout.flush()
            step += 1

    threads = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:3])
