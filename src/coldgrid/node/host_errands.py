"""What an operator at this machine may ask of any host that serves: its write-ahead log, and how it is.

Invariants
    O1  A decider whose checkpoints were put off does them again by itself after a minute without a word: who
        asked may have been killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.sqlite_copy import leave_checkpoints

if TYPE_CHECKING:
    from coldgrid.node.errands import Asked
    from coldgrid.node.parts import Parts

CHECKPOINTS = "checkpoints"
HEALTH = "health"
FORGOTTEN_AFTER_S = 60.0
TOLD_WITHIN_S = 30.0


class HostHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a serving host is: why its timers stand still, if they do, how far its tower's clock is ahead.

    `listens_host` and `listens_port` are where people reach it; 0 where a host of an older release answers.
    """

    version: str
    position: int
    frozen_why: str
    tower_ahead_s: float | None = None
    parts: list[tuple[str, bool, str]] = []
    listens_host: str = ""
    listens_port: int = 0


class HostErrands:
    """Does what every host does when asked.

    Args:
        parts: The host.
        version: Its release.
        health: How the parts of its background work are.
        tower_ahead_us: How far the tower's clock is ahead of ours; None where there is no tower, or no word.
    """

    def __init__(
        self,
        parts: Parts,
        version: str,
        health: Callable[[], list[tuple[str, bool, str]]],
        tower_ahead_us: Callable[[], int | None],
    ) -> None:
        self._parts = parts
        self._version = version
        self._tower_ahead_us = tower_ahead_us
        self._health = health
        self._again: threading.Timer | None = None

    def doing(self) -> Mapping[str, Callable[[Asked], str]]:
        """Return what does which errand."""
        return {CHECKPOINTS: self._checkpoints, HEALTH: self._told}

    def _checkpoints(self, asked: Asked) -> str:
        alone = asked.get("alone") == "yes"
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._set(alone)
        if alone:
            self._again = threading.Timer(FORGOTTEN_AFTER_S, self._set, [False])
            self._again.daemon = True
            self._again.start()
        return "left to you for a minute" if alone else "done here again"

    def _set(self, alone: bool) -> None:
        def change(decider: Decider) -> None:
            leave_checkpoints(decider.connection, alone=alone)

        self._parts.service.call(change).result(TOLD_WITHIN_S)

    def _told(self, asked: Asked) -> str:
        ahead_us = self._tower_ahead_us()
        health = HostHealth(
            version=self._version,
            position=self._parts.decider.position - 1,
            frozen_why=self._parts.host.guard.frozen_why,
            tower_ahead_s=None if ahead_us is None else ahead_us / 1e6,
            parts=self._health(),
            listens_host=self._parts.settings.host,
            listens_port=self._parts.settings.port,
        )
        return msgspec.json.encode(health).decode()
