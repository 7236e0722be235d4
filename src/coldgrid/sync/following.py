"""Following: a node takes in what the tower feeds it, verbatim, in order, exactly once.

Invariants
    L1  A part is taken as a whole, with the keys it needs, in the commit that moves the node's place.
    L2  The numbers of a feed have no gap; a part that begins elsewhere changes nothing.
    L3  Nothing of the node's own origin is taken from the feed: it wrote that itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.origins import OriginFork, take_in
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.messages import Code, FeedPart, FeedPlace, Key
from coldgrid.sync.wire import Refusal

CAUSE = "sync.followed"

sync_followed = sa.Table(
    "sync_followed",
    metadata,
    sa.Column("feed", sa.Text, primary_key=True),
    sa.Column("feed_seq", sa.BigInteger, nullable=False),
    sa.Column("entry_id", sa.Text, nullable=False),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("at", Instant, nullable=False),
    info={"service": True},
)
_MOVE = Statement(upsert(sync_followed, keys=["feed"], set_=["feed_seq", "entry_id", "leaf", "at"]))
_ONE = Statement(
    sa.select(sync_followed.c.feed_seq, sync_followed.c.entry_id, sync_followed.c.leaf).where(
        sync_followed.c.feed == NETWORK_ORIGIN
    ),
    into=FeedPlace,
)


def followed(db: Reader) -> FeedPlace:
    """Return how far a node has followed its feed."""
    return db.one(_ONE) or FeedPlace()


def move_to(tx: Tx, place: FeedPlace) -> None:
    """Write down how far the feed was followed."""
    tx.write(_MOVE, feed=NETWORK_ORIGIN, **msgspec.structs.asdict(place), at=tx.now)


def follow(desk: Desk, part: FeedPart) -> FeedPlace:
    """Take a part of the feed in; return the place after it.

    Raises:
        Refusal: gap, where the part does not follow; forked, where an entry differs from the one here.
    """
    entries = unpack_entries(part.columns) if part.columns is not None else []
    place: FeedPlace = desk.do(lambda decider: _follow(decider, part.first_feed_seq, entries, part.keys))
    return place


def _follow(decider: Decider, first: int, entries: Sequence[Entry], keys: Sequence[Key]) -> FeedPlace:
    hosting = decider.shared.hot[Hosting]
    foreign = [entry for entry in entries if not hosting.here(entry.origin)]

    def work(tx: Tx) -> FeedPlace:
        place = followed(tx)
        if first != place.feed_seq + 1:
            raise Refusal(Code.GAP, f"the feed goes on from {place.feed_seq + 1}, not from {first}")
        for key in keys:
            tx.take_key(key.subject, key.key)
        take_in(tx, foreign, gapless=False, live=True)
        if not entries:
            return place
        last = entries[-1]
        moved = FeedPlace(place.feed_seq + len(entries), last.id, last.leaf)
        move_to(tx, moved)
        return moved

    try:
        return decider.take(NETWORK_ORIGIN, work, CAUSE)
    except OriginFork as fork:
        raise Refusal(Code.FORKED, "the tower tells another history than before", **fork.facts) from fork
