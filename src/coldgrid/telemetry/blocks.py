"""Blocks: one sensor's readings of at most one UTC day, sealed into bytes that never change.

Invariants
    B1  Decoding gives back exactly the times, values and flags that were encoded.
    B2  Times in a block are strictly increasing; a block is named by the SHA-256 of its bytes.
    B3  A block's sums add up: a range of blocks, supplementary ones included, rolls up without decoding.

Layout, little-endian: the head (`_HEAD`), then one zstd frame with planes of bytes. Values are
fixed-point ten-thousandths over their greatest common step, either as offsets from the smallest or
as differences; times are nothing at all on a perfect grid, else the distance from the nearest point
of the grid (a jittered clock) or from the expected interval (a clock that drifts). Numbers of
several bytes are split into planes, low bytes first, so that the quiet high bytes vanish.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from hashlib import sha256
from math import log
from typing import Any

import msgspec
import numpy as np
import zstandard

from coldgrid.telemetry.packing import narrowed, zstd
from coldgrid.telemetry.quantities import E4, VALUE_E4_MAX, Flags, Floats, Ints

KELVIN_AT_0_C = 273.15
# Activation energy over gas constant, in kelvin: USP <1160>, 83.144 kJ/mol.
ACTIVATION_TEMPERATURE_K = 10_000.0

DAY_US = 86_400_000_000
READINGS_MAX = DAY_US // 1_000  # one each millisecond, for a whole day

_MAGIC = b"CGB1"
# magic, mode of times, mode of values, has flags, count; first µs, unit µs, interval in units, least, step
_HEAD = struct.Struct("<4sBBBxIqqqqq")
# The best parse over little history: of a real freezer within 4 % of level 15 in 40 % of its time, because
# the core that takes readings in seals them too.
_SEALED = zstandard.ZstdCompressionParameters(
    window_log=15,
    chain_log=15,
    hash_log=15,
    search_log=1,
    min_match=3,
    target_length=32,
    strategy=zstandard.STRATEGY_BTOPT,
    write_checksum=False,
)
_STEP = 8_192

_TIMES_REGULAR, _TIMES_GRID, _TIMES_DRIFT = range(3)
_VALUES_OFFSET, _VALUES_DELTA = range(2)


class Readings(msgspec.Struct, frozen=True, gc=False):
    """One sensor's readings: µs since 1970 UTC strictly increasing, fixed-point values, bad flags."""

    at_us: Ints
    value_e4: Ints
    bad: Flags

    def __len__(self) -> int:
        return len(self.at_us)


class Summary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a block says without being opened. Only good readings count but in `readings`.

    `kinetic_sum` adds exp(−ΔH/RT) of each reading: the numerator of the mean kinetic temperature.
    """

    readings: int
    good: int
    low_e4: int | None
    high_e4: int | None
    sum_e4: int
    kinetic_sum: float


class BlockDamaged(ValueError):
    """The bytes are not a block that this release, or an older one, has written."""


def encode_block(readings: Readings) -> bytes:
    """Seal readings of one sensor (B1).

    Raises:
        ValueError: no readings, too many, or not strictly increasing in time (B2).
    """
    count = len(readings)
    if not 0 < count <= READINGS_MAX:
        raise ValueError("a block holds at least one reading and at most one each millisecond")
    times_mode, first_us, unit_us, interval, time_planes = _pack_times(readings.at_us)
    values_mode, least_e4, step_e4, value_planes = _pack_values(readings.value_e4)
    flags = np.packbits(readings.bad).tobytes() if readings.bad.any() else b""
    head = _HEAD.pack(
        _MAGIC,
        times_mode,
        values_mode,
        bool(flags),
        count,
        first_us,
        unit_us,
        interval,
        least_e4,
        step_e4,
    )
    return head + _sealing.compress(time_planes + value_planes + flags)


def without(readings: Readings, other: Readings) -> Readings:
    """Return the readings at other times than the other ones."""
    keep = ~np.isin(readings.at_us, other.at_us)
    if keep.all():
        return readings
    return Readings(readings.at_us[keep], readings.value_e4[keep], readings.bad[keep])


def decode_block(block: bytes) -> Readings:
    """Open a block (B1).

    Raises:
        BlockDamaged: the bytes are no block.
    """
    try:
        magic, times_mode, values_mode, flagged, count, first_us, unit_us, interval, least_e4, step_e4 = (
            _HEAD.unpack_from(block)
        )
        if magic != _MAGIC or not 0 < count <= READINGS_MAX:
            raise BlockDamaged("these bytes are no block of readings")
        # The bound keeps a forged block from filling the memory: three columns of 8 bytes, and flags. A frame
        # that names its size is unfolded to that, whatever the bound: so look first.
        bound = count * 25 + 64
        if zstandard.frame_content_size(block[_HEAD.size :]) > bound:
            raise BlockDamaged("these bytes unfold to more than a block")
        body = zstd.decompress(block[_HEAD.size :], max_output_size=bound)
        planes = _Planes(body, count)
        # In place, because a month is read in a few milliseconds or in many by how often memory is touched.
        at_us = _unpack_times(planes, times_mode, interval)
        at_us *= unit_us
        at_us += first_us
        value_e4 = planes.take() if values_mode == _VALUES_OFFSET else np.cumsum(planes.take_signed())
        value_e4 *= step_e4
        value_e4 += least_e4
        bad = planes.flags() if flagged else np.zeros(count, dtype=np.bool_)
    except (struct.error, zstandard.ZstdError, IndexError, ValueError) as error:
        raise BlockDamaged("these bytes are no block of readings") from error
    return Readings(at_us, value_e4, bad)


def block_hash(block: bytes) -> str:
    """Return the name of a block: the SHA-256 of its bytes, in hex (B2)."""
    return sha256(block).hexdigest()


def summarise(readings: Readings) -> Summary:
    """Return what a block says without being opened (B3)."""
    if not len(readings):
        return Summary(readings=0, good=0, low_e4=None, high_e4=None, sum_e4=0, kinetic_sum=0.0)
    columns = summarise_columns(readings, np.zeros(1, dtype=np.int64))
    return Summary(**{name: of[0] for name, of in zip(Summary.__struct_fields__, columns, strict=True)})


def summarise_columns(readings: Readings, heads: Ints) -> list[list[Any]]:
    """Return the summary of each group of readings, as columns in the order of `Summary`'s fields.

    `heads` are the indexes at which groups begin.
    """
    value_e4, bad = readings.value_e4, readings.bad
    counts = np.diff(heads, append=len(readings))
    kinetic = _kinetic(value_e4)
    if not bad.any():
        return [
            column.tolist()
            for column in (
                counts,
                counts,
                np.minimum.reduceat(value_e4, heads),
                np.maximum.reduceat(value_e4, heads),
                np.add.reduceat(value_e4, heads),
                np.add.reduceat(kinetic, heads),
            )
        ]
    good = (counts - np.add.reduceat(bad.astype(np.int64), heads)).tolist()
    lowest = np.minimum.reduceat(np.where(bad, VALUE_E4_MAX, value_e4), heads).tolist()
    highest = np.maximum.reduceat(np.where(bad, -VALUE_E4_MAX, value_e4), heads).tolist()
    return [
        counts.tolist(),
        good,
        [low if some else None for low, some in zip(lowest, good, strict=True)],
        [high if some else None for high, some in zip(highest, good, strict=True)],
        np.add.reduceat(np.where(bad, 0, value_e4), heads).tolist(),
        np.add.reduceat(np.where(bad, 0.0, kinetic), heads).tolist(),
    ]


def _kinetic(value_e4: Ints) -> Floats:
    """Return exp(−ΔH/RT) of temperatures in ten-thousandths of a °C.

    Values of a probe repeat, so of many only those that occur are worked out.
    """
    least, step, narrow = narrowed(value_e4)
    known = int(narrow.max()) + 1
    if known > len(value_e4):
        return _kinetic_of(value_e4)
    found: Floats = _kinetic_of(least + step * np.arange(known))[narrow]
    return found


def _kinetic_of(value_e4: Ints) -> Floats:
    """Return exp(−ΔH/RT) of each temperature, in steps that stay in the cache.

    At or below absolute zero is no temperature: another quantity, whose kinetic sum nobody asks for.
    """
    kinetic = np.empty(len(value_e4), dtype=np.float64)
    for start in range(0, len(value_e4), _STEP):
        part = kinetic[start : start + _STEP]
        np.divide(value_e4[start : start + _STEP], E4, out=part)
        part += KELVIN_AT_0_C
        part[part <= 0] = np.nan
        np.divide(-ACTIVATION_TEMPERATURE_K, part, out=part)
        np.exp(part, out=part)
        np.nan_to_num(part, copy=False)
    return kinetic


def added(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of several lots of readings together (B3)."""
    lows = [summary.low_e4 for summary in summaries if summary.low_e4 is not None]
    highs = [summary.high_e4 for summary in summaries if summary.high_e4 is not None]
    return Summary(
        readings=sum(summary.readings for summary in summaries),
        good=sum(summary.good for summary in summaries),
        low_e4=min(lows, default=None),
        high_e4=max(highs, default=None),
        sum_e4=sum(summary.sum_e4 for summary in summaries),
        kinetic_sum=sum(summary.kinetic_sum for summary in summaries),
    )


def mean_kinetic_c(kinetic_sum: float, good: int) -> float | None:
    """Return the mean kinetic temperature of `good` readings taken at equal intervals, in °C.

    Source:
        Haynes, J. D. (1971), J. Pharm. Sci. 60(6), 927-929; constants from USP <1160>. For pharma only.
    """
    if good <= 0 or kinetic_sum <= 0:
        return None
    return ACTIVATION_TEMPERATURE_K / -log(kinetic_sum / good) - KELVIN_AT_0_C


# --- Times ----------------------------------------------------------------------


def _pack_times(at_us: Ints) -> tuple[int, int, int, int, bytes]:
    """Return the mode, the first µs (of the grid), the unit, the interval and the planes."""
    first_us = int(at_us[0])
    steps_us = np.diff(at_us)
    if not len(steps_us):
        return _TIMES_REGULAR, first_us, 1, 0, b""
    if int(steps_us.min()) <= 0:
        raise ValueError("readings must be strictly increasing in time")
    unit_us = int(np.gcd.reduce(steps_us))
    steps = steps_us // unit_us
    interval = int(np.median(steps))
    if int(steps.min()) == int(steps.max()):
        return _TIMES_REGULAR, first_us, unit_us, interval, b""
    since = (at_us - first_us) // unit_us
    point = (since + interval // 2) // interval
    beside = since - point * interval
    least = int(beside.min())
    grid = _planes(np.diff(point, prepend=0)) + _planes(beside - least)
    drift = _planes(_zigzag(np.diff(since, prepend=0) - interval))
    if _size(grid) <= _size(drift):
        return _TIMES_GRID, first_us + least * unit_us, unit_us, interval, grid
    return _TIMES_DRIFT, first_us, unit_us, interval, drift


def _unpack_times(planes: _Planes, mode: int, interval: int) -> Ints:
    if mode == _TIMES_REGULAR:
        return np.arange(planes.count, dtype=np.int64) * interval
    if mode == _TIMES_GRID:
        point = np.cumsum(planes.take())
        return point * interval + planes.take()
    if mode == _TIMES_DRIFT:
        return np.cumsum(planes.take_signed() + interval)
    raise BlockDamaged("unknown form of times")


# --- Values ---------------------------------------------------------------------


def _pack_values(value_e4: Ints) -> tuple[int, int, int, bytes]:
    least_e4 = int(value_e4.min())
    offsets = value_e4 - least_e4
    step_e4 = int(np.gcd.reduce(offsets)) or 1
    offsets = offsets // step_e4
    plain = _planes(offsets)
    delta = _planes(_zigzag(np.diff(offsets, prepend=0)))
    if _size(plain) <= _size(delta):
        return _VALUES_OFFSET, least_e4, step_e4, plain
    return _VALUES_DELTA, least_e4, step_e4, delta


# --- Bytes ----------------------------------------------------------------------


def _zigzag(numbers: Ints) -> Ints:
    """Fold signed numbers into small unsigned ones: 0, −1, 1, −2 become 0, 1, 2, 3."""
    return (numbers << 1) ^ (numbers >> 63)


def _unzigzag(numbers: Ints) -> Ints:
    return (numbers >> 1) ^ -(numbers & 1)


_UNFOLDED = _unzigzag(np.arange(256))


def _planes(numbers: Ints) -> bytes:
    """Return a byte that tells how many bytes each number takes, then the planes of those bytes."""
    width = next(width for width in (1, 2, 4, 8) if width == 8 or int(numbers.max()) < 1 << 8 * width)
    matrix = numbers.astype(f"<u{width}").view(np.uint8).reshape(-1, width)
    return bytes([width]) + matrix.T.tobytes()


class _Planes:
    """Reads the columns of an opened frame one after the other."""

    def __init__(self, body: bytes, count: int) -> None:
        self.body = np.frombuffer(body, dtype=np.uint8)
        self.count = count
        self.offset = 0

    def take(self) -> Ints:
        """Return the next column of numbers."""
        width = int(self.body[self.offset])
        if width not in {1, 2, 4, 8}:
            raise BlockDamaged("unknown width of numbers")
        start = self.offset + 1
        self.offset = start + width * self.count
        matrix = np.ascontiguousarray(self.body[start : self.offset].reshape(width, self.count).T)
        joined: Ints = matrix.view(f"<u{width}").ravel().astype(np.int64)
        return joined

    def take_signed(self) -> Ints:
        """Return the next column of folded numbers, unfolded."""
        if int(self.body[self.offset]) == 1:
            start = self.offset + 1
            self.offset = start + self.count
            return _UNFOLDED[self.body[start : self.offset]]
        return _unzigzag(self.take())

    def flags(self) -> Flags:
        """Return the last column, one bit each."""
        packed = self.body[self.offset : self.offset + (self.count + 7) // 8]
        return np.unpackbits(packed, count=self.count).astype(np.bool_)


def _size(planes: bytes) -> int:
    return len(zstd.compress(planes))


class _Sealing(threading.local):
    """The compressor of sealed blocks, for each thread."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(compression_params=_SEALED).compress


_sealing = _Sealing()
