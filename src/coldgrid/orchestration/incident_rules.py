"""Incidents: the organised response to what went wrong at a site, from the first alarm to the last signature.

Invariants
    I1  A zone (an asset, where no zone is named) has at most one open incident; further alarms join it.
    I2  Severity only rises while an incident is open; a person lowers it with a reason.
    I3  The closing steps are passed in order: open, mitigated, recovered, disposition pending, closed. Some
        may be left out; an alarm after the recovery opens the incident again.
    I4  An incident closes only when every unit was decided and the zone was released again; what is not known
        keeps it open.

An incident is not an alarm (a sensor's), an excursion (a product's) or a deviation (quality's record); it
links to them by `cause_id`. This module holds the words, the events and the pure rules; `incidents` the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.orchestration.severity import Severity, worse

# --- Vocabulary -----------------------------------------------------------------


class Status(StrEnum):
    """The steps to the end of an incident, in order (I3)."""

    OPEN = "open"
    MITIGATED = "mitigated"
    RECOVERED = "recovered"
    DISPOSITION_PENDING = "disposition_pending"
    CLOSED = "closed"


class Picture(msgspec.Struct, frozen=True):
    """What is known of an incident, under names that every room uses; None is unknown.

    `limit_at`: when the first product crosses its limit. `at_stake_cents`: value of the goods concerned.
    `repair_at`: when the technician expects the asset to cool again. Other facts may stand beside these.
    """

    fault: str | None = None
    value_c: float | None = None
    trend_c_per_h: float | None = None
    units: int | None = None
    products: list[str] | None = None
    at_stake_cents: int | None = None
    currency: str | None = None
    limit_at: datetime | None = None
    repair_at: datetime | None = None
    next_step: str | None = None
    undecided_units: int | None = None
    zone_released: bool | None = None


class Incident(msgspec.Struct, frozen=True):
    """An incident as readers see it. `owner`: who took it on; `seen_at`: when somebody first did."""

    incident_id: str
    site_id: str
    zone_id: str
    asset_id: str
    severity: Severity
    status: Status
    title: str
    facts: dict[str, Any]
    cause_id: str
    playbook: str
    owner: str | None
    opened_at: datetime
    seen_at: datetime | None
    changed_at: datetime
    closed_at: datetime | None

    @property
    def picture(self) -> Picture:
        """The facts under their common names."""
        return msgspec.convert(self.facts, Picture)

    def time_left_min(self, now: datetime) -> float | None:
        """Minutes until the first product crosses its limit, negative afterwards; None when unknown."""
        limit_at = self.picture.limit_at
        return None if limit_at is None else (limit_at - now).total_seconds() / 60


# --- Events ---------------------------------------------------------------------


class IncidentOpened(Event, frozen=True, tag="orchestration.incident_opened"):
    """Something needs an organised response. `cause_id`: the alarm or other fact behind it."""

    incident_id: str
    site_id: str
    zone_id: str
    asset_id: str
    severity: Severity
    title: str
    facts: dict[str, Any]
    cause_id: str
    playbook: str


class IncidentJoined(Event, frozen=True, tag="orchestration.incident_joined"):
    """A further alarm joined. `facts`: all that is known now; `relapsed`: it had recovered.

    `raised`: it is more serious now.
    """

    incident_id: str
    site_id: str
    zone_id: str
    severity: Severity
    title: str
    facts: dict[str, Any]
    cause_id: str
    playbook: str
    relapsed: bool
    raised: bool = False


class IncidentUpdated(Event, frozen=True, tag="orchestration.incident_updated"):
    """More is known. `facts`: all of it; `changed`: what of it is new; `raised`: it is more serious now."""

    incident_id: str
    site_id: str
    zone_id: str
    severity: Severity
    title: str
    facts: dict[str, Any]
    changed: list[str]
    reason: str = ""
    raised: bool = False


class IncidentAcknowledged(Event, frozen=True, tag="orchestration.incident_acknowledged"):
    """A person saw the incident and took it on. `page_id`: the page that they answered, if it was one."""

    incident_id: str
    site_id: str
    zone_id: str
    owner: str
    page_id: str = ""


class IncidentGivenBack(Event, frozen=True, tag="orchestration.incident_given_back"):
    """The owner cannot after all: nobody has the incident. `page_id`: the page that they declined."""

    incident_id: str
    site_id: str
    zone_id: str
    owner: str
    page_id: str = ""


class IncidentNoted(Event, frozen=True, tag="orchestration.incident_noted"):
    """A person added to the record: what was seen or done, with hashes of photos and papers."""

    incident_id: str
    site_id: str
    zone_id: str
    text: str
    attachments: list[str] = msgspec.field(default_factory=list)


class IncidentAdvanced(Event, frozen=True, tag="orchestration.incident_advanced"):
    """A closing step was reached. `facts`: all that is known now."""

    incident_id: str
    site_id: str
    zone_id: str
    status: Status
    facts: dict[str, Any]
    reason: str = ""


# --- Rejections -----------------------------------------------------------------


class IncidentNotFound(NotFound):
    """There is no such incident."""


class IncidentClosed(Conflict):
    """The incident is closed; a new alarm opens a new one."""


class IncidentStepPassed(Conflict):
    """The incident has passed this step already (I3)."""


class IncidentNotSettled(Conflict):
    """An incident closes only when every unit was decided and the zone was released again (I4)."""

    todo = "Sign the open dispositions and release the zone, then close."


# --- Decisions (pure) -----------------------------------------------------------


class OpenIncident(Command, frozen=True, tag="orchestration.open_incident"):
    """Ask for an organised response; joins the zone's open incident where there is one (I1)."""

    site_id: str
    incident_id: str
    severity: Severity
    title: str
    zone_id: str = ""
    asset_id: str = ""
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    cause_id: str = ""
    playbook: str = ""


class UpdateIncident(Command, frozen=True, tag="orchestration.update_incident"):
    """Add facts, or change title or severity; a lower severity wants a reason (I2)."""

    site_id: str
    incident_id: str
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    title: str = ""
    severity: Severity | None = None
    reason: str = ""


class AdvanceIncident(Command, frozen=True, tag="orchestration.advance_incident"):
    """Ask for a closing step. `facts`: what closing rests on, where no other room answers for it."""

    site_id: str
    incident_id: str
    status: Status
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    reason: str = ""


class AcknowledgeIncident(Command, frozen=True, tag="orchestration.acknowledge_incident"):
    """Take an incident on, or give it to a person. Paging for it stops. `page_id`: the page answered."""

    site_id: str
    incident_id: str
    person_id: str = ""
    page_id: str = ""


class NoteIncident(Command, frozen=True, tag="orchestration.note_incident"):
    """Add to the record of an incident, open or closed."""

    site_id: str
    incident_id: str
    text: str
    attachments: list[str] = msgspec.field(default_factory=list)


# Alarms while goods are only looked after are the same trouble; after that it came back.
OVER_FOR_NOW = frozenset({Status.RECOVERED, Status.DISPOSITION_PENDING})


# Reading a struct's fields resolves its annotations each time: too slow for the way of an alarm.
_COMMON = msgspec.structs.fields(Picture)


def checked_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they go on the wire, or reject those whose common name holds something else."""
    told: dict[str, Any] = msgspec.to_builtins(dict(facts))
    problems = []
    for field in _COMMON:
        try:
            msgspec.convert(told.get(field.name), field.type)
        except msgspec.ValidationError as error:
            problems.append(Problem(field=f"facts.{field.name}", message=str(error)))
    if problems:
        raise Invalid(problems=problems)
    return told


def decide_open(command: OpenIncident, current: Incident | None) -> IncidentOpened | IncidentJoined:
    """Return the event that opens an incident, or that joins the open one (I1, I2, I3)."""
    facts = checked_facts(command.facts)
    if current is None:
        return IncidentOpened(
            incident_id=command.incident_id,
            site_id=command.site_id,
            zone_id=command.zone_id,
            asset_id=command.asset_id,
            severity=command.severity,
            title=command.title,
            facts=facts,
            cause_id=command.cause_id,
            playbook=command.playbook,
        )
    severity = worse(current.severity, command.severity)
    return IncidentJoined(
        incident_id=current.incident_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        severity=severity,
        title=command.title if severity is not current.severity else current.title,
        facts={**current.facts, **facts},
        cause_id=command.cause_id,
        playbook=command.playbook,
        relapsed=current.status in OVER_FOR_NOW and command.severity is not Severity.INFORMATIONAL,
        raised=severity is not current.severity,
    )


def decide_update(command: UpdateIncident, current: Incident) -> IncidentUpdated | None:
    """Return the event that adds to an incident, or None when nothing is new (I2)."""
    if current.status is Status.CLOSED:
        raise IncidentClosed(incident_id=current.incident_id, closed_at=current.closed_at)
    facts = checked_facts(command.facts)
    severity = command.severity or current.severity
    if worse(severity, current.severity) is not severity and not command.reason.strip():
        raise Invalid(problems=[Problem(field="reason", message="a lower severity wants a reason")])
    changed = [name for name, value in facts.items() if current.facts.get(name) != value]
    title = command.title or current.title
    if not changed and (severity, title) == (current.severity, current.title):
        return None
    return IncidentUpdated(
        incident_id=current.incident_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        severity=severity,
        title=title,
        facts={**current.facts, **facts},
        changed=changed,
        reason=command.reason.strip(),
        raised=severity is not current.severity and worse(severity, current.severity) is severity,
    )


def decide_advance(
    command: AdvanceIncident, current: Incident, settled: Mapping[str, Any]
) -> IncidentAdvanced:
    """Return the event of a closing step, or reject (I3, I4).

    Args:
        command: The step asked for.
        current: The incident.
        settled: What the rooms that know say about `undecided_units` and `zone_released`; it outweighs what
            the command and the incident hold.
    """
    if current.status is Status.CLOSED:
        raise IncidentClosed(incident_id=current.incident_id, closed_at=current.closed_at)
    steps = list(Status)
    if steps.index(command.status) <= steps.index(current.status):
        raise IncidentStepPassed(incident_id=current.incident_id, status=current.status)
    facts = {**current.facts, **checked_facts(command.facts), **checked_facts(settled)}
    if command.status is Status.CLOSED:
        undecided, released = facts.get("undecided_units"), facts.get("zone_released")
        if undecided != 0 or released is not True:
            raise IncidentNotSettled(
                incident_id=current.incident_id, undecided_units=undecided, zone_released=released
            )
    return IncidentAdvanced(
        incident_id=current.incident_id,
        site_id=current.site_id,
        zone_id=current.zone_id,
        status=command.status,
        facts=facts,
        reason=command.reason.strip(),
    )
