"""Feeds: what each site is told, numbered without a gap for each of them.

Invariants
    F1  A site's feed is the entries whose audience names it or everyone, in the order of the tower's log.
    F2  The number of an entry in a feed is how many entries of that feed there are up to it: no gap, and the
        same again whenever the table is made anew from the log.
    F3  Who says where it stands names the entry and its leaf: a tower that was put back is found by that.

Master data goes to everyone: it has one row, not one for each site. A site's number adds up both counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.audience import EVERY_SITE
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.personal import keys_of, subjects_in
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, FeedPlace, Key
from coldgrid.sync.wire import Refusal

READ_AT_ONCE = 1_000
PART_MAX = 500
NOTHING = -1


class Feed(msgspec.Struct, frozen=True):
    """A part of a site's feed: the number of its first entry, the entries, and whether there are more."""

    first_feed_seq: int
    entries: list[Entry]
    keys: list[Key]
    more: bool


# --- Table ------------------------------------------------------------------------

# A service table, though a function of the log alone: it goes on from where it ends, or begins anew.
sync_feed = sa.Table(
    "sync_feed",
    metadata,
    sa.Column("audience", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    info={"service": True},
)
sa.Index("ix_sync_feed_position", sync_feed.c.audience, sync_feed.c.position)

_ADD = Statement(sync_feed.insert())
_MINE = sync_feed.c.audience.in_(sa.bindparam("audiences", expanding=True))
_HEADS = Statement(
    sa.select(
        sync_feed.c.audience, sa.func.max(sync_feed.c.number), sa.func.max(sync_feed.c.position)
    ).group_by(sync_feed.c.audience)
)
_AFTER = Statement(
    sa.select(sync_feed.c.position)
    .where(_MINE)
    .where(sync_feed.c.position > sa.bindparam("after"))
    .order_by(sync_feed.c.position)
    .limit(sa.bindparam("count", type_=sa.Integer))
)
_NUMBERS = Statement(
    sa.select(sync_feed.c.audience, sa.func.max(sync_feed.c.number))
    .where(_MINE)
    .where(sync_feed.c.position <= sa.bindparam("upto"))
    .group_by(sync_feed.c.audience)
)


@hot_state
class FeedHeads:
    """How many entries each audience has been told of, and up to where the log was gone through."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.position = NOTHING

    @classmethod
    def load(cls, reader: Reader) -> FeedHeads:
        """Read the ends of all feeds."""
        state = cls()
        for audience, number, position in reader.all(_HEADS):
            state.numbers[audience] = int(number)
            state.position = max(state.position, int(position))
        return state


# --- Making feeds -----------------------------------------------------------------


def audiences_of(origin: str, audience: str) -> list[str]:
    """Return whose feeds an entry belongs to: everyone's, or those of the sites named but its own."""
    named = {name for name in audience.split(",") if name}
    if EVERY_SITE in named:
        return [EVERY_SITE]
    return sorted(named - {origin, NETWORK_ORIGIN})


def extend_feeds(decider: Decider) -> bool:
    """Go through some of what the log has got since and add it to the feeds; return whether there is more."""
    heads: FeedHeads = decider.shared.hot[FeedHeads]
    if decider.position - 1 > heads.position:
        decider.take(NETWORK_ORIGIN, _extend, "sync.feed")
    return decider.position - 1 > heads.position


def _extend(tx: Tx) -> None:
    heads = tx.hot(FeedHeads)
    numbers, before = heads.numbers.copy(), (heads.numbers, heads.position)
    upto = min(tx.batch.position - 1, heads.position + READ_AT_ONCE)
    for position, origin, audience in log.read_addressed(tx, heads.position, upto):
        for name in audiences_of(origin, audience):
            numbers[name] = numbers.get(name, 0) + 1
            tx.write_row(_ADD, (name, numbers[name], position))
    tx.undo(lambda: _put_back(heads, before))
    heads.numbers, heads.position = numbers, upto


def _put_back(heads: FeedHeads, before: tuple[dict[str, int], int]) -> None:
    heads.numbers, heads.position = before


# --- Queries ----------------------------------------------------------------------


def feed_head(db: Reader, site_id: str) -> int:
    """Return the number of the last entry in a site's feed; 0 where there is none."""
    return _number_at(db, site_id, 2**62)


def _number_at(db: Reader, site_id: str, position: int) -> int:
    found = db.all(_NUMBERS, audiences=[EVERY_SITE, site_id], upto=position)
    return sum(int(number) for _, number in found)


def feed_after(db: Reader, site_id: str, place: FeedPlace, limit: int = PART_MAX) -> Feed:
    """Return what follows a place in a site's feed.

    Raises:
        Refusal: rewound: the entry at that place is not here, or is another (F3).
    """
    after = _position_of(db, site_id, place)
    positions = [
        position
        for (position,) in db.all(_AFTER, audiences=[EVERY_SITE, site_id], after=after, count=limit + 1)
    ]
    entries = log.read_at(db, positions[:limit]) if positions else []
    return Feed(place.feed_seq + 1, entries, keys_for(db, entries), len(positions) > limit)


def _position_of(db: Reader, site_id: str, place: FeedPlace) -> int:
    if not place.feed_seq:
        return NOTHING
    entry = log.find(db, place.entry_id)
    here = entry.leaf if entry is not None else b""
    if entry is None or entry.leaf != place.leaf or _number_at(db, site_id, entry.position) != place.feed_seq:
        why = "the node was told more than is in the tower's log: one of them was put back"
        raise Refusal(
            Code.REWOUND,
            why,
            entry=place.entry_id,
            here=here.hex(),
            there=place.leaf.hex(),
            whose=NETWORK_ORIGIN,
        )
    return entry.position


def number_of(db: Reader, site_id: str, entry_id: str, leaf: bytes) -> int:
    """Return the number that an entry has in a site's feed; 0 where there is no such entry here."""
    entry = log.find(db, entry_id)
    return _number_at(db, site_id, entry.position) if entry is not None and entry.leaf == leaf else 0


def keys_for(db: Reader, entries: Sequence[Entry]) -> list[Key]:
    """Return the keys of the persons whose data these entries hold; of the erased there is none."""
    subjects: set[str] = set()
    for entry in entries:
        subjects |= subjects_in(entry.body)
    return [Key(subject, key) for subject, key in keys_of(db, sorted(subjects)).items()] if subjects else []


def refresh(desk: Desk) -> None:
    """Bring the feeds up to date with the log, some at a time: others get their turn at the decider."""
    while desk.do(extend_feeds):
        pass
