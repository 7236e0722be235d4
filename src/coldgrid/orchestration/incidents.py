"""Incidents on the log: commands, their table, and what others may ask.

The rules I1 to I4 are in `incident_rules`. What a picture is made of comes from other rooms: they update the
incident, and answer for its closing through `register_settlement`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.sought import Names
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, Named, metadata, partial_index
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.incident_rules import (
    OVER_FOR_NOW,
    AcknowledgeIncident,
    AdvanceIncident,
    Incident,
    IncidentAcknowledged,
    IncidentAdvanced,
    IncidentClosed,
    IncidentGivenBack,
    IncidentJoined,
    IncidentNoted,
    IncidentNotFound,
    IncidentNotSettled,
    IncidentOpened,
    IncidentStepPassed,
    IncidentUpdated,
    NoteIncident,
    OpenIncident,
    Picture,
    Status,
    UpdateIncident,
    decide_advance,
    decide_open,
    decide_update,
)
from coldgrid.orchestration.severity import Severity

__all__ = [
    "OVER_FOR_NOW",
    "AcknowledgeIncident",
    "AdvanceIncident",
    "Incident",
    "IncidentAcknowledged",
    "IncidentAdvanced",
    "IncidentClosed",
    "IncidentGivenBack",
    "IncidentJoined",
    "IncidentNotFound",
    "IncidentNotSettled",
    "IncidentNoted",
    "IncidentOpened",
    "IncidentStepPassed",
    "IncidentUpdated",
    "NoteIncident",
    "OpenIncident",
    "Opened",
    "Picture",
    "Severity",
    "Status",
    "UpdateIncident",
    "closed_incidents",
    "get_incident",
    "incidents_of_zone",
    "open_incident_of",
    "open_incidents",
    "register_settlement",
]

# --- Table and projections ------------------------------------------------------

orchestration_incident = sa.Table(
    "orchestration_incident",
    metadata,
    sa.Column("incident_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("asset_id", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),  # the zone, or the asset where no zone is named
    sa.Column("severity", Named(Severity), nullable=False),
    sa.Column("status", Named(Status), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("facts", Json(dict[str, Any]), nullable=False),
    sa.Column("cause_id", sa.Text, nullable=False),
    sa.Column("playbook", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("seen_at", Instant),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Index("ix_orchestration_incident_zone", "zone_id", "opened_at"),
    info={"origin": "site"},
)
INCIDENT_NAMES = Names("orchestration_incident_name", "site")
# I1 again, in the database: one open incident for a zone, or for an asset without a zone.
partial_index(
    "uq_orchestration_incident_open",
    orchestration_incident.c.site_id,
    orchestration_incident.c.place,
    where=orchestration_incident.c.closed_at.is_(None),
    unique=True,
)

_which = orchestration_incident.c.incident_id == sa.bindparam("which")
_OPEN_ROW = Statement(orchestration_incident.insert())
_CHANGE_ROW = Statement(
    orchestration_incident.update()
    .where(_which)
    .values(
        severity=sa.bindparam("to_severity", type_=Named(Severity)),
        title=sa.bindparam("to_title"),
        facts=sa.bindparam("to_facts", type_=Json(dict[str, Any])),
        changed_at=sa.bindparam("at", type_=Instant),
    )
)
_STATUS_ROW = Statement(
    orchestration_incident.update()
    .where(_which)
    .values(
        status=sa.bindparam("to_status", type_=Named(Status)),
        facts=sa.bindparam("to_facts", type_=Json(dict[str, Any])),
        changed_at=sa.bindparam("at", type_=Instant),
        closed_at=sa.bindparam("to_closed_at", type_=Instant),
    )
)
_TAKE_ROW = Statement(
    orchestration_incident.update()
    .where(_which)
    .values(
        owner=sa.bindparam("to_owner"),
        seen_at=sa.func.coalesce(orchestration_incident.c.seen_at, sa.bindparam("at", type_=Instant)),
        changed_at=sa.bindparam("at_also", type_=Instant),
    )
)

_GIVE_BACK_ROW = Statement(
    orchestration_incident.update()
    .where(_which)
    .values(owner=sa.bindparam("to_owner"), changed_at=sa.bindparam("at", type_=Instant))
)


@projects(IncidentOpened)
def _open_row(tx: Tx, event: IncidentOpened) -> None:
    tx.write(
        _OPEN_ROW,
        **msgspec.structs.asdict(event),
        place=_place(event.zone_id, event.asset_id),
        status=Status.OPEN,
        owner=None,
        opened_at=tx.now,
        seen_at=None,
        changed_at=tx.now,
        closed_at=None,
    )
    INCIDENT_NAMES.keep(tx, event.incident_id, event.incident_id, site_id=event.site_id)


def _place(zone_id: str, asset_id: str) -> str:
    return zone_id or f"asset/{asset_id}"


@projects(IncidentJoined)
def _join_row(tx: Tx, event: IncidentJoined) -> None:
    _change(tx, event)
    if event.relapsed:
        _move(tx, event.incident_id, Status.OPEN, event.facts)


@projects(IncidentUpdated)
def _update_row(tx: Tx, event: IncidentUpdated) -> None:
    _change(tx, event)


def _change(tx: Tx, event: IncidentUpdated | IncidentJoined) -> None:
    tx.write(
        _CHANGE_ROW,
        which=event.incident_id,
        to_severity=event.severity,
        to_title=event.title,
        to_facts=event.facts,
        at=tx.now,
    )


@projects(IncidentAcknowledged)
def _take_row(tx: Tx, event: IncidentAcknowledged) -> None:
    tx.write(_TAKE_ROW, which=event.incident_id, to_owner=event.owner, at=tx.now, at_also=tx.now)


@projects(IncidentGivenBack)
def _give_back_row(tx: Tx, event: IncidentGivenBack) -> None:
    tx.write(_GIVE_BACK_ROW, which=event.incident_id, to_owner=None, at=tx.now)


@projects(IncidentAdvanced)
def _advance_row(tx: Tx, event: IncidentAdvanced) -> None:
    _move(tx, event.incident_id, event.status, event.facts)


def _move(tx: Tx, incident_id: str, status: Status, facts: dict[str, Any]) -> None:
    closed_at = tx.now if status is Status.CLOSED else None
    tx.write(
        _STATUS_ROW, which=incident_id, to_status=status, to_facts=facts, at=tx.now, to_closed_at=closed_at
    )


# --- Commands -------------------------------------------------------------------


class Opened(msgspec.Struct, frozen=True):
    """Which incident a request ended up in; `joined`: it was open before."""

    incident_id: str
    joined: bool


Settlement = Callable[[Reader, Incident], dict[str, Any]]
_settlements: dict[str, Settlement] = {}


def register_settlement(name: str, answer: Settlement) -> None:
    """Let a room answer for what an incident's end rests on: `undecided_units` and `zone_released` (I4)."""
    _settlements[name] = answer


@handles(OpenIncident, action="orchestration.open_incident", owner=Owner.SITE)
def open_incident(tx: Tx, command: OpenIncident) -> Opened:
    """Open an incident, or join the zone's open one."""
    current = open_incident_of(tx, command.site_id, command.zone_id, command.asset_id)
    event = decide_open(command, current)
    tx.record(f"incident/{event.incident_id}", event)
    return Opened(incident_id=event.incident_id, joined=current is not None)


@handles(UpdateIncident, action="orchestration.update_incident", owner=Owner.SITE)
def update_incident(tx: Tx, command: UpdateIncident) -> None:
    """Add to what is known; saying the same again is not recorded."""
    event = decide_update(command, get_incident(tx, command.incident_id))
    if event is not None:
        tx.record(f"incident/{event.incident_id}", event)


@handles(AdvanceIncident, action="orchestration.advance_incident", owner=Owner.SITE)
def advance_incident(tx: Tx, command: AdvanceIncident) -> None:
    """Take a closing step."""
    current = get_incident(tx, command.incident_id)
    settled: dict[str, Any] = {}
    for answer in _settlements.values():
        settled |= answer(tx, current)
    tx.record(f"incident/{current.incident_id}", decide_advance(command, current, settled))


@handles(AcknowledgeIncident, action="orchestration.acknowledge_incident", owner=Owner.SITE)
def acknowledge_incident(tx: Tx, command: AcknowledgeIncident) -> None:
    """Make the actor, or the person named, the owner."""
    current = get_incident(tx, command.incident_id)
    if current.status is Status.CLOSED:
        raise IncidentClosed(incident_id=current.incident_id, closed_at=current.closed_at)
    owner = command.person_id or tx.actor
    if current.owner != owner:
        tx.record(
            f"incident/{current.incident_id}",
            IncidentAcknowledged(
                incident_id=current.incident_id,
                site_id=current.site_id,
                zone_id=current.zone_id,
                owner=owner,
                page_id=command.page_id,
            ),
        )


@handles(NoteIncident, action="orchestration.note_incident", owner=Owner.SITE)
def note_incident(tx: Tx, command: NoteIncident) -> None:
    """Add a note with its attachments."""
    current = get_incident(tx, command.incident_id)
    tx.record(
        f"incident/{current.incident_id}",
        IncidentNoted(
            incident_id=current.incident_id,
            site_id=current.site_id,
            zone_id=current.zone_id,
            text=command.text,
            attachments=command.attachments,
        ),
    )


# --- Queries --------------------------------------------------------------------

_SELECT = sa.select(*(orchestration_incident.c[name] for name in Incident.__struct_fields__))
_NEWEST = (orchestration_incident.c.opened_at.desc(), orchestration_incident.c.incident_id)
_is_open = orchestration_incident.c.closed_at.is_(None)
_GET = Statement(_SELECT.where(_which), into=Incident)
_OPEN = Statement(_SELECT.where(_is_open).order_by(*_NEWEST), into=Incident)
_OPEN_AT = Statement(
    _SELECT.where(_is_open, orchestration_incident.c.site_id == sa.bindparam("site_id")).order_by(*_NEWEST),
    into=Incident,
)
_OPEN_AT_PLACE = Statement(
    _SELECT.where(
        _is_open,
        orchestration_incident.c.site_id == sa.bindparam("site_id"),
        orchestration_incident.c.place == sa.bindparam("place"),
    ),
    into=Incident,
)
_CLOSED = Statement(
    _SELECT.where(orchestration_incident.c.closed_at.is_not(None))
    .order_by(orchestration_incident.c.closed_at.desc(), orchestration_incident.c.incident_id)
    .limit(sa.bindparam("most", type_=sa.Integer)),
    into=Incident,
)
_OF_ZONE = Statement(
    _SELECT.where(orchestration_incident.c.zone_id == sa.bindparam("zone_id")).order_by(*_NEWEST),
    into=Incident,
)


def get_incident(db: Reader, incident_id: str) -> Incident:
    """Return one incident, open or closed.

    Raises:
        IncidentNotFound: no such incident.
    """
    found = db.one(_GET, which=incident_id)
    if found is None:
        raise IncidentNotFound(incident_id=incident_id)
    return found


def open_incidents(db: Reader, site_id: str | None = None) -> list[Incident]:
    """The open incidents of the network or of one site, newest first."""
    return db.all(_OPEN) if site_id is None else db.all(_OPEN_AT, site_id=site_id)


def closed_incidents(db: Reader, limit: int = 50) -> list[Incident]:
    """The incidents closed last."""
    return db.all(_CLOSED, most=limit)


def open_incident_of(db: Reader, site_id: str, zone_id: str = "", asset_id: str = "") -> Incident | None:
    """The open incident of a zone; without a zone, of an asset (I1)."""
    return db.one(_OPEN_AT_PLACE, site_id=site_id, place=_place(zone_id, asset_id))


def incidents_of_zone(db: Reader, zone_id: str) -> list[Incident]:
    """Every incident that a zone ever had, newest first."""
    return db.all(_OF_ZONE, zone_id=zone_id)


def time_left_first(incidents: list[Incident], now: datetime) -> list[Incident]:
    """Sort by the product's time left, those where it is unknown after the urgent ones and before nothing."""
    severities = list(Severity)

    def urgency(one: Incident) -> tuple[int, float]:
        left_min = one.time_left_min(now)
        return -severities.index(one.severity), float("inf") if left_min is None else left_min

    return sorted(incidents, key=urgency)
