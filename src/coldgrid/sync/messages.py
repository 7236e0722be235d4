"""Messages between a node and the tower. Their fields are for ever: a new one comes last, with a default.

Each is a MessagePack array that begins with the message's number; entries travel as `Columns` (`codec`).
"""

from __future__ import annotations

from typing import Any

import msgspec

ENTRIES_MAX = 2_000
BODY_BYTES_MAX = 256 * 1024


class Code:
    """Why a message is refused: wire names."""

    VERSION = "version"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    NOT_YOURS = "not_yours"
    GAP = "gap"
    FORKED = "forked"
    REWOUND = "rewound"
    CLONED = "cloned"
    QUARANTINED = "quarantined"
    CHOSEN = "chosen"
    REVOKED = "revoked"
    BUSY = "busy"
    GREET = "greet"
    PAST = "past"
    OLD_SIZE = "old_size"
    UNKNOWN = "unknown"
    FAULT = "fault"
    ALL = (
        *(VERSION, MALFORMED, TOO_LARGE, NOT_YOURS, GAP, FORKED, REWOUND, CLONED),
        *(QUARANTINED, CHOSEN, REVOKED, BUSY, GREET, PAST, OLD_SIZE, UNKNOWN, FAULT),
    )


# --- Parts ------------------------------------------------------------------------


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A part of a message."""


class Place(Part, frozen=True, array_like=True, order=True):
    """Where a log stands: its epoch and the next seq in it. (0, 0): nothing yet."""

    epoch: int = 0
    seq: int = 0


class Tip(Part, frozen=True, array_like=True):
    """The last entry of an epoch: how many there are, and its leaf."""

    epoch: int
    size: int
    leaf: bytes


class FeedPlace(Part, frozen=True, array_like=True):
    """The last entry of the feed that a node has: its number, its id, its leaf. Number 0: none yet."""

    feed_seq: int = 0
    entry_id: str = ""
    leaf: bytes = b""


class Pace(Part, frozen=True, array_like=True):
    """How fast the other side can take more: wait so long first, then send at most so many entries."""

    wait_ms: int = 0
    entries_max: int = ENTRIES_MAX


class Key(Part, frozen=True, array_like=True):
    """The key of a person's data, which lies outside the log."""

    subject: str
    key: bytes


class Run(Part, frozen=True, array_like=True):
    """Consecutive entries: of the origin that the columns list under this number, from this place on."""

    origin_no: int
    epoch: int
    first_seq: int
    count: int


class Columns(Part, frozen=True, array_like=True):
    """Entries, column by column (`codec`). `digest`: SHA-256 over their leaves, which do not travel."""

    origins: list[str]
    runs: list[Run]
    recorded: bytes
    occurred: bytes
    streams: list[str]
    types: list[str]
    type_no: bytes
    actors: list[str]
    actor_no: bytes
    causes: list[str]
    audiences: list[str]
    bodies: list[bytes]
    digest: bytes


class Block(Part, frozen=True, array_like=True):
    """A sealed block of readings: one sensor and day. Its hash is in a manifest of the site's log."""

    sensor_id: str
    day: int
    block_no: int
    body: bytes


class Parcel(Part, frozen=True, array_like=True):
    """Readings of all sensors of a site that are not sealed yet. `mark`: see `telemetry.parcel_marks`.

    `again`: they may have been sent before in another one.
    """

    parcel_no: int
    body: bytes
    mark: bytes = b""
    again: bool = False


# --- Messages ---------------------------------------------------------------------


class Hello(Part, frozen=True, array_like=True, tag=1):
    """A node begins to talk. `ticket`: the one it was given last; `tips`: the ends of its epochs.

    `number` counts a node's greetings, `nonce` is of this one: the same again is one that came twice.
    `parcel_no` and `parcel_mark`: its last parcel of readings; -1: it does not say.
    """

    versions: list[int]
    site_id: str
    release: str
    ticket: bytes
    tips: list[Tip]
    feed: FeedPlace
    now_us: int
    number: int = 0
    nonce: bytes = b""
    parcel_no: int = -1
    parcel_mark: bytes = b""


class Welcome(Part, frozen=True, array_like=True, tag=2):
    """The tower's answer: the ticket to show next time, what it has of the node's log and of its readings."""

    version: int
    ticket: bytes
    place: Place
    feed_seq: int
    parcel_no: int
    now_us: int
    pace: Pace = Pace()
    parcel_mark: bytes = b""


class Refused(Part, frozen=True, array_like=True, tag=3):
    """Nothing of the message was taken, and why. `facts` hold both sides' hashes where logs differ."""

    code: str
    why: str
    facts: dict[str, Any] = {}


class Facts(Part, frozen=True, array_like=True, tag=4):
    """Entries of the node's own log, without a gap, and the keys of personal data first sealed in them."""

    columns: Columns
    keys: list[Key] = []


class Taken(Part, frozen=True, array_like=True, tag=5):
    """The tower's last contiguous place; `wanted`: hashes of sealed blocks that it lacks."""

    place: Place
    wanted: list[bytes] = []
    pace: Pace = Pace()


class Ahead(Part, frozen=True, array_like=True, tag=6):
    """Copies of urgent entries that the log has not reached yet: heard of, but no facts before it does."""

    columns: Columns


class FeedAsk(Part, frozen=True, array_like=True, tag=7):
    """What follows this place? The tower may hold its answer so long.

    `epoch` and `size`: of the network's log as the node witnessed it last; `cosigned`: its line for that.
    """

    place: FeedPlace
    ticket: bytes
    hold_ms: int
    cosigned: str = ""
    epoch: int = 0
    size: int = 0


class FeedPart(Part, frozen=True, array_like=True, tag=8):
    """Entries of the feed. `checkpoint`: of the network's log, to witness; empty for none."""

    first_feed_seq: int
    columns: Columns | None
    keys: list[Key] = []
    more: bool = False
    checkpoint: bytes = b""


class Parcels(Part, frozen=True, array_like=True, tag=9):
    """Parcels in order. `skip_to`: those before it were sealed meanwhile, and come as blocks.

    `after`: the last one that the tower has, and its mark as the node knows it.
    """

    parcels: list[Parcel]
    skip_to: int = 0
    after: int = -1
    after_mark: bytes = b""


class ParcelsTaken(Part, frozen=True, array_like=True, tag=10):
    """The last parcel taken, and the blocks that are wanted."""

    parcel_no: int
    wanted: list[bytes] = []
    pace: Pace = Pace()


class Blocks(Part, frozen=True, array_like=True, tag=11):
    """Sealed blocks that were wanted. `gone`: those of them that the node does not have any more."""

    blocks: list[Block]
    gone: list[bytes] = []


class BlocksTaken(Part, frozen=True, array_like=True, tag=12):
    """How many blocks were new, which are wanted next, and how many the tower gave up to ask for."""

    taken: int
    wanted: list[bytes] = []
    pace: Pace = Pace()
    lost: int = 0


class Cosign(Part, frozen=True, array_like=True, tag=13):
    """A checkpoint to witness, with its proof, as `evidence.witness` writes it."""

    request: bytes


class Cosigned(Part, frozen=True, array_like=True, tag=14):
    """The witness's signature line under a checkpoint of this size."""

    epoch: int
    size: int
    line: str


class PastAsk(Part, frozen=True, array_like=True, tag=15):
    """What do you have of my own log from this place on? A wiped host asks so."""

    place: Place


class PastPart(Part, frozen=True, array_like=True, tag=16):
    """Entries of the asking node's own log, and the keys that they need; no columns: that was all."""

    columns: Columns | None
    keys: list[Key] = []


class Ask(Part, frozen=True, array_like=True, tag=17):
    """A request of another module, which is registered under this kind (`post.answers`)."""

    kind: str
    body: bytes


class Told(Part, frozen=True, array_like=True, tag=18):
    """The answer to an `Ask`."""

    kind: str
    body: bytes


class Heard(Part, frozen=True, array_like=True, tag=19):
    """How many of the copies sent ahead were new to the tower."""

    new: int
    pace: Pace = Pace()


Message = (
    Hello
    | Welcome
    | Refused
    | Facts
    | Taken
    | Ahead
    | FeedAsk
    | FeedPart
    | Parcels
    | ParcelsTaken
    | Blocks
    | BlocksTaken
    | Cosign
    | Cosigned
    | PastAsk
    | PastPart
    | Ask
    | Told
    | Heard
)
