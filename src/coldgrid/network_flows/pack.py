"""What an incident's pack says of the customers: which orders it cost, who was told what, and when.

Orders stand there by their number; names and addresses are personal data and stand nowhere in clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from coldgrid.evidence.parts import (
    PackMoment,
    PackStreams,
    PackSubject,
    PackTable,
    Part,
    State,
    register_contributor,
)
from coldgrid.kernel import log
from coldgrid.kernel.events import tag_of
from coldgrid.kernel.reading import Reader
from coldgrid.network_flows.notices import Notice, NoticeStatus, notices_for_approval, notices_of
from coldgrid.orchestration.approvals import approvals_of
from coldgrid.orchestration.incidents import Incident, IncidentNotFound, get_incident
from coldgrid.orders.order_facts import OrderResourced
from coldgrid.quality.excursions import excursions_of_incident, shipped_units
from coldgrid.stock.pauses import ZonePaused
from coldgrid.stock.shortfalls import Shortfall

SAID: dict[NoticeStatus, State] = {NoticeStatus.DELIVERED: "ok", NoticeStatus.FAILED: "crit"}
RESOURCED = tag_of(OrderResourced)


def contribute(db: Reader, subject: PackSubject) -> Sequence[Part]:
    """Return what the customers of an incident were told; nothing for other subjects."""
    if subject.kind != "incident":
        return []
    try:
        incident = get_incident(db, subject.id)
    except IncidentNotFound:
        return []
    told = sorted(_notices(db, incident), key=lambda one: (one.drafted_at, one.notice_id))
    if not told:
        return []
    streams = [stream for one in told for stream in (f"notice/{one.notice_id}", f"effect/{one.notice_id}")]
    return [PackStreams(streams=streams), _table(told), *_moments(told)]


def _notices(db: Reader, incident: Incident) -> list[Notice]:
    """The notices that an incident's approvals were about, and those of its orders while it was open."""
    found = {
        notice.notice_id: notice
        for approval in approvals_of(db, incident.incident_id)
        for notice in notices_for_approval(db, approval.approval_id)
    }
    for order_id in {*_shipped_to(db, incident), *_sourced_again(db, incident)}:
        for notice in notices_of(db, order_id):
            if _during(incident, notice.drafted_at):
                found[notice.notice_id] = notice
    return list(found.values())


def _during(incident: Incident, at: datetime) -> bool:
    return incident.opened_at <= at and (incident.closed_at is None or at <= incident.closed_at)


def _shipped_to(db: Reader, incident: Incident) -> Iterator[str]:
    for excursion in excursions_of_incident(db, incident.incident_id):
        for gone in shipped_units(db, excursion.excursion_id):
            if gone.order_id:
                yield gone.order_id


def _sourced_again(db: Reader, incident: Incident) -> Iterator[str]:
    """The orders that were sourced again because of the incident's zone, while it was open."""
    begun = log.read_stream(db, f"incident/{incident.incident_id}")
    if not incident.zone_id or not begun:
        return
    causes: dict[str, bool] = {}
    for entry in log.read_all(db, begun[0].position, [RESOURCED]):
        event = log.decode_entry(entry)
        if not isinstance(event, OrderResourced) or not _during(incident, entry.recorded_at):
            continue
        if event.cause_id not in causes:
            causes[event.cause_id] = _is_about(db, event.cause_id, incident.zone_id)
        if causes[event.cause_id]:
            yield event.order_id


def _is_about(db: Reader, cause_id: str, zone_id: str) -> bool:
    cause = log.find(db, cause_id)
    event = None if cause is None else log.decode_entry(cause)
    return isinstance(event, ZonePaused | Shortfall) and event.zone_id == zone_id


def _table(told: Sequence[Notice]) -> PackTable:
    return PackTable(
        "What customers were told",
        ["Order", "What", "Decided", "Outcome", "At", "Approval", "Why"],
        [
            [
                one.order_id,
                one.kind.value,
                one.drafted_at,
                one.status.value,
                one.settled_at,
                one.approval_id,
                one.why,
            ]
            for one in told
        ],
        "Names, addresses and the messages themselves are personal data and stand nowhere in clear.",
    )


def _moments(told: Sequence[Notice]) -> Iterator[PackMoment]:
    for one in told:
        if one.status in SAID and one.settled_at is not None:
            title = f"Customer of {one.order_id}: {one.kind.value} {one.status.value}"
            yield PackMoment(one.settled_at, title, one.why, SAID[one.status])


register_contributor("customers", contribute)
