"""What orchestration itself offers to playbooks: actions by name, and the facts of the incident."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from coldgrid.kernel.events import Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.outbox import Effect
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Conflict, Invalid, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.network.groups import has_group
from coldgrid.orchestration.approvals import RequestApproval
from coldgrid.orchestration.decisions import Decision
from coldgrid.orchestration.escalation import StartEscalation, StopEscalation
from coldgrid.orchestration.incidents import (
    AdvanceIncident,
    Incident,
    NoteIncident,
    Status,
    UpdateIncident,
    get_incident,
)
from coldgrid.orchestration.run_driver import register_action, register_fact
from coldgrid.orchestration.runs import Run

SITE_GROUP = "site"


class Announced(Event, frozen=True, tag="orchestration.announced"):
    """A playbook told the other rooms something that they may act upon, under a topic they know."""

    incident_id: str
    site_id: str
    zone_id: str
    topic: str
    data: dict[str, Any]


class NothingToDecide(Conflict):
    """The fact that holds the decision is unknown, so there is nothing to approve."""


def page(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Page a group: `group` names it, or `site` for the one that answers for the zone; `message` says why.

    Where the network has no such group, those who answer for the zone are to see to that as well.
    """
    group = str(args.get("group") or SITE_GROUP)
    own = group == SITE_GROUP or not has_group(tx, group)
    tx.run(
        StartEscalation(
            site_id=run.site_id,
            escalation_id=derive_id("escalation", run.run_id, args["key"]),
            incident_id=run.incident_id,
            group_id="" if own else group,
            message=str(args.get("message", "")),
        )
    )


def stop_paging(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Stop all paging for the incident: `why`."""
    tx.run(StopEscalation(site_id=run.site_id, incident_id=run.incident_id, why=str(args.get("why", ""))))


def request_approval(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Put a decision into a role's inbox; the engine gives this action for a step that approves."""
    if args.get("decision") is None:
        raise NothingToDecide(run_id=run.run_id)
    decision = msgspec.convert(args["decision"], Decision)
    approval_id = derive_id("approval", run.run_id, args["key"])
    step, use, _ = args["key"].rsplit(".", 2)
    tx.run(
        RequestApproval(
            site_id=run.site_id,
            approval_id=approval_id,
            incident_id=run.incident_id,
            role=args["role"],
            subject=args["subject"],
            # Asked again, it is another decision even where the advice is the same.
            decision=msgspec.structs.replace(decision, decision_id=derive_id("decision", approval_id)),
            expires_at=tx.now + timedelta(minutes=args["expires_min"]),
            run_id=run.run_id,
            step=step,
            use=int(use),
        )
    )


def update_incident(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Add facts to the incident, unknown ones left out; `repair_in_min` becomes the instant of repair."""
    facts = {name: value for name, value in args.items() if name != "key" and value is not None}
    repair_in_min = facts.pop("repair_in_min", None)
    if repair_in_min is not None:
        facts["repair_at"] = (tx.now + timedelta(minutes=float(repair_in_min))).isoformat()
    tx.run(UpdateIncident(site_id=run.site_id, incident_id=run.incident_id, facts=facts))


def advance_incident(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Take the incident to a closing step: `status`. One that it passed already is no fault."""
    told = str(args.get("status"))
    if told not in set(Status):
        problem = Problem(field="status", message=f"{told} is no step", fix=f"one of {', '.join(Status)}")
        raise Invalid(problems=[problem])
    steps = list(Status)
    incident = get_incident(tx, run.incident_id)
    if steps.index(Status(told)) > steps.index(incident.status):
        tx.run(AdvanceIncident(site_id=run.site_id, incident_id=run.incident_id, status=Status(told)))


def note(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Add a line to the record of the incident: `text`."""
    tx.run(NoteIncident(site_id=run.site_id, incident_id=run.incident_id, text=str(args.get("text", ""))))


def announce(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Tell the other rooms: `topic`, and whatever else is given."""
    told = Announced(
        incident_id=run.incident_id,
        site_id=run.site_id,
        zone_id=run.zone_id,
        topic=str(args.get("topic", "")),
        data={name: value for name, value in args.items() if name not in {"topic", "key"}},
    )
    tx.record(f"incident/{run.incident_id}", told)


def send_webhook(tx: Tx, run: Run, args: dict[str, Any]) -> None:
    """Send the incident to a connected system: `url`, and whatever else is given."""
    incident = get_incident(tx, run.incident_id)
    data = {
        **_told(incident),
        **{name: value for name, value in args.items() if name not in {"url", "key"}},
    }
    payload = {"url": str(args.get("url", "")), "type": "incident.told", "data": data}
    key = derive_id("webhook", run.run_id, args["key"])
    tx.emit(Effect(channel="webhook", key=key, payload=payload, about=f"incident/{run.incident_id}"))


def _told(incident: Incident) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(incident))
    return told


def incident_fact(db: Reader, run: Run) -> dict[str, Any]:
    """The incident as it stands now, its picture among it."""
    return _told(get_incident(db, run.incident_id))


for _name, _take in (
    ("page", page),
    ("stop_paging", stop_paging),
    ("request_approval", request_approval),
    ("update_incident", update_incident),
    ("advance_incident", advance_incident),
    ("note", note),
    ("announce", announce),
    ("send_webhook", send_webhook),
):
    register_action(_name, _take)
register_fact("incident", incident_fact)
