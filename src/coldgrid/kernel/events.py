"""Events, commands and log entries: what crosses the kernel, and its bytes.

Invariants
    E1  An event's tag is a wire name: past tense, frozen for ever.
    E2  Old bytes decode for ever: unknown fields are ignored, changed forms go through an upcaster.
    E3  A type that this release does not know is kept as `UnknownEvent`, byte for byte.
    E4  The leaf covers origin, epoch, seq, both times, stream, type, actor, cause, audience and body.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A fact that has already happened. Its tag is a wire name: never change it.

    Unknown fields are kept out of the decoded struct but stay in the stored bytes: a newer
    release may have written them. Commands, which come from outside, forbid them instead.
    """


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A request to change something. A command owned by a site has a field `site_id`."""


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a type this release does not know: stored, hashed, counted, projected after the upgrade."""

    type: str
    body: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log. `position` is local to the database; the rest travels with the fact."""

    position: int
    origin: str
    epoch: int
    seq: int
    occurred_at: datetime
    recorded_at: datetime
    stream: str
    type: str
    actor: str
    cause: str
    audience: str
    body: bytes
    leaf: bytes

    @property
    def id(self) -> str:
        """The entry's name in the network: origin/epoch/seq."""
        return f"{self.origin}/{self.epoch}/{self.seq}"


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the leaf hash covers, in this order (E4). `audience` is a comma-separated list of origins."""

    origin: str
    epoch: int
    seq: int
    occurred_at: datetime
    recorded_at: datetime
    stream: str
    type: str
    actor: str
    cause: str
    audience: str
    body: msgspec.Raw


_encoder = msgspec.json.Encoder()
encode: Callable[[Any], bytes] = _encoder.encode


def envelope_bytes(entry: Entry) -> bytes:
    """Return the canonical bytes of an entry: the envelope as JSON with its fields in declared order."""
    return encode(
        Envelope(
            entry.origin,
            entry.epoch,
            entry.seq,
            entry.occurred_at,
            entry.recorded_at,
            entry.stream,
            entry.type,
            entry.actor,
            entry.cause,
            entry.audience,
            msgspec.Raw(entry.body),
        )
    )


def leaf_hash(envelope: bytes) -> bytes:
    """Return the RFC 6962 leaf hash: SHA-256 over a zero byte and the entry's canonical bytes."""
    return sha256(b"\0" + envelope).digest()


def tag_of(struct: type[msgspec.Struct]) -> str:
    """Return a struct's wire name."""
    tag = struct.__struct_config__.tag
    assert isinstance(tag, str), f"{struct.__name__} has no tag"
    return tag


S = TypeVar("S", bound=msgspec.Struct)


def subclasses_of(base: type[S]) -> list[type[S]]:
    """Return every loaded subclass, depth first, in the order of definition."""
    found: list[type[S]] = []
    for child in base.__subclasses__():
        found.append(child)
        found += subclasses_of(child)
    return found


def event_types() -> frozenset[str]:
    """Return the wire name of every event that a log of this release may hold, former names too."""
    return frozenset([*map(tag_of, subclasses_of(Event)), *_upcasters])


Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
_upcasters: dict[str, Upcaster] = {}
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}


def upcasts(tag: str) -> Callable[[Upcaster], Upcaster]:
    """Register a function from an old event's fields to those of a newer form (its `type` included)."""

    def register(function: Upcaster) -> Upcaster:
        assert tag not in _upcasters, f"{tag} already has an upcaster"
        _upcasters[tag] = function
        return function

    return register


def decode(type_: str, body: bytes) -> Event | UnknownEvent:
    """Decode a stored body (E2, E3).

    Raises:
        msgspec.ValidationError: the bytes of a known type do not fit it, which no release ever wrote.
    """
    if type_ in _upcasters:
        fields = msgspec.json.decode(body)
        while (old := fields["type"]) in _upcasters:
            fields = _upcasters[old](fields)
        type_, body = fields["type"], encode(fields)
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoder_of(type_)
        if decoder is None:
            return UnknownEvent(type_, body)
    event: Event = decoder.decode(body)
    return event


def decoder_of(type_: str) -> Callable[[bytes], Event | UnknownEvent]:
    """Return what decodes the bodies of a type as `decode` does, for many of them."""
    decoder = None if type_ in _upcasters else _decoders.get(type_) or _decoder_of(type_)
    return partial(decode, type_) if decoder is None else decoder.decode


def _decoder_of(type_: str) -> msgspec.json.Decoder[Any] | None:
    for class_ in subclasses_of(Event):
        if class_.__struct_config__.tag == type_:
            return _decoders.setdefault(type_, msgspec.json.Decoder(class_))
    return None
