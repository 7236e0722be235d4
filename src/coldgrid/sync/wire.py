"""Wire: the messages between a node and the tower, and their frames.

Invariants
    W1  A frame is bounded before it is opened: on the wire, in memory, and in what it may unfold to.
    W2  What cannot be read is refused with a code; nothing of it is kept.
    W3  A field is added at the end, with a default, and never changed: old frames are read for ever.

A frame is `CGS`, the protocol's version (1 byte), flags (1 byte: 1 = zstd), the length of the payload when
unfolded (4 bytes, little-endian), then the payload: MessagePack arrays that begin with the message's number.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec
import zstandard

MAGIC = b"CGS"
VERSION = 1
SPEAKS = (1,)
MEDIA_TYPE = "application/x-coldgrid-sync"

FRAME_BYTES_MAX = 4 * 1024 * 1024
RAW_BYTES_MAX = 16 * 1024 * 1024
ENTRIES_MAX = 2_000
BODY_BYTES_MAX = 256 * 1024

LEVEL_LIVE = 3
LEVEL_BACKLOG = 9
_ZSTD = 1
_HEAD = struct.Struct("<3sBBI")
# Below this, the frame of zstd costs more than it saves.
_COMPRESS_FROM = 120

T = TypeVar("T")


class BadFrame(Exception):
    """The bytes are no message of this protocol; `code` is one of `Code`."""

    def __init__(self, code: str, why: str, **facts: Any) -> None:
        self.code = code
        self.why = why
        self.facts = facts
        super().__init__(f"{code}: {why}")


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
    REVOKED = "revoked"
    BUSY = "busy"
    GREET = "greet"
    UNKNOWN = "unknown"
    FAULT = "fault"
    ALL = (
        *(VERSION, MALFORMED, TOO_LARGE, NOT_YOURS, GAP, FORKED, REWOUND, CLONED),
        *(QUARANTINED, REVOKED, BUSY, GREET, UNKNOWN, FAULT),
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
    """Readings of all sensors of a site that are not sealed yet."""

    parcel_no: int
    body: bytes


# --- Messages ---------------------------------------------------------------------


class Hello(Part, frozen=True, array_like=True, tag=1):
    """A node begins to talk. `ticket`: the one it was given last; `tips`: the ends of its epochs."""

    versions: list[int]
    site_id: str
    release: str
    ticket: bytes
    tips: list[Tip]
    feed: FeedPlace
    now_us: int


class Welcome(Part, frozen=True, array_like=True, tag=2):
    """The tower's answer: the ticket to show next time, and what it has of the node's log."""

    version: int
    ticket: bytes
    place: Place
    feed_seq: int
    parcel_no: int
    now_us: int
    pace: Pace = Pace()


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
    """What follows this place? The tower may hold its answer so long. `cosigned`: a witness's line."""

    place: FeedPlace
    ticket: bytes
    hold_ms: int
    cosigned: str = ""
    size: int = 0


class FeedPart(Part, frozen=True, array_like=True, tag=8):
    """Entries of the feed. `checkpoint`: of the network's log, to witness; empty for none."""

    first_feed_seq: int
    columns: Columns | None
    keys: list[Key] = []
    more: bool = False
    checkpoint: bytes = b""


class Parcels(Part, frozen=True, array_like=True, tag=9):
    """Parcels in order. `skip_to`: those before it were sealed meanwhile, and come as blocks."""

    parcels: list[Parcel]
    skip_to: int = 0


class ParcelsTaken(Part, frozen=True, array_like=True, tag=10):
    """The last parcel taken, and the blocks that are wanted."""

    parcel_no: int
    wanted: list[bytes] = []
    pace: Pace = Pace()


class Blocks(Part, frozen=True, array_like=True, tag=11):
    """Sealed blocks that were wanted."""

    blocks: list[Block]


class BlocksTaken(Part, frozen=True, array_like=True, tag=12):
    """How many blocks were new, and which are wanted next."""

    taken: int
    wanted: list[bytes] = []
    pace: Pace = Pace()


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
    """Entries of the asking node's own log, and the keys that they need."""

    columns: Columns | None
    keys: list[Key] = []
    more: bool = False


class Ask(Part, frozen=True, array_like=True, tag=17):
    """A request of another module, which is registered under this kind (`post.answers`)."""

    kind: str
    body: bytes


class Told(Part, frozen=True, array_like=True, tag=18):
    """The answer to an `Ask`."""

    kind: str
    body: bytes


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
)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Message).decode


# --- Frames -----------------------------------------------------------------------


def encode(message: Message, level: int = LEVEL_LIVE) -> bytes:
    """Return a message's frame."""
    raw = _pack(message)
    if len(raw) < _COMPRESS_FROM:
        return _HEAD.pack(MAGIC, VERSION, 0, len(raw)) + raw
    compressor = zstandard.ZstdCompressor(level=level, write_content_size=False, write_checksum=True)
    return _HEAD.pack(MAGIC, VERSION, _ZSTD, len(raw)) + compressor.compress(raw)


def decode(frame: bytes) -> Message:
    """Read a frame (W1).

    Raises:
        BadFrame: it is none, of a version not spoken here, too large, damaged, or not what it says.
    """
    flags, size = _head_of(frame)
    raw = frame[_HEAD.size :]
    if flags & _ZSTD:
        raw = _unfold(raw, size)
    if len(raw) != size:
        raise BadFrame(Code.MALFORMED, f"the frame says {size} bytes and has {len(raw)}")
    try:
        message: Message = _unpack(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadFrame(Code.MALFORMED, str(error)[:200]) from None
    return message


def _head_of(frame: bytes) -> tuple[int, int]:
    """Return a frame's flags and the length of what it unfolds to."""
    if len(frame) > FRAME_BYTES_MAX:
        raise BadFrame(Code.TOO_LARGE, f"a frame has at most {FRAME_BYTES_MAX} bytes", bytes=len(frame))
    if len(frame) < _HEAD.size or not frame.startswith(MAGIC):
        raise BadFrame(Code.MALFORMED, "these bytes are no frame of the sync protocol")
    _, version, flags, size = _HEAD.unpack_from(frame)
    if version not in SPEAKS:
        raise BadFrame(Code.VERSION, f"version {version} is not spoken here", speaks=list(SPEAKS))
    if size > RAW_BYTES_MAX:
        raise BadFrame(Code.TOO_LARGE, f"a message has at most {RAW_BYTES_MAX} bytes", bytes=size)
    if flags & ~_ZSTD:
        raise BadFrame(Code.MALFORMED, f"flags {flags:#x} are not known")
    return flags, size


def _unfold(raw: bytes, size: int) -> bytes:
    """Decompress to at most the size that the frame says: a bomb ends there."""
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=False)
        found = reader.read(size + 1)
    except (zstandard.ZstdError, MemoryError) as error:
        raise BadFrame(Code.MALFORMED, f"damaged: {error}") from None
    if len(found) > size:
        raise BadFrame(Code.TOO_LARGE, "the frame unfolds to more than it says", bytes=size)
    return found


def expect(message: Message, kind: type[T]) -> T:
    """Return a message that is of the kind expected.

    Raises:
        BadFrame: it is another; a refusal keeps its code.
    """
    if isinstance(message, kind):
        return message
    if isinstance(message, Refused):
        raise BadFrame(message.code, message.why, **message.facts)
    raise BadFrame(Code.MALFORMED, f"{type(message).__name__} is no answer here")
