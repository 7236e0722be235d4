"""Retention at a host: what its settings let go, what is spared, and letting go bit by bit as it serves.

Invariants
    N1  Where a setting is 0 its class is kept; a time shorter than its least is refused at the start.
    N2  Readings of a site with an open incident, an open hold or an open excursion are spared from `LOOKBACK`
        before the oldest of them on. So are all readings while the history still has days to write.
    N3  A node lets readings go only while its tower answers, has all of its facts and wants no block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from coldgrid.adapters.history_store import address_of
from coldgrid.kernel import retained, retention
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.retention import Spared, Thing
from coldgrid.kernel.settings import Settings
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.quality.excursion_book import open_excursions
from coldgrid.stock.hold_book import open_holds_of_all_sites
from coldgrid.telemetry import history
from coldgrid.telemetry.retention import READINGS

if TYPE_CHECKING:
    from coldgrid.node.parts import Parts

LOOKBACK = timedelta(days=30)
LEAST_DAYS = {READINGS: 60, retained.MESSAGES: 7, retained.ANSWERS: 7}
AT_ONE_LOOK = 20_000
EVERY_S = 600.0
TOLD_WITHIN_S = 60.0


class Policy(msgspec.Struct, frozen=True):
    """For how many days each class is kept; classes that are kept for ever are not in it."""

    days: dict[str, int]


class Would(msgspec.Struct, frozen=True, kw_only=True):
    """What would go of a class now. `waits`: why nothing of it goes yet.

    `goes_next_at`: where nothing would go, when the oldest of what is here is old enough.
    """

    kind: str
    told: str
    days: int
    before: datetime | None
    things: int
    bytes: int
    first_at: datetime | None
    last_at: datetime | None
    waits: str
    goes_next_at: datetime | None = None


def setting_of(kind: str) -> str:
    """Return the setting that names for how long a class is kept."""
    return f"COLDGRID_KEEP_{kind.upper()}_DAYS"


def policy_of(settings: Settings) -> Policy:
    """Read the policy from the settings.

    Raises:
        Invalid: a class would be kept for less than its least time (N1).
    """
    asked = {
        READINGS: settings.keep_readings_days,
        retained.MESSAGES: settings.keep_messages_days,
        retained.ANSWERS: settings.keep_answers_days,
    }
    problems = [
        Problem(
            field=setting_of(kind),
            message=f"{days} days is less than the least, {LEAST_DAYS[kind]}",
            fix="0 keeps them for ever",
        )
        for kind, days in asked.items()
        if days and days < LEAST_DAYS[kind]
    ]
    if problems:
        raise Invalid(problems)
    return Policy({kind: days for kind, days in asked.items() if days})


def spared_of(db: Reader) -> Spared:
    """Return what open incidents, holds and excursions rest on (N2): a question for each of these."""
    since: dict[str, datetime] = {}

    def rests(site_id: str, at: datetime) -> None:
        since[site_id] = min(since.get(site_id, at - LOOKBACK), at - LOOKBACK)

    for incident in open_incidents(db):
        rests(incident.site_id, incident.opened_at)
    for hold in open_holds_of_all_sites(db):
        rests(hold.site_id, min(hold.placed_at, hold.window_from or hold.placed_at))
    for excursion in open_excursions(db):
        rests(excursion.site_id, excursion.from_at)
    return Spared(since)


def waits_for(db: Reader, settings: Settings, kind: str, unsent: str = "") -> str:
    """Return why nothing of a class goes yet; empty where it may (N2, N3)."""
    if kind != READINGS:
        return ""
    if settings.history and (blocks := history.unsettled(db, address_of(settings.history).name)):
        return f"the history has {blocks:,} blocks to write first"
    return unsent


def look(
    db: Reader,
    settings: Settings,
    now: datetime,
    unsent: str = "",
    most: int = AT_ONE_LOOK,
    spared: Spared | None = None,
) -> list[Would]:
    """Return what would go of each class now, `most` of each at the most; nothing is changed.

    `spared`: what stays, where it was looked up already.
    """
    policy, spared = policy_of(settings), spared_of(db) if spared is None else spared
    found = []
    for name, kind in sorted(retention.kinds.items()):
        days = policy.days.get(name, 0)
        before = now - timedelta(days=days) if days else None
        waits = waits_for(db, settings, name, unsent) if days else ""
        things = [] if before is None or waits else retention.plan(db, name, before, spared, most)
        times = sorted(thing.at for thing in things if thing.at is not None)
        found.append(
            Would(
                kind=name,
                told=kind.told,
                days=days,
                before=before,
                things=len(things),
                bytes=sum(thing.bytes for thing in things),
                first_at=times[0] if times else None,
                last_at=times[-1] if times else None,
                waits=waits,
                goes_next_at=None if things or waits else _goes_next_at(db, name, now, days, spared),
            )
        )
    return found


def _goes_next_at(db: Reader, kind: str, now: datetime, days: int, spared: Spared) -> datetime | None:
    oldest = retention.plan(db, kind, now, spared, 1) if days else []
    at = oldest[0].at if oldest else None
    return None if at is None else at + timedelta(days=days)


class Retention:
    """Lets go, a commit at a time, while a host serves. `home`: the origin that its facts of it belong to.

    `unsent` says why a node still needs its readings; at a tower nothing (N3).
    """

    unsent: Callable[[], str] = staticmethod(lambda: "")

    def __init__(self, parts: Parts, home: str) -> None:
        self._parts = parts
        self._home = home
        self._policy = policy_of(parts.settings)
        self._alone = threading.Lock()
        self._told = "everything is kept"

    def round(self) -> str:
        """Let go what may go; say what went. One round at a time: the loop's, or one that was asked for."""
        with self._alone:
            return self._round()

    def _round(self) -> str:
        went: dict[str, int] = {}
        now = self._parts.host.now()
        for kind, days in self._policy.days.items():
            before = now - timedelta(days=days)
            with self._parts.reader() as db:
                waits = waits_for(db, self._parts.settings, kind, self.unsent())
                things = [] if waits else retention.plan(db, kind, before, spared_of(db), AT_ONE_LOOK)
            for first in range(0, len(things), retention.AT_ONCE):
                self._drop(kind, before, things[first : first + retention.AT_ONCE])
            went[kind] = len(things)
            if waits:
                self._told = f"{kind}: {waits}"
                return self._told
        if went:
            self._told = ", ".join(f"{kind}: {count:,} went" for kind, count in went.items())
        return self._told

    def _drop(self, kind: str, before: datetime, things: list[Thing]) -> None:
        work = partial(_dropped, origin=self._home, kind=kind, before=before, things=things)
        self._parts.service.call(work).result(TOLD_WITHIN_S)


def _dropped(decider: Decider, origin: str, kind: str, before: datetime, things: list[Thing]) -> None:
    retention.drop(decider, origin, kind, before, things)
