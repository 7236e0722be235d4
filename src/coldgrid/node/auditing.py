"""Auditing: all that was signed is held against the log again, at the start and every hour, bit by bit.

A checkpoint rehashes some older entries with each news, so a quiet log would be looked at no more; here every
log is. A round reads on a connection of its own and stops after a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from coldgrid.evidence.checkpoints import AuditPlace, Notary, audit_some
from coldgrid.evidence.forks import LogForked, report
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

ROUND_S = 0.2  # of each two seconds: a million entries take about two minutes
AGAIN_AFTER_S = 3600.0
TOLD_WITHIN_S = 60.0


class Auditor:
    """Audits in rounds, and remembers where it stands."""

    def __init__(self, parts: Parts, notary: Notary, seconds: Callable[[], float]) -> None:
        self._parts = parts
        self._notary = notary
        self._seconds = seconds
        self._place: AuditPlace | None = AuditPlace()
        self._entries = 0
        self._ended_s = 0.0

    def round(self) -> str:
        """Look at the next entries, for a fraction of a second; return how far it came."""
        if self._place is None:
            if self._entries and self._seconds() - self._ended_s < AGAIN_AFTER_S:
                return self._told()
            self._place, self._entries = AuditPlace(), 0
        until_s = self._seconds() + ROUND_S
        with self._parts.reader() as db:
            done = audit_some(db, self._place, lambda: self._seconds() >= until_s)
        if done.forks:
            telling = partial(_tell, notary=self._notary, found=done.forks)
            self._parts.service.call(telling).result(TOLD_WITHIN_S)
        self._entries += done.entries
        self._place = done.place
        if done.place is None:
            self._ended_s = self._seconds()
        return self._told()

    def _told(self) -> str:
        if not self._entries:
            return "nothing is signed yet"
        if self._place is None:
            return f"{self._entries:,} signed entries were held against the log; again within the hour"
        return f"{self._entries:,} signed entries were held against the log, now at {self._place.log_id}"


def _tell(decider: Decider, notary: Notary, found: list[LogForked]) -> None:
    """Record what was found, each log once, in this host's own log."""
    decider.within(SYSTEM, notary.home, lambda tx: report(tx, found), "evidence.audit")
