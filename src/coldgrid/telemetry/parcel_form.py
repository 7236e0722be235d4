"""The bytes of a parcel of readings. Pure.

A parcel's bytes: the head (`_HEAD`), then one zstd frame with the sensors' names, the counts, and planes of
bytes, all in their greatest common unit: of values the change; of times the change of their step (a clock
that drifts), or how far they lie beside a grid of each sensor's interval (one that jitters), what is shorter.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import zstandard

from coldgrid.telemetry.blocks import Readings
from coldgrid.telemetry.landing import cut
from coldgrid.telemetry.quantities import Flags, Ints

PARCEL_READINGS_MAX = 400_000
_MAGIC = b"CGP1"
# magic, readings, sensors, unfolded bytes, mode of times, least µs, unit of times in µs, step of values
_HEAD = struct.Struct("<4sIIIB3xqqq")
_RAW_MAX = 36 * PARCEL_READINGS_MAX
_DRIFT, _GRID = range(2)
_NAME_BYTES_MAX = 4 * 1024 * 1024
_LEVEL = 6


class ParcelDamaged(ValueError):
    """The bytes are no parcel that any release has written."""


def pack_parcel(parts: Sequence[tuple[str, Readings]]) -> bytes:
    """Return readings of some sensors as bytes, each sensor's in the order of time."""
    counts = np.array([len(readings) for _, readings in parts], dtype=np.int64)
    at_us = np.concatenate([readings.at_us for _, readings in parts])
    value_e4 = np.concatenate([readings.value_e4 for _, readings in parts])
    bad = np.concatenate([readings.bad for _, readings in parts])
    heads = np.cumsum(counts) - counts
    least_us = int(at_us.min())
    unit_us = int(np.gcd.reduce(at_us - least_us)) or 1
    step_e4 = int(np.gcd.reduce(value_e4)) or 1
    names = "\n".join(name for name, _ in parts).encode()
    mode, times = _pack_times((at_us - least_us) // unit_us, heads, counts)
    raw = b"".join(
        [
            struct.pack("<I", len(names)),
            names,
            counts.astype("<u4").tobytes(),
            times,
            _planes(_steps(value_e4 // step_e4, heads)),
            np.packbits(bad).tobytes() if bad.any() else b"",
        ]
    )
    head = _HEAD.pack(_MAGIC, len(at_us), len(parts), len(raw), mode, least_us, unit_us, step_e4)
    return head + zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compress(raw)


def unpack_parcel(body: bytes) -> list[tuple[str, Readings]]:
    """Read a parcel back.

    Raises:
        ParcelDamaged: the bytes are none.
    """
    try:
        return _unpack(body)
    except (struct.error, zstandard.ZstdError, ValueError, IndexError, OverflowError) as error:
        raise ParcelDamaged("these bytes are no parcel of readings") from error


def _unpack(body: bytes) -> list[tuple[str, Readings]]:
    magic, count, sensors, size, mode, least_us, unit_us, step_e4 = _HEAD.unpack_from(body)
    if magic != _MAGIC or not 0 < count <= PARCEL_READINGS_MAX or not 0 < sensors <= count:
        raise ValueError("no parcel")
    if size > _RAW_MAX + _NAME_BYTES_MAX or not (0 < unit_us < 2**53 and 0 < step_e4 < 2**44):
        raise ValueError("a parcel out of bounds")
    raw = zstandard.ZstdDecompressor().stream_reader(body[_HEAD.size :]).read(size + 1)
    if len(raw) != size:
        raise ValueError("a parcel of another size")
    (length,) = struct.unpack_from("<I", raw)
    names = raw[4 : 4 + length].decode().split("\n")
    start = 4 + length
    counts = np.frombuffer(raw, "<u4", sensors, start).astype(np.int64)
    if len(names) != sensors or len(set(names)) != sensors or int(counts.sum()) != count or counts.min() < 1:
        raise ValueError("a parcel whose sensors do not fit")
    heads = np.cumsum(counts) - counts
    start += 4 * sensors
    width = 8 * count if mode == _DRIFT else 8 * (2 * count + sensors)
    at_us = _unpack_times(mode, raw[start : start + width], heads, counts) * unit_us + least_us
    start += width
    values = _unplaned(raw[start : start + 8 * count])
    flags = raw[start + 8 * count :]
    value_e4 = _sums(values, heads, counts) * step_e4
    _check(at_us, heads)
    bad: Flags = np.zeros(count, dtype=np.bool_)
    if flags:
        bad = np.unpackbits(np.frombuffer(flags, dtype=np.uint8), count=count).astype(np.bool_)
    readings = Readings(at_us, value_e4, bad)
    ends = heads + counts
    return [(name, cut(readings, int(heads[i]), int(ends[i]))) for i, name in enumerate(names)]


def _pack_times(at: Ints, heads: Ints, counts: Ints) -> tuple[int, bytes]:
    """Return the mode and the planes of times, whichever are shorter."""
    steps = _steps(at, heads)
    drift = _planes(_steps(steps, heads))
    # The interval of a sensor is its middle step: the sum of a few would follow every gap.
    ordered = np.lexsort((steps, np.repeat(np.arange(len(heads)), counts)))
    intervals = np.maximum(steps[ordered][heads + counts // 2], 1)
    interval = np.repeat(intervals, counts)
    point = (at + interval // 2) // interval
    grid = _planes(intervals) + _planes(_steps(point, heads)) + _planes(at - point * interval)
    return (_GRID, grid) if _size(grid) < _size(drift) else (_DRIFT, drift)


def _unpack_times(mode: int, planes: bytes, heads: Ints, counts: Ints) -> Ints:
    if mode == _DRIFT:
        return _sums(_sums(_unplaned(planes), heads, counts), heads, counts)
    if mode != _GRID:
        raise ValueError("unknown form of times")
    first, count = 8 * len(heads), 8 * int(counts.sum())
    intervals = np.repeat(_unplaned(planes[:first]), counts)
    point = _sums(_unplaned(planes[first : first + count]), heads, counts)
    return point * intervals + _unplaned(planes[first + count :])


def _size(planes: bytes) -> int:
    return len(zstandard.ZstdCompressor(level=1).compress(planes))


def _check(at_us: Ints, heads: Ints) -> None:
    steps = np.diff(at_us)
    steps[heads[1:] - 1] = 1
    if (len(steps) and int(steps.min()) <= 0) or int(at_us.min()) < 0:
        raise ValueError("times that do not go on")


def _steps(numbers: Ints, heads: Ints) -> Ints:
    """Return each number's distance from the one before in its group; the first as it is."""
    steps = np.diff(numbers, prepend=0)
    steps[heads] = numbers[heads]
    return steps


def _sums(steps: Ints, heads: Ints, counts: Ints) -> Ints:
    """Undo `_steps`."""
    total = np.cumsum(steps)
    before: Ints = np.repeat(total[heads] - steps[heads], counts)
    return total - before


def _planes(numbers: Ints) -> bytes:
    folded = (numbers << 1) ^ (numbers >> 63)
    return folded.astype("<u8").view(np.uint8).reshape(-1, 8).T.tobytes()


def _unplaned(planes: bytes) -> Ints:
    folded = np.frombuffer(planes, dtype=np.uint8).reshape(8, -1).T.copy().view("<u8").reshape(-1)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)
