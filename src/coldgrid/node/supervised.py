"""Supervised: tells the service manager when this host answers, and that its decider still decides.

Invariants
    V1  READY is said when the host answers people, not before.
    V2  The watchdog is fed only after the decider did something for it: a decider that hangs, or a disk that
        never confirms, ends the process, and the manager starts it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import structlog

from coldgrid.adapters import probes, service_manager

LOOK_EVERY_S = 0.5
FEEDS_IN_TIME = 3
logger = structlog.get_logger("coldgrid.supervised")


class Supervised:
    """Runs beside the application.

    Args:
        manager: Where the manager listens (NOTIFY_SOCKET).
        watchdog_s: How often it wants to hear of us at least; None: it does not.
        address: Where people reach this host on this machine, http://host:port.
        decide: Has the decider do nothing; the future ends when it has.
    """

    def __init__(
        self, manager: str, watchdog_s: float | None, address: str, decide: Callable[[], Future[Any]]
    ) -> None:
        self._manager = manager
        self._watchdog_s = watchdog_s
        self._address = address
        self._decide = decide
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervised", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def stop(self) -> None:
        """Say that the host stops."""
        self._tell("STOPPING=1")
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while probes.serves(self._address):
            if self._stopping.wait(LOOK_EVERY_S):
                return
        self._tell(f"READY=1\nSTATUS=answers at {self._address}")
        if self._watchdog_s is None:
            return
        every_s = self._watchdog_s / FEEDS_IN_TIME
        while not self._stopping.wait(every_s):
            try:
                self._decide().result(self._watchdog_s)
            except Exception as error:
                logger.warning("decider_does_not_answer", why=f"{type(error).__name__}: {error}")
                continue
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        wrong = service_manager.tell(self._manager, state)
        if wrong:
            logger.warning("service_manager_not_told", why=wrong)


def supervised(
    environment: Mapping[str, str], host: str, port: int, decide: Callable[[], Future[Any]]
) -> list[Supervised]:
    """Return what tells the service manager; nothing where none started this process."""
    manager = environment.get("NOTIFY_SOCKET", "")
    if not manager:
        return []
    micros = environment.get("WATCHDOG_USEC", "")
    watchdog_s = int(micros) / 1e6 if micros.isdigit() else None
    here = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return [Supervised(manager, watchdog_s, f"http://{here}:{port}", decide)]
