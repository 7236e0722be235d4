"""Sources: what a decision rests on, in words for who reads its record, with the page that shows it.

A decision names entries of the log, or things of other rooms by their id: rooms say once how such an id of
theirs reads (`register_source`). What nobody knows is told as what it is, an id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from coldgrid.kernel import log
from coldgrid.kernel.events import Entry, Event, tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.timeline import line_of_entry


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a decision rests on. `text` with `{names}` out of `facts`, as in a timeline."""

    id: str
    text: str
    facts: Mapping[str, Any] = {}
    at: datetime | None = None
    href: str = ""


Find = Callable[[Reader, str], Source | None]
_finders: dict[str, Find] = {}

# Where an event's subject is shown, the most telling of its names first.
_PAGES = {
    "excursion_id": "/quality/excursions/{}",
    "incident_id": "/incidents/{}",
    "order_id": "/orders/{}",
    "sscc": "/stock/units/{}",
    "lot_id": "/stock/lots/{}",
}
_SUBJECTS = ("sensor_id", "sscc", "order_id", "lot_id", "product_id", "zone_id", "site_id")


def register_source(name: str, find: Find) -> None:
    """Say how a room finds what it knows by an id."""
    _finders[name] = find


def source_of(db: Reader, id_: str) -> Source:
    """Return what an input of a decision is."""
    entry = log.find(db, id_)
    if entry is not None:
        return _of_entry(db, entry)
    for find in _finders.values():
        found = find(db, id_)
        if found is not None:
            return found
    return Source(id=id_, text="A person's request or answer")


def zone_page(site_id: str, zone_id: str) -> str:
    """Return the address of a zone as it is now."""
    return f"/sites/{quote(site_id)}?zone={quote(zone_id)}"


def _of_entry(db: Reader, entry: Entry) -> Source:
    event, line = log.decode_entry(entry), line_of_entry(db, entry.id)
    href = _href(event)
    if line is not None:
        return Source(id=entry.id, text=line.text, facts=line.facts, at=entry.occurred_at, href=href)
    said = tag_of(type(event)).partition(".")[2] if isinstance(event, Event) else entry.type
    subjects = [str(value) for name in _SUBJECTS if (value := getattr(event, name, ""))]
    facts = {
        "kind": said.replace("_", " ").capitalize(),
        "subject": subjects[0] if subjects else entry.origin,
    }
    why = getattr(event, "why", "")
    text = "{kind}: {subject}, {why}" if why else "{kind}: {subject}"
    return Source(id=entry.id, text=text, facts=facts | {"why": why}, at=entry.occurred_at, href=href)


def _href(event: object) -> str:
    for name, page in _PAGES.items():
        value = getattr(event, name, "")
        if value:
            return page.format(quote(str(value)))
    site_id, zone_id = getattr(event, "site_id", ""), getattr(event, "zone_id", "")
    return zone_page(site_id, zone_id) if site_id and zone_id else ""
