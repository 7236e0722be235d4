"""Degrees in messages: what is sent to a person about an incident is in the unit that they read.

What is recorded, what waits in the outbox and what goes to a system are in °C: it changes as it leaves.
"""

from __future__ import annotations

from typing import Any

from coldgrid.access.degrees import unit_of
from coldgrid.kernel.outbox import PendingEffect
from coldgrid.kernel.reading import Reader
from coldgrid.webkit.formats import in_words

# What a person reads of a message. Everything else of it is data.
READ = ("subject", "text")
ABOUT = "incident/"


def in_reader_unit(db: Reader, pending: PendingEffect, payload: dict[str, Any], usual: str) -> dict[str, Any]:
    """Return a payload with its sentences in its reader's unit; `usual`: "c" or "f", of who chose none."""
    if pending.sealed is None or not pending.about.startswith(ABOUT):
        return payload
    unit = unit_of(db, pending.sealed.subject) or usual
    return payload | {name: told(payload[name], unit) for name in READ if isinstance(payload.get(name), str)}


def told(text: str, unit: str) -> str:
    """Return a sentence in a unit; its minus signs stay as they are, as numbers in short messages need."""
    if unit == "c" or "°C" not in text:
        return text
    shown = in_words(text, unit)
    return shown if "−" in text else shown.replace("−", "-")
