"""Wire: the messages between a node and the tower, and their frames.

Invariants
    W1  A frame is bounded before it is opened: on the wire, in memory, and in what it may unfold to.
    W2  What cannot be read is refused with a code; nothing of it is kept.
    W3  A release reads every frame that any release of the same version wrote.

A frame is `CGS`, the protocol's version (1 byte), flags (1 byte: 1 = zstd), the length of the payload when
unfolded (4 bytes, little-endian), then the payload: MessagePack arrays that begin with the message's number.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec
import zstandard

from coldgrid.sync.messages import Code, Message, Refused

MAGIC = b"CGS"
VERSION = 1
SPEAKS = (1,)
MEDIA_TYPE = "application/x-coldgrid-sync"

FRAME_BYTES_MAX = 4 * 1024 * 1024
RAW_BYTES_MAX = 16 * 1024 * 1024

LEVEL_LIVE = 3
LEVEL_BACKLOG = 9
_ZSTD = 1
_HEAD = struct.Struct("<3sBBI")
# Below this, the frame of zstd costs more than it saves.
_COMPRESS_FROM = 120


class Refusal(Exception):
    """A message is refused: nothing of it was taken. `code` is one of `messages.Code`."""

    def __init__(self, code: str, why: str, **facts: Any) -> None:
        self.code = code
        self.why = why
        self.facts = facts
        super().__init__(f"{code}: {why}")


T = TypeVar("T")
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
        Refusal: it is none, of a version not spoken here, too large, damaged, or not what it says.
    """
    flags, size = _head_of(frame)
    raw = frame[_HEAD.size :]
    if flags & _ZSTD:
        raw = _unfold(raw, size)
    if len(raw) != size:
        raise Refusal(Code.MALFORMED, f"the frame says {size} bytes and has {len(raw)}")
    try:
        message: Message = _unpack(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Refusal(Code.MALFORMED, str(error)[:200]) from None
    return message


def _head_of(frame: bytes) -> tuple[int, int]:
    """Return a frame's flags and the length of what it unfolds to."""
    if len(frame) > FRAME_BYTES_MAX:
        raise Refusal(Code.TOO_LARGE, f"a frame has at most {FRAME_BYTES_MAX} bytes", bytes=len(frame))
    if len(frame) < _HEAD.size or not frame.startswith(MAGIC):
        raise Refusal(Code.MALFORMED, "these bytes are no frame of the sync protocol")
    _, version, flags, size = _HEAD.unpack_from(frame)
    if version not in SPEAKS:
        raise Refusal(Code.VERSION, f"version {version} is not spoken here", speaks=list(SPEAKS))
    if size > RAW_BYTES_MAX:
        raise Refusal(Code.TOO_LARGE, f"a message has at most {RAW_BYTES_MAX} bytes", bytes=size)
    if flags & ~_ZSTD:
        raise Refusal(Code.MALFORMED, f"flags {flags:#x} are not known")
    return flags, size


def _unfold(raw: bytes, size: int) -> bytes:
    """Decompress to at most the size that the frame says: a bomb ends there."""
    try:
        # A frame that names its size is unfolded to that, whatever bound is given: so look first.
        if zstandard.frame_content_size(raw) > size:
            raise Refusal(Code.TOO_LARGE, "the frame unfolds to more than it says", bytes=size)
        return zstandard.ZstdDecompressor().decompress(raw, max_output_size=size + 1, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise Refusal(Code.MALFORMED, f"damaged: {error}") from None


def expect(message: Message, kind: type[T]) -> T:
    """Return a message that is of the kind expected.

    Raises:
        Refusal: it is another; a refusal keeps its code.
    """
    if isinstance(message, kind):
        return message
    if isinstance(message, Refused):
        raise Refusal(message.code, message.why, **message.facts)
    raise Refusal(Code.MALFORMED, f"{type(message).__name__} is no answer here")
