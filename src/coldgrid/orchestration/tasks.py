"""Tasks: what playbook runs ask of people, as a list for each role and site."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.playbook_model import Value
from coldgrid.orchestration.runs import RunAdvanced


class Task(msgspec.Struct, frozen=True):
    """A task as readers see it. `answer`: None while it is open, empty when it was no longer needed."""

    run_id: str
    step: str
    use: int
    site_id: str
    zone_id: str
    incident_id: str
    role: str
    title: str
    answers: list[str]
    wanted: list[Value]
    revisable: bool
    opened_at: datetime
    due_at: datetime | None
    answer: str | None
    answered: dict[str, Any] | None
    answered_by: str | None
    answered_at: datetime | None


# --- Table and projection -------------------------------------------------------

orchestration_task = sa.Table(
    "orchestration_task",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("use", sa.BigInteger, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("answers", Json(list[str]), nullable=False),
    sa.Column("wanted", Json(list[Value]), nullable=False),
    sa.Column("revisable", sa.Boolean, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("due_at", Instant),
    sa.Column("answer", sa.Text),
    sa.Column("answered", Json(dict[str, Any])),
    sa.Column("answered_by", sa.Text),
    sa.Column("answered_at", Instant),
    sa.Index("ix_orchestration_task_incident", "incident_id"),
    sa.Index("ix_orchestration_task_answer", "answer"),
    info={"origin": "site"},
)

_OPEN_TASK = Statement(orchestration_task.insert())
_CLOSE_TASK = Statement(
    orchestration_task.update()
    .where(
        orchestration_task.c.run_id == sa.bindparam("of_run"),
        orchestration_task.c.step == sa.bindparam("of_step"),
        orchestration_task.c.use == sa.bindparam("of_use"),
    )
    .values(
        answer=sa.bindparam("to_answer"),
        answered=sa.bindparam("to_values", type_=Json(dict[str, Any])),
        answered_by=sa.bindparam("by"),
        answered_at=sa.bindparam("at", type_=Instant),
    )
)


@projects(RunAdvanced)
def _write_tasks(tx: Tx, event: RunAdvanced) -> None:
    for task in event.opened:
        tx.write(
            _OPEN_TASK,
            run_id=event.run_id,
            step=task.step,
            use=task.use,
            site_id=event.site_id,
            zone_id=event.zone_id,
            incident_id=event.incident_id,
            role=task.role,
            title=task.title,
            answers=task.answers,
            wanted=task.values,
            revisable=task.revisable,
            opened_at=tx.now,
            due_at=task.due_at,
            answer=None,
            answered=None,
            answered_by=None,
            answered_at=None,
        )
    for done in event.closed:
        tx.write(
            _CLOSE_TASK,
            of_run=event.run_id,
            of_step=done.step,
            of_use=done.use,
            to_answer=done.answer,
            to_values=done.values,
            by=tx.actor if done.answer else None,
            at=tx.now,
        )


# --- Queries --------------------------------------------------------------------

_TASK = sa.select(*(orchestration_task.c[name] for name in Task.__struct_fields__))
_TASK_ORDER = (orchestration_task.c.opened_at, orchestration_task.c.run_id, orchestration_task.c.step)
_TASKS_OF = Statement(
    _TASK.where(orchestration_task.c.incident_id == sa.bindparam("incident_id")).order_by(*_TASK_ORDER),
    into=Task,
)
_TASKS_OPEN = Statement(_TASK.where(orchestration_task.c.answer.is_(None)).order_by(*_TASK_ORDER), into=Task)


def tasks_of(db: Reader, incident_id: str) -> list[Task]:
    """The tasks of an incident, oldest first, open and answered."""
    return db.all(_TASKS_OF, incident_id=incident_id)


def open_tasks(
    db: Reader, roles: Collection[str] | None = None, sites: Collection[str] | None = None
) -> list[Task]:
    """The tasks that wait for one of these roles at one of these sites (None: all), oldest first."""
    return [
        task
        for task in db.all(_TASKS_OPEN)
        if (roles is None or task.role in roles) and (sites is None or task.site_id in sites)
    ]
