"""Pool: several workers of one machine as children of one process, which does nothing but replace the dead.

Invariants
    Q1  A child that ends is replaced, one that ends at once not more often than every `AGAIN_S`.
    Q2  Asked to stop, the parent asks each child, waits `STOP_WITHIN_S`, and ends those that did not.
    Q3  A child whose parent is gone ends as if it were asked to.

Children are forked before any thread or connection exists: they share the pages of what was imported.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

AGAIN_S = 1.0
STOP_WITHIN_S = 20.0
PARENT_EVERY_S = 1.0
logger = structlog.get_logger("coldgrid.workers")


class Pool:
    """Keeps `count` children; `child` is what each does, with its number from 0."""

    def __init__(self, count: int, child: Callable[[int], None]) -> None:
        self._count = count
        self._child = child
        self._numbers: dict[int, int] = {}
        self._stopping = False

    def run(self) -> None:
        """Begin, and return when every child has ended after this process was asked to stop."""
        gc.collect()
        gc.freeze()
        for asked in (signal.SIGINT, signal.SIGTERM):
            signal.signal(asked, lambda *_: self._stop())
        for number in range(self._count):
            self._fork(number)
        until_s = float("inf")
        while self._numbers:
            if self._stopping and until_s == float("inf"):
                until_s = time.monotonic() + STOP_WITHIN_S
                self._tell_all(signal.SIGTERM)
            if time.monotonic() > until_s:
                self._tell_all(signal.SIGKILL)
            self._reap()
            time.sleep(0.05)

    def _stop(self) -> None:
        self._stopping = True

    def _reap(self) -> None:
        """Note who ended, and replace them (Q1)."""
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return
        number = self._numbers.pop(ended)
        if self._stopping:
            return
        logger.error("worker_ended", pid=ended, status=os.waitstatus_to_exitcode(status))
        time.sleep(AGAIN_S)
        if not self._stopping:
            self._fork(number)

    def _fork(self, number: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._numbers[pid] = number
            return
        status = 1
        try:
            for one in (signal.SIGINT, signal.SIGTERM):
                signal.signal(one, signal.SIG_DFL)
            threading.Thread(target=_end_with, args=[parent], name="parent", daemon=True).start()
            self._child(number)
            status = 0
        except BaseException:
            logger.exception("worker_failed")
        finally:
            os._exit(status)

    def _tell_all(self, number: int) -> None:
        for pid in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone (Q3)."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
