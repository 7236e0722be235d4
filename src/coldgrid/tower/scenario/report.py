"""Reports: what a played plan showed, read off the log. Seconds count from the plan's first fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.kernel.events import Entry
from coldgrid.kernel.outbox import EffectDelivered
from coldgrid.orchestration.approval_rules import ApprovalDecided
from coldgrid.orchestration.incident_rules import IncidentNoted, IncidentOpened
from coldgrid.orchestration.page_book import PageSent
from coldgrid.orders.orders import LineUnsourceable, OrderResourced
from coldgrid.quality.excursion_rules import ExcursionClosed, ExcursionOpened, ExcursionUpdated
from coldgrid.site_flows.mains import SHUTDOWN_BEGUN
from coldgrid.stock.hold_facts import HoldExtended, HoldPlaced
from coldgrid.stock.pauses import ZonePaused
from coldgrid.telemetry.alarm_rules import AlarmRaised, AlarmSuppressed
from coldgrid.tower.world.plan import Plan

Facts = Sequence[tuple[Entry, Any]]


class Report(msgspec.Struct, kw_only=True):
    """What happened and when; a time is None where it did not happen. `why`: what the alarms said."""

    plan: str
    seed: int
    ok: bool
    log_hash: str
    events: int
    detected_after_s: float | None
    paused_after_s: float | None
    held_after_s: float | None
    resourced_after_s: float | None
    notified_after_s: float | None
    escalated_after_s: float | None
    customers_notified_after_s: float | None
    units_held: int
    units_shipped_exposed: int
    orders_resourced: int
    orders_unsourceable: int
    detected_before_limit_s: float | None
    oversold: int
    held_shipped: int
    approvals: int
    incidents_opened: int
    incidents_closed: int
    shutdown_steps: int
    evidence_verified: bool
    pack: str
    why: list[str]
    unmet: list[str]
    played_in_s: float


def first_fault_at(plan: Plan) -> datetime:
    """Return when the plan's first fault begins; its start where it has none."""
    first_min = min((fault.at_min for fault in plan.faults), default=0.0)
    return plan.starts_at + timedelta(minutes=first_min)


def figures(plan: Plan, facts: Facts) -> dict[str, Any]:
    """Return the report's times and counts, from the events alone."""
    zero = first_fault_at(plan)

    def after_s(kind: type[Any], where: Callable[[Any], bool] = lambda event: True) -> float | None:
        for entry, event in facts:
            if isinstance(event, kind) and entry.recorded_at >= zero and where(event):
                return (entry.recorded_at - zero).total_seconds()
        return None

    events = [event for entry, event in facts if entry.recorded_at >= zero]
    return {
        "detected_after_s": after_s(AlarmRaised),
        "paused_after_s": after_s(ZonePaused),
        "held_after_s": after_s(HoldPlaced),
        "resourced_after_s": after_s(OrderResourced),
        "notified_after_s": after_s(EffectDelivered, lambda e: e.about.startswith("incident")),
        "escalated_after_s": after_s(PageSent, lambda e: e.step > 0),
        "customers_notified_after_s": after_s(EffectDelivered, lambda e: e.about.startswith("order")),
        "units_held": len({u.sscc for e in _of(events, HoldPlaced, HoldExtended) for u in e.units}),
        "units_shipped_exposed": len(_shipped(events)),
        "orders_resourced": len({e.order_id for e in _of(events, OrderResourced)}),
        "orders_unsourceable": len({e.order_id for e in _of(events, LineUnsourceable) if _lost(e)}),
        "incidents_opened": len(_of(events, IncidentOpened)),
        "shutdown_steps": sum(_begun(event) for event in _of(events, IncidentNoted)),
        "approvals": len(_of(events, ApprovalDecided)),
        "detected_before_limit_s": _before_limit_s(facts, zero),
        "why": _why(events),
    }


def _of(events: Sequence[Any], *kinds: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


def _before_limit_s(facts: Facts, zero: datetime) -> float | None:
    """How long before the first product's limit, as estimated then, the first alarm spoke."""
    for entry, event in facts:
        if isinstance(event, IncidentOpened) and entry.recorded_at >= zero:
            limit_at = event.facts.get("limit_at")
            if isinstance(limit_at, str):
                limit_at = datetime.fromisoformat(limit_at)
            return None if limit_at is None else (limit_at - entry.recorded_at).total_seconds()
    return None


def _why(events: Sequence[Any]) -> list[str]:
    """What alarms said, and what explained those that were not raised."""
    raised = {f"{event.sensor_id}: {event.why}" for event in _of(events, AlarmRaised)}
    explained = {
        f"{event.sensor_id}: {event.why}; not raised, explained by {event.by}"
        for event in _of(events, AlarmSuppressed)
    }
    return sorted(raised | explained)


def _begun(event: IncidentNoted) -> bool:
    """Whether a note says that a step of a shutdown began."""
    return event.text.startswith(SHUTDOWN_BEGUN)


def _shipped(events: Sequence[Any]) -> set[tuple[str, str]]:
    found = _of(events, ExcursionOpened, ExcursionUpdated, ExcursionClosed)
    return {(unit.sscc, unit.dispatch_id or unit.transfer_id) for event in found for unit in event.shipped}


def _lost(event: LineUnsourceable) -> bool:
    """Whether an order lost a line that it had: not one that could never be served."""
    return event.before != event.offer


def unmet(plan: Plan, figures: dict[str, Any]) -> list[str]:
    """Return which of the plan's expectations the figures do not meet."""
    found = []
    for name, least in plan.expect.at_least.items():
        if figures[name] is None or figures[name] < least:
            found.append(f"{name} is {figures[name]}, expected at least {least:g}")
    for name, most in plan.expect.at_most.items():
        if figures[name] is None or figures[name] > most:
            found.append(f"{name} is {figures[name]}, expected at most {most:g}")
    found += [f"{name} is {figures[name]}, expected none" for name in plan.expect.never if figures[name]]
    return found
