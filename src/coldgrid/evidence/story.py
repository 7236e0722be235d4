"""The story that entries tell: a timeline for readers, made from the facts alone.

Rooms may add moments of their own; these are made for every entry, whatever room recorded it, so that a
pack says nothing that its entries do not prove.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from coldgrid.evidence.parts import PackMoment, State
from coldgrid.kernel.events import Entry

ALIKE_MAX = 3  # more facts of one kind in a row are told as one moment
DETAIL_MAX = 240

_QUIET = frozenset({"origin.opened"})
_WORDS: dict[str, State] = {
    "raised": "crit",
    "opened": "crit",
    "placed": "warn",
    "paused": "warn",
    "died": "crit",
    "parked": "crit",
    "silent": "warn",
    "requested": "warn",
    "shortfall": "warn",
    "unsourceable": "crit",
    "closed": "ok",
    "released": "ok",
    "resumed": "ok",
    "returned": "ok",
    "restored": "ok",
    "delivered": "ok",
    "signed": "ok",
    "decided": "ok",
    "acknowledged": "ok",
    "advanced": "info",
}
# What says most about a fact, in this order; a decision's own words stand one level down.
_TELLING = ("title", "outcome", "choice", "status", "stage", "verdict", "why", "reason", "text", "name")
_CODE = re.compile(r"[a-z_]+")
_PLACES = ("zone_id", "sscc", "order_id", "channel")


def moments_of(entries: Sequence[Entry]) -> list[PackMoment]:
    """Return what happened, oldest first; long rows of one kind are told together."""
    told = sorted((entry for entry in entries if entry.type not in _QUIET), key=_when)
    moments: list[PackMoment] = []
    for _, run in groupby(told, key=lambda entry: entry.type):
        alike = list(run)
        if len(alike) > ALIKE_MAX:
            moments.append(_together(alike))
        else:
            moments += [_moment(entry) for entry in alike]
    return moments


def _when(entry: Entry) -> tuple[Any, int]:
    return entry.occurred_at, entry.position


def _moment(entry: Entry) -> PackMoment:
    title, detail = title_of(entry.type), describe(msgspec.json.decode(entry.body))
    return PackMoment(entry.occurred_at, title, detail, state_of(entry.type), entry.actor, entry.id)


def _together(entries: Sequence[Entry]) -> PackMoment:
    first, last = entries[0], entries[-1]
    detail = f"entries {first.id} to {last.id}"
    title = f"{title_of(first.type)} × {len(entries)}"
    return PackMoment(first.occurred_at, title, detail, state_of(first.type), first.actor, first.id)


def title_of(type_: str) -> str:
    """Return an event's wire name as words: `stock.hold_placed` reads "Hold placed"."""
    words = type_.rpartition(".")[2].replace("_", " ")
    return words[:1].upper() + words[1:]


def state_of(type_: str) -> State:
    """Return how a kind of fact is marked, by the last word of its name."""
    return _WORDS.get(type_.rpartition(".")[2].rpartition("_")[2], "off")


def describe(body: Mapping[str, Any]) -> str:
    """Return what a fact says in one line; personal data is ciphertext in the body and is left out."""
    inner = body.get("decision")
    said = [body, inner] if isinstance(inner, dict) else [body]
    found = [_words(part[name]) for part in said for name in _TELLING if _is_text(part.get(name))]
    found += [str(body[name]) for name in _PLACES if _is_text(body.get(name))]
    found += [f"{len(value)} {name}" for name, value in body.items() if isinstance(value, list) and value]
    text = " · ".join(dict.fromkeys(found))
    return text if len(text) <= DETAIL_MAX else f"{text[: DETAIL_MAX - 1]}…"


def _words(text: str) -> str:
    """Return a code such as `pre_alarm` as words; other text as it is."""
    return text.replace("_", " ") if _CODE.fullmatch(text) else text


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
