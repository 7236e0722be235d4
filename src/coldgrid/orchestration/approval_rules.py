"""The words and rules of approvals, without a database.

Invariants
    A1  An approval is decided once, by somebody with its role, never by somebody a room names as involved.
    A2  Choosing something else than recommended is an override and says why.
    A3  Nobody decides after the deadline; an approval that nobody decided lapses, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.rejections import Conflict, Forbidden, Invalid, NotFound, Problem
from coldgrid.orchestration.decisions import Decision

# --- Vocabulary -----------------------------------------------------------------


class ApprovalStatus(StrEnum):
    """Where an approval stands."""

    WAITING = "waiting"
    AGREED = "agreed"
    OVERRIDDEN = "overridden"
    LAPSED = "lapsed"


class Approval(msgspec.Struct, frozen=True):
    """An approval as readers see it. `run_id`, `step`: the playbook step that waits for it."""

    approval_id: str
    site_id: str
    incident_id: str
    role: str
    subject: str
    decision: Decision
    options: list[str]
    run_id: str
    step: str
    use: int
    requested_at: datetime
    expires_at: datetime | None
    status: ApprovalStatus
    choice: str | None
    reason: str | None
    decided_by: str | None
    decided_at: datetime | None


# --- Events ---------------------------------------------------------------------


class ApprovalRequested(Event, frozen=True, tag="orchestration.approval_requested"):
    """A recommendation waits for a person of a role."""

    approval_id: str
    site_id: str
    incident_id: str
    role: str
    subject: str
    decision: Decision
    options: list[str]
    expires_at: datetime | None = None
    run_id: str = ""
    step: str = ""
    use: int = 0


class ApprovalDecided(Event, frozen=True, tag="orchestration.approval_decided"):
    """A person agreed, or chose otherwise with a reason."""

    approval_id: str
    site_id: str
    incident_id: str
    decision_id: str
    subject: str
    choice: str
    override: bool
    reason: str
    run_id: str = ""
    step: str = ""
    use: int = 0


class ApprovalLapsed(Event, frozen=True, tag="orchestration.approval_lapsed"):
    """Nobody decided in time; nothing is done on it any more."""

    approval_id: str
    site_id: str
    incident_id: str
    decision_id: str
    subject: str
    run_id: str = ""
    step: str = ""
    use: int = 0


# --- Rejections -----------------------------------------------------------------


class ApprovalNotFound(NotFound):
    """There is no such approval."""


class ApprovalAlreadyRequested(Conflict):
    """The same approval was requested before."""


class ApprovalNotWaiting(Conflict):
    """The approval was decided before, or its time is over (A1, A3)."""


class ApproverLacksRole(Forbidden):
    """Only the role that the approval names may decide it (A1)."""


class ApproverInvolved(Forbidden):
    """Who signed for these goods may not also authorise this; somebody else decides (A1)."""


# --- Decisions (pure) -----------------------------------------------------------


class RequestApproval(Command, frozen=True, tag="orchestration.request_approval"):
    """Ask a role to decide. `options`: what may be chosen; empty means the decision's alternatives."""

    site_id: str
    approval_id: str
    incident_id: str
    role: str
    subject: str
    decision: Decision
    options: list[str] = msgspec.field(default_factory=list)
    expires_at: datetime | None = None
    run_id: str = ""
    step: str = ""
    use: int = 0


class DecideApproval(Command, frozen=True, tag="orchestration.decide_approval"):
    """Decide: take the recommendation, or override it with a reason."""

    site_id: str
    approval_id: str
    choice: str
    reason: str = ""
    override: bool = False


def decide_approval_event(
    command: DecideApproval, approval: Approval, roles: Collection[str], now: datetime
) -> ApprovalDecided:
    """Return the event that decides an approval, or reject (A1, A2, A3)."""
    overdue = approval.expires_at is not None and now >= approval.expires_at
    if approval.status is not ApprovalStatus.WAITING or overdue:
        raise ApprovalNotWaiting(approval_id=approval.approval_id, status=approval.status)
    if approval.role not in roles:
        raise ApproverLacksRole(approval_id=approval.approval_id, needs=approval.role)
    problems = _problems(command, approval)
    if problems:
        raise Invalid(problems=problems)
    return ApprovalDecided(
        approval_id=approval.approval_id,
        site_id=approval.site_id,
        incident_id=approval.incident_id,
        decision_id=approval.decision.decision_id,
        subject=approval.subject,
        choice=command.choice,
        override=command.override,
        reason=command.reason.strip(),
        run_id=approval.run_id,
        step=approval.step,
        use=approval.use,
    )


def _problems(command: DecideApproval, approval: Approval) -> list[Problem]:
    recommended = approval.decision.outcome
    problems = []
    if command.choice not in approval.options:
        options = ", ".join(approval.options)
        problems.append(Problem(field="choice", message="is not among the options", fix=f"one of {options}"))
    elif (command.choice != recommended) is not command.override:
        message = f"{recommended} is recommended"
        fix = "tick override, or choose the recommendation"
        problems.append(Problem(field="override", message=message, fix=fix))
    if command.override and not command.reason.strip():
        problems.append(Problem(field="reason", message="an override says why"))
    return problems
