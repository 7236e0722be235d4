"""Post: the tower's side of every message. Frames in, frames out; who sends was settled by the transport.

Invariants
    T1  Every frame is answered with a frame, whatever it holds; what is refused is counted by site and code.
    T2  A poll that has nothing to tell waits (`Wait`): the transport asks again when there is news for the
        site, or when the hold is over.
    T3  What is answered is durable.
    T4  A node of which much was refused is told to wait, unread; the others do not notice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter

from coldgrid.access.throttle import Throttle
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import VerifierKey
from coldgrid.kernel import log, schema
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import to_micros
from coldgrid.sync import feeds, giving_way, proofs, readings, receiving, releases
from coldgrid.sync import messages as m
from coldgrid.sync.authority import Peer
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, Message, Pace, Place
from coldgrid.sync.outgoing import within_bytes
from coldgrid.sync.wire import LEVEL_BACKLOG, LEVEL_LIVE, Refusal, decode, encode

REFUSED = Counter("coldgrid_sync_refused_total", "Messages of nodes that were refused.", ["site", "code"])
HEARD = Counter("coldgrid_sync_bytes_total", "Bytes of frames.", ["site", "direction"])
# What is refused in the course of things, and is answered by sending something else.
EVERYDAY = frozenset({Code.GAP, Code.GREET, Code.BUSY, Code.OLD_SIZE})
# From so many entries on, a frame is history: worth compressing well.
HISTORY_FROM = 100
PAST_MAX = 1_000
# A node of which more was refused waits: a sound one is refused a few times a minute at most.
REFUSALS_ALLOWED, REFUSALS_WITHIN = 60, timedelta(minutes=1)

logger = structlog.get_logger("coldgrid.sync")


class Wait(msgspec.Struct, frozen=True):
    """There is nothing to tell yet: ask again on news, or after so long, then with `final`."""

    hold_ms: int


Answer = Callable[[str, bytes], bytes]


class Post:
    """Answers frames. Thread-safe: all it keeps beside the database is when it heard of whom, and news."""

    def __init__(
        self,
        desk: Desk,
        notary: Notary | None = None,
        keys: Callable[[str], Sequence[VerifierKey]] = lambda site_id: (),
        answers: dict[str, Answer] | None = None,
        pace: Callable[[], Pace] | None = None,
    ) -> None:
        self._desk = desk
        self._notary = notary
        self._keys = keys
        self._answers = {**giving_way.answers(desk), **(answers or {})}
        self._pace = pace or desk.pace
        self._lock = threading.Lock()
        self._stale_feeds = True
        self._witnessed_at: dict[str, datetime] = {}
        self.heard: dict[str, datetime] = {}
        self._ends: dict[str, Place] = {}
        self._failing: set[str] = set()
        self._refusing = threading.Lock()
        self._refused = Throttle(REFUSALS_ALLOWED, REFUSALS_WITHIN)
        self._handlers: dict[type[Any], Callable[[str, Any, bool], Message | Wait]] = {
            m.Hello: self._greet,
            m.Facts: self._take_facts,
            m.Ahead: self._hear_ahead,
            m.FeedAsk: self._tell_feed,
            m.PastAsk: self._tell_past,
            m.Cosign: self._cosign,
            m.Parcels: self._take_parcels,
            m.Blocks: self._take_blocks,
            m.Ask: self._ask,
        }

    def has_all(self, site_id: str, here: Place) -> bool:
        """Tell whether all that a node had when it said hello is here, and what it sent since was taken."""
        end = self._ends.get(site_id)
        return end is not None and here >= end and site_id not in self._failing

    # --- frames -------------------------------------------------------------------

    def answer(self, peer: Peer, frame: bytes, *, final: bool = False) -> bytes | Wait:
        """Answer a frame (T1). `final`: answer a poll now, though there is nothing to tell."""
        site_id = peer.site_id
        self.heard[site_id] = self._desk.now()
        HEARD.labels(site_id, "in").inc(len(frame))
        with self._refusing:
            slowed_s = self._refused.wait_s(site_id, self._desk.now())
        try:
            if slowed_s:
                raise Refusal(Code.BUSY, "too much of this node was refused", wait_ms=slowed_s * 1_000)
            answer = self._handle(site_id, decode(frame), final)
        except Refusal as refusal:
            if refusal.facts.get("whose") == NETWORK_ORIGIN:
                receiving.report_feed(self._desk, site_id, refusal)
            answer = self._refuse(site_id, refusal)
        except Exception as error:
            logger.exception("sync_fault", site=site_id)
            answer = self._refuse(site_id, Refusal(Code.FAULT, f"{type(error).__name__}: {error}"[:200]))
        if isinstance(answer, Wait):
            return answer
        sent = encode(answer, LEVEL_BACKLOG if _is_history(answer) else LEVEL_LIVE)
        HEARD.labels(site_id, "out").inc(len(sent))
        return sent

    def on_commit(self, recorded: Sequence[tuple[Any, Any]]) -> Iterable[str]:
        """Take notice of what was committed; return whom it is meant for: `*` for everyone."""
        named = {name for entry, _ in recorded if entry.audience for name in entry.audience.split(",")}
        if named:
            self._stale_feeds = True
        return named

    def _handle(self, site_id: str, message: Message, final: bool) -> Message | Wait:
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Refusal(Code.UNKNOWN, f"{type(message).__name__} is no question to a tower")
        return handler(site_id, message, final)

    def _refuse(self, site_id: str, refusal: Refusal) -> m.Refused:
        REFUSED.labels(site_id, refusal.code).inc()
        if refusal.code not in EVERYDAY:
            with self._refusing:
                self._refused.failed(site_id, self._desk.now())
        log_it = logger.info if refusal.code in EVERYDAY else logger.warning
        log_it("sync_refused", site=site_id, code=refusal.code, why=refusal.why, facts=refusal.facts)
        return m.Refused(refusal.code, refusal.why, refusal.facts)

    # --- what nodes ask -----------------------------------------------------------

    def _greet(self, site_id: str, hello: m.Hello, final: bool) -> m.Welcome:
        releases.decide_release(hello.release, schema.RELEASE, releases.SERVES)
        self._check_feed(site_id, hello.feed)
        version, ticket, place = receiving.greet(self._desk, site_id, hello)
        self._ends[site_id] = max((Place(tip.epoch, tip.size) for tip in hello.tips), default=Place())
        with self._desk.reader() as db:
            feed_seq = feeds.feed_head(db, site_id)
            last = readings.last_parcel(db, site_id)
        now_us = to_micros(self._desk.now())
        return m.Welcome(version, ticket, place, feed_seq, last.parcel_no, now_us, self._pace(), last.mark)

    def _check_feed(self, site_id: str, place: m.FeedPlace) -> None:
        """A node that was told more than is here finds a tower that was put back, before anything is sent."""
        self._refresh()
        with self._desk.reader() as db:
            receiving.check_not_chosen(db, site_id)
            feeds.feed_after(db, site_id, place, 0)

    def _take_facts(self, site_id: str, facts: m.Facts, final: bool) -> m.Taken:
        self._failing.add(site_id)
        place = receiving.receive_facts(self._desk, site_id, facts)
        self._failing.discard(site_id)
        wanted: list[bytes] = []
        if readings.MANIFEST in facts.columns.types:
            with self._desk.reader() as db:
                wanted = readings.wanted(db, site_id)
        # Live facts wait for nobody: only who drains a backlog is asked to go slower.
        large = len(facts.columns.bodies) >= receiving.BULK_FROM
        return m.Taken(place, wanted, self._pace() if large else Pace())

    def _hear_ahead(self, site_id: str, ahead: m.Ahead, final: bool) -> m.Heard:
        return m.Heard(receiving.hear_ahead(self._desk, site_id, ahead.columns), self._pace())

    def _refresh(self) -> None:
        """Bring the feeds up to date. Who comes meanwhile waits: else it would be told of nothing."""
        with self._lock:
            if self._stale_feeds:
                self._stale_feeds = False
                try:
                    feeds.refresh(self._desk)
                except Exception:
                    self._stale_feeds = True
                    raise

    def _tell_feed(self, site_id: str, ask: m.FeedAsk, final: bool) -> m.FeedPart | Wait:
        # Without a ticket and without waiting: a host that catches up before it greets.
        if ask.ticket or ask.hold_ms:
            receiving.show_ticket(self._desk, site_id, ask.ticket)
        self._refresh()
        with self._desk.reader() as db:
            feed = feeds.feed_after(db, site_id, ask.place)
            checkpoint = self._checkpoint_for(site_id, ask, db)
        if not feed.entries:
            if not (final or checkpoint or ask.hold_ms <= 0):
                return Wait(ask.hold_ms)
            return m.FeedPart(feed.first_feed_seq, None, [], False, checkpoint)
        entries = within_bytes(feed.entries)
        more = feed.more or len(entries) < len(feed.entries)
        return m.FeedPart(feed.first_feed_seq, pack_entries(entries), feed.keys, more, checkpoint)

    def _checkpoint_for(self, site_id: str, ask: m.FeedAsk, db: Reader) -> bytes:
        """Keep the node's signature under our last checkpoint, and hand out the next when it is time."""
        if self._notary is None:
            return b""
        if ask.cosigned:
            line = m.Cosigned(ask.epoch, ask.size, ask.cosigned)
            proofs.keep_cosignature(self._desk, NETWORK_ORIGIN, line, self._keys(site_id))
        now, last = self._desk.now(), self._witnessed_at.get(site_id)
        if last is not None and now - last < proofs.WITNESS_EVERY:
            return b""
        found = proofs.network_checkpoint(db, ask.epoch, ask.size)
        if found:
            self._witnessed_at[site_id] = now
        return found

    def _tell_past(self, site_id: str, ask: m.PastAsk, final: bool) -> m.PastPart:
        epoch, first = max(ask.place.epoch, log.FIRST_EPOCH), ask.place.seq
        with self._desk.reader() as db:
            entries = log.read_origin(db, site_id, epoch, first, first + PAST_MAX)
            if not entries:
                entries = log.read_origin(db, site_id, epoch + 1, 0, PAST_MAX)
            entries = within_bytes(entries)
            keys = feeds.keys_for(db, entries)
        return m.PastPart(pack_entries(entries), keys) if entries else m.PastPart(None)

    def _cosign(self, site_id: str, asked: m.Cosign, final: bool) -> m.Cosigned:
        if self._notary is None:
            raise Refusal(Code.UNKNOWN, "this tower witnesses nothing")
        return proofs.witness_for(self._desk, self._notary, self._keys(site_id), site_id, asked)

    def _take_parcels(self, site_id: str, parcels: m.Parcels, final: bool) -> m.ParcelsTaken:
        parcel_no = receiving.receive_parcels(self._desk, site_id, parcels)
        with self._desk.reader() as db:
            return m.ParcelsTaken(parcel_no, readings.wanted(db, site_id), self._pace())

    def _take_blocks(self, site_id: str, blocks: m.Blocks, final: bool) -> m.BlocksTaken:
        told = blocks.blocks or blocks.gone
        taken = readings.take_blocks(self._desk, site_id, blocks) if told else 0
        with self._desk.reader() as db:
            lost = readings.lost(db, site_id)
            return m.BlocksTaken(taken, readings.wanted(db, site_id), self._pace(), lost)

    def _ask(self, site_id: str, ask: m.Ask, final: bool) -> m.Told:
        answer = self._answers.get(ask.kind)
        if answer is None:
            raise Refusal(Code.UNKNOWN, f"nobody answers {ask.kind[:40]!r} here")
        return m.Told(ask.kind, answer(site_id, ask.body))


def _is_history(message: Message) -> bool:
    columns = getattr(message, "columns", None)
    return columns is not None and len(columns.bodies) >= HISTORY_FROM
