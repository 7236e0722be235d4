"""Feed: lets a follower hear of every commit, in the order of the log.

Invariants
    F1  Entries are read by position, each once, without a gap: one writer gives positions in the order of
        its commits, so what is read later is later.
    F2  The leader's word that there is news only shortens the wait: else the log is read every `POLL_S`.
    F3  A worker that becomes the leader has heard everything before its own first commit, which it hears
        from its decider; when it follows again the feed goes on behind the last of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import structlog

from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader

POLL_S = 1.0
CHUNK = 500
Hear = Callable[[Sequence[tuple[Entry, Any]]], None]
logger = structlog.get_logger("coldgrid.workers")


class Feed:
    """Reads the log on a thread of its own while another worker decides.

    Args:
        reader: Lends a reader of committed facts.
        hear: Called with (entry, event) pairs, as listeners of a decider are.
        wanted: Tells whether an entry is of interest now; what is not is read and not decoded.
    """

    def __init__(
        self,
        reader: Callable[[], AbstractContextManager[Reader]],
        hear: Hear,
        wanted: Callable[[Entry], bool] = lambda entry: True,
    ) -> None:
        self.position = -1
        self._reader = reader
        self._hear = hear
        self._wanted = wanted
        self._woken = threading.Event()
        self._stopping = self._leading = False
        self._reading = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="feed", daemon=True)

    def start(self) -> None:
        """Begin at the log's present end: pages that are opened later read what was before."""
        with self._reading:
            if not self._leading:
                self._skip()
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present chunk."""
        self._stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def news(self, position: int) -> None:
        """The log goes up to this position now. From any thread."""
        if position > self.position:
            self._woken.set()

    def lead(self) -> None:
        """Read to the end, then rest: from now on the decider tells (F3)."""
        with self._reading:
            if self._thread.is_alive():
                self._catch_up()
            else:
                self._skip()
            self._leading = True

    def follow(self) -> None:
        """Read again."""
        with self._reading:
            self._leading = False
        self._woken.set()

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """A listener of the decider: remembers how far the log was heard here."""
        self.position = recorded[-1][0].position

    def _loop(self) -> None:
        while not self._stopping:
            self._woken.wait(POLL_S)
            self._woken.clear()
            try:
                with self._reading:
                    if not self._leading:
                        self._catch_up()
            except Exception as error:  # the database is gone for a while: the position stays
                logger.warning("feed_waits", why=f"{type(error).__name__}: {error}")

    def _skip(self) -> None:
        with self._reader() as db:
            self.position = log.last_position(db)

    def _catch_up(self) -> None:
        more = True
        while more and not self._stopping:
            with self._reader() as db:
                entries = log.read(db, self.position, CHUNK)
            recorded = [(entry, log.decode_entry(entry)) for entry in entries if self._wanted(entry)]
            if recorded:
                self._hear(recorded)
            if entries:
                self.position = entries[-1].position
            more = len(entries) == CHUNK
