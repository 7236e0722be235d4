"""Reads of Modbus devices: the fewest requests for a map, and what their answers mean. Pure and total.

Invariants
    Q1  What the device calls unavailable, what lies outside `low` to `high`, NaN and a state that the map
        does not name are unknown and never become a value; nor does an answer of the wrong length.
    Q2  A request never crosses what is declared unreadable, nor takes more than 125 registers or 2,000 bits.
    Q3  Of all ways to read a map with its gap, the plan is one with the fewest requests.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from coldgrid.adapters.driving import Haul, Heard, unreadable
from coldgrid.adapters.modbus_map import (
    BITS,
    BITS_A_READ_MAX,
    REGISTERS_A_READ_MAX,
    Device,
    Hole,
    Kind,
    Register,
)


class Read(msgspec.Struct, frozen=True):
    """One request: so many registers or bits from an address on, and what stands in them, by address."""

    kind: Kind
    address: int
    count: int
    registers: tuple[Register, ...]


# --- The plan ---------------------------------------------------------------------


def plan(device: Device, gap: int, registers_max: int = REGISTERS_A_READ_MAX) -> list[Read]:
    """Return the fewest requests that read a device's registers (Q2, Q3)."""
    return [
        read
        for kind in Kind
        for read in _join(
            [one for one in device.registers if one.kind is kind],
            [hole for hole in device.holes if hole.kind is kind],
            gap,
            BITS_A_READ_MAX if kind in BITS else registers_max,
        )
    ]


def _join(registers: Sequence[Register], holes: Sequence[Hole], gap: int, count_max: int) -> Iterator[Read]:
    taken: list[Register] = []
    end = 0
    for one in registers:
        apart = taken and (
            one.address - end > gap
            or one.end - taken[0].address > count_max
            or any(end <= hole.last and hole.first < one.address for hole in holes)
        )
        if apart:
            yield _read(taken)
            taken = []
        end = max(end, one.end) if taken else one.end
        taken.append(one)
    if taken:
        yield _read(taken)


def _read(registers: Sequence[Register]) -> Read:
    first = registers[0].address
    count = max(one.end for one in registers) - first
    return Read(registers[0].kind, first, count, tuple(registers))


def halves(read: Read) -> list[Read]:
    """Return two requests instead of one that was refused, parted at the widest gap; one register stays one.

    A device refuses a whole request when a single register of it does not exist: parted again and again, all
    that exist are read.
    """
    starts = [
        (after.address - before.end, -abs(2 * index - len(read.registers)), index)
        for index, (before, after) in enumerate(pairwise(read.registers), start=1)
        if after.address >= before.end
    ]
    if not starts:
        return [read]
    cut = max(starts)[2]
    return [_read(read.registers[:cut]), _read(read.registers[cut:])]


# --- Answers ----------------------------------------------------------------------


def decode(read: Read, data: bytes, at_us: int) -> Haul:
    """Return what an answer says, at the instant it came; total on any bytes."""
    haul = Haul([], [], [])
    size = (read.count + 7) // 8 if read.kind in BITS else 2 * read.count
    if len(data) != size:
        why = f"{len(data)} bytes came instead of {size}"
        haul.unreadable.extend(unreadable(one.point, data.hex(), why) for one in read.registers)
        return haul
    for one in read.registers:
        raw = _raw(one, data, one.address - read.address)
        value, why = one.value_of(raw)
        if value is None:
            haul.unreadable.append(unreadable(one.point, f"{raw:g}", why))
        else:
            haul.readings.append(Heard(one.point, value, one.unit, None, at_us))
    return haul


def _raw(one: Register, data: bytes, at: int) -> int | float:
    if one.kind in BITS:
        return (data[at // 8] >> at % 8) & 1
    part = data[2 * at : 2 * (at + one.size)]
    if one.words_swapped:
        part = b"".join(part[i : i + 2] for i in range(len(part) - 2, -1, -2))
    if one.bytes_swapped:
        part = b"".join(part[i : i + 2][::-1] for i in range(0, len(part), 2))
    raw: int | float = struct.unpack(f">{one.code}", part)[0]
    if one.bit is not None:
        return (int(raw) >> one.bit) & 1
    return raw
