"""Register maps of Modbus devices: what stands where, checked line by line. Pure; `modbus_reads` uses them.

    gap: 16                      # registers read along rather than asked around
    devices:
      - name: RACK1
        unit_id: 1
        registers:
          - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C, low: -60, high: 60}
          - {name: door, kind: discrete, address: 4, unit: state}
        unreadable:
          - {kind: input, from: 40, to: 49}

Rules
    R1  Addresses are those on the wire, from 0. A register is read by one entry only; bits may share one.
    R2  A value is raw · scale + offset, in a unit of telemetry, unless the map says that it is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from coldgrid.adapters.device_map import LIST_MAX, Fields, Scaled, Sheet
from coldgrid.kernel.rejections import Problem

REGISTERS_A_READ_MAX = 125
BITS_A_READ_MAX = 2_000
ADDRESSES = 65_536
GAP = 16
TIMEOUT_S = 2.0


class Kind(StrEnum):
    """The four tables of a Modbus device."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"


FUNCTIONS = {Kind.COIL: 1, Kind.DISCRETE: 2, Kind.HOLDING: 3, Kind.INPUT: 4}
BITS = frozenset({Kind.COIL, Kind.DISCRETE})
# How many registers a type takes, and how it is packed.
TYPES = {
    "int16": (1, "h"),
    "uint16": (1, "H"),
    "int32": (2, "i"),
    "uint32": (2, "I"),
    "float32": (2, "f"),
    "int64": (4, "q"),
    "uint64": (4, "Q"),
    "float64": (4, "d"),
}
BIT_TYPES = {f"bit {number}": number for number in range(16)}
ENDS = {"big", "little"}


class Register(Scaled, frozen=True, kw_only=True):
    """One point of a device. `size`: how many registers or bits; `bit`: one of a register's bits.

    `code`: as `struct` packs it. `words_swapped`, `bytes_swapped`: the order on the wire is not big-endian.
    """

    point: str
    kind: Kind
    address: int
    size: int = 1
    code: str = "H"
    bit: int | None = None
    words_swapped: bool = False
    bytes_swapped: bool = False

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.size


class Hole(msgspec.Struct, frozen=True):
    """Addresses that must not be read, both inclusive."""

    kind: Kind
    first: int
    last: int


class Device(msgspec.Struct, frozen=True):
    """One unit behind the gateway."""

    name: str
    unit_id: int
    registers: tuple[Register, ...]
    holes: tuple[Hole, ...]


class RegisterMap(msgspec.Struct, frozen=True):
    """Everything that a gateway is asked for."""

    devices: tuple[Device, ...]
    gap_registers: int = GAP
    registers_max: int = REGISTERS_A_READ_MAX
    timeout_s: float = TIMEOUT_S


# --- The map ----------------------------------------------------------------------


def problems_of_map(text: str) -> list[Problem]:
    """Return everything that is wrong with a map, each with its line; total on any text."""
    return read_map(text)[1]


def read_map(text: str) -> tuple[RegisterMap, list[Problem]]:
    """Return a map and what is wrong with it; with problems the map is not to be used."""
    sheet = Sheet(text)
    top = sheet.top
    gap = top.whole("gap", 0, REGISTERS_A_READ_MAX - 1, GAP)
    registers_max = top.whole("registers_max", 1, REGISTERS_A_READ_MAX, REGISTERS_A_READ_MAX)
    timeout_s = top.number("timeout_s", TIMEOUT_S, 0.1, 4.0)
    devices: list[Device] = []
    seen: dict[str, str] = {}
    for fields in top.groups("devices"):
        device = _device(fields)
        for key, told in ((f"name {device.name}", "name"), (f"unit_id {device.unit_id}", "unit_id")):
            if key in seen:
                fields.wrong(told, f"{seen[key]} has the same {told}", "give each device its own")
            seen[key] = fields.path
        devices.append(device)
    top.done()
    if not sheet.problems:
        points = sum(len(device.registers) for device in devices)
        if not points:
            top.wrong("devices", "the map reads nothing", "add devices: with registers:")
        elif points > LIST_MAX:
            top.wrong("devices", f"has {points} registers", f"at most {LIST_MAX}; make it two gateways")
    return RegisterMap(tuple(devices), gap, registers_max, timeout_s), sheet.problems


def roles_of_map(text: str) -> dict[str, str]:
    """Return the roles that a map says its points have; none of a wrong map."""
    known, problems = read_map(text)
    registers = [] if problems else [one for device in known.devices for one in device.registers]
    return {one.point: one.role for one in registers if one.role}


def _device(fields: Fields) -> Device:
    name = fields.name("name")
    unit_id = fields.whole("unit_id", 0, 255)
    ends = (
        fields.choice("word_order", ENDS, "big") == "little",
        fields.choice("byte_order", ENDS, "big") == "little",
    )
    placed = [(_register(one, name, ends), one) for one in fields.groups("registers")]
    holes = [(_hole(one), one) for one in fields.groups("unreadable")]
    fields.done()
    named: set[str] = set()
    for register, one in placed:
        if register.point in named:
            one.wrong("name", f"{register.point} is there twice", "give each register its own name")
        named.add(register.point)
        for hole, _ in holes:
            if hole.kind is register.kind and register.address <= hole.last and hole.first < register.end:
                one.wrong("address", f"lies in what is unreadable: {hole.first} to {hole.last}")
    _overlaps(placed)
    registers = sorted((one for one, _ in placed), key=_place)
    return Device(name, unit_id, tuple(registers), tuple(hole for hole, _ in holes))


def _place(register: Register) -> tuple[str, int, int]:
    return register.kind, register.address, register.bit or 0


def _overlaps(placed: Sequence[tuple[Register, Fields]]) -> None:
    """Name registers that two entries read (R1)."""
    widest: tuple[Register, Fields] | None = None
    for one, fields in sorted(placed, key=lambda pair: _place(pair[0])):
        if widest is not None:
            before = widest[0]
            bits = one.bit is not None and before.bit is not None and one.bit != before.bit
            if one.kind is before.kind and one.address < before.end and not bits:
                fields.wrong("address", f"overlaps {before.point} at {before.address}")
        if widest is None or one.kind is not widest[0].kind or one.end >= widest[0].end:
            widest = (one, fields)


def _hole(fields: Fields) -> Hole:
    kind = Kind(fields.choice("kind", set(Kind)) or Kind.HOLDING)
    first = fields.whole("from", 0, ADDRESSES - 1)
    last = fields.whole("to", 0, ADDRESSES - 1)
    fields.done()
    if last < first:
        fields.wrong("to", f"is before {first}")
    return Hole(kind, first, last)


def _register(fields: Fields, device: str, ends: tuple[bool, bool]) -> Register:
    name = fields.name("name")
    kind = Kind(fields.choice("kind", set(Kind)) or Kind.HOLDING)
    address = fields.whole("address", 0, ADDRESSES - 1)
    size, code, bit = 1, "B", None
    if kind not in BITS:
        told = fields.choice("type", TYPES.keys() | BIT_TYPES.keys())
        bit = BIT_TYPES.get(told)
        size, code = TYPES.get(told, (1, "H"))
    elif fields.has("type"):
        fields.choice("type", ("bool",))
    if address + size > ADDRESSES:
        fields.wrong("address", f"the register ends beyond {ADDRESSES - 1}")
    words, swapped = ends
    if fields.has("word_order"):
        words = fields.choice("word_order", ENDS) == "little"
    if fields.has("byte_order"):
        swapped = fields.choice("byte_order", ENDS) == "little"
    low, high = fields.maybe_number("low"), fields.maybe_number("high")
    if low is not None and high is not None and low >= high:
        fields.wrong("low", "must be less than high")
    register = Register(
        point=f"{device}/{name}",
        kind=kind,
        address=address,
        size=size,
        code=code,
        bit=bit,
        words_swapped=words,
        bytes_swapped=swapped,
        scale=_scale(fields),
        offset=fields.number("offset", 0.0),
        unit=fields.unit(),
        unavailable=_unavailable(fields, code, size),
        low=low,
        high=high,
        states=fields.table("states"),
        role=fields.role(),
    )
    fields.done()
    return register


def _scale(fields: Fields) -> float:
    scale = fields.number("scale", 1.0)
    if scale == 0:
        fields.wrong("scale", "makes every value the same", "leave it out, or write 0.1, 0.01 …")
    return scale


def _unavailable(fields: Fields, code: str, size: int) -> frozenset[int]:
    """The raw values that stand for none, as the type reads them: 0xFFFF of an int16 is −1."""
    bits = 16 * size
    found = set()
    for index, raw in enumerate(fields.wholes("unavailable")):
        value = raw
        if code in "hiq" and 2 ** (bits - 1) <= raw < 2**bits:
            value = raw - 2**bits
        elif code in "HIQ" and -(2 ** (bits - 1)) <= raw < 0:
            value = raw + 2**bits
        low = 0 if code.isupper() or code == "B" else -(2 ** (bits - 1))
        high = {"B": 2}.get(code, 2**bits if code.isupper() else 2 ** (bits - 1))
        if code not in "fd" and not low <= value < high:
            fields.wrong(f"unavailable[{index}]", f"{raw} does not fit into {bits} bits")
        found.add(value)
    return frozenset(found)
