"""Pictures as small as they come, for tests of photos."""

from __future__ import annotations

import struct
import zlib

_FRAME = b"\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00"
_SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x7f"
_PREVIEW = b"\xff\xe1\x00\x08" + b"\xff\xd8\xff\xd9\x00\x00"


def jpeg(end: bytes = b"\xff\xd9") -> bytes:
    """A JPEG with a preview inside, as phones write it."""
    return b"\xff\xd8" + _PREVIEW + _FRAME + _SCAN + end


def png() -> bytes:
    """One grey point."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\x00\x80")),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def webp() -> bytes:
    """The frame of a WebP."""
    data = b"WEBPVP8L" + struct.pack("<I", 4) + b"\x2f\x00\x00\x00"
    return b"RIFF" + struct.pack("<I", len(data)) + data
