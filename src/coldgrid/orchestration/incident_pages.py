"""Pages of incidents: the list, and the page of one, whose timeline writes itself."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reader
from coldgrid.orchestration import views
from coldgrid.orchestration.approvals import ApprovalStatus, approvals_of
from coldgrid.orchestration.escalation import AcknowledgePage, chains_of, pages_of
from coldgrid.orchestration.incidents import (
    AcknowledgeIncident,
    AdvanceIncident,
    Incident,
    IncidentNotFound,
    NoteIncident,
    Severity,
    Status,
    closed_incidents,
    open_incidents,
    time_left_first,
)
from coldgrid.orchestration.lines import RECOVERED_TEXT, ROUTINE
from coldgrid.orchestration.playbooks import AnswerStep
from coldgrid.orchestration.runs import runs_of
from coldgrid.orchestration.tasks import tasks_of
from coldgrid.orchestration.timeline import in_words, timeline_of
from coldgrid.orchestration.visibility import incident_for, timezone_of, visible
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.commands import form_values, submit_form
from coldgrid.webkit.forms import NO_FORM, Form, in_celsius
from coldgrid.webkit.shell import Badge, NavItem, fragment, page, register_nav
from coldgrid.webkit.visitors import Db, Visitor, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "orchestration.view"}
PARTS = ("facts", "timeline", "people", "news")
CLOSED_SHOWN = 20


# --- The list -------------------------------------------------------------------


@get("/incidents", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incidents_page(request: Req, db: Db, show: FromQuery[str] = "all") -> Response[str]:
    """Show open incidents, the product's time left first, and those closed last."""
    return page(
        request,
        "orchestration/incidents.html",
        db,
        title="Incidents",
        nav="/incidents",
        topics=("incidents",),
        **_listed(request, db, show),
    )


@get("/incidents/list", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incidents_list(request: Req, db: Db, show: FromQuery[str] = "all") -> Response[str]:
    """Show the list again, for a page that hears of news."""
    return fragment(request, "orchestration/_incidents.html", db, **_listed(request, db, show))


def next_step_of(db: Reader, incident: Incident) -> str:
    """The one thing to do next about an incident, in the same words on every page that shows it."""
    found = incident.incident_id
    return views.next_step(incident, approvals_of(db, found), tasks_of(db, found))


def _listed(request: Req, db: Reader, show: str) -> dict[str, Any]:
    visitor, now = visitor_of(request), request.app.state.now()
    found = [one for one in open_incidents(db) if visible(visitor, one.site_id)]
    approvals = {one.incident_id: approvals_of(db, one.incident_id) for one in found}
    waiting = {
        incident_id
        for incident_id, asked in approvals.items()
        if any(one.status is ApprovalStatus.WAITING for one in asked)
    }
    mine = [one for one in found if one.owner == visitor.principal.actor_id]
    tabs = {"all": found, "waiting": [one for one in found if one.incident_id in waiting], "mine": mine}
    show = word_or_all(request, show, tabs, "all")
    shown = tabs[show]
    rows = [(one, views.time_left(one, now), next_step_of(db, one)) for one in time_left_first(shown, now)]
    closed = [one for one in closed_incidents(db, CLOSED_SHOWN) if visible(visitor, one.site_id)]
    return {
        "rows": rows,
        "closed": closed,
        "show": show,
        "counts": {name: len(listed) for name, listed in tabs.items()},
        "names": names(db),
        "statuses": views.STATUSES,
        "waiting": waiting,
    }


# --- One incident ---------------------------------------------------------------


@get("/incidents/{incident_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incident_page(request: Req, db: Db, incident_id: FromPath[str]) -> Response[str]:
    """Show an incident: what is known, what waits for people, what happened."""
    return _incident(request, db, incident_id, NO_FORM, "")


@get("/incidents/{incident_id:str}/part/{part:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incident_part(
    request: Req, db: Db, incident_id: FromPath[str], part: FromPath[str], shown: FromQuery[str] = ""
) -> Response[str]:
    """Show a part of the page again: never one with a form, which would lose what is typed."""
    incident = incident_for(visitor_of(request), db, incident_id)
    if part not in PARTS:
        raise IncidentNotFound(incident_id=incident_id, part=part)
    about = _about(request, db, incident)
    return fragment(request, f"orchestration/_incident_{part}.html", db, **about, shown=shown)


def _incident(request: Req, db: Reader, incident_id: str, form: Form, form_of: str) -> Response[str]:
    incident = incident_for(visitor_of(request), db, incident_id)
    return page(
        request,
        "orchestration/incident.html",
        db,
        title=incident.title,
        nav="/incidents",
        topics=(f"incident/{incident_id}", "incidents"),
        **_about(request, db, incident),
        form=form,
        form_of=form_of,
    )


def _about(request: Req, db: Reader, incident: Incident) -> dict[str, Any]:
    visitor, now = visitor_of(request), request.app.state.now()
    approvals, tasks = approvals_of(db, incident.incident_id), tasks_of(db, incident.incident_id)
    timezone = timezone_of(db, incident.site_id)
    people = names(db)
    lines = timeline_of(db, incident, now)
    recovered_at = max((line.at for line in lines if line.text == RECOVERED_TEXT), default=None)
    moments = [
        views.Moment(
            at=line.at,
            text=in_words(line.text, line.facts, visitor.unit, timezone, people),
            tone=views.TONES[line.tone],
            actor=line.actor,
            named=line.facts.get("owner") == line.actor,
            person=people.get(line.facts.get("person", ""), str(line.facts.get("person", ""))),
            routine=line.text in ROUTINE,
        )
        for line in reversed(views.joined(lines))
    ]
    pages = pages_of(db, incident.incident_id)
    waiting = [one for one in approvals if one.status is ApprovalStatus.WAITING]
    opened = [task for task in tasks if task.answer is None]
    return {
        "incident": incident,
        "timezone": timezone,
        "names": people,
        "picture": incident.picture,
        "statuses": views.STATUSES,
        "steps": views.closing_steps(incident),
        "left": views.time_left(incident, now),
        "left_the_zone": incident.facts.get("units_here") == 0,
        "repair": views.repair(incident, recovered_at, now),
        "next_step": views.next_step(incident, approvals, tasks),
        "moments": views.folded(moments),
        "waiting": waiting,
        "rows_of": lambda decision: views.shown_alternatives(decision, visitor.unit),
        "decided": [one for one in approvals if one.status is not ApprovalStatus.WAITING],
        "opened": opened,
        "answered": [(task, views.chips(task.answered or {}, visitor.unit)) for task in tasks if task.answer],
        "news_key": _news_key(waiting, opened),
        "pages": pages,
        "paged": views.paged_people(pages),
        "chains": chains_of(db, incident.incident_id),
        "runs": runs_of(db, incident.incident_id),
        "next_statuses": [
            (status.value, views.STATUSES[status])
            for status in list(Status)[list(Status).index(incident.status) + 1 :]
        ],
        "may": lambda action: may(request, f"orchestration.{action}", incident.site_id),
    }


def _news_key(waiting: list[Any], opened: list[Any]) -> str:
    """What waits for people, in short: a page that shows less than this says so."""
    return f"{len(waiting)}.{len(opened)}"


# --- Forms ----------------------------------------------------------------------


@post("/incidents/{incident_id:str}/acknowledge", include_in_schema=False)
async def acknowledge(request: Req, db: Db, incident_id: FromPath[str]) -> Response[Any]:
    """Take the incident on."""
    said = (
        "It is yours. Paging has stopped; worse news, or a decision that waits too long, is told once more."
    )
    return await _send(request, db, incident_id, AcknowledgeIncident, said, incident_id=incident_id)


@post("/incidents/{incident_id:str}/note", include_in_schema=False)
async def note(request: Req, db: Db, incident_id: FromPath[str]) -> Response[Any]:
    """Add a note."""
    said = "Noted. It stands in the timeline."
    return await _send(request, db, incident_id, NoteIncident, said, form_of="note", incident_id=incident_id)


@post("/incidents/{incident_id:str}/advance", include_in_schema=False)
async def advance(request: Req, db: Db, incident_id: FromPath[str]) -> Response[Any]:
    """Take a closing step."""
    return await _send(
        request,
        db,
        incident_id,
        AdvanceIncident,
        "The step is taken.",
        form_of="advance",
        incident_id=incident_id,
    )


@post("/incidents/{incident_id:str}/tasks/{run_id:str}/{step:str}", include_in_schema=False)
async def answer(
    request: Req, db: Db, incident_id: FromPath[str], run_id: FromPath[str], step: FromPath[str]
) -> Response[Any]:
    """Answer a task; its values come as `values.NAME`."""
    typed = in_celsius(await form_values(request))
    values = {
        name.removeprefix("values."): texts[-1].strip()
        for name, texts in typed.items()
        if name.startswith("values.") and texts[-1].strip()
    }
    return await _send(
        request,
        db,
        incident_id,
        AnswerStep,
        "Answered. The playbook goes on.",
        form_of=f"{run_id}/{step}",
        run_id=run_id,
        step=step,
        values=values,
    )


@post("/incidents/{incident_id:str}/pages/{page_id:str}", include_in_schema=False)
async def acknowledge_page(
    request: Req, db: Db, incident_id: FromPath[str], page_id: FromPath[str]
) -> Response[Any]:
    """Answer one's page on the screen."""
    said = "Answered. The others see it."
    return await _send(request, db, incident_id, AcknowledgePage, said, page_id=page_id, via="screen")


async def _send(
    request: Req,
    db: Reader,
    incident_id: str,
    command_type: type[Command],
    said: str,
    /,
    *,
    form_of: str = "",
    **fixed: Any,
) -> Response[Any]:
    """Carry out a form of the incident's page. `form_of`: which one, to come back with what was typed."""
    incident = incident_for(visitor_of(request), db, incident_id)
    return await submit_form(
        request,
        command_type,
        then=f"/incidents/{incident_id}",
        said=said,
        again=(lambda form: _incident(request, db, incident_id, form, form_of)) if form_of else None,
        site_id=incident.site_id,
        **fixed,
    )


def _badge(db: Reader, visitor: Visitor) -> Badge | None:
    found = [one for one in open_incidents(db) if visible(visitor, one.site_id)]
    if not found:
        return None
    return Badge(len(found), hot=any(one.severity is Severity.EXCURSION_RISK for one in found))


register_nav(
    NavItem(
        group="",
        label="Incidents",
        href="/incidents",
        icon="bell",
        badge=_badge,
        order=20,
        phone=True,
        topic="incidents",
    )
)
handlers = [
    incidents_page,
    incidents_list,
    incident_page,
    incident_part,
    acknowledge,
    note,
    advance,
    answer,
    acknowledge_page,
]
