"""What follows within orchestration: incidents start playbooks, playbooks hear of what people do."""

from __future__ import annotations

from typing import Any

from coldgrid.kernel.registry import reacts
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.approvals import ApprovalDecided, ApprovalLapsed, get_approval
from coldgrid.orchestration.decisions import alternatives_of
from coldgrid.orchestration.incidents import (
    IncidentAcknowledged,
    IncidentAdvanced,
    IncidentJoined,
    IncidentOpened,
    IncidentUpdated,
)
from coldgrid.orchestration.playbook_model import AGREED, LAPSED, OVERRIDDEN
from coldgrid.orchestration.playbook_state import Happening, Kind
from coldgrid.orchestration.playbooks import AdvanceRun, SignalRuns, StartRun, run_id_of
from coldgrid.orchestration.runs import runs_of


@reacts(IncidentOpened, name="orchestration.start_playbook", later=True)
def _opened(tx: Tx, event: IncidentOpened) -> None:
    # A host that takes up the past of another reads of it again: its run began there.
    if event.playbook and not any(run.playbook == event.playbook for run in runs_of(tx, event.incident_id)):
        _start(tx, event.site_id, event.incident_id, event.playbook)


@reacts(IncidentJoined, name="orchestration.join_playbook", later=True)
def _joined(tx: Tx, event: IncidentJoined) -> None:
    """A further alarm may need another playbook, or the same one once more when it was over."""
    earlier = [run for run in runs_of(tx, event.incident_id) if run.playbook == event.playbook]
    if event.playbook and all(run.ended_at is not None for run in earlier):
        _start(tx, event.site_id, event.incident_id, event.playbook)
    if event.raised:
        _signal(tx, event, f"severity_{event.severity}")
    if event.relapsed:
        _signal(tx, event, "relapsed")


@reacts(IncidentUpdated, name="orchestration.tell_severity", later=True)
def _updated(tx: Tx, event: IncidentUpdated) -> None:
    if event.raised:
        _signal(tx, event, f"severity_{event.severity}")


@reacts(IncidentAcknowledged, name="orchestration.tell_acknowledged")
def _acknowledged(tx: Tx, event: IncidentAcknowledged) -> None:
    _signal(tx, event, "acknowledged", owner=event.owner)


@reacts(IncidentAdvanced, name="orchestration.tell_status")
def _advanced(tx: Tx, event: IncidentAdvanced) -> None:
    _signal(tx, event, f"status_{event.status}")


@reacts(ApprovalDecided, name="orchestration.tell_approval", scope=lambda event: event.site_id)
def _decided(tx: Tx, event: ApprovalDecided) -> None:
    if not event.run_id:
        return
    decision = get_approval(tx, event.approval_id).decision
    chosen = next((row for row in alternatives_of(decision) if row.name == event.choice), None)
    told = {
        "approval_id": event.approval_id,
        "choice": event.choice,
        "reason": event.reason,
        "facts": chosen.facts if chosen is not None else {},
    }
    outcome = OVERRIDDEN if event.override else AGREED
    happening = Happening(Kind.APPROVAL, event.step, outcome, event.use, told)
    tx.run(AdvanceRun(site_id=event.site_id, run_id=event.run_id, happening=happening))


@reacts(ApprovalLapsed, name="orchestration.tell_lapsed", scope=lambda event: event.site_id)
def _lapsed(tx: Tx, event: ApprovalLapsed) -> None:
    if event.run_id:
        happening = Happening(Kind.APPROVAL, event.step, LAPSED, event.use)
        tx.run(AdvanceRun(site_id=event.site_id, run_id=event.run_id, happening=happening))


def _start(tx: Tx, site_id: str, incident_id: str, playbook: str) -> None:
    run_id = run_id_of(incident_id, playbook, len(runs_of(tx, incident_id)))
    tx.run(StartRun(site_id=site_id, run_id=run_id, incident_id=incident_id, playbook=playbook))


def _signal(tx: Tx, event: Any, name: str, **data: Any) -> None:
    tx.run(
        SignalRuns(
            site_id=event.site_id,
            incident_id=event.incident_id,
            signal=name,
            data=data,
            signal_id=f"{tx.cause}/{name}",
        )
    )
