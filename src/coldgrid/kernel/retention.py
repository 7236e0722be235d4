"""Retention: what may go after a time, by class, and the fact that it went.

Invariants
    T1  Nothing goes that nobody named a time for; the default is to keep.
    T2  What goes and the fact that says so are one commit: how many things, how many bytes, from when to
        when, and a SHA-256 over their names. The log, its proofs and the manifests of readings never go.
    T3  What somebody still rests on is spared (`Spared`): whoever asks says what that is.

Rooms register their classes. Each finds things on a reader's connection, and drops them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from hashlib import sha256

import msgspec

from coldgrid.kernel import log
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, Event, tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tx import Tx

AT_ONCE = 500  # things in one commit: some milliseconds
CAUSE = "kernel.retention"
STREAM = "kernel/retention"


class Dropped(Event, frozen=True, tag="kernel.dropped"):
    """Things of a class that were older than `before` are gone from the host of this origin.

    `digest`: SHA-256 in hexadecimal over their names, one a line, in the order of `find`.
    """

    kind: str
    before: datetime
    things: int
    bytes: int
    first_at: datetime | None
    last_at: datetime | None
    digest: str


class Thing(msgspec.Struct, frozen=True):
    """Something that may go: its name, how many bytes go with it, and when it was."""

    name: str
    bytes: int
    at: datetime | None


class Spared(msgspec.Struct, frozen=True):
    """What must stay: at each of these sites whatever is not older than an instant."""

    since: dict[str, datetime] = {}

    def spares(self, site_id: str, at: datetime) -> bool:
        """Tell whether something at a site and an instant must stay."""
        since = self.since.get(site_id)
        return since is not None and at >= since


class Kind(msgspec.Struct, frozen=True):
    """A class of things. `find`: (reader, before, spared, most) → what may go; `drop`: (tx, names)."""

    name: str
    told: str
    find: Callable[[Reader, datetime, Spared, int], list[Thing]]
    drop: Callable[[Tx, Sequence[str]], None]


kinds: dict[str, Kind] = {}


def register_kind(kind: Kind) -> None:
    """Offer a class of things that may go after a time."""
    assert kind.name not in kinds, f"{kind.name} is registered twice"
    kinds[kind.name] = kind


def digest_of(names: Sequence[str]) -> str:
    """Return the hash by which the names of what went can be shown to be those (T2)."""
    return sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def plan(db: Reader, kind: str, before: datetime, spared: Spared, most: int) -> list[Thing]:
    """Return what would go."""
    return kinds[kind].find(db, before, spared, most)


def drop(decider: Decider, origin: str, kind: str, before: datetime, things: Sequence[Thing]) -> None:
    """Let things of a class go, in one commit with the fact that says so (T2)."""

    def work(tx: Tx) -> None:
        names = [thing.name for thing in things]
        kinds[kind].drop(tx, names)
        times = sorted(thing.at for thing in things if thing.at is not None)
        tx.record(
            STREAM,
            Dropped(
                kind=kind,
                before=before,
                things=len(things),
                bytes=sum(thing.bytes for thing in things),
                first_at=times[0] if times else None,
                last_at=times[-1] if times else None,
                digest=digest_of(names),
            ),
        )

    decider.within(SYSTEM, origin, work, CAUSE)


class Went(msgspec.Struct, frozen=True):
    """A fact of retention, by the entry that holds it. `position`: of the entry, in this database."""

    entry_id: str
    recorded_at: datetime
    dropped: Dropped
    position: int


def went(db: Reader) -> list[Went]:
    """Return everything that went, as the log says, the oldest first."""
    return [_went(entry) for entry in log.read_all(db, types=[tag_of(Dropped)])]


def went_before(db: Reader, before: int, most: int, origins: Collection[str] | None = None) -> list[Went]:
    """Return what went by the entries before a position, the newest first; of some origins, or of all."""
    found: list[Went] = []
    while len(found) < most and (entries := log.read_stream_back(db, STREAM, before, most)):
        before = entries[-1].position
        found += [_went(entry) for entry in entries if origins is None or entry.origin in origins]
    return found[:most]


def _went(entry: Entry) -> Went:
    return Went(entry.id, entry.recorded_at, log.decode_entry(entry), entry.position)


def totals(facts: Sequence[Went]) -> Mapping[str, int]:
    """Return how many things of each class went."""
    found: dict[str, int] = {}
    for one in facts:
        found[one.dropped.kind] = found.get(one.dropped.kind, 0) + one.dropped.things
    return found
