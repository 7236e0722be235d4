"""Acts: the words of the engine: lanes and phases, what it is told, and what it wants done."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coldgrid.sync import messages as m
from coldgrid.sync.messages import Pace, Place
from coldgrid.sync.pace import Bucket

HOLD_MS = 240_000
# Behind by more than this, readings wait until the facts are there.
FACTS_FIRST = 500
# Facts that take longer than this are overtaken by copies of what is urgent, and again each time it is over.
AHEAD_FROM_S = 2
RATE_ASSUMED_PER_S = 250.0


class Lane(StrEnum):
    """What goes side by side."""

    FACTS = "facts"
    FEED = "feed"
    PROOF = "proof"
    READINGS = "readings"


class Phase(StrEnum):
    """How a node stands with its tower."""

    DOWN = "down"
    GREETING = "greeting"
    UP = "up"
    BARRED = "barred"


class LaneState(msgspec.Struct, frozen=True):
    """One lane. `busy`: a request is under way since `since_us`."""

    busy: bool = False
    since_us: int = 0
    failures: int = 0
    not_before_us: int = 0


class Backlog(msgspec.Struct, frozen=True):
    """What waits at the node: where its log ends, its last parcel, its last own checkpoint (epoch, size)."""

    head: Place = Place()
    parcel_no: int = 0
    checkpoint: Place = Place()


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that the engine remembers. `place`: what the tower has; `overlap`: begin one entry before it.

    `offline_since_us`: None while the tower answers. `code` and `why`: what it refused last. `counted`: how
    many greetings the tower said that it had heard, when it refused one that was older. `rate_per_s`: entries
    taken in a second; `ahead`: up to where what is urgent was sent ahead, at `ahead_us`. `sent`: the
    blocks that were named last; `lost`: those that the tower wants and are not here, until the next greeting;
    `missing`: how many the tower gave up to ask for, because they are not here.
    `bars`: how often in a row it was refused for good; `barred_by`: the lane in which, empty: greetings only.
    """

    site_id: str
    phase: Phase = Phase.DOWN
    offline_since_us: int | None = None
    greeted_us: int = 0
    failures: int = 0
    bars: int = 0
    barred_by: str = ""
    counted: int = 0
    place: Place = Place()
    overlap: bool = False
    rate_per_s: float = RATE_ASSUMED_PER_S
    ahead: Place = Place()
    ahead_us: int = 0
    ticket: bytes = b""
    backlog: Backlog = Backlog()
    parcel_no: int = 0
    wanted: tuple[bytes, ...] = ()
    sent: tuple[bytes, ...] = ()
    lost: tuple[bytes, ...] = ()
    missing: int = 0
    ask_wanted: bool = False
    witnessed: Place = Place()
    pace: Pace = Pace()
    bucket: Bucket = Bucket()
    tower_ahead_us: int = 0
    code: str = ""
    why: str = ""
    lanes: dict[Lane, LaneState] = msgspec.field(default_factory=lambda: dict.fromkeys(Lane, LaneState()))

    def lane(self, lane: Lane) -> LaneState:
        """Return how a lane is."""
        return self.lanes[lane]

    def behind(self) -> int:
        """Return how many entries the tower lacks of the newest epoch; of older ones, all count as many."""
        head = self.backlog.head
        return head.seq - self.place.seq if head.epoch == self.place.epoch else head.seq + FACTS_FIRST

    def late(self) -> bool:
        """Tell whether the facts behind take so long that what is urgent goes ahead of them."""
        return self.behind() > AHEAD_FROM_S * self.rate_per_s


# --- What the engine is told -------------------------------------------------------


class Looked(msgspec.Struct, frozen=True):
    """The node looked at what waits."""

    backlog: Backlog


class Answered(msgspec.Struct, frozen=True):
    """A request of a lane was answered; so many bytes had been sent."""

    lane: Lane
    message: m.Message
    sent_bytes: int = 0


class Failed(msgspec.Struct, frozen=True):
    """A request of a lane got no answer, or none that could be read."""

    lane: Lane
    why: str


Told = Looked | Answered | Failed

# --- What is to be done ------------------------------------------------------------


class SayHello(msgspec.Struct, frozen=True):
    """Greet the tower."""

    lane: Lane = Lane.FACTS


class SendFacts(msgspec.Struct, frozen=True):
    """Send entries from this place on."""

    place: Place
    entries_max: int
    behind: int
    lane: Lane = Lane.FACTS


class SendAhead(msgspec.Struct, frozen=True):
    """Send copies of the open alarms and incidents behind this place."""

    place: Place
    lane: Lane = Lane.FACTS


class AskFeed(msgspec.Struct, frozen=True):
    """Ask for what follows in the feed."""

    hold_ms: int = HOLD_MS
    lane: Lane = Lane.FEED


class SendCosign(msgspec.Struct, frozen=True):
    """Have the newest own checkpoint witnessed, from the size that the tower witnessed last."""

    old_size: int
    lane: Lane = Lane.PROOF


class SendParcels(msgspec.Struct, frozen=True):
    """Send the parcels after this one."""

    after: int
    lane: Lane = Lane.READINGS


class SendBlocks(msgspec.Struct, frozen=True):
    """Send blocks by their hashes; none: ask which are wanted."""

    hashes: tuple[bytes, ...]
    lane: Lane = Lane.READINGS


Act = SayHello | SendFacts | SendAhead | AskFeed | SendCosign | SendParcels | SendBlocks
