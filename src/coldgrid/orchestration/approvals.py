"""Approvals: what a program recommends and a person of a role decides. The rules are in `approval_rules`.

The recommendation is a `Decision`: what the approver saw is on record with it. Who signs the disposition of
goods may not have authorised their rescue: quality registers that with `register_involvement`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, on_timer, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.approval_rules import (
    Approval,
    ApprovalAlreadyRequested,
    ApprovalDecided,
    ApprovalLapsed,
    ApprovalNotFound,
    ApprovalNotWaiting,
    ApprovalRequested,
    ApprovalStatus,
    ApproverInvolved,
    ApproverLacksRole,
    DecideApproval,
    RequestApproval,
    decide_approval_event,
)
from coldgrid.orchestration.decisions import (
    Decision,
    DecisionStatus,
    alternatives_of,
    keep_decision,
    settle_decision,
)
from coldgrid.orchestration.taking_on import take_on

__all__ = [
    "Approval",
    "ApprovalAlreadyRequested",
    "ApprovalDecided",
    "ApprovalLapsed",
    "ApprovalNotFound",
    "ApprovalNotWaiting",
    "ApprovalRequested",
    "ApprovalStatus",
    "ApproverInvolved",
    "ApproverLacksRole",
    "DecideApproval",
    "RequestApproval",
    "approvals_of",
    "approvers_of",
    "get_approval",
    "register_involvement",
    "waiting_approvals",
]

TIMER = "orchestration.approval"

# --- Table and projections ------------------------------------------------------

orchestration_approval = sa.Table(
    "orchestration_approval",
    metadata,
    sa.Column("approval_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("decision", Json(Decision), nullable=False),
    sa.Column("options", Json(list[str]), nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("use", sa.BigInteger, nullable=False),
    sa.Column("requested_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("status", Named(ApprovalStatus), nullable=False),
    sa.Column("choice", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", Instant),
    sa.Index("ix_orchestration_approval_incident", "incident_id"),
    sa.Index("ix_orchestration_approval_status", "status", "requested_at"),
    info={"origin": "site"},
)
_REQUEST_ROW = Statement(orchestration_approval.insert())
_END_ROW = Statement(
    orchestration_approval.update()
    .where(orchestration_approval.c.approval_id == sa.bindparam("which"))
    .values(
        status=sa.bindparam("to_status", type_=Named(ApprovalStatus)),
        choice=sa.bindparam("to_choice"),
        reason=sa.bindparam("to_reason"),
        decided_by=sa.bindparam("by"),
        decided_at=sa.bindparam("at", type_=Instant),
    )
)


@projects(ApprovalRequested)
def _request_row(tx: Tx, event: ApprovalRequested) -> None:
    fields = msgspec.structs.asdict(event)
    tx.write(
        _REQUEST_ROW,
        **fields,
        requested_at=tx.now,
        status=ApprovalStatus.WAITING,
        choice=None,
        reason=None,
        decided_by=None,
        decided_at=None,
    )
    subject = f"incident/{event.incident_id}" if event.incident_id else f"approval/{event.approval_id}"
    keep_decision(tx, event.decision, subject=subject, status=DecisionStatus.WAITING)


@projects(ApprovalDecided)
def _decide_row(tx: Tx, event: ApprovalDecided) -> None:
    status = ApprovalStatus.OVERRIDDEN if event.override else ApprovalStatus.AGREED
    _end(tx, event.approval_id, status, event.choice, event.reason)
    settle_decision(tx, event.decision_id, DecisionStatus(status), event.choice, event.reason)


@projects(ApprovalLapsed)
def _lapse_row(tx: Tx, event: ApprovalLapsed) -> None:
    _end(tx, event.approval_id, ApprovalStatus.LAPSED, None, None)
    settle_decision(tx, event.decision_id, DecisionStatus.LAPSED, "", "")


def _end(tx: Tx, approval_id: str, status: ApprovalStatus, choice: str | None, reason: str | None) -> None:
    tx.write(
        _END_ROW,
        which=approval_id,
        to_status=status,
        to_choice=choice,
        to_reason=reason,
        by=tx.actor,
        at=tx.now,
    )


# --- Commands -------------------------------------------------------------------

Involvement = Callable[[Reader, Approval, str], str | None]
_involvements: dict[str, Involvement] = {}


def register_involvement(name: str, find: Involvement) -> None:
    """Let a room keep somebody from deciding: `find(db, approval, person)` says why, or None (A1)."""
    _involvements[name] = find


@handles(RequestApproval, action="orchestration.request_approval", owner=Owner.SITE)
def request_approval(tx: Tx, command: RequestApproval) -> None:
    """Put a recommendation into the inbox of a role, with a deadline where one is given."""
    if tx.one(_GET, which=command.approval_id) is not None:
        raise ApprovalAlreadyRequested(approval_id=command.approval_id)
    options = command.options or [row.name for row in alternatives_of(command.decision)]
    if command.decision.outcome not in options:
        options = [command.decision.outcome, *options]
    fields = {name: getattr(command, name) for name in RequestApproval.__struct_fields__}
    tx.record(f"approval/{command.approval_id}", ApprovalRequested(**{**fields, "options": options}))
    if command.expires_at is not None:
        payload = {"approval_id": command.approval_id}
        tx.set_timer(_timer(command.approval_id), TIMER, command.expires_at, payload)


@handles(DecideApproval, action="orchestration.decide_approval", owner=Owner.SITE)
def decide_approval(tx: Tx, command: DecideApproval) -> None:
    """Agree, or override with a reason."""
    approval = get_approval(tx, command.approval_id)
    event = decide_approval_event(command, approval, tx.roles, tx.now)
    for find in _involvements.values():
        why = find(tx, approval, tx.actor)
        if why is not None:
            raise ApproverInvolved(approval_id=approval.approval_id, why=why)
    tx.record(f"approval/{command.approval_id}", event)
    tx.cancel_timer(_timer(command.approval_id))
    take_on(tx, approval.incident_id, approval.role)


@on_timer(TIMER)
def _lapse(tx: Tx, timer: Timer) -> None:
    approval = get_approval(tx, timer.payload["approval_id"])
    if approval.status is ApprovalStatus.WAITING:
        tx.record(
            f"approval/{approval.approval_id}",
            ApprovalLapsed(
                approval_id=approval.approval_id,
                site_id=approval.site_id,
                incident_id=approval.incident_id,
                decision_id=approval.decision.decision_id,
                subject=approval.subject,
                run_id=approval.run_id,
                step=approval.step,
                use=approval.use,
            ),
        )


def _timer(approval_id: str) -> str:
    return f"approval/{approval_id}"


# --- Queries --------------------------------------------------------------------

_SELECT = sa.select(*(orchestration_approval.c[name] for name in Approval.__struct_fields__))
_GET = Statement(_SELECT.where(orchestration_approval.c.approval_id == sa.bindparam("which")), into=Approval)
_OF_INCIDENT = Statement(
    _SELECT.where(orchestration_approval.c.incident_id == sa.bindparam("incident_id")).order_by(
        orchestration_approval.c.requested_at, orchestration_approval.c.approval_id
    ),
    into=Approval,
)
_WAITING = Statement(
    _SELECT.where(orchestration_approval.c.status == ApprovalStatus.WAITING.value).order_by(
        orchestration_approval.c.expires_at.is_(None),
        orchestration_approval.c.expires_at,
        orchestration_approval.c.requested_at,
        orchestration_approval.c.approval_id,
    ),
    into=Approval,
)


def get_approval(db: Reader, approval_id: str) -> Approval:
    """Return one approval.

    Raises:
        ApprovalNotFound: no such approval.
    """
    found = db.one(_GET, which=approval_id)
    if found is None:
        raise ApprovalNotFound(approval_id=approval_id)
    return found


def approvals_of(db: Reader, incident_id: str) -> list[Approval]:
    """The approvals of an incident, oldest first."""
    return db.all(_OF_INCIDENT, incident_id=incident_id)


def waiting_approvals(
    db: Reader, roles: Collection[str] | None = None, sites: Collection[str] | None = None
) -> list[Approval]:
    """The approvals that wait for one of these roles at one of these sites (None: all), first due first."""
    return [
        one
        for one in db.all(_WAITING)
        if (roles is None or one.role in roles) and (sites is None or one.site_id in sites)
    ]


def approvers_of(db: Reader, incident_id: str) -> set[str]:
    """The people who authorised something in an incident; they sign no disposition of it."""
    return {one.decided_by for one in approvals_of(db, incident_id) if one.choice and one.decided_by}
