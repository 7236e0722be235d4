"""Register maps, requests and answers of Modbus, without a socket."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import modbus_frames as frames
from coldgrid.adapters.modbus_map import (
    FUNCTIONS,
    Device,
    Hole,
    Kind,
    Register,
    problems_of_map,
    read_map,
)
from coldgrid.adapters.modbus_reads import Read, decode, halves, plan

RACK = """
devices:
  - name: RACK1
    unit_id: 1
    registers:
      - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C, unavailable: [0x7FFF, -32768]}
      - {name: door, kind: discrete, address: 4, unit: state}
      - {name: power, kind: holding, address: 100, type: float32, unit: W, word_order: little}
      - {name: defrost, kind: holding, address: 110, type: bit 3, unit: state}
      - {name: alarm, kind: holding, address: 110, type: bit 4, unit: state}
      - {name: compressor, kind: holding, address: 111, type: uint16, unit: state, states: {0: 0, 4: 1, 9: 2}}
    unreadable:
      - {kind: input, from: 40, to: 49}
"""  # noqa: E501


def told(text: str) -> list[tuple[int | None, str, str]]:
    return [(one.line, one.field, one.message) for one in problems_of_map(text)]


def one_register(line: str, more: str = "") -> str:
    return f"devices:\n  - name: A\n    unit_id: 1\n    registers:\n      - {{{line}}}\n{more}"


def reading(kind: Kind, data: bytes, register: Register) -> tuple[list[float], list[str]]:
    haul = decode(Read(kind, register.address, register.size, (register,)), data, 5)
    return [one.value for one in haul.readings], [one.why for one in haul.unreadable]


# --- The map ----------------------------------------------------------------------


def test_a_map_is_read_with_its_kinds_orders_bits_and_states() -> None:
    known, problems = read_map(RACK)
    assert problems == []
    assert [one.point for one in known.devices[0].registers] == [
        "RACK1/door",
        "RACK1/power",
        "RACK1/defrost",
        "RACK1/alarm",
        "RACK1/compressor",
        "RACK1/return_air",
    ]
    air = known.devices[0].registers[-1]
    assert (air.kind, air.address, air.scale, air.unit) == (Kind.INPUT, 30, 0.1, "C")
    assert air.unavailable == {32767, -32768}


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("name: a, kind: input, address: 1", "", "has no type"),
        ("name: a, kind: input, address: 1, type: int17", ".type", "'int17' is not known"),
        ("name: a, kind: inputs, address: 1, type: int16", ".kind", "'inputs' is not known"),
        ("name: a, kind: input, address: 65536, type: int16", ".address", "is no such whole number"),
        (
            "name: a, kind: input, address: 65535, type: int32",
            ".address",
            "the register ends beyond 65535",
        ),
        (
            "name: a, kind: input, address: 1, type: int16, scale: 0",
            ".scale",
            "makes every value the same",
        ),
        (
            "name: a, kind: input, address: 1, type: int16, unavailable: [0x10000]",
            ".unavailable[0]",
            "65536 does not fit into 16 bits",
        ),
        (
            "name: a, kind: input, address: 1, type: int16, low: 5, high: 5",
            ".low",
            "must be less than high",
        ),
        ("name: a b, kind: coil, address: 1", ".name", "'a b' is no name"),
        ("name: a, kind: coil, address: 1, unit: K", ".unit", "'K' is not known"),
        ("name: a, kind: coil, address: 1, role: fridge", ".role", "'fridge' is not known"),
        ("name: a, kind: coil, address: 1, adress: 2", ".adress", "there is no field 'adress' here"),
        ("name: a, kind: coil, address: [1]", ".address", "is no such whole number"),
        ("name: a, kind: coil, address: 1, states: [1]", ".states", "is no table"),
        ("name: a, kind: coil, address: 1, scale: .nan", ".scale", "is no such number"),
    ],
)
def test_a_wrong_field_of_a_register_is_named_with_its_line(line: str, field: str, message: str) -> None:
    assert told(one_register(line)) == [(5, f"devices[0].registers[0]{field}", message)]


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ("kind: input, address: 10, type: int32", "kind: input, address: 11, type: int16", True),
        ("kind: input, address: 10, type: int32", "kind: input, address: 12, type: int16", False),
        ("kind: input, address: 10, type: int16", "kind: holding, address: 10, type: int16", False),
        ("kind: input, address: 10, type: bit 1", "kind: input, address: 10, type: bit 2", False),
        ("kind: input, address: 10, type: bit 1", "kind: input, address: 10, type: bit 1", True),
        ("kind: input, address: 10, type: bit 1", "kind: input, address: 10, type: int16", True),
        ("kind: coil, address: 10", "kind: coil, address: 10", True),
    ],
)
def test_registers_that_overlap_are_named_and_bits_may_share_one(
    first: str, second: str, wrong: bool
) -> None:
    problems = told(one_register(f"name: a, {first}", f"      - {{name: b, {second}}}\n"))
    assert [message.split(" A/")[0] for _, _, message in problems] == ["overlaps"] * wrong


def test_names_units_and_holes_are_checked_across_the_map() -> None:
    text = RACK + RACK.split("devices:\n")[1]
    assert told(text) == [
        (14, "devices[1].name", "devices[0] has the same name"),
        (15, "devices[1].unit_id", "devices[0] has the same unit_id"),
    ]
    doubled = one_register("name: a, kind: coil, address: 1", "      - {name: a, kind: coil, address: 2}\n")
    assert told(doubled) == [(6, "devices[0].registers[1].name", "A/a is there twice")]
    hole = one_register(
        "name: a, kind: input, address: 44, type: int16",
        "    unreadable: [{kind: input, from: 40, to: 49}]\n",
    )
    assert told(hole) == [(5, "devices[0].registers[0].address", "lies in what is unreadable: 40 to 49")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a mapping of fields"),
        ("devices: []", "the map reads nothing"),
        ("devices: {}", "is no list"),
        ("devices: [3]", "is no mapping"),
        ("a: &a [x]\nb: [*a, *a]", "anchors and aliases are not allowed"),
        ("a: !!python/object:os.system {}", "tags are not allowed"),
        ("[" * 40, "nested deeper than 24 levels"),
        ("devices: [", "is no YAML: did not find expected node content"),
        ("x" * 200_001, "is longer than 200000 characters"),
        ("devices: \ud800", "holds half of a character"),
    ],
)
def test_a_text_that_is_no_map_is_told_why(text: str, message: str) -> None:
    assert message in [one.message for one in problems_of_map(text)]


def test_a_map_that_is_too_big_is_refused() -> None:
    lines = "".join(f"      - {{name: r{n}, kind: coil, address: {n}}}\n" for n in range(1, 3_000))
    assert problems_of_map(one_register("name: r0, kind: coil, address: 0", lines)) == []
    entries = "".join(f"[{n}]," for n in range(5_001))
    assert told(f"devices: [{entries}]") == [(1, "devices", "has 5001 entries")]


@given(st.text() | st.text(alphabet="devicsnamutr:[]{} -\n0x9&*!'\""))
def test_any_text_is_a_map_or_has_problems(text: str) -> None:
    known, problems = read_map(text)
    assert problems or known.devices


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("input"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["devices", "name", "unit_id", "registers", "kind", "address", "type", "states"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_structure_under_the_known_names_is_checked_without_an_exception(value: object) -> None:
    known, problems = read_map(f"devices: [{{name: A, unit_id: 1, registers: [{value!r}]}}]")
    assert problems or known.devices


# --- The plan ---------------------------------------------------------------------


def holding(address: int, size: int = 1) -> Register:
    return Register(point=f"A/{address}", kind=Kind.HOLDING, address=address, size=size)


def spans(reads: Sequence[Read]) -> list[tuple[int, int]]:
    return [(read.address, read.count) for read in reads]


@pytest.mark.parametrize(
    ("registers", "holes", "gap", "expected"),
    [
        ([holding(0), holding(1), holding(17)], [], 16, [(0, 18)]),
        ([holding(0), holding(1), holding(19)], [], 16, [(0, 2), (19, 1)]),
        ([holding(0), holding(5)], [Hole(Kind.HOLDING, 3, 3)], 16, [(0, 1), (5, 1)]),
        ([holding(0), holding(5)], [Hole(Kind.HOLDING, 6, 9)], 16, [(0, 6)]),
        ([holding(n) for n in range(250)], [], 0, [(0, 125), (125, 125)]),
        ([holding(n, 2) for n in range(0, 252, 2)], [], 0, [(0, 124), (124, 124), (248, 4)]),
    ],
)
def test_registers_are_joined_up_to_the_gap_the_limit_and_the_holes(
    registers: list[Register], holes: list[Hole], gap: int, expected: list[tuple[int, int]]
) -> None:
    device = Device("A", 1, tuple(registers), tuple(holes))
    assert spans(plan(device, gap)) == expected


@given(
    st.sets(st.integers(0, 600), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 9)), max_size=5),
    st.integers(0, 124),
    st.integers(1, 125),
)
def test_a_plan_reads_every_register_once_crosses_no_hole_and_keeps_its_limits(
    addresses: set[int], raw_holes: list[tuple[int, int]], gap: int, most: int
) -> None:
    holes = [Hole(Kind.HOLDING, first, first + length) for first, length in raw_holes]
    free = [a for a in sorted(addresses) if not any(h.first <= a <= h.last for h in holes)]
    device = Device("A", 1, tuple(holding(address) for address in free), tuple(holes))
    reads = plan(device, gap, most)
    assert [one.address for read in reads for one in read.registers] == free
    for read in reads:
        last = read.address + read.count - 1
        assert 1 <= read.count <= most
        assert not any(hole.first <= last and read.address <= hole.last for hole in holes)
    for before, after in pairwise(reads):
        end = before.address + before.count
        first = after.registers[0].address
        between = any(end <= hole.last and hole.first < first for hole in holes)
        assert first - end > gap or first + 1 - before.address > most or between


def test_a_refused_request_is_parted_at_its_widest_gap_until_each_stands_alone() -> None:
    read = plan(Device("A", 1, (holding(0), holding(1), holding(9), holding(10, 2)), ()), 16)[0]
    assert spans(halves(read)) == [(0, 2), (9, 3)]
    assert [spans(halves(half)) for half in halves(read)] == [[(0, 1), (1, 1)], [(9, 1), (10, 2)]]
    alone = plan(Device("A", 1, (holding(4),), ()), 16)[0]
    assert halves(alone) == [alone]


def test_bits_of_one_register_are_never_parted() -> None:
    bits = tuple(Register(point=f"A/{bit}", kind=Kind.HOLDING, address=3, bit=bit) for bit in range(3))
    read = plan(Device("A", 1, bits, ()), 0)[0]
    assert halves(read) == [read]


# --- Answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "size", "words", "swapped", "data", "value"),
    [
        ("h", 1, False, False, b"\xff\x38", -200),
        ("H", 1, False, True, b"\x38\xff", 0xFF38),
        ("i", 2, False, False, struct.pack(">i", -70_000), -70_000),
        ("I", 2, True, False, b"\x56\x78\x00\x02", 0x00025678),
        ("I", 2, False, True, b"\x02\x00\x78\x56", 0x00025678),
        ("I", 2, True, True, struct.pack("<I", 123_456), 123_456),
        ("f", 2, False, False, struct.pack(">f", -21.5), -21.5),
        ("d", 4, True, True, struct.pack("<d", 3.75), 3.75),
        ("q", 4, False, False, struct.pack(">q", -5), -5),
    ],
)
def test_every_type_is_decoded_in_every_order(
    code: str, size: int, words: bool, swapped: bool, data: bytes, value: float
) -> None:
    register = Register(
        point="A/a",
        kind=Kind.INPUT,
        address=7,
        size=size,
        code=code,
        words_swapped=words,
        bytes_swapped=swapped,
    )
    assert reading(Kind.INPUT, data, register) == ([value], [])


def test_bits_come_from_registers_and_from_coils() -> None:
    bit = Register(point="A/a", kind=Kind.HOLDING, address=7, bit=9)
    assert reading(Kind.HOLDING, b"\x02\x00", bit) == ([1.0], [])
    assert reading(Kind.HOLDING, b"\x00\x02", bit) == ([0.0], [])
    coil = Register(point="A/b", kind=Kind.COIL, address=13, code="B")
    haul = decode(Read(Kind.COIL, 3, 11, (coil,)), b"\x00\x04", 5)
    assert [one.value for one in haul.readings] == [1.0]


@pytest.mark.parametrize(
    ("register", "raw", "why"),
    [
        ({"unavailable": frozenset({0x7FFF})}, 0x7FFF, "the device says that it is not available"),
        ({}, math.nan, "the device says that it is not available"),
        ({}, math.inf, "is too large to be kept"),
        ({"scale": 1e9}, 1e300, "is too large to be kept"),
        ({"low": -60.0, "high": 60.0, "scale": 0.1}, 601, "60.1 lies outside what the map allows"),
        ({"low": -60.0}, -61, "-61 lies outside what the map allows"),
        ({"states": {0: 0, 4: 1}}, 3, "the map names no state 3"),
        ({"states": {0: 0, 4: 1}}, math.inf, "the map names no state inf"),
    ],
)
def test_what_is_no_value_is_unknown_with_its_reason(
    register: dict[str, object], raw: float, why: str
) -> None:
    one = Register(point="A/a", kind=Kind.INPUT, address=0, **register)  # type: ignore[arg-type]
    assert one.value_of(raw) == (None, why)


def test_a_value_is_scaled_and_a_state_is_translated() -> None:
    one = Register(point="A/a", kind=Kind.INPUT, address=0, scale=0.5, offset=-40.0)
    assert one.value_of(30) == (-25.0, "")
    state = Register(point="A/a", kind=Kind.INPUT, address=0, states={0: 1, 1: 0})
    assert [state.value_of(raw)[0] for raw in (0, 1)] == [1.0, 0.0]


@given(st.binary(max_size=300), st.sampled_from(list(Kind)), st.sampled_from("hHiIfqQd"))
def test_any_bytes_are_readings_that_can_be_kept_or_told_as_unreadable(
    data: bytes, kind: Kind, code: str
) -> None:
    size = {"h": 1, "H": 1, "i": 2, "I": 2, "f": 2}.get(code, 4)
    bits = kind in (Kind.COIL, Kind.DISCRETE)
    registers = tuple(
        Register(point=f"A/{n}", kind=kind, address=n * size, size=1 if bits else size, code=code)
        for n in range(3)
    )
    read = plan(Device("A", 1, registers, ()), 16)[0]
    haul = decode(read, data, 5)
    assert len(haul.readings) + len(haul.unreadable) == 3
    assert all(math.isfinite(one.value) and abs(one.value) < 214_748 for one in haul.readings)
    exact = decode(read, (data + bytes(64))[: (read.count + 7) // 8 if bits else 2 * read.count], 5)
    assert len(exact.readings) + len(exact.unreadable) == 3


# --- Frames -----------------------------------------------------------------------


def answer(pdu: bytes, transaction: int = 1, unit_id: int = 7) -> bytes:
    return frames.HEADER.pack(transaction, 0, len(pdu) + 1, unit_id) + pdu


def test_a_request_has_the_bytes_of_the_specification() -> None:
    assert frames.encode_request(1, 17, FUNCTIONS[Kind.HOLDING], 107, 3).hex() == "0001000000061103006b0003"


def test_a_frame_waits_for_its_last_byte() -> None:
    whole = answer(b"\x03\x02\x00\x05")
    for length in range(len(whole)):
        assert frames.split_frame(whole[:length]) == (None, 0)
    frame, used = frames.split_frame(whole + b"\x00\x02")
    assert frame is not None
    assert used == len(whole)
    assert frames.read_answer(frame, 7, 3, 1) == b"\x00\x05"


@pytest.mark.parametrize(
    ("pdu", "why"),
    [
        (b"\x04\x02\x00\x05", "answered function 4 instead of 3"),
        (b"\x03\x02\x00", "sent 1 bytes instead of 2"),
        (b"\x03\x04\x00\x05\x00\x06", "sent 4 bytes instead of 2"),
        (b"\x03\x01\x00\x05", "says that it sent 1 bytes, and sent 2"),
        (b"\x83\x02\x00", "answered function 131 instead of 3"),
        (b"\x84\x02", "answered function 132 instead of 3"),
    ],
)
def test_an_answer_to_something_else_is_garbled(pdu: bytes, why: str) -> None:
    frame, _ = frames.split_frame(answer(pdu))
    assert frame is not None
    with pytest.raises(frames.Garbled, match=why):
        frames.read_answer(frame, 7, 3, 1)
    with pytest.raises(frames.Garbled, match="unit 7 answered instead of 8"):
        frames.read_answer(frame, 8, 3, 1)


def test_an_exception_says_what_the_device_said() -> None:
    frame, _ = frames.split_frame(answer(b"\x83\x0b"))
    assert frame is not None
    with pytest.raises(frames.Refused, match="does not answer its gateway") as refused:
        frames.read_answer(frame, 7, 3, 1)
    assert refused.value.code == frames.GATEWAY_TARGET


@given(st.binary(max_size=400), st.integers(1, 125))
def test_any_bytes_are_a_frame_its_beginning_or_garbled(data: bytes, count: int) -> None:
    try:
        frame, used = frames.split_frame(data)
        assert used <= len(data)
        if frame is not None:
            assert len(frames.read_answer(frame, frame.unit_id, 3, count)) == 2 * count
    except (frames.Garbled, frames.Refused):
        return
