"""Cascades: what rooms do in answer to events, in the group of their cause or from a durable cursor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from coldgrid.kernel import log, parking, timers
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.batch import Batch
from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.events import Entry, UnknownEvent, decode, tag_of
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.metrics import PARKED
from coldgrid.kernel.ownership import NETWORK_ORIGIN, Owner
from coldgrid.kernel.parking import ParkedStreams, RetryParked
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.registry import Reaction, handles, reactions, reactions_by_name
from coldgrid.kernel.resting import Lane, Lanes
from coldgrid.kernel.tx import Tx

CASCADE_MAX = 8
CURSOR_CHUNK = 100
TIMER_RETRY = timedelta(minutes=1)
logger = structlog.get_logger("coldgrid.cascade")

Unit = Callable[[Batch, str, Principal, str], Tx]


def system(name: str) -> Principal:
    """Return the principal of an automatic act: its authority is the policy that `name` is."""
    return Principal(f"system:{name}", frozenset({"system"}))


def run_reactions(batch: Batch, unit: Unit, first: int) -> None:
    """Run the reactions to everything recorded since `first`, and to what they record, level by level."""
    for depth in range(CASCADE_MAX + 1):
        end = len(batch.recorded)
        for entry, event in batch.recorded[first:end]:
            for reaction in reactions.get(type(event), ()):
                if reaction.queued:
                    continue
                if depth == CASCADE_MAX:
                    _park(batch, unit, reaction, entry, event, f"cascade deeper than {CASCADE_MAX}")
                else:
                    run_one(batch, unit, reaction, entry, event, entry.origin)
        first = end
        if first == len(batch.recorded):
            return


def run_one(batch: Batch, unit: Unit, reaction: Reaction, entry: Entry, event: Any, origin: str) -> bool:
    """Run one reaction in a savepoint of its own; park the event when it fails. Tell whether it ran."""
    tx = unit(batch, origin, system(reaction.name), entry.id)
    if tx.hot(ParkedStreams).waits(reaction, entry.stream):
        _park(batch, unit, reaction, entry, event, "waits behind a parked event of its stream")
        return False
    why = _attempt(batch, tx, reaction, event)
    if why is None:
        return True
    _park(batch, unit, reaction, entry, event, why)
    return False


def _attempt(batch: Batch, tx: Tx, reaction: Reaction, event: Any) -> str | None:
    """Run a reaction; return why it failed, or None."""
    mark = batch.mark()
    tx.may_cross = reaction.cursor
    try:
        reaction.run(tx, event)
    except DriverError:
        raise
    except Exception as error:
        batch.take_back(mark)
        logger.exception("reaction_failed", reaction=reaction.name, type=tag_of(type(event)))
        return f"{type(error).__name__}: {error}"
    batch.release(mark)
    return None


def _park(batch: Batch, unit: Unit, reaction: Reaction, entry: Entry, event: Any, why: str) -> None:
    PARKED.labels(reaction.name).inc()
    origin = NETWORK_ORIGIN if reaction.cursor else entry.origin
    tx = unit(batch, origin, system(reaction.name), entry.id)
    parking.park(tx, reaction, entry, reaction.scope(event), why)


def park_timer(tx: Tx, timer: timers.Timer, error: Exception) -> None:
    """A timer's handler failed: say so and try again in a minute; the timer is not lost."""
    logger.error(
        "timer_failed", kind=timer.kind, timer_id=timer.timer_id, error=f"{type(error).__name__}: {error}"
    )
    PARKED.labels(f"timer:{timer.kind}").inc()
    tx.set_timer(timer.timer_id, timer.kind, tx.now + TIMER_RETRY, timer.payload, timer.on_outage)


@handles(RetryParked, action="kernel.retry_parked", owner=Owner.HOST)
def retry_parked(tx: Tx, command: RetryParked) -> dict[str, int]:
    """Run parked events again, in order; the first that fails again keeps its stream waiting."""
    tx.may_cross = True
    tried: set[tuple[str, str]] = set()
    done = failed = 0
    for parked in parking.parked_events(tx):
        key = (parked.reaction, parked.stream)
        reaction = reactions_by_name.get(parked.reaction)
        entry = log.find(tx, parked.entry_id)
        if command.reaction not in ("", parked.reaction) or key in tried or reaction is None or entry is None:
            continue
        origin = NETWORK_ORIGIN if reaction.cursor else entry.origin
        if not tx.hot(Hosting).here(origin):  # its own host runs it
            continue
        retry = Tx(tx.batch, tx.shared, origin, system(reaction.name), tx.now, entry.id)
        why = _attempt(tx.batch, retry, reaction, decode(entry.type, entry.body))
        if why is None:
            parking.resume(retry, parked)
            done += 1
        else:
            tried.add(key)
            failed += 1
    return {"resumed": done, "failed": failed}


class Pump:
    """Feeds cursor reactions: from memory while the process lives, from the log after a restart.

    Those to a backlog rest in `lanes` until it has come, and are read from the log (`resting`).
    """

    def __init__(
        self, reads: Reads, last_position: int, here: Callable[[str], bool] = lambda origin: True
    ) -> None:
        self.pending: deque[tuple[Reaction, Entry, Any]] = deque()
        self.lanes = Lanes(reads)
        # Those across origins write to the network's log, the others to their event's: its host runs them.
        self._here = here
        self._new: set[str] = set()
        self._start = last_position
        self._recover(reads, last_position)

    def _is_ours(self, reaction: Reaction, origin: str) -> bool:
        return reaction.queued and self._here(NETWORK_ORIGIN if reaction.cursor else origin)

    def _recover(self, reads: Reads, last_position: int) -> None:
        """Queue what the cursors have not read. A reaction new in this release starts at the log's end."""
        read_to = parking.cursors(reads)
        ours = {
            reaction.name: reaction
            for reaction in reactions_by_name.values()
            if reaction.later or (reaction.cursor and self._here(NETWORK_ORIGIN))
        }
        self._new = {name for name in ours if name not in read_to}
        self._born = dict.fromkeys(self._new, last_position)
        self._names = frozenset(ours)
        cursor_types = {tag_of(reaction.event) for reaction in ours.values()}
        known = [read_to[name] for name in read_to if name in ours]
        if not cursor_types or not known or min(known) >= last_position:
            return
        for entry in log.read_all(reads, min(known), sorted(cursor_types)):
            event = decode(entry.type, entry.body)
            if isinstance(event, UnknownEvent) or self.lanes.cover(entry):
                continue
            for reaction in reactions.get(type(event), ()):
                if (
                    self._is_ours(reaction, entry.origin)
                    and read_to.get(reaction.name, last_position) < entry.position
                ):
                    self.pending.append((reaction, entry, event))

    def feed(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Queue the reactions to what a commit recorded."""
        todo: dict[tuple[type[Any], str], list[Reaction]] = {}
        for entry, event in recorded:
            if self.lanes.open and self.lanes.cover(entry):
                continue
            key = (type(event), entry.origin)
            ours = todo.get(key)
            if ours is None:
                ours = [one for one in reactions.get(key[0], ()) if self._is_ours(one, key[1])]
                todo[key] = ours
            for reaction in ours:
                self.pending.append((reaction, entry, event))

    def due(self, now: datetime | None = None) -> bool:
        """Tell whether something is to be run now; without `now`, whether anything is left at all."""
        return bool(self.pending) or self.lanes.due(now) is not None

    def run(self, batch: Batch, unit: Unit, limit: int, now: datetime | None = None) -> None:
        """Run up to `limit` queued reactions and move their cursors in the same commit (K3).

        Where there are none, run those to as many entries of a lane that is due; without `now`, of any.
        """
        if self.pending:
            self._run_pending(batch, unit, limit)
            return
        lane = self.lanes.due(now)
        if lane is not None:
            self._run_lane(batch, unit, lane, limit)

    def _run_pending(self, batch: Batch, unit: Unit, limit: int) -> None:
        taken = [self.pending.popleft() for _ in range(min(limit, len(self.pending)))]
        batch.undo(lambda: self.pending.extendleft(reversed(taken)))
        read_to = self._begun(batch)
        for reaction, entry, event in taken:
            self._run_one(batch, unit, reaction, entry, event)
            read_to[reaction.name] = entry.position
        self._move(batch, unit, read_to, taken[-1][1].origin)

    def _run_lane(self, batch: Batch, unit: Unit, lane: Lane, limit: int) -> None:
        read_to = self._begun(batch)
        for entry, event in self.lanes.next_of(batch, lane, limit):
            for reaction in reactions.get(type(event), ()):
                is_old = entry.position <= self._born.get(reaction.name, -1)
                if not is_old and self._is_ours(reaction, entry.origin):
                    self._run_one(batch, unit, reaction, entry, event)
        if lane.position >= lane.upto:
            known = {
                **parking.cursors(unit(batch, self._home(lane.origin), system("cursor"), "cursor")),
                **read_to,
            }
            read_to |= {name: max(known.get(name, -1), lane.upto) for name in self._names}
            self.lanes.close(batch, lane)
        self._move(batch, unit, read_to, lane.origin)

    def _run_one(self, batch: Batch, unit: Unit, reaction: Reaction, entry: Entry, event: Any) -> None:
        queued = len(batch.recorded)
        run_one(batch, unit, reaction, entry, event, NETWORK_ORIGIN if reaction.cursor else entry.origin)
        run_reactions(batch, unit, queued)

    def _begun(self, batch: Batch) -> dict[str, int]:
        """Return where reactions begin that have no cursor yet."""
        if not self._new:
            return {}
        new, self._new = self._new, set()
        batch.undo(lambda: setattr(self, "_new", new))
        return dict.fromkeys(new, self._start)

    def _home(self, origin: str) -> str:
        return NETWORK_ORIGIN if self._here(NETWORK_ORIGIN) else origin

    def _move(self, batch: Batch, unit: Unit, read_to: dict[str, int], origin: str) -> None:
        if read_to:
            tx = unit(batch, self._home(origin), system("cursor"), "cursor")
            for name, position in read_to.items():
                parking.move_cursor(tx, name, position)
