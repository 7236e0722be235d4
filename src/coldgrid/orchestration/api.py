"""Incidents, decisions and playbooks over HTTP, and the address where gateways post what people answer.

Commands of this room are at /api/v1/commands/{name}.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.validation import decode_all
from coldgrid.orchestration.approvals import approvals_of, waiting_approvals
from coldgrid.orchestration.decisions import get_decision, list_decisions
from coldgrid.orchestration.escalation import alarm_budgets, chains_of, pages_of
from coldgrid.orchestration.incidents import closed_incidents, open_incidents
from coldgrid.orchestration.replies import answer_of, check_token, reply_of
from coldgrid.orchestration.runs import runs_of
from coldgrid.orchestration.tasks import open_tasks, tasks_of
from coldgrid.orchestration.timeline import timeline_of
from coldgrid.orchestration.visibility import incident_for, visible
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
READ = {"action": "orchestration.read"}
LIMIT_MAX = 500
REPLY_BYTES_MAX = 16_384
# Gateways answer for people; the page itself knows for whom.
GATEWAY = Principal("gateway", frozenset({"system"}))


def _json(value: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _limit(limit: int) -> int:
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(problems=[Problem(field="limit", message=f"must be between 1 and {LIMIT_MAX}")])
    return limit


@get("/incidents", opt=READ, sync_to_thread=True, summary="Incidents")
def incidents(
    request: Req, db: Db, status: FromQuery[str] = "open", limit: FromQuery[int] = 100
) -> Response[bytes]:
    """Return open incidents (`status=open`), or those closed last (`status=closed`)."""
    if status not in {"open", "closed"}:
        raise Invalid(problems=[Problem(field="status", message="is open or closed")])
    found = open_incidents(db) if status == "open" else closed_incidents(db, _limit(limit))
    visitor = visitor_of(request)
    return _json([one for one in found if visible(visitor, one.site_id)][: _limit(limit)])


@get("/incidents/{incident_id:str}", opt=READ, sync_to_thread=True, summary="One incident")
def incident(request: Req, db: Db, incident_id: FromPath[str]) -> Response[bytes]:
    """Return an incident with its timeline, tasks, approvals, runs and the people who were paged."""
    one = incident_for(visitor_of(request), db, incident_id)
    told = {
        "incident": one,
        "timeline": timeline_of(db, one, request.app.state.now()),
        "tasks": tasks_of(db, incident_id),
        "approvals": approvals_of(db, incident_id),
        "runs": runs_of(db, incident_id),
        "pages": pages_of(db, incident_id),
        "chains": chains_of(db, incident_id),
    }
    return _json(told)


@get("/approvals", opt=READ, sync_to_thread=True, summary="Approvals that wait")
def approvals(request: Req, db: Db, role: FromQuery[str] = "") -> Response[bytes]:
    """Return the approvals that wait, for one role or for all, first due first."""
    sites = visitor_of(request).principal.sites
    return _json(waiting_approvals(db, {role} if role else None, sites))


@get("/tasks", opt=READ, sync_to_thread=True, summary="Tasks that wait")
def tasks(request: Req, db: Db, role: FromQuery[str] = "") -> Response[bytes]:
    """Return the tasks that wait, for one role or for all, oldest first."""
    return _json(open_tasks(db, {role} if role else None, visitor_of(request).principal.sites))


@get("/decisions", opt=READ, sync_to_thread=True, summary="Decisions")
def decisions(request: Req, db: Db, limit: FromQuery[int] = 100) -> Response[bytes]:
    """Return the newest decision records."""
    sites = visitor_of(request).principal.sites
    found = list_decisions(db, limit=_limit(limit))
    return _json([one for one in found if sites is None or one.origin in sites])


@get("/decisions/{decision_id:path}", opt=READ, sync_to_thread=True, summary="One decision")
def decision(db: Db, decision_id: FromPath[str]) -> Response[bytes]:
    """Return one decision record with its override."""
    return _json(get_decision(db, decision_id.lstrip("/")))


@get("/alarm-budgets", opt=READ, sync_to_thread=True, summary="Alarm budgets")
def budgets(request: Req, db: Db, days: FromQuery[int] = 28) -> Response[bytes]:
    """Return for each person the calls made and those that led to action, over the last `days`."""
    if not 1 <= days <= 3_660:
        raise Invalid(problems=[Problem(field="days", message="must be between 1 and 3660")])
    now = request.app.state.now()
    found = alarm_budgets(db, now - timedelta(days=days), now + timedelta(seconds=1))
    return _json([{**msgspec.structs.asdict(one), "share": one.share} for one in found])


@post(
    "/replies/{token:str}",
    opt={"public": True, "by_machine": True},
    status_code=200,
    request_max_body_size=REPLY_BYTES_MAX,
    summary="A person answered a page",
)
async def reply(request: Req, db: Db, token: FromPath[str]) -> Response[bytes]:
    """Take a reply from the gateway for messages and calls, as JSON or as a form."""
    check_token(request.app.state.settings.webhook_secret, token)
    command = answer_of(db, reply_of(_fields(request, await request.body())))
    await asyncio.wrap_future(request.app.state.decider.submit(command, GATEWAY))
    return _json({"page_id": command.page_id, "takes_it": command.takes_it})


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
