"""Events keep their wire form. Bytes from release 1 must decode for ever: add lines, never edit one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import coldgrid.warehouse
from coldgrid.kernel.events import Event, decode, encode, subclasses_of, tag_of

STORED = (Path(__file__).parent / "data/wire.jsonl").read_bytes().splitlines()


def type_of(stored: bytes) -> str:
    return str(msgspec.json.decode(stored)["type"])


@pytest.mark.parametrize("stored", STORED, ids=type_of)
def test_stored_bytes_decode_and_encode_to_themselves(stored: bytes) -> None:
    event = decode(type_of(stored), stored)
    assert isinstance(event, Event)
    assert encode(event) == stored


def test_every_event_of_the_room_is_frozen() -> None:
    room = coldgrid.warehouse.__name__
    tags = {tag_of(event) for event in subclasses_of(Event) if event.__module__.startswith(f"{room}.")}
    assert {type_of(stored) for stored in STORED} == tags
