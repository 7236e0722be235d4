"""People: who answers pages and tasks, decides approvals and signs dispositions, as a plan says they do.

They act through the same commands as anybody at a screen, with their own roles, and know no more than
the pages show: everything they answer is read from the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.decider import Call
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration.approvals import DecideApproval, waiting_approvals
from coldgrid.orchestration.escalation import AcknowledgePage
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.orchestration.page_book import Page, pages_of
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.tower.world.plan import Plan
from coldgrid.tower.world.signing import signatures


def acts(db: Reader, plan: Plan, now: datetime) -> Iterator[Call]:
    """Yield what people do now: everything that has waited as long as they take."""
    yield from _acknowledgements(db, plan, now)
    yield from _answers(db, plan, now)
    yield from _decisions(db, plan, now)
    yield from signatures(db, plan, now)


def _call(command: object, person_id: str, role: str, *parts: object) -> Call:
    return Call(command, Principal(person_id, frozenset({role})), derive_id("act", person_id, *parts))  # type: ignore[arg-type]


def _acknowledgements(db: Reader, plan: Plan, now: datetime) -> Iterator[Call]:
    after = {habit.step: timedelta(minutes=habit.after_min) for habit in plan.acknowledge}
    if not after:
        return
    for incident in open_incidents(db):
        pages = pages_of(db, incident.incident_id)
        taken = {page.escalation_id for page in pages if page.takes_it}
        for page in pages:
            if _answers_now(page, after, now) and page.escalation_id not in taken:
                taken.add(page.escalation_id)
                command = AcknowledgePage(site_id=page.site_id, page_id=page.page_id, via=str(page.channel))
                yield _call(command, page.person_id, "supervisor", page.page_id)


def _answers_now(page: Page, after: dict[int, timedelta], now: datetime) -> bool:
    return page.answered_at is None and page.step in after and page.sent_at + after[page.step] <= now


def _answers(db: Reader, plan: Plan, now: datetime) -> Iterator[Call]:
    habits = {habit.step: habit for habit in plan.answers}
    for task in open_tasks(db):
        habit = habits.get(task.step)
        if habit is None or task.opened_at + timedelta(minutes=habit.after_min) > now:
            continue
        command = AnswerStep(
            site_id=task.site_id,
            run_id=task.run_id,
            step=task.step,
            answer=habit.answer,
            values=habit.values,
        )
        yield _call(command, habit.person_id, task.role, task.run_id, task.step, task.use)


def _decisions(db: Reader, plan: Plan, now: datetime) -> Iterator[Call]:
    habits = {habit.role: habit for habit in plan.approve}
    for approval in waiting_approvals(db):
        habit = habits.get(approval.role)
        if habit is None or approval.requested_at + timedelta(minutes=habit.after_min) > now:
            continue
        command = DecideApproval(
            site_id=approval.site_id,
            approval_id=approval.approval_id,
            choice=habit.choice or approval.decision.outcome,
            reason=habit.reason,
            override=habit.override,
        )
        yield _call(command, habit.person_id, approval.role, approval.approval_id)
