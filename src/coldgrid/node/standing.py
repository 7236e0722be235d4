"""Standing: how a node stands with its tower, and what waits here; open pages are told when it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from coldgrid.kernel import outbox
from coldgrid.kernel.outbox import EffectStatus
from coldgrid.kernel.reading import Reader
from coldgrid.node.background import Loop
from coldgrid.node.troubles import Trouble, troubles_of
from coldgrid.sync import outgoing, readings
from coldgrid.sync.acts import Phase
from coldgrid.sync.messages import Place

if TYPE_CHECKING:
    from coldgrid.node.carrier import Talk
    from coldgrid.node.parts import Parts

TOPIC = "node"
LOOK_EVERY_S = 1.0
# A count that moved is told this often; that the tower came or went, at once.
COUNTS_EVERY = timedelta(seconds=15)
# A lost packet is no outage: the banner comes when the tower has not answered for so long.
SHORT = timedelta(seconds=5)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a node stands with its tower. `since`: when the tower ceased to answer; None while it does.

    `state`: up, greeting, down, or refused: the tower answers and takes nothing. The counts: what waits.
    """

    state: str
    since: datetime | None
    code: str
    why: str
    facts: int
    readings: int
    effects: int

    @property
    def heard(self) -> tuple[str, datetime | None, str]:
        """What people must hear of at once."""
        return self.state, self.since, self.code


def standing_of(db: Reader, talk: Talk, site_id: str) -> Standing:
    """Look at what a node still has to send, and whether its tower answers."""
    state = talk.state
    place = state.place
    if not place.epoch:  # not greeted since the start: what the tower had then
        kept = outgoing.kept(db, site_id)
        place = Place(kept.epoch, kept.seq)
    word = {Phase.UP: "up", Phase.BARRED: "refused", Phase.GREETING: "greeting"}.get(state.phase, "down")
    since = talk.offline_since()
    if word == "greeting" and since is not None:
        word = "down"
    effects = sum(
        count for (_, status), count in outbox.effect_counts(db).items() if status == EffectStatus.PENDING
    )
    return Standing(
        state=word,
        since=since,
        code=state.code if word == "refused" else "",
        why=state.why,
        facts=outgoing.facts_waiting(db, site_id, place),
        readings=readings.held(db, site_id)[1],
        effects=effects,
    )


class StandingTeller:
    """Tells the pages that are open when the tower comes or goes, and now and then how much waits."""

    def __init__(self, parts: Parts, talk: Talk, site_id: str, now: Callable[[], datetime]) -> None:
        self._parts = parts
        self._talk = talk
        self._site_id = site_id
        self._now = now
        self._told: Standing | None = None
        self._troubles: list[Trouble] = []
        self._told_at = now()

    def loop(self) -> Loop:
        """Return the loop that tells."""
        return Loop("pages about the tower", LOOK_EVERY_S, self.look)

    def look(self) -> str:
        """Look once; say what was told."""
        if not self._parts.hub.listening(TOPIC):
            self._told = None
            return "nobody looks"
        with self._parts.reader() as db:
            seen = standing_of(db, self._talk, self._site_id)
        troubles = troubles_of(self._parts)
        told, now = self._told, self._now()
        shown = seen.since is not None and SHORT <= now - seen.since < SHORT + timedelta(seconds=3)
        news = told is None or seen.heard != told.heard or shown or troubles != self._troubles
        self._troubles = troubles
        if news or (seen != told and now - self._told_at >= COUNTS_EVERY):
            self._told, self._told_at = seen, now
            self._parts.hub.publish(TOPIC, TOPIC, "", latest=True)
        return seen.state
