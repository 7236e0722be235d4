"""What tests of drivers share: a desk that stands in for the store, clocks, and patience."""

from __future__ import annotations

import threading
import time

from coldgrid.adapters.driving import Answer, Haul, Heard, Note, Unreadable


class HostClock:
    """This machine's clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


class Desk:
    """Keeps hauls; a test decides whether they are stored (`accepts`), or not answered yet (`answers`)."""

    def __init__(self) -> None:
        self.hauls: list[Haul] = []
        self.refused: list[Haul] = []
        self.accepts = True
        self.answers = True
        self.waiting: list[tuple[Haul, Answer]] = []
        self._guard = threading.Lock()

    def deliver(self, haul: Haul, answer: Answer) -> None:
        with self._guard:
            if not self.answers:
                self.waiting.append((haul, answer))
                return
            (self.hauls if self.accepts else self.refused).append(haul)
        answer(self.accepts)

    def settle(self, *, stored: bool) -> None:
        """Answer what waits."""
        with self._guard:
            waiting, self.waiting = self.waiting, []
            if stored:
                self.hauls += [haul for haul, _ in waiting]
        for _, answer in waiting:
            answer(stored)

    @property
    def readings(self) -> list[Heard]:
        return [heard for haul in list(self.hauls) for heard in haul.readings]

    @property
    def unreadable(self) -> list[Unreadable]:
        return [one for haul in list(self.hauls) for one in haul.unreadable]

    @property
    def notes(self) -> list[Note]:
        return [one for haul in list(self.hauls) for one in haul.notes]

    def values(self, point: str) -> list[float]:
        return [heard.value for heard in self.readings if heard.point == point]
