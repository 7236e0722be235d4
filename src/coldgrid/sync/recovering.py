"""Recovering: a node whose disk was lost takes what it was told and its own past from the tower.

Invariants
    V1  The feed comes first, then the past: facts are projected on what they were decided on.
    V2  The past is verbatim, without a gap, of the node's own origin, and ends where the tower's copy ends.
    V3  Only then is the next epoch opened, citing the last entry; what only the lost disk had may come later,
        for a person to look at, and is never mixed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.hosting import host_only
from coldgrid.kernel.origins import OriginFork, OriginGap, take_in
from coldgrid.kernel.tx import Tx
from coldgrid.sync.codec import unpack_entries
from coldgrid.sync.desk import Desk
from coldgrid.sync.following import follow, followed
from coldgrid.sync.messages import Code, FeedAsk, FeedPart, Key, Message, PastAsk, PastPart, Place
from coldgrid.sync.wire import Refusal, expect

CAUSE = "sync.recovered"

Ask = Callable[[Message], Message]


def recover(desk: Desk, site_id: str, ask: Ask) -> Place:
    """Make an empty database that of a site's node, with its feed and past; return where the log stands.

    It can be broken off and begun again anywhere. `reopen` the origin afterwards.

    Raises:
        Refusal: the tower refused, or what it sent does not fit.
    """
    desk.do(lambda decider: decider.take(site_id, lambda tx: host_only(tx, site_id), CAUSE))
    catch_up(desk, ask)
    return take_past(desk, site_id, ask)


def catch_up(desk: Desk, ask: Ask) -> int:
    """Follow the feed to its end; return the number of its last entry."""
    while True:
        with desk.reader() as db:
            place = followed(db)
        part = expect(ask(FeedAsk(place, b"", 0)), FeedPart)
        if part.columns is None:
            return place.feed_seq
        follow(desk, part)


def take_past(desk: Desk, site_id: str, ask: Ask) -> Place:
    """Take a site's own past in, from where this database ends; return where it ends then (V2)."""
    while True:
        part = expect(ask(PastAsk(desk.place(site_id))), PastPart)
        if part.columns is None:
            return desk.place(site_id)
        _take(desk, site_id, unpack_entries(part.columns), part.keys)


def _take(desk: Desk, site_id: str, entries: Sequence[Entry], keys: Sequence[Key]) -> None:
    strange = next((entry.id for entry in entries if entry.origin != site_id), None)
    if strange is not None:
        raise Refusal(Code.NOT_YOURS, f"{strange} is no entry of {site_id}")

    def work(tx: Tx) -> None:
        for key in keys:
            tx.take_key(key.subject, key.key)
        take_in(tx, entries)

    def run(decider: Decider) -> None:
        decider.take(site_id, work, CAUSE)

    try:
        desk.do(run)
    except OriginGap as gap:
        raise Refusal(Code.GAP, str(gap)) from gap
    except OriginFork as fork:
        raise Refusal(Code.FORKED, str(fork)) from fork
