"""Carrier threads: drive a node's talk with its tower over TLS. The engine decides; here is only waiting.

Each lane has a thread, so that a poll that is held at the tower delays no fact. A further thread looks at
what waits: when something was committed, when the engine wants to, and when a parcel of readings is due.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from queue import SimpleQueue
from typing import Any

import structlog

from coldgrid.kernel.events import Entry
from coldgrid.kernel.tables import from_micros
from coldgrid.sync import readings
from coldgrid.sync.abiding import abide
from coldgrid.sync.acts import Lane, Phase, State
from coldgrid.sync.authorities import what_follows
from coldgrid.sync.authority import BadCertificate
from coldgrid.sync.carrier import Carrier, Request
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, Message, Place
from coldgrid.sync.node_words import AuthorityEnded, AuthorityReplaced
from coldgrid.sync.tls_client import ANSWER_S, TowerLink, TowerRefused, TowerUnreachable
from coldgrid.sync.wire import Refusal, decode, encode

LOOK_EVERY_S = 2.0
PARCEL_SOON_S = 2.0
RENEWAL_EVERY_S = 3600.0
# The tower may have to make its projections anew before it answers.
ABIDE_AGAIN_S, ABIDE_WITHIN_S = 10.0, 900.0
AUTHORITY_AGAIN_S = 60.0
logger = structlog.get_logger("coldgrid.sync")


class Talk:
    """A node's talk with its tower, on threads of its own.

    Args:
        site_id: The node's site.
        desk: The node's decider.
        carrier: Makes and reads messages.
        link: The connections.
        parcel_every_s: Seconds between parcels of readings while nobody waits for them.
        urgent: Tells whether somebody does: an incident is open, or a page shows the readings.
    """

    def __init__(
        self,
        site_id: str,
        desk: Desk,
        carrier: Carrier,
        link: TowerLink,
        parcel_every_s: float,
        urgent: Callable[[], bool],
    ) -> None:
        self._site_id = site_id
        self._desk = desk
        self._carrier = carrier
        self._link = link
        self._parcel_every_s = parcel_every_s
        self._urgent = urgent
        self._queues: dict[Lane, SimpleQueue[Request | None]] = {lane: SimpleQueue() for lane in Lane}
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._began_us, self._began_s = time.time_ns() // 1000, time.monotonic()
        self._parcel_at_s = -parcel_every_s
        self._parcel_no = 0
        self._abide_at_s = self._authority_at_s = 0.0
        self._abide_waits = ""  # for what the choice of a copy waits
        self._looker = threading.Thread(target=self._look_on, name="sync-looker", daemon=True)
        self._lanes = [
            threading.Thread(target=self._lane, args=(lane,), name=f"sync-{lane}", daemon=True)
            for lane in Lane
        ]

    def tower_ahead_us(self) -> int | None:
        """Return how far the tower's clock was ahead at the last greeting; None where there was none."""
        state = self.state
        return state.tower_ahead_us if state.greeted_us else None

    # --- what the composition root calls ------------------------------------------

    def start(self) -> None:
        """Begin to talk."""
        for thread in (*self._lanes, self._looker):
            thread.start()

    def stop(self) -> None:
        """Talk no more; a poll that is held ends by itself."""
        self._stopping.set()
        self._news.set()
        for queue in self._queues.values():
            queue.put(None)
        self._link.close()
        self._looker.join(timeout=5)

    def on_commit(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Listener of the decider: what is the site's own goes up at once."""
        if any(entry.origin == self._site_id for entry, _ in recorded):
            self._news.set()
        if any(isinstance(event, AuthorityReplaced | AuthorityEnded) for _, event in recorded):
            self._authority_at_s = 0.0
            self._news.set()

    @property
    def state(self) -> State:
        """How the talk stands."""
        return self._carrier.state

    def offline_since(self) -> datetime | None:
        """Return since when the tower does not answer, by this host's clock; None while it does."""
        since_us = self._carrier.state.offline_since_us
        return None if since_us is None else from_micros(since_us)

    def place(self) -> Place:
        """Return what the tower has of the site's log, as it said last."""
        return self._carrier.state.place

    def drained(self) -> bool:
        """Tell whether the tower has every fact of the site, and every reading."""
        state = self._carrier.state
        everything = state.place == self._desk.place(self._site_id) and not state.wanted
        return state.phase is Phase.UP and everything and state.parcel_no >= self._parcel_no

    def told(self) -> str:
        """Say how the talk stands, for the health page.

        Raises:
            TowerUnreachable: the tower does not answer, or refuses.
        """
        state = self._carrier.state
        if state.phase is not Phase.UP:
            told = state.why or "no answer: not reached yet"
            if state.code == Code.CHOSEN and self._abide_waits:
                told = self._abide_waits
            raise TowerUnreachable(f"{state.code}: {told}" if state.code else told)
        behind = state.behind()
        if behind:
            return f"{behind:,} facts on their way"
        lost = len(state.lost) + state.missing
        if lost:  # their readings are nowhere, unless another disk has them
            return f"{lost:,} sealed blocks of readings that the tower lacks are not on this disk"
        return "the tower has everything"

    def renew(self) -> str:
        """Renew the certificate when it is due, or its authority was replaced; say until when it holds."""
        with self._desk.reader() as db:
            replaced = what_follows(db, self._link.authority)
        if replaced is not None or self._link.renewal_due(self._desk.now()):
            told = f"renewed, holds until {self._link.renew(secrets.token_bytes):%Y-%m-%d}"
            self._link.standing()  # use it at once: polls go on with the one before for minutes
        else:
            told = f"holds until {self._link.identity.shown.not_after:%Y-%m-%d}"
        with self._desk.reader() as db:
            before = what_follows(db, self._link.authority_before)
        if before is not None and before.ended_at is not None:
            self._link.forget_before()
        return told

    # --- threads ------------------------------------------------------------------

    def _now_us(self) -> int:
        """The system clock of the start, moved on by the clock that cannot jump: waiting goes by it."""
        return self._began_us + int((time.monotonic() - self._began_s) * 1e6)

    def _lane(self, lane: Lane) -> None:
        while (request := self._queues[lane].get()) is not None:
            try:
                answer = self._link.post(request.frame, ANSWER_S + request.hold_ms / 1000)
            except (TowerRefused, TowerUnreachable) as error:
                more = self._carrier.fail(request, str(error), self._now_us())
                self._renew_expired(error)
            else:
                more = self._carrier.receive(request, answer, self._now_us())
            self._hand_out(more)
            self._news.set()  # the engine may want to be asked again sooner than before

    def _renew_expired(self, error: Exception) -> None:
        """After a long outage the tower refuses all but renewing: do not wait for the hour."""
        if not isinstance(error, TowerRefused) or error.code != "certificate_expired":
            return
        try:
            self._link.renew(secrets.token_bytes)
        except (TowerRefused, TowerUnreachable) as refused:
            logger.warning("certificate_not_renewed", why=str(refused))

    def _look_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self.carry_out()
                self._hear_of_authority()
                self._cut_parcel()
                self._hand_out(self._carrier.look(self._now_us(), self._parcel_no))
                self._carrier.foresee()
            except Refusal as refusal:
                logger.warning("sync_look_refused", why=refusal.why)
            except Exception:
                logger.exception("sync_look_failed")
            self._news.wait(self._wait_s())
            self._news.clear()

    def carry_out(self) -> None:
        """Where a person chose which copy of this site's log is kept, carry it out and say hello again."""
        now_s = time.monotonic()
        if self._carrier.state.code != Code.CHOSEN or now_s < self._abide_at_s:
            return
        self._abide_at_s = now_s + ABIDE_AGAIN_S
        try:
            kept = abide(self._desk, self._site_id, self._exchange)
        except Refusal as refusal:
            self._abide_waits = refusal.why
            raise
        self._abide_waits = ""
        logger.warning("quarantine_ended", site=self._site_id, kept=kept)
        self._carrier.begin_anew()

    def _hear_of_authority(self) -> None:
        """Where the tower's authority was replaced, do not wait for the hour; nor at the start."""
        now_s = time.monotonic()
        if now_s < self._authority_at_s or self._carrier.state.phase is not Phase.UP:
            return
        self._authority_at_s = math.inf  # before asking: what is heard meanwhile is not missed
        try:
            self.renew()
        except (BadCertificate, TowerRefused, TowerUnreachable) as error:
            self._authority_at_s = now_s + AUTHORITY_AGAIN_S
            logger.warning("certificate_not_renewed", why=str(error))

    def _exchange(self, message: Message) -> Message:
        return decode(self._link.post(encode(message), ABIDE_WITHIN_S))

    def _wait_s(self) -> float:
        due_us = self._carrier.due_us
        if due_us is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.001, (due_us - self._now_us()) / 1e6))

    def _cut_parcel(self) -> None:
        now_s = time.monotonic()
        every_s = PARCEL_SOON_S if self._urgent() else self._parcel_every_s
        if now_s - self._parcel_at_s >= every_s:
            self._parcel_at_s = now_s
            self._parcel_no = readings.cut(self._desk, self._site_id)

    def cut_now(self) -> None:
        """Make a parcel of what was read since the last one, whatever the hour."""
        self._parcel_no = readings.cut(self._desk, self._site_id)
        self._news.set()

    def _hand_out(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._queues[request.lane].put(request)
