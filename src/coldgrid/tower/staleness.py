"""Silent sites: how old the tower's facts of a site are, noted where it changes what is kept back.

Invariants
    T1  Facts are as old as the last word of a node that had nothing more to send; while it is still sending
        what it had, as old as the last fact that came: a site that is back is not fresh at once.
    T2  What is noted is a fact: a promise is judged by what was noted when it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coldgrid.evidence.forks import quarantined
from coldgrid.kernel import log
from coldgrid.kernel.reading import Reader
from coldgrid.stock.reserves import (
    BUFFER_STEPS,
    NoteStaleness,
    buffer_permille,
    minutes_since,
    stale_sites,
)
from coldgrid.sync.desk import Desk
from coldgrid.sync.post import Post

LOOK_EVERY_S = 30.0
SILENT_FROM_MIN = BUFFER_STEPS[0][0]


class Heard(msgspec.Struct, frozen=True):
    """What the tower knows of a site's node. None: it was never heard; nothing of the site is here."""

    heard_at: datetime | None
    caught_up: bool
    last_fact_at: datetime | None


def as_of(heard: Heard) -> datetime | None:
    """Return how old what the tower has of a site is (T1); None where it has nothing."""
    if heard.heard_at is None or (not heard.caught_up and heard.last_fact_at is not None):
        return heard.last_fact_at
    return heard.heard_at


def decide_notes(sites: Mapping[str, Heard], known: Mapping[str, int], now: datetime) -> list[NoteStaleness]:
    """Return what to note: of each site that lives elsewhere where the buffer changes, and of those back.

    `known`: minutes by site as they were noted last.
    """
    notes = []
    for site_id in sorted({*sites, *known}):
        instant = as_of(sites[site_id]) if site_id in sites else now
        if instant is None:
            continue
        stale_min = minutes_since(instant, now)
        if buffer_permille(stale_min) == 0:
            stale_min = 0
        if buffer_permille(stale_min) != buffer_permille(known.get(site_id, 0)):
            notes.append(NoteStaleness(site_id=site_id, stale_min=stale_min))
    return notes


def in_words(sites: Mapping[str, Heard], now: datetime) -> str:
    """Say which sites are silent: those whose facts are so old that stock is kept back, to the minute."""
    if not sites:
        return "no site has a node"
    known = {site_id: instant for site_id, heard in sites.items() if (instant := as_of(heard)) is not None}
    minutes = {site_id: minutes_since(instant, now) for site_id, instant in sorted(known.items())}
    silent = [f"{site_id} for {old} min" for site_id, old in minutes.items() if buffer_permille(old)]
    never = sorted(sites.keys() - known.keys())
    told = [f"silent: {', '.join(silent)}"] if silent else []
    told += [f"never heard: {', '.join(never)}"] if never else []
    return "; ".join(told) or f"each site with a node was heard in the last {SILENT_FROM_MIN} min"


class Staleness:
    """Looks after the sites that live elsewhere.

    Args:
        desk: The tower's decider.
        post: Hears the nodes.
        elsewhere: Names the sites that other hosts decide.
        note: Carries a note out.
    """

    def __init__(
        self,
        desk: Desk,
        post: Post,
        elsewhere: Callable[[], Sequence[str]],
        note: Callable[[NoteStaleness], object],
    ) -> None:
        self._desk = desk
        self._post = post
        self._elsewhere = elsewhere
        self._note = note

    def look(self) -> str:
        """Note what changed; say who is silent."""
        with self._desk.reader() as db:
            sites = {site_id: self._of(db, site_id) for site_id in self._elsewhere()}
            known = stale_sites(db)
        for command in decide_notes(sites, known, self._desk.now()):
            self._note(command)
        return in_words(sites, self._desk.now())

    def _of(self, db: Reader, site_id: str) -> Heard:
        here = self._desk.place(site_id)
        last = log.read_origin(db, site_id, here.epoch, here.seq - 1, here.seq) if here.seq else []
        barred = any(site_id == log_id.origin for log_id in quarantined(db))
        caught_up = not barred and self._post.has_all(site_id, here)
        return Heard(self._post.heard.get(site_id), caught_up, last[0].recorded_at if last else None)
