"""Stream form: an entry of the log as a message: subject, headers, body. Pure.

    coldgrid.ATL1.alarm.telemetry.alarm_raised       prefix, origin, kind of stream, type (room and fact)

Invariants
    M1  `Nats-Msg-Id` is the entry's name in the network, origin/epoch/seq: the same fact is the same message.
    M2  The body is the entry as the event feed gives it; personal data in it is ciphertext, as in the log.

Headers are those of CloudEvents 1.0 in its binding for NATS (binary mode, prefix `ce-`).
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from coldgrid.kernel.events import Entry
from coldgrid.webkit.events_feed import told

# What a subject's part may not hold: the separator, wildcards, blanks, what cannot be printed.
_UNFIT = re.compile(r"[^A-Za-z0-9_\-]")
PREFIX = re.compile(r"[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*")
MSG_ID = "Nats-Msg-Id"
OMITTED = "Coldgrid-Omitted"
_encode = msgspec.json.Encoder().encode


class StreamMessage(msgspec.Struct, frozen=True, gc=False):
    """An entry on its way."""

    position: int
    subject: str
    headers: dict[str, str]
    body: bytes


def message_of(prefix: str, entry: Entry, most_bytes: int) -> StreamMessage:
    """Return an entry as a message. A body beyond what the broker takes is left out, and a header says so."""
    name = f"{entry.origin}/{entry.epoch}/{entry.seq}"
    headers = {
        MSG_ID: name,
        "ce-specversion": "1.0",
        "ce-id": name,
        "ce-source": f"/coldgrid/{entry.origin}",
        "ce-type": entry.type,
        "ce-time": entry.occurred_at.isoformat(),
        "content-type": "application/json",
    }
    body = _encode(told(entry))
    if len(body) > most_bytes:
        body = _encode(told(msgspec.structs.replace(entry, body=b"null")))
        headers[OMITTED] = "body"
    return StreamMessage(
        entry.position, subject_of(prefix, entry.origin, entry.stream, entry.type), headers, body
    )


def subject_of(prefix: str, origin: str, stream: str, type_: str) -> str:
    """Return the subject of an entry: prefix.origin.kind.room.fact."""
    return f"{_places(prefix, origin, stream.partition('/')[0])}{_type(type_)}"


@lru_cache(maxsize=10_000)
def _places(prefix: str, origin: str, kind: str) -> str:
    return f"{prefix}.{_part(origin)}.{_part(kind)}."


@lru_cache(maxsize=1_000)
def _type(type_: str) -> str:
    return ".".join(_part(part) for part in type_.split("."))


def _part(text: str) -> str:
    return _UNFIT.sub("_", text) or "_"
