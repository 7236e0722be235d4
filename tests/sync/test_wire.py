"""Frames and columns: frozen examples, bytes that come back, and bytes that must not get in."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel.events import Entry, envelope_bytes, leaf_hash
from coldgrid.kernel.tables import from_micros
from coldgrid.sync import messages as m
from coldgrid.sync.codec import pack_entries, unpack_entries
from coldgrid.sync.messages import ENTRIES_MAX, Code
from coldgrid.sync.wire import FRAME_BYTES_MAX, RAW_BYTES_MAX, Refusal, decode, encode, expect

T0 = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def entry(seq: int, **fields: object) -> Entry:
    bare = Entry(
        -1,
        "ATL1",
        1,
        seq,
        T0 + timedelta(seconds=seq % 10**6),
        T0 + timedelta(seconds=seq % 10**6, microseconds=3),
        f"unit/{seq}",
        "stock.unit_moved",
        "p-17",
        f"ATL1/1/{max(0, seq - 1)}",
        "",
        b'{"type":"stock.unit_moved","site_id":"ATL1"}',
        b"",
    )
    changed = msgspec.structs.replace(bare, **fields)
    return msgspec.structs.replace(changed, leaf=leaf_hash(envelope_bytes(changed)))


# --- Frozen: the bytes of the first release. Add such lines, never edit one. -------------------------------

FROZEN: dict[str, tuple[m.Message, str]] = {
    "hello": (
        m.Hello(
            *([1], "ATL1", "0.1.0", b"t", [m.Tip(1, 2, b"\x01" * 4)]),
            *(m.FeedPlace(3, "network/1/7", b"L"), 5, 4, b"n"),
        ),
        "4347530100320000009a019101a441544c31a5302e312e30c4017491930102c404010101019303ab6e6574776f726b2f"
        "312f37c4014c0504c4016e",
    ),
    "hello with its last parcel": (
        m.Hello(
            *([1], "ATL1", "0.1.0", b"t", [m.Tip(1, 2, b"\x01" * 4)]),
            *(m.FeedPlace(3, "network/1/7", b"L"), 5, 4, b"n"),
            parcel_no=6,
            parcel_mark=b"mark",
        ),
        "4347530100390000009c019101a441544c31a5302e312e30c4017491930102c404010101019303ab6e6574776f726b2f"
        "312f37c4014c0504c4016e06c4046d61726b",
    ),
    "taken": (m.Taken(m.Place(1, 9)), "43475301000b0000009405920109909200cd07d0"),
    "blocks": (m.Blocks([m.Block("S1", 3, 1, b"b")]), "43475301000c000000920b9194a253310301c40162"),
    "blocks taken": (m.BlocksTaken(1, [b"h"]), "43475301000c000000940c0191c401689200cd07d0"),
    "blocks of which one is gone": (
        m.Blocks([m.Block("S1", 3, 1, b"b")], [b"g"]),
        "434753010010000000930b9194a253310301c4016291c40167",
    ),
    "blocks taken and given up": (
        m.BlocksTaken(1, [b"h"], lost=2),
        "43475301000d000000950c0191c401689200cd07d002",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_message_of_any_release_is_read_for_ever(name: str) -> None:
    message, frame = FROZEN[name]
    assert decode(bytes.fromhex(frame)) == message


@pytest.mark.parametrize(
    "name",
    ["hello with its last parcel", "taken", "blocks of which one is gone", "blocks taken and given up"],
)
def test_a_message_is_written_as_the_newest_release_froze_it(name: str) -> None:
    message, frame = FROZEN[name]
    assert encode(message).hex() == frame


def test_an_older_message_without_the_newest_fields_is_read() -> None:
    raw = msgspec.msgpack.encode([5, [1, 9]])
    assert decode(b"CGS\x01\x00" + struct.pack("<I", len(raw)) + raw) == m.Taken(m.Place(1, 9))


def test_a_newer_message_with_more_fields_is_read() -> None:
    raw = msgspec.msgpack.encode([5, [1, 9, "more"], [], [0, 2000], "later"])
    assert decode(b"CGS\x01\x00" + struct.pack("<I", len(raw)) + raw) == m.Taken(m.Place(1, 9))


# --- Columns ------------------------------------------------------------------------------------------------

texts = st.text(max_size=12)
instants = st.integers(0, 4_000_000_000_000_000).map(from_micros)
entries_strategy = st.lists(
    st.builds(
        lambda seq, at, late, stream, type_, actor, cause, audience, note: entry(
            seq,
            occurred_at=at,
            recorded_at=at + timedelta(microseconds=late),
            stream=stream,
            type=type_,
            actor=actor,
            cause=cause,
            audience=audience,
            body=msgspec.json.encode({"type": type_, "note": note}),
        ),
        st.integers(0, 2**40),
        instants,
        st.integers(0, 10**9),
        texts,
        st.sampled_from(["stock.unit_moved", "toy.bumped", 'odd"type']),
        texts,
        st.one_of(texts, st.sampled_from(["ATL1/1/0", "ATL1/1/007", "ATL1/2/3", "\x01nope"])),
        st.sampled_from(["", "*", "ATL1,SEA1"]),
        texts,
    ),
    min_size=1,
    max_size=20,
)


@given(entries_strategy)
def test_entries_come_back_byte_for_byte(entries: list[Entry]) -> None:
    causes = [one for one in entries if not one.cause.startswith("\x01")]
    if causes:
        assert unpack_entries(pack_entries(causes)) == causes


def test_a_typical_entry_takes_few_bytes_in_a_batch() -> None:
    batch = [entry(seq) for seq in range(1_000)]
    assert len(encode(m.Facts(pack_entries(batch)), 9)) / 1_000 < 30


# --- What must not get in -----------------------------------------------------------------------------------


def frame_of(raw: bytes, *, size: int | None = None, flags: int = 0, version: int = 1) -> bytes:
    return b"CGS" + bytes([version, flags]) + struct.pack("<I", len(raw) if size is None else size) + raw


BOMB = zstandard.ZstdCompressor().compress(b"\0" * (64 * 1024 * 1024))
QUIET_BOMB = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * (64 * 1024 * 1024))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", Code.MALFORMED),
        (b"GET / HTTP/1.1\r\n\r\n", Code.MALFORMED),
        (b"CGS", Code.MALFORMED),
        (frame_of(b"", version=2), Code.VERSION),
        (frame_of(b"\xc1", flags=0), Code.MALFORMED),
        (frame_of(b"\x90"), Code.MALFORMED),
        (frame_of(b"\x91\x63"), Code.MALFORMED),
        (frame_of(b"xx", flags=8), Code.MALFORMED),
        (frame_of(b"xx", flags=1), Code.MALFORMED),
        (frame_of(b"\x91\x05", size=9), Code.MALFORMED),
        (frame_of(BOMB, size=1_000, flags=1), Code.TOO_LARGE),
        (frame_of(BOMB, size=64 * 1024 * 1024, flags=1), Code.TOO_LARGE),
        (frame_of(QUIET_BOMB, size=1_000, flags=1), Code.MALFORMED),
        (frame_of(b"", size=RAW_BYTES_MAX + 1), Code.TOO_LARGE),
        (b"CGS" + b"x" * FRAME_BYTES_MAX, Code.TOO_LARGE),
        (frame_of(b"\x91" * 100_000), Code.MALFORMED),
    ],
)
def test_garbage_is_refused_with_a_code(frame: bytes, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        decode(frame)
    assert refused.value.code == code


def test_a_frame_cut_short_anywhere_is_refused() -> None:
    frame = encode(m.Facts(pack_entries([entry(seq) for seq in range(50)])))
    for length in range(0, len(frame), 7):
        with pytest.raises(Refusal):
            decode(frame[:length])


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_frame_with_any_byte_changed_is_refused_or_says_the_same(place: int, change: int) -> None:
    entries = [entry(seq) for seq in range(20)]
    frame = bytearray(encode(m.Facts(pack_entries(entries))))
    frame[place % len(frame)] ^= change
    try:
        message = decode(bytes(frame))
        got = unpack_entries(message.columns) if isinstance(message, m.Facts) else None
    except Refusal:
        return
    assert got == entries


COLUMNS = pack_entries([entry(seq) for seq in range(4)])


@pytest.mark.parametrize(
    "changes",
    [
        {"bodies": []},
        {"bodies": COLUMNS.bodies[:3]},
        {"recorded": b""},
        {"occurred": COLUMNS.occurred + b"\0" * 8},
        {"recorded": b"\xff" * 32},
        {"type_no": b"\xff\xff" * 4},
        {"actor_no": b"\x01\x00" * 4},
        {"runs": []},
        {"runs": [m.Run(0, 1, 0, -4)]},
        {"runs": [m.Run(1, 1, 0, 4)]},
        {"runs": [m.Run(0, 0, 0, 4)]},
        {"runs": [m.Run(0, 1, 2**62, 4)]},
        {"runs": [m.Run(0, 1, 0, 2**40)]},
        {"runs": [m.Run(0, 1, 1, 4)]},
        {"causes": ["\x01999", "", "", ""]},
        {"causes": ["\x01x", "", "", ""]},
        {"digest": b"\0" * 32},
        {"origins": []},
    ],
)
def test_columns_that_do_not_fit_together_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Refusal):
        unpack_entries(msgspec.structs.replace(COLUMNS, **changes))


def test_more_entries_than_a_batch_may_hold_are_refused() -> None:
    columns = pack_entries([entry(seq) for seq in range(ENTRIES_MAX + 1)])
    with pytest.raises(Refusal) as refused:
        unpack_entries(columns)
    assert refused.value.code == Code.TOO_LARGE


def test_a_refusal_keeps_its_code_and_another_answer_is_none() -> None:
    with pytest.raises(Refusal) as refused:
        expect(m.Refused("gap", "why", {"seq": 3}), m.Taken)
    assert (refused.value.code, refused.value.facts) == ("gap", {"seq": 3})
    with pytest.raises(Refusal):
        expect(m.Told("x", b""), m.Taken)
