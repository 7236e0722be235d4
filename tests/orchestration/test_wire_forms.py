"""The wire form of orchestration's events.

Bytes from release 1 must decode for ever: add lines to wire_forms.jsonl, never edit one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import coldgrid.orchestration
from coldgrid.kernel.events import Event, decode, subclasses_of, tag_of

# One example a line, every field with a value of its own.
STORED = Path(__file__).with_name("wire_forms.jsonl").read_text().splitlines()


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: msgspec.json.decode(stored)["type"])
def test_events_keep_their_wire_form(stored: str) -> None:
    event = decode(msgspec.json.decode(stored)["type"], stored.encode())
    assert msgspec.json.encode(event).decode() == stored


def test_every_event_has_a_frozen_example() -> None:
    room = coldgrid.orchestration.__name__
    tags = {tag_of(event) for event in subclasses_of(Event) if event.__module__.startswith(room)}
    elsewhere = {"orchestration.decision_recorded", "orchestration.decision_overridden"}  # test_decisions
    assert tags - elsewhere == {msgspec.json.decode(stored)["type"] for stored in STORED}
