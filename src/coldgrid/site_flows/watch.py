"""Watch: while an incident is open its zone is looked at again every few minutes.

    goods and time left changed        → the incident's picture
    the product's estimate crossed     → an excursion, though the air never alarmed as one
    an excursion is open               → its units' numbers; it ends when air and goods are within limits

A timer of its own drives it, so that it goes on when sensors are silent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import on_timer
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.zones import get_zone
from coldgrid.orchestration.incidents import Incident, Status, UpdateIncident, get_incident
from coldgrid.quality.excursions import (
    CloseExcursion,
    Excursion,
    OpenExcursion,
    UpdateExcursion,
    open_excursion_of,
)
from coldgrid.site_flows.situation import Situation, situation

TIMER = "site_flows.watch"
EVERY = timedelta(minutes=5)
# What is not worth an event: the picture is told again when something moved by more than this.
TELLING_C = 0.5
TELLING_CENTS = 10_000
TELLING_TIME = timedelta(minutes=5)


def watch_zone(tx: Tx, site_id: str, zone_id: str, incident_id: str) -> None:
    """Begin, or go on, to look at an incident's zone."""
    told = {"site_id": site_id, "zone_id": zone_id, "incident_id": incident_id}
    tx.set_timer(_timer_id(zone_id), TIMER, tx.now + EVERY, told)


def stop_watching(tx: Tx, zone_id: str) -> None:
    """Look no more."""
    tx.cancel_timer(_timer_id(zone_id))


def _timer_id(zone_id: str) -> str:
    return f"{TIMER}/{zone_id}"


@on_timer(TIMER)
def look_again(tx: Tx, timer: Timer) -> None:
    """Look at a zone once, and set the timer again while its incident is open."""
    told = timer.payload
    incident = get_incident(tx, told["incident_id"])
    if incident.status is Status.CLOSED:
        return
    watch_zone(tx, told["site_id"], told["zone_id"], told["incident_id"])
    seen = situation(tx, get_zone(tx, incident.zone_id), tx.now, incident.incident_id)
    _tell(tx, incident, seen)
    excursion = open_excursion_of(tx, incident.zone_id)
    if excursion is not None:
        _follow(tx, excursion, seen)
    elif seen.now.crossed:
        _open(tx, incident)


def _tell(tx: Tx, incident: Incident, seen: Situation) -> None:
    facts = {
        name: value
        for name, value in seen.facts().items()
        if name != "zone_released" and is_news(incident.facts.get(name), value)
    }
    if facts:
        tx.run(UpdateIncident(site_id=incident.site_id, incident_id=incident.incident_id, facts=facts))


def is_news(before: Any, after: Any) -> bool:
    """Whether a fact moved enough to be told again. Instants on record are text."""
    if isinstance(before, str) and isinstance(after, datetime):
        before = datetime.fromisoformat(before)
    if before is None or after is None or isinstance(after, bool | str | list):
        return bool(before != after)
    if isinstance(after, datetime):
        return bool(abs(after - before) >= TELLING_TIME)
    if isinstance(after, int):
        return abs(after - before) >= TELLING_CENTS or (after < TELLING_CENTS and after != before)
    return bool(abs(after - before) >= TELLING_C)


def _follow(tx: Tx, excursion: Excursion, seen: Situation) -> None:
    """Judge an excursion's units again, and end it when air and goods are within their limits."""
    site_id, excursion_id = excursion.site_id, excursion.excursion_id
    if seen.now.in_range and goods_within(seen):
        reason = "the air is in its band and the goods' estimates are within their limits"
        tx.run(CloseExcursion(site_id=site_id, excursion_id=excursion_id, reason=reason))
    else:
        tx.run(UpdateExcursion(site_id=site_id, excursion_id=excursion_id))


def goods_within(seen: Situation) -> bool:
    """Whether every product's estimate is known and within its warm limit."""
    return all(
        one.product_c is not None and one.limit_c is not None and one.product_c <= one.limit_c
        for one in seen.now.products
    )


def last_good_at(incident: Incident) -> datetime:
    """Up to when an incident's zone was known to be good: its alarm's last good reading, or its opening."""
    told = incident.facts.get("last_good_at")
    known = datetime.fromisoformat(told) if isinstance(told, str) else incident.opened_at
    return min(known, incident.opened_at)


def _open(tx: Tx, incident: Incident) -> None:
    """The goods crossed their limit in air that never alarmed as an excursion: the trend was slow."""
    opening = OpenExcursion(
        site_id=incident.site_id,
        excursion_id=derive_id("excursion", incident.incident_id, tx.now.isoformat()),
        zone_id=incident.zone_id,
        from_at=last_good_at(incident),
        why="the goods' estimated temperature crossed their limit",
        cause_id=incident.cause_id,
        incident_id=incident.incident_id,
    )
    try:
        tx.run(opening)
    except Rejected:
        # Nothing stands there any more; the incident's picture says so.
        return
