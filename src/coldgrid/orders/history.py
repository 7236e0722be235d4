"""An order's history as people read it: its events in words, oldest first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from coldgrid.kernel import log
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.decisions import reason_text
from coldgrid.orders.orders import (
    LineUnsourceable,
    OrderCanceled,
    OrderDispatched,
    OrderPlaced,
    OrderReleased,
    OrderResourced,
)

WHY = {
    "pause": "a zone was paused",
    "hold": "goods were held",
    "shortfall": "promised goods are held or gone",
    "site_mode": "a site changed its mode",
    "resumed": "goods came, or came free",
    "final": "it was the last workable moment",
    "manual": "somebody asked for it",
}


class Moment(msgspec.Struct, frozen=True):
    """One thing that happened to an order. `state`: ok, warn, crit or info."""

    at: datetime
    state: str
    title: str
    detail: str
    actor: str
    cause_id: str = ""


def history_of(db: Reader, order_id: str) -> list[Moment]:
    """Return what happened to an order, oldest first. Events that are no news to people are left out."""
    found = []
    for entry in log.read_stream(db, f"order/{order_id}"):
        event = log.decode_entry(entry)
        tell = _TELLERS.get(type(event))
        if tell is not None:
            state, title, detail = tell(event)
            cause_id = getattr(event, "cause_id", "")
            found.append(Moment(entry.occurred_at, state, title, detail, entry.actor, cause_id))
    return found


def _placed(event: OrderPlaced) -> tuple[str, str, str]:
    count = len(event.request.lines)
    lines = "1 line" if count == 1 else f"{count} lines"
    if not event.offer.sites:
        return "warn", "Placed", f"{lines}, nothing of it promised"
    return "ok", "Placed and promised", f"{lines}, from {_sites(event.offer.sites)}"


def _unsourceable(event: LineUnsourceable) -> tuple[str, str, str]:
    told = "; ".join(
        f"line {lost.line_no} ({lost.qty} × {lost.product_id}): {reason_text(lost.reason)}"
        for lost in event.lines
    )
    if event.provisional:
        return "warn", "Lines without goods", f"{told}. Looked for again until sourcing is final."
    return "crit", "Lines without goods, finally", told


def _resourced(event: OrderResourced) -> tuple[str, str, str]:
    lines = ", ".join(map(str, event.lines))
    moved = f"{_sites(event.before.sites) or 'nowhere'} → {_sites(event.offer.sites)}"
    why = WHY.get(event.reason, event.reason)
    return "info", "Sourced again", f"lines {lines}: {moved}, because {why}"


def _released(event: OrderReleased) -> tuple[str, str, str]:
    return "info", "Released", f"picking at {', '.join(sorted(event.work))}"


def _dispatched(event: OrderDispatched) -> tuple[str, str, str]:
    goods = ", ".join(f"{one.qty} × {one.product_id}" for one in event.goods)
    title = "Dispatched" if event.complete else "Partly dispatched"
    return "ok", title, f"{goods} from {event.site_id}, dispatch {event.dispatch_id}"


def _canceled(event: OrderCanceled) -> tuple[str, str, str]:
    return "off", "Cancelled", event.reason


def _sites(sites: dict[str, int]) -> str:
    return ", ".join(sorted(sites))


_TELLERS: dict[type, Callable[[Any], tuple[str, str, str]]] = {
    OrderPlaced: _placed,
    LineUnsourceable: _unsourceable,
    OrderResourced: _resourced,
    OrderReleased: _released,
    OrderDispatched: _dispatched,
    OrderCanceled: _canceled,
}
