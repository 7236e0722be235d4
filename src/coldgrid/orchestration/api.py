"""Incidents, decisions and playbooks over HTTP, and the address where gateways post what people answer.

Commands of this room are at /api/v1/commands/{name}.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.roles import Role
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import decode_all
from coldgrid.orchestration.approvals import Approval, approvals_of, waiting_approvals
from coldgrid.orchestration.decisions import DecisionNotFound, KeptDecision, get_decision, list_decisions
from coldgrid.orchestration.incidents import Incident, closed_incidents, open_incidents
from coldgrid.orchestration.page_book import Chain, Page, alarm_budgets, chains_of, pages_of
from coldgrid.orchestration.replies import answer_of, check_token, reply_of
from coldgrid.orchestration.runs import Run, runs_of
from coldgrid.orchestration.tasks import Task, open_tasks, tasks_of
from coldgrid.orchestration.timeline import TimelineLine, timeline_of
from coldgrid.orchestration.visibility import incident_for, visible
from coldgrid.webkit.choices import ANY_NAMES
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
READ = {"action": "orchestration.read"}
LIMIT_MAX = 500
REPLY_BYTES_MAX = 16_384
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
# Gateways answer for people; the page itself knows for whom.
GATEWAY = Principal("gateway", frozenset({"system"}))


class IncidentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with its timeline, tasks, approvals, runs and the people who were paged."""

    incident: Incident
    timeline: list[TimelineLine]
    tasks: list[Task]
    approvals: list[Approval]
    runs: list[Run]
    pages: list[Page]
    chains: list[Chain]


class AlarmBudget(msgspec.Struct, frozen=True):
    """The calls to a person, those that led to action, and these as a share."""

    person_id: str
    calls: int
    acted: int
    share: float


class ReplyTaken(msgspec.Struct, frozen=True):
    """Which page a reply was taken for, and whether the person takes the incident on."""

    page_id: str
    takes_it: bool


def _limit(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(
            problems=[
                Problem(field="limit", message=f"must be between 1 and {LIMIT_MAX}", fix="ask for fewer")
            ]
        )
    return limit


@get("/incidents", opt=READ, sync_to_thread=True, summary="Incidents")
def incidents(
    request: Req, db: Db, status: FromQuery[Literal["open", "closed"]] = "open", limit: FromQuery[int] = 100
) -> list[Incident]:
    """Return open incidents (`status=open`), or those closed last (`status=closed`)."""
    found = open_incidents(db) if status == "open" else closed_incidents(db, _limit(limit))
    visitor = visitor_of(request)
    return [one for one in found if visible(visitor, one.site_id)][: _limit(limit)]


@get("/incidents/{incident_id:str}", opt=READ, sync_to_thread=True, summary="One incident")
def incident(request: Req, db: Db, incident_id: FromPath[str]) -> IncidentDetail:
    """Return an incident with its timeline, tasks, approvals, runs and the people who were paged."""
    one = incident_for(visitor_of(request), db, incident_id)
    return IncidentDetail(
        incident=one,
        timeline=timeline_of(db, one, request.app.state.now()),
        tasks=tasks_of(db, incident_id),
        approvals=approvals_of(db, incident_id),
        runs=runs_of(db, incident_id),
        pages=pages_of(db, incident_id),
        chains=chains_of(db, incident_id),
    )


@get("/approvals", opt=READ, sync_to_thread=True, summary="Approvals that wait")
def approvals(request: Req, db: Db, role: FromQuery[Role | None] = None) -> list[Approval]:
    """Return the approvals that wait, for one role or for all, first due first."""
    sites = visitor_of(request).principal.sites
    return waiting_approvals(db, {role} if role else None, sites)


@get("/tasks", opt=READ, sync_to_thread=True, summary="Tasks that wait")
def tasks(request: Req, db: Db, role: FromQuery[Role | None] = None) -> list[Task]:
    """Return the tasks that wait, for one role or for all, oldest first."""
    return open_tasks(db, {role} if role else None, visitor_of(request).principal.sites)


@get("/decisions", opt=READ, sync_to_thread=True, summary="Decisions")
def decisions(request: Req, db: Db, limit: FromQuery[int] = 100) -> list[KeptDecision]:
    """Return the newest decision records."""
    sites = visitor_of(request).principal.sites
    found = list_decisions(db, limit=_limit(limit))
    return [one for one in found if sites is None or one.origin in sites]


@get("/decisions/{decision_id:path}", opt=READ, sync_to_thread=True, summary="One decision")
def decision(request: Req, db: Db, decision_id: FromPath[str]) -> KeptDecision:
    """Return one decision record with its override."""
    found = get_decision(db, decision_id.lstrip("/"))
    if not visible(visitor_of(request), found.origin):
        raise DecisionNotFound(decision_id=found.decision.decision_id)
    return found


@get("/alarm-budgets", opt=READ, sync_to_thread=True, summary="Alarm budgets")
def budgets(request: Req, db: Db, days: FromQuery[int] = 28) -> list[AlarmBudget]:
    """Return for each person the calls made and those that led to action, over the last `days`."""
    if not 1 <= days <= 3_660:
        raise Invalid(
            problems=[Problem(field="days", message="must be between 1 and 3660", fix="ask for fewer days")]
        )
    now = request.app.state.now()
    found = alarm_budgets(db, now - timedelta(days=days), now + timedelta(seconds=1))
    return [AlarmBudget(one.person_id, one.calls, one.acted, one.share) for one in found]


@post(
    "/replies/{token:str}",
    opt={
        "public": True,
        "by_machine": True,
        "takes": {JSON: dict[str, Any], FORM: dict[str, str]},
        **ANY_NAMES,
    },
    status_code=200,
    request_max_body_size=REPLY_BYTES_MAX,
    summary="A person answered a page",
)
async def reply(request: Req, db: Db, token: FromPath[str]) -> ReplyTaken:
    """Take a reply from the gateway for messages and calls, as JSON or as a form."""
    check_token(request.app.state.settings.webhook_secret, token)
    command = answer_of(db, reply_of(_fields(request, await request.body())))
    await asyncio.wrap_future(request.app.state.decider.submit(command, GATEWAY))
    return ReplyTaken(command.page_id, command.takes_it)


def _fields(request: Req, body: bytes) -> dict[str, str]:
    """The reply's parts by name. What a gateway sends beside text is of no use to us."""
    if request.headers.get("content-type", "").startswith("application/json"):
        told = decode_all(body, dict[str, Any])
        return {name: str(value) for name, value in told.items() if isinstance(value, str | int)}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except UnicodeDecodeError:
        raise Invalid(problems=[Problem(field="body", message="is not UTF-8")]) from None


router = Router(
    "/api/v1",
    route_handlers=[incidents, incident, approvals, tasks, decisions, decision, budgets, reply],
    tags=["incidents"],
)
