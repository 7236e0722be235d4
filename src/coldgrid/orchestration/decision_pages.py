"""Pages of decisions: what waits for me, what was decided, and the record of one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration import views
from coldgrid.orchestration.approvals import (
    Approval,
    ApprovalNotFound,
    DecideApproval,
    get_approval,
    waiting_approvals,
)
from coldgrid.orchestration.decisions import (
    DecisionNotFound,
    DecisionStatus,
    KeptDecision,
    OverrideDecision,
    get_decision,
    list_decisions,
)
from coldgrid.orchestration.escalation import alarm_budgets
from coldgrid.orchestration.incidents import IncidentNotFound, get_incident
from coldgrid.orchestration.sources import source_of
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.orchestration.timeline import in_words
from coldgrid.orchestration.visibility import timezone_of, visible
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import Badge, NavItem, fragment, page, register_nav
from coldgrid.webkit.visitors import Db, Visitor, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "orchestration.view"}
STATUSES = {
    DecisionStatus.MADE: ("off", "Automatic"),
    DecisionStatus.WAITING: ("warn", "Waiting"),
    DecisionStatus.AGREED: ("ok", "Agreed"),
    DecisionStatus.OVERRIDDEN: ("info", "Overridden"),
    DecisionStatus.LAPSED: ("off", "Lapsed"),
}
BUDGET_DAYS = 28
SHOWN = 50


@get("/decisions", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def inbox(request: Req, db: Db, show: FromQuery[str] = "mine") -> Response[str]:
    """Show what waits for the visitor, for others, or what was decided."""
    return page(
        request,
        "orchestration/decisions.html",
        db,
        title="Decisions",
        nav="/decisions",
        topics=("decisions",),
        **_waiting(request, db, show),
    )


@get("/decisions-list", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def inbox_list(request: Req, db: Db, show: FromQuery[str] = "mine") -> Response[str]:
    """Show the inbox again, for a page that hears of news."""
    return fragment(request, "orchestration/_decisions.html", db, **_waiting(request, db, show))


def _waiting(request: Req, db: Reader, show: str) -> dict[str, Any]:
    visitor = visitor_of(request)
    show = word_or_all(request, show, {"mine", "others", "made"}, "mine")
    sites = visitor.principal.sites
    approvals, tasks = waiting_approvals(db, None, sites), open_tasks(db, None, sites)
    mine = [one for one in approvals if one.role in visitor.roles]
    my_tasks = [task for task in tasks if task.role in visitor.roles]
    others = [one for one in approvals if one.role not in visitor.roles]
    other_tasks = [task for task in tasks if task.role not in visitor.roles]
    newest = list_decisions(db, waiting=False, limit=5 * SHOWN) if show == "made" else []
    made = [one for one in newest if _visible(visitor, one) and _is_choice(one)][:SHOWN]
    return {
        "show": show,
        "approvals": {"mine": mine, "others": others}.get(show, []),
        "tasks": {"mine": my_tasks, "others": other_tasks}.get(show, []),
        "made": made,
        "counts": {"mine": len(mine) + len(my_tasks), "others": len(others) + len(other_tasks)},
        "states": STATUSES,
        "names": names(db),
    }


def _is_choice(kept: KeptDecision) -> bool:
    """A playbook step that only went ahead is on record, but is no choice that anybody looks for."""
    return not (kept.decision.kind.startswith("playbook.") and kept.decision.outcome in {"started", "done"})


def _visible(visitor: Visitor, kept: KeptDecision) -> bool:
    """What the network decides, such as where an order is sourced, names every site."""
    return visible(visitor, kept.origin)


# Ids of other rooms' decisions contain slashes.
@get("/decisions/{decision_id:path}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def decision_page(request: Req, db: Db, decision_id: FromPath[str]) -> Response[str]:
    """Show the whole record of one decision."""
    return _decision(request, db, decision_id.lstrip("/"), NO_FORM)


def _decision(request: Req, db: Reader, decision_id: str, form: Form) -> Response[str]:
    visitor = visitor_of(request)
    kept = get_decision(db, decision_id)
    if not _visible(visitor, kept):
        raise DecisionNotFound(decision_id=decision_id)
    of_site = kept.origin != NETWORK_ORIGIN
    people, timezone = names(db), timezone_of(db, kept.origin) if of_site else "UTC"
    sources = [source_of(db, one) for one in dict.fromkeys(kept.decision.inputs) if one]
    return page(
        request,
        "orchestration/decision.html",
        db,
        title=kept.decision.kind.replace("_", " ").replace(".", ": ").capitalize(),
        nav="/decisions",
        kept=kept,
        rows=views.shown_alternatives(kept.decision, visitor.unit),
        facts_told=views.flat_facts(kept.decision.facts, visitor.unit, timezone),
        state_of=STATUSES[kept.status],
        about=_about(db, kept.subject),
        sources=[(one, in_words(one.text, one.facts, visitor.unit, timezone, people)) for one in sources],
        timezone=timezone,
        names=people,
        may_override=of_site
        and kept.status is DecisionStatus.MADE
        and may(request, "orchestration.override_decision", kept.origin),
        form=form,
    )


def _about(db: Reader, subject: str) -> tuple[str, str]:
    """Where a decision's subject is shown, and what it is called."""
    kind, _, id_ = subject.partition("/")
    if kind == "order":
        return f"/orders/{id_}", f"Order {id_}"
    if kind != "incident":
        return "", subject
    try:
        return f"/incidents/{id_}", get_incident(db, id_).title
    except IncidentNotFound:
        return "", subject


@post("/decisions/{decision_id:path}", include_in_schema=False)
async def override(request: Req, db: Db, decision_id: FromPath[str]) -> Response[Any]:
    """Put a site's decision aside."""
    decision_id = decision_id.lstrip("/")
    kept = get_decision(db, decision_id)
    return await submit_form(
        request,
        OverrideDecision,
        then=f"/decisions/{decision_id}",
        said="The override is on record.",
        again=lambda form: _decision(request, db, decision_id, form),
        site_id=kept.origin,
        decision_id=decision_id,
    )


# --- One approval ---------------------------------------------------------------


@get("/approvals/{approval_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def approval_page(request: Req, db: Db, approval_id: FromPath[str]) -> Response[str]:
    """Show what waits for a person, with the form to agree and the one to choose otherwise."""
    return _approval(request, db, approval_id, NO_FORM)


def _approval(request: Req, db: Reader, approval_id: str, form: Form) -> Response[str]:
    one, visitor = _approval_for(request, db, approval_id), visitor_of(request)
    return page(
        request,
        "orchestration/approval.html",
        db,
        title=one.subject,
        nav="/decisions",
        timezone=timezone_of(db, one.site_id),
        one=one,
        rows=views.shown_alternatives(one.decision, visitor.unit),
        others=[(name, name) for name in one.options if name != one.decision.outcome],
        may_decide=one.role in visitor.roles and may(request, "orchestration.decide_approval", one.site_id),
        names=names(db),
        form=form,
    )


def _approval_for(request: Req, db: Reader, approval_id: str) -> Approval:
    found, sites = get_approval(db, approval_id), visitor_of(request).principal.sites
    if sites is not None and found.site_id not in sites:
        raise ApprovalNotFound(approval_id=approval_id)
    return found


@post("/approvals/{approval_id:str}", include_in_schema=False)
async def decide(request: Req, db: Db, approval_id: FromPath[str]) -> Response[Any]:
    """Agree, or override with a reason."""
    one = _approval_for(request, db, approval_id)
    return await submit_form(
        request,
        DecideApproval,
        then=f"/incidents/{one.incident_id}" if one.incident_id else f"/approvals/{approval_id}",
        said="Decided and recorded.",
        again=lambda form: _approval(request, db, approval_id, form),
        site_id=one.site_id,
        approval_id=approval_id,
    )


@get("/incidents/budget", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def budget_page(request: Req, db: Db) -> Response[str]:
    """Show for each person how many calls led to action: the alarm budget."""
    now = request.app.state.now()
    found = alarm_budgets(db, now - timedelta(days=BUDGET_DAYS), now + timedelta(seconds=1))
    return page(
        request,
        "orchestration/budget.html",
        db,
        title="Alarm budget",
        nav="/incidents",
        budgets=sorted(found, key=lambda one: (one.share, -one.calls)),
        days=BUDGET_DAYS,
        names=names(db),
    )


def _badge(db: Reader, visitor: Visitor) -> Badge | None:
    sites = visitor.principal.sites
    count = len(waiting_approvals(db, visitor.roles, sites)) + len(open_tasks(db, visitor.roles, sites))
    return Badge(count, hot=True) if count else None


register_nav(
    NavItem(
        group="",
        label="Decisions",
        href="/decisions",
        icon="inbox",
        badge=_badge,
        order=30,
        phone=True,
        topic="incidents",
    )
)
handlers = [inbox, inbox_list, decision_page, override, approval_page, decide, budget_page]
