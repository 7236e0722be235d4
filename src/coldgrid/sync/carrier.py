"""Carrier: turns what the engine wants into frames, and what the tower answers into facts at the node.

It opens no socket and starts no thread: whoever drives it (`node`, the simulator, a test) sends each frame it
is given, one at a time in each lane, and brings back the answer or says that there was none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from coldgrid.evidence import witness
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import VerifierKey
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import to_micros
from coldgrid.sync import acts as a
from coldgrid.sync import engine, following, outgoing, proofs, readings
from coldgrid.sync import messages as m
from coldgrid.sync.acts import Lane, State
from coldgrid.sync.ahead import urgent_after
from coldgrid.sync.codec import pack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, Message, Place
from coldgrid.sync.pace import Bucket
from coldgrid.sync.wire import LEVEL_BACKLOG, LEVEL_LIVE, SPEAKS, Refusal, decode, encode

# A batch from so many entries on is history, and worth compressing well.
HISTORY_FROM = 100
logger = structlog.get_logger("coldgrid.sync")


class Request(msgspec.Struct, frozen=True):
    """A frame to send in a lane; the answer may take `hold_ms` longer than a round trip."""

    lane: Lane
    frame: bytes
    hold_ms: int = 0


class _Foreseen(msgspec.Struct, frozen=True):
    """A batch of facts that was made before it was asked for; `end`: the place after it."""

    place: Place
    entries_max: int
    frame: bytes
    end: Place


class Self(msgspec.Struct, frozen=True):
    """Who talks: the site, the release, its own notary, the keys that verify the tower, its cap on bytes."""

    site_id: str
    release: str = ""
    notary: Notary | None = None
    tower_keys: tuple[VerifierKey, ...] = ()
    bytes_per_s: int = 0


class Carrier:
    """One node's talk with its tower. Thread-safe: the engine's state changes under a lock."""

    def __init__(self, desk: Desk, who: Self) -> None:
        self._desk = desk
        self._who = who
        self._lock = threading.Lock()
        self._line: m.Cosigned | None = None
        self._foreseeing = threading.Lock()
        self._foreseen: _Foreseen | None = None
        self._sent: tuple[Place, int] | None = (
            None  # where the batch under way ends, and the most it could have
        )
        self.state = State(site_id=who.site_id, bucket=Bucket(who.bytes_per_s))
        self._prepare: dict[type[Any], Callable[[Reader, Any], Message | None]] = {
            a.SayHello: self._hello,
            a.SendFacts: self._facts,
            a.SendAhead: self._ahead,
            a.AskFeed: self._ask_feed,
            a.SendCosign: self._cosign,
            a.SendParcels: self._parcels,
            a.SendBlocks: self._blocks,
        }
        self._after: dict[type[Any], Callable[[Any], None]] = {
            m.Welcome: self._keep_ticket,
            m.Refused: self._count_on,
            m.FeedPart: self._follow,
            m.ParcelsTaken: self._drop_parcels,
            m.Cosigned: self._keep_line,
        }

    # --- what the driver calls ----------------------------------------------------

    def look(self, now_us: int, parcel_no: int | None = None) -> list[Request]:
        """Look at what waits and return what to send now: on news, and when `due_us` has come."""
        site_id = self._who.site_id
        known = self.state.backlog.parcel_no if parcel_no is None else parcel_no
        with self._desk.reader() as db:
            backlog = outgoing.backlog_of(db, site_id, self._desk.place(site_id), known)
        return self._step(a.Looked(backlog), now_us)

    def foresee(self) -> None:
        """Make the batch behind the one that is under way, so that it is ready when that one is answered.

        What holds keys of persons is made when it is sent, not before.
        """
        with self._foreseeing:
            state, sent = self.state, self._sent
            if sent is None or not state.lane(Lane.FACTS).busy or self._foreseen is not None:
                return
            place, entries_max = sent
            if place.epoch != state.backlog.head.epoch or state.backlog.head.seq - place.seq < HISTORY_FROM:
                return
            message, _ = self._made(a.SendFacts(place, entries_max, state.backlog.head.seq - place.seq))
            if isinstance(message, m.Facts) and not message.keys:
                frame = encode(message, LEVEL_BACKLOG)
                self._foreseen = _Foreseen(place, entries_max, frame, _end_of(message))

    def receive(self, request: Request, answer: bytes, now_us: int) -> list[Request]:
        """Take the answer to a request; return what to send now."""
        lane = request.lane
        try:
            message = decode(answer)
            after = self._after.get(type(message))
            if after is not None:
                after(message)
        except Refusal as refusal:
            if refusal.code in engine.FOR_GOOD:  # the tower tells another history than before
                message = m.Refused(refusal.code, refusal.why, refusal.facts)
                return self._step(a.Answered(lane, message, len(request.frame)), now_us)
            return self._step(a.Failed(lane, str(refusal)), now_us)
        except Exception as error:
            logger.exception("sync_answer_failed", site=self._who.site_id)
            return self._step(a.Failed(lane, f"{type(error).__name__}: {error}"[:200]), now_us)
        return self._step(a.Answered(lane, message, len(request.frame)), now_us)

    def fail(self, request: Request, why: str, now_us: int) -> list[Request]:
        """Note that a request got no answer; return what to send now."""
        return self._step(a.Failed(request.lane, why), now_us)

    def begin_anew(self) -> None:
        """Say hello at the next look: what barred this node is settled."""
        self._forget_foreseen()
        with self._lock:
            self.state = engine.begun_anew(self.state)

    @property
    def due_us(self) -> int | None:
        """When to `look` again though nothing happened."""
        return engine.due_us(self.state)

    def _step(self, told: a.Told, now_us: int) -> list[Request]:
        taken = isinstance(told, a.Answered) and isinstance(told.message, m.Taken)
        if not isinstance(told, a.Looked) and told.lane is Lane.FACTS and not taken:
            self._forget_foreseen()
        with self._lock:
            before = len(self.state.lost) + self.state.missing
            self.state, planned = engine.step(self.state, told, now_us)
            lost = len(self.state.lost) + self.state.missing
        if lost > before:
            logger.warning("blocks_not_here", site=self._who.site_id, blocks=lost)
        acts, requests = deque(planned), []
        while acts:
            act = acts.popleft()
            if isinstance(act, a.SendFacts) and (foreseen := self._foreseen_for(act)) is not None:
                requests.append(Request(act.lane, foreseen.frame))
                continue
            message, why = self._made(act)
            if message is None:
                nothing = isinstance(act, a.SendAhead) and not why
                as_told = m.Pace(0, self.state.pace.entries_max)
                instead = a.Answered(act.lane, m.Heard(0, as_told)) if nothing else a.Failed(act.lane, why)
                with self._lock:
                    self.state, planned = engine.step(self.state, instead, now_us)
                acts.extend(planned)
                continue
            if isinstance(act, a.SendFacts) and isinstance(message, m.Facts):
                self._sent = (_end_of(message), act.entries_max)
            history = isinstance(act, a.SendFacts) and act.behind >= HISTORY_FROM
            frame = encode(message, LEVEL_BACKLOG if history else LEVEL_LIVE)
            requests.append(Request(act.lane, frame, act.hold_ms if isinstance(act, a.AskFeed) else 0))
        return requests

    def _foreseen_for(self, act: a.SendFacts) -> _Foreseen | None:
        """Return the batch that was foreseen, where it is the one to send; another is forgotten."""
        with self._foreseeing:
            foreseen, self._foreseen, self._sent = self._foreseen, None, None
            if foreseen is None or (foreseen.place, foreseen.entries_max) != (act.place, act.entries_max):
                return None
            self._sent = (foreseen.end, act.entries_max)
            return foreseen

    def _forget_foreseen(self) -> None:
        """What was foreseen follows a batch that was taken: after anything else the log may be another."""
        with self._foreseeing:
            self._foreseen = self._sent = None

    def _made(self, act: a.Act) -> tuple[Message | None, str]:
        """Make the message of an act; without one, say why: its lane tries again later."""
        try:
            with self._desk.reader() as db:
                why = "" if isinstance(act, a.SendAhead) else "nothing to send"
                return self._prepare[type(act)](db, act), why
        except Refusal as refusal:
            return None, str(refusal)
        except Exception as error:  # the disk is full, as it may be where a greeting is counted
            logger.exception("sync_message_failed", site=self._who.site_id, lane=act.lane)
            return None, f"{type(error).__name__}: {error}"[:200]

    # --- making messages ----------------------------------------------------------

    def _hello(self, db: Reader, act: a.SayHello) -> m.Hello:
        site_id = self._who.site_id
        counted, nonce = outgoing.next_hello(self._desk, site_id)
        tips = outgoing.tips_of(db, site_id, self._desk.place(site_id))
        now_us = to_micros(self._desk.now())
        last = readings.last_parcel(db, site_id)
        return m.Hello(
            versions=list(SPEAKS),
            site_id=site_id,
            release=self._who.release,
            ticket=counted.ticket,
            tips=tips,
            feed=following.followed(db),
            now_us=now_us,
            number=counted.number,
            nonce=nonce,
            parcel_no=last.parcel_no,
            parcel_mark=last.mark,
        )

    def _facts(self, db: Reader, act: a.SendFacts) -> m.Facts | None:
        site_id = self._who.site_id
        entries = outgoing.facts_after(db, site_id, act.place, self._desk.place(site_id), act.entries_max)
        return m.Facts(pack_entries(entries), outgoing.keys_sealed_in(db, entries)) if entries else None

    def _ahead(self, db: Reader, act: a.SendAhead) -> m.Ahead | None:
        urgent = urgent_after(db, self._who.site_id, act.place)
        return m.Ahead(pack_entries(urgent)) if urgent else None

    def _ask_feed(self, db: Reader, act: a.AskFeed) -> m.FeedAsk:
        place = following.followed(db)
        line, self._line = self._line, None
        seen = self._witnessed(db)
        cosigned = line.line if line is not None and Place(line.epoch, line.size) == seen else ""
        return m.FeedAsk(place, self.state.ticket, act.hold_ms, cosigned, seen.epoch, seen.seq)

    def _witnessed(self, db: Reader) -> Place:
        """The newest checkpoint of the network's log that this node has cosigned."""
        notary = self._who.notary
        if notary is None:
            return Place()
        lead = f"{notary.network_name}/{NETWORK_ORIGIN}/"
        seen = [one for one in witness.witnessed(db) if one.log_name.startswith(lead)]
        return max((Place(int(one.log_name.rpartition("/")[2]), one.size) for one in seen), default=Place())

    def _cosign(self, db: Reader, act: a.SendCosign) -> m.Cosign | None:
        epoch = self.state.backlog.checkpoint.epoch
        request = proofs.own_checkpoint(db, self._who.site_id, epoch, act.old_size)
        return m.Cosign(request) if request else None

    def _parcels(self, db: Reader, act: a.SendParcels) -> m.Parcels:
        return readings.parcels_to_send(db, self._who.site_id, act.after)

    def _blocks(self, db: Reader, act: a.SendBlocks) -> m.Blocks:
        return readings.blocks_to_send(db, act.hashes) if act.hashes else m.Blocks([])

    # --- what answers do ----------------------------------------------------------

    def _keep_ticket(self, welcome: m.Welcome) -> None:
        with self._desk.reader() as db:
            before = outgoing.kept(db, self._who.site_id)
        if welcome.place < Place(before.epoch, before.seq):
            logger.warning("tower_has_less", site=self._who.site_id, before=before.seq, now=welcome.place.seq)
        outgoing.keep(self._desk, self._who.site_id, welcome.ticket, welcome.place)
        if readings.align(self._desk, self._who.site_id, welcome.parcel_no, welcome.parcel_mark):
            logger.warning("readings_sent_again", site=self._who.site_id, after=welcome.parcel_no)

    def _count_on(self, refused: m.Refused) -> None:
        number = refused.facts.get("number")
        if refused.code == Code.GREET and isinstance(number, int):
            outgoing.count_from(self._desk, self._who.site_id, number)

    def _follow(self, part: m.FeedPart) -> None:
        if part.columns is not None:
            following.follow(self._desk, part)
        if part.checkpoint and self._who.notary is not None:
            self._witness(self._who.notary, part.checkpoint)

    def _witness(self, notary: Notary, checkpoint: bytes) -> None:
        """Cosign the tower's checkpoint; one that only does not fit now is asked for again."""
        try:
            self._line = proofs.witness_tower(self._desk, notary, self._who.tower_keys, checkpoint)
        except Refusal as refusal:
            if refusal.code in engine.FOR_GOOD:
                raise
            logger.warning("not_witnessed", site=self._who.site_id, code=refusal.code, why=refusal.why)

    def _drop_parcels(self, taken: m.ParcelsTaken) -> None:
        readings.drop_sent(self._desk, self._who.site_id, taken.parcel_no)

    def _keep_line(self, line: m.Cosigned) -> None:
        keys: Sequence[VerifierKey] = self._who.tower_keys
        proofs.keep_cosignature(self._desk, self._who.site_id, line, keys)


def _end_of(facts: m.Facts) -> Place:
    last = facts.columns.runs[-1]
    return Place(last.epoch, last.first_seq + last.count)
