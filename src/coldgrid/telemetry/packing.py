"""Packing: columns of whole numbers as few bytes, many at once and quickly. For flushes and chunks; pure.

A column is kept as its least number, the greatest common step of the distances from it, and each distance
in steps, in as few bytes as the largest takes. Readings on a grid of time and a probe's steps shrink from 16
bytes to 2 or 3 by that alone; zstd's fastest level finds what repeats from sensor to sensor. What is sealed
for good is packed tighter, and slower, in `blocks`.
"""

from __future__ import annotations

import threading
from math import gcd

import msgspec
import numpy as np
import zstandard

from coldgrid.telemetry.quantities import Flags, Ints

_SAMPLE = 16
# Fewer numbers are not worth the passes over them: a small flush waits for a person, not for the disk.
_NARROWED_FROM = 32
# Fewer bytes are not worth compressing.
_COMPRESSED_FROM_BYTES = 512
_FRAME = b"\x28\xb5\x2f\xfd"  # how a zstd frame begins; no MessagePack array does


class Column(msgspec.Struct, array_like=True, gc=False):
    """A column: `least` + `step` × each number of `width` bytes, little-endian, in `body`."""

    least: int
    step: int
    width: int
    body: bytes


class Zstd(threading.local):
    """The fastest compressor and its inverse, for each thread: making them costs more than a small flush."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


zstd = Zstd()


def pack_column(numbers: Ints) -> Column:
    """Return a column of whole numbers that differ by less than 2⁶³."""
    if len(numbers) < _NARROWED_FROM:
        return Column(0, 1, 8, numbers.astype("<i8").tobytes())
    least, step, narrow = narrowed(numbers)
    return Column(least, step, narrow.itemsize, narrow.tobytes())


def narrowed(numbers: Ints) -> tuple[int, int, Ints]:
    """Return the least number, the step, and each distance from the least one in steps, in few bytes."""
    least = int(numbers.min())
    distance = numbers - least
    step = gcd(*distance[:_SAMPLE].tolist()) or 1
    while True:
        narrow = distance if step == 1 else distance // step
        beside = np.flatnonzero(narrow * step != distance)
        if not len(beside):
            break
        # At least half the step is lost each time, so this ends soon.
        step = gcd(step, int(distance[beside[0]]))
    most = int(narrow.max())
    width = next(width for width in (1, 2, 4, 8) if width == 8 or most < 1 << 8 * width)
    return least, step, narrow.astype(f"<u{width}")


def unpack_column(column: Column) -> Ints:
    """Read a column back."""
    numbers = np.frombuffer(column.body, dtype=f"<u{column.width}").astype(np.int64)
    if column.step != 1:
        numbers *= column.step
    numbers += column.least
    return numbers


def pack_flags(flags: Flags) -> bytes:
    """Return a bit for each flag; nothing where none is set."""
    return np.packbits(flags).tobytes() if flags.any() else b""


def unpack_flags(body: bytes, count: int) -> Flags:
    """Read flags back."""
    if not body:
        return np.zeros(count, dtype=np.bool_)
    return np.unpackbits(np.frombuffer(body, dtype=np.uint8), count=count).astype(np.bool_)


def squeezed(body: bytes) -> bytes:
    """Return the bytes of a MessagePack array, compressed where that pays."""
    return body if len(body) < _COMPRESSED_FROM_BYTES else zstd.compress(body)


def spread(body: bytes) -> bytes:
    """Undo `squeezed`."""
    return zstd.decompress(body) if body.startswith(_FRAME) else body
