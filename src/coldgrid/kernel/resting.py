"""Resting: what follows from a site's backlog waits in a lane of its own, and lets what is live go first.

Invariants
    Z1  A lane has an origin's entries behind `first` up to `upto`. It alone runs the reactions to them, in
        order; its `position` moves in the transaction of what they did (parking.K3).
    Z2  While an origin's lane is open, everything taken of that origin goes there (parking.K1).
    Z3  A lane is closed in the transaction that moves every cursor behind it.
    Z4  A lane rests while its backlog comes, `REST_MAX` at most; then it is run beside what comes, which is
        slowed down (`sync.pace`).

A cursor of a reaction says one place in the log of the database. Were the reactions to a site's night run in
that order, those to another site's facts of this minute would wait behind all of them.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.batch import Batch
from coldgrid.kernel.events import Entry, decode
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata

REST_MAX = timedelta(seconds=30)
# A backlog of which nothing came for so long has ended, or its node is gone.
REST_IDLE = timedelta(seconds=1)
READ_AT_ONCE = 500

kernel_lane = sa.Table(
    "kernel_lane",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("upto", sa.BigInteger, nullable=False),
    sa.Column("since", Instant, nullable=False),
    info={"service": True},
)
_KEEP = Statement(upsert(kernel_lane, keys=["origin"], set_=["first", "position", "upto", "since"]))
_CLOSE = Statement(kernel_lane.delete().where(kernel_lane.c.origin == sa.bindparam("whose")))


class Lane(msgspec.Struct):
    """One origin's lane. `since`: when it was opened; `taken_at`: when the last part of a backlog came.

    `taken_at` is None where none is coming. `ahead`: what was read of the lane, the oldest first.
    """

    origin: str
    first: int
    position: int
    upto: int
    since: datetime
    taken_at: datetime | None = None
    ahead: deque[tuple[Entry, Any]] = msgspec.field(default_factory=deque)

    def due(self, now: datetime) -> bool:
        """Tell whether it is to be run now (Z4)."""
        return self.taken_at is None or now - self.taken_at >= REST_IDLE or now - self.since >= REST_MAX


_ALL = Statement(sa.select(kernel_lane).order_by(kernel_lane.c.since, kernel_lane.c.origin), into=Lane)


class Lanes:
    """The open lanes of a database, kept in step with their table by the decider alone."""

    def __init__(self, reader: Reader) -> None:
        self.open: dict[str, Lane] = {lane.origin: lane for lane in reader.all(_ALL)}

    def cover(self, entry: Entry) -> bool:
        """Tell whether an entry's reactions are a lane's (Z1)."""
        lane = self.open.get(entry.origin)
        return lane is not None and lane.first < entry.position <= lane.upto

    def due(self, now: datetime | None) -> Lane | None:
        """Return the lane to run now, the oldest first; without `now`, the oldest. None: there is none."""
        return next((lane for lane in self.open.values() if now is None or lane.due(now)), None)

    def oldest_s(self, now: datetime) -> float:
        """Return for how many seconds the oldest lane has been open; 0 where none is."""
        lanes = list(self.open.values())  # asked from other threads as well
        return max(((now - lane.since).total_seconds() for lane in lanes), default=0.0)

    def take(self, batch: Batch, now: datetime, resting: str) -> None:
        """Put what a batch has of origins with a lane into these (Z2), and open one for `resting`."""
        ends = {entry.origin: entry.position for entry, _ in batch.recorded}
        for origin, upto in ends.items():
            lane, rests = self.open.get(origin), origin == resting
            if lane is None:
                if not rests:
                    continue
                start = next(entry.position for entry, _ in batch.recorded if entry.origin == origin) - 1
                lane = self.open[origin] = Lane(origin, start, start, upto, now)
                batch.undo(partial(self._forget, origin))
            _change(batch, lane, upto=upto, taken_at=now if rests else None)
            _keep(batch, lane)

    def _forget(self, origin: str) -> None:
        del self.open[origin]

    def next_of(self, batch: Batch, lane: Lane, limit: int) -> list[tuple[Entry, Any]]:
        """Return the next entries of a lane with their events, none where all were run; they count as run."""
        after = lane.position
        while not lane.ahead and after < lane.upto:
            found = log.read(Reads(batch.connection), after, READ_AT_ONCE)
            after = found[-1].position if found else lane.upto
            lane.ahead.extend((entry, decode(entry.type, entry.body)) for entry in found if self.cover(entry))
        taken = [lane.ahead.popleft() for _ in range(min(limit, len(lane.ahead)))]
        batch.undo(lane.ahead.clear)
        _change(batch, lane, position=taken[-1][0].position if taken else lane.upto)
        _keep(batch, lane)
        return taken

    def close(self, batch: Batch, lane: Lane) -> None:
        """Close a lane of which everything was run (Z3)."""
        del self.open[lane.origin]
        batch.undo(partial(self.open.__setitem__, lane.origin, lane))
        batch.write_row(_CLOSE, (lane.origin,))


def _change(batch: Batch, lane: Lane, **changes: Any) -> None:
    before = {name: getattr(lane, name) for name in changes}
    _set(lane, changes)
    batch.undo(partial(_set, lane, before))


def _set(lane: Lane, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(lane, name, value)


def _keep(batch: Batch, lane: Lane) -> None:
    told = {name: getattr(lane, name) for name in ("origin", "first", "position", "upto", "since")}
    batch.write_row(_KEEP, _KEEP.bind(batch.connection.dialect, told))
