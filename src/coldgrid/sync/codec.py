"""Codec: entries as columns, so that a day of them fits through a phone's link. Pure.

Invariants
    C1  Unpacking gives back every entry byte for byte, but for its local position, which is -1.
    C2  Leaves do not travel: they are computed again, and together must give the digest of the batch.
    C3  Columns that do not fit together are refused; nothing is guessed.

What compresses well is kept together: consecutive entries become runs, times become differences in planes of
bytes (low bytes first), types and actors become numbers, a cause in the same log becomes a distance, and a
body leaves out the tag that its type already says.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import numpy as np
from numpy.typing import NDArray

from coldgrid.kernel.events import Entry, Envelope, encode, leaf_hash
from coldgrid.kernel.tables import from_micros, to_micros
from coldgrid.sync.messages import BODY_BYTES_MAX, ENTRIES_MAX, Code, Columns, Run
from coldgrid.sync.wire import Refusal

Ints = NDArray[np.int64]

# Leads a cause that is an entry of the same epoch: so many entries before, in decimal digits.
_BEFORE = "\x01"
_PAST_MAX_US = 4_102_444_800_000_000  # the year 2100; a time beyond is no time


def digest_of(entries: Sequence[Entry]) -> bytes:
    """Return what vouches for a batch: SHA-256 over the leaves of its entries (C2)."""
    return sha256(b"".join([entry.leaf for entry in entries])).digest()


# --- Packing ----------------------------------------------------------------------


def pack_entries(entries: Sequence[Entry]) -> Columns:
    """Return entries as columns; they keep their order."""
    recorded = np.array([to_micros(entry.recorded_at) for entry in entries], dtype=np.int64)
    occurred = np.array([to_micros(entry.occurred_at) for entry in entries], dtype=np.int64)
    origins, runs = _runs_of(entries)
    types, type_no = _numbered([entry.type for entry in entries])
    actors, actor_no = _numbered([entry.actor for entry in entries])
    return Columns(
        origins=origins,
        runs=runs,
        recorded=_planes(np.diff(recorded, prepend=0)),
        occurred=_planes(recorded - occurred),
        streams=[entry.stream for entry in entries],
        types=types,
        type_no=type_no,
        actors=actors,
        actor_no=actor_no,
        causes=[_short_cause(entry) for entry in entries],
        audiences=[entry.audience for entry in entries],
        bodies=[_short_body(entry) for entry in entries],
        digest=digest_of(entries),
    )


def _runs_of(entries: Sequence[Entry]) -> tuple[list[str], list[Run]]:
    numbers: dict[str, int] = {}
    runs: list[Run] = []
    key, count = ("", 0, 0), 0
    for entry in entries:
        if (entry.origin, entry.epoch, entry.seq) == (key[0], key[1], key[2] + count):
            count += 1
            continue
        if count:
            runs.append(Run(numbers[key[0]], key[1], key[2], count))
        key, count = (entry.origin, entry.epoch, entry.seq), 1
        numbers.setdefault(entry.origin, len(numbers))
    if count:
        runs.append(Run(numbers[key[0]], key[1], key[2], count))
    return list(numbers), runs


def _numbered(texts: Sequence[str]) -> tuple[list[str], bytes]:
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(text, len(numbers)) for text in texts]
    return list(numbers), np.array(found, dtype="<u2").tobytes()


def _planes(values: Ints) -> bytes:
    """Signed numbers as planes of bytes: all the lowest bytes first; the quiet high ones vanish in zstd."""
    folded = (values << 1) ^ (values >> 63)
    return folded.astype("<u8").view(np.uint8).reshape(-1, 8).T.tobytes()


def _short_cause(entry: Entry) -> str:
    mine = f"{entry.origin}/{entry.epoch}/"
    if entry.cause.startswith(mine):
        seq = entry.cause[len(mine) :]
        if seq.isascii() and seq.isdigit() and str(int(seq)) == seq and int(seq) <= entry.seq:
            return f"{_BEFORE}{entry.seq - int(seq)}"
    return entry.cause


def _short_body(entry: Entry) -> bytes:
    tag = _tag(entry.type)
    return entry.body[len(tag) :] if entry.body.startswith(tag) else entry.body


def _tag(type_: str) -> bytes:
    return b'{"type":' + msgspec.json.encode(type_)


# --- Unpacking --------------------------------------------------------------------


def unpack_entries(columns: Columns) -> list[Entry]:
    """Return the entries of columns, with their leaves computed (C1, C2).

    Raises:
        Refusal: the columns do not fit together, or their digest is another.
    """
    count = len(columns.bodies)
    if not 0 < count <= ENTRIES_MAX:
        raise Refusal(Code.TOO_LARGE, f"a batch has 1 to {ENTRIES_MAX} entries", entries=count)
    _check_lengths(columns, count)
    places = _places(columns, count)
    with np.errstate(over="ignore"):
        recorded = np.cumsum(_unplaned(columns.recorded))
        occurred = recorded - _unplaned(columns.occurred)
    for times in (recorded, occurred):
        if times.min() < 0 or times.max() > _PAST_MAX_US:
            raise Refusal(Code.MALFORMED, "a time before 1970 or after 2100")
    types = _named(columns.types, columns.type_no, "types")
    actors = _named(columns.actors, columns.actor_no, "actors")
    tags = {type_: _tag(type_) for type_ in columns.types}
    entries = []
    for index, ((origin, epoch, seq), occurred_us, recorded_us) in enumerate(
        zip(places, occurred.tolist(), recorded.tolist(), strict=True)
    ):
        recorded_at = from_micros(recorded_us)
        type_, cause, body = types[index], columns.causes[index], columns.bodies[index]
        told = (
            origin,
            epoch,
            seq,
            recorded_at if occurred_us == recorded_us else from_micros(occurred_us),
            recorded_at,
            columns.streams[index],
            type_,
            actors[index],
            _long_cause(cause, origin, epoch, seq),
            columns.audiences[index],
        )
        if not body.startswith(b"{"):
            body = tags[type_] + body
        entries.append(Entry(-1, *told, body, leaf_hash(encode(Envelope(*told, msgspec.Raw(body))))))
    if digest_of(entries) != columns.digest:
        raise Refusal(Code.MALFORMED, "the leaves do not give the digest of the batch")
    return entries


def _check_lengths(columns: Columns, count: int) -> None:
    lengths = {
        "recorded": len(columns.recorded) / 8,
        "occurred": len(columns.occurred) / 8,
        "streams": len(columns.streams),
        "type_no": len(columns.type_no) / 2,
        "actor_no": len(columns.actor_no) / 2,
        "causes": len(columns.causes),
        "audiences": len(columns.audiences),
        "runs": sum(run.count for run in columns.runs),
    }
    wrong = sorted(name for name, length in lengths.items() if length != count)
    if wrong:
        raise Refusal(Code.MALFORMED, f"not one of each entry: {', '.join(wrong)}")
    if max(map(len, columns.bodies)) > BODY_BYTES_MAX:
        raise Refusal(Code.TOO_LARGE, f"a body has at most {BODY_BYTES_MAX} bytes")


def _places(columns: Columns, count: int) -> list[tuple[str, int, int]]:
    places: list[tuple[str, int, int]] = []
    for run in columns.runs:
        if not (0 <= run.origin_no < len(columns.origins) and 0 < run.epoch < 2**31):
            raise Refusal(Code.MALFORMED, "a run of no origin, or of no epoch")
        if not (0 < run.count <= count and 0 <= run.first_seq < 2**62):
            raise Refusal(Code.MALFORMED, "a run of no entries, or from no place")
        origin = columns.origins[run.origin_no]
        places += [(origin, run.epoch, run.first_seq + index) for index in range(run.count)]
    return places


def _unplaned(planes: bytes) -> Ints:
    folded = np.frombuffer(planes, dtype=np.uint8).reshape(8, -1).T.copy().view("<u8").reshape(-1)
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


def _named(names: Sequence[str], numbers: bytes, what: str) -> list[str]:
    found = np.frombuffer(numbers, dtype="<u2")
    if int(found.max()) >= len(names):
        raise Refusal(Code.MALFORMED, f"{what}: a number that names none")
    return [names[number] for number in found.tolist()]


def _long_cause(cause: str, origin: str, epoch: int, seq: int) -> str:
    if not cause.startswith(_BEFORE):
        return cause
    before = cause[1:]
    if not (before.isascii() and before.isdigit() and len(before) < 20 and int(before) <= seq):
        raise Refusal(Code.MALFORMED, "a cause that lies before the log")
    return f"{origin}/{epoch}/{seq - int(before)}"
