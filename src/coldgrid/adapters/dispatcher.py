"""Dispatcher: carries effects from the outbox to the world, each channel on threads of its own.

Invariants
    D1  An outcome is told to the decider before the effect could be looked at again; one that could not be
        told is kept and told first.
    D2  A slow or dead channel delays no other: each has its own thread, its own query, its own senders.
    D3  An effect whose subject was erased is not sent.

Retries, backoff and dead letters are the outbox's. What is sent twice after a crash carries the same key, by
which the other side can tell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple

import msgspec
import structlog

from coldgrid.adapters.degrees import in_reader_unit
from coldgrid.kernel.metrics import EFFECTS
from coldgrid.kernel.outbox import (
    Channel,
    Effect,
    PendingEffect,
    Permanent,
    Receipt,
    ReportEffect,
    Retryable,
    due_effects_of,
    payload_of,
)
from coldgrid.kernel.reading import Reader

BATCH = 32
SENDERS = 4
POLL_S = 1.0
WHY_MAX = 500
logger = structlog.get_logger("coldgrid.dispatcher")

Lend = Callable[[], AbstractContextManager[Reader]]
Report = Callable[[ReportEffect], None]


class ChannelState(msgspec.Struct, frozen=True):
    """How a channel is, for the health page. `failures`: attempts that failed since the last success."""

    channel: str
    ok: bool
    sending: int
    sent: int
    failures: int
    last_sent_at: datetime | None
    last_why: str


class _Means(NamedTuple):
    """What every line works with; see `Dispatcher`."""

    lend: Lend
    report: Report
    now: Callable[[], datetime]
    poll_s: float
    unit: Callable[[Reader], str]


class NotConfigured:
    """A channel that this installation has not set up: what should have gone out says so at once."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def send(self, effect: Effect, key: str) -> Receipt:
        """Refuse.

        Raises:
            Permanent: always.
        """
        raise Permanent(f"{effect.channel} is not set up: {self._setting} is empty")


class Rehearsal:
    """A channel for demos and drills: takes everything, and nothing leaves the machine."""

    def send(self, effect: Effect, key: str) -> Receipt:
        """Take it."""
        return Receipt("rehearsal")


class Dispatcher:
    """Pulls due effects and sends them.

    Args:
        channels: The adapter of each channel.
        lend: Lends a reader of committed facts.
        report: Tells the decider what came of an attempt, and returns once that is durable.
        now: The system clock, which backoff is measured by: a carrier's outage knows no scaled time.
        poll_s: Seconds between looks at the outbox; `wake` cuts them short.
        unit: Says "c" or "f", what people read temperatures in who chose nothing.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        lend: Lend,
        report: Report,
        now: Callable[[], datetime],
        poll_s: float = POLL_S,
        unit: Callable[[Reader], str] = lambda _: "c",
    ) -> None:
        means = _Means(lend, report, now, poll_s, unit)
        self.lines = {name: _Line(name, channel, means) for name, channel in channels.items()}

    def start(self) -> None:
        """Start a thread for each channel."""
        for line in self.lines.values():
            line.start()

    def stop(self) -> None:
        """Finish what is being sent, then stop."""
        for line in self.lines.values():
            line.ask_to_stop()
        for line in self.lines.values():
            line.join()

    def wake(self) -> None:
        """Look at the outbox now: something was put there."""
        for line in self.lines.values():
            line.wake()

    def step(self, channel: str) -> int:
        """Send what is due in one channel on the caller's thread; return how many were tried."""
        return self.lines[channel].step()

    def states(self) -> list[ChannelState]:
        """How every channel is."""
        return [line.state() for line in self.lines.values()]


class _Line:
    """One channel: its thread, its senders, its memory of outcomes that were not told yet."""

    def __init__(self, name: str, channel: Channel, means: _Means) -> None:
        self._name = name
        self._channel = channel
        self._lend = means.lend
        self._report = means.report
        self._now = means.now
        self._poll_s = means.poll_s
        self._unit = means.unit
        self._untold: dict[str, ReportEffect] = {}
        self._woken = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._sending = self._sent = self._failures = 0
        self._last_sent_at: datetime | None = None
        self._last_why = ""
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix=f"send-{name}")
        self._thread = threading.Thread(target=self._loop, name=f"dispatch-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_stop(self) -> None:
        self._stopping = True
        self._woken.set()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout=60)
        self._senders.shutdown(wait=True)

    def wake(self) -> None:
        self._woken.set()

    def state(self) -> ChannelState:
        with self._lock:
            return ChannelState(
                self._name,
                self._failures == 0,
                self._sending,
                self._sent,
                self._failures,
                self._last_sent_at,
                self._last_why,
            )

    def _loop(self) -> None:
        while not self._stopping:
            try:
                more = self.step() == BATCH
            except Exception as error:
                logger.exception("dispatch_failed", channel=self._name)
                self._note_failure(f"{type(error).__name__}: {error}")
                more = False
            if not more:
                self._woken.wait(self._poll_s)
                self._woken.clear()

    def step(self) -> int:
        self._tell_all()
        with self._lend() as db:
            due = due_effects_of(db, self._name, self._now(), BATCH)
            usual = self._unit(db) if due else ""
            effects = [(pending, _opened(db, pending, usual)) for pending in due]
        with self._lock:
            self._sending = len(effects)
        for report in self._senders.map(self._attempt, effects):
            self._untold[report.key] = report
        with self._lock:
            self._sending = 0
        self._tell_all()
        return len(effects)

    def _tell_all(self) -> None:
        """Tell every outcome; what the decider does not take now is told before anything is sent (D1)."""
        for key, report in list(self._untold.items()):
            self._report(report)
            del self._untold[key]

    def _attempt(self, pair: tuple[PendingEffect, Effect | None]) -> ReportEffect:
        pending, effect = pair
        if effect is None:
            return self._failed(pending, "the person was erased", permanent=True)
        try:
            receipt = self._channel.send(effect, pending.key)
        except Permanent as error:
            return self._failed(pending, str(error), permanent=True)
        except Retryable as error:
            return self._failed(pending, str(error), permanent=False)
        except Exception as error:  # a fault of the adapter: say so, and let the outbox try again
            logger.exception("send_failed", channel=self._name, key=pending.key)
            return self._failed(pending, f"{type(error).__name__}: {error}", permanent=False)
        with self._lock:
            self._sent += 1
            self._failures = 0
            self._last_sent_at = self._now()
        EFFECTS.labels(self._name, "delivered").inc()
        return ReportEffect(
            origin=pending.origin, key=pending.key, delivered=True, reference=receipt.reference
        )

    def _failed(self, pending: PendingEffect, why: str, *, permanent: bool) -> ReportEffect:
        self._note_failure(why)
        EFFECTS.labels(self._name, "refused" if permanent else "failed").inc()
        return ReportEffect(
            origin=pending.origin,
            key=pending.key,
            delivered=False,
            why=why[:WHY_MAX],
            permanent=permanent,
            tried_at=self._now(),
        )

    def _note_failure(self, why: str) -> None:
        with self._lock:
            self._failures += 1
            self._last_why = why[:WHY_MAX]


def _opened(db: Reader, pending: PendingEffect, usual: str) -> Effect | None:
    """The effect with its payload in clear, in its reader's unit; None where its subject was erased (D3)."""
    payload = payload_of(db, pending)
    if payload is None:
        return None
    payload = in_reader_unit(db, pending, payload, usual)
    return Effect(channel=pending.channel, key=pending.key, payload=payload, about=pending.about)


def waiting_in(states: Sequence[ChannelState]) -> list[str]:
    """The channels that fail at present, by name: what the health page warns of."""
    return [state.channel for state in states if not state.ok]
