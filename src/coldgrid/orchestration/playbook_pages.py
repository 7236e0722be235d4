"""Pages of playbooks: what they say, which version is in use, and a new one put in its place."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import site_labels
from coldgrid.orchestration import playbook_words
from coldgrid.orchestration.playbook_library import current_playbook, playbook_of, playbooks_in_use, source_of
from coldgrid.orchestration.playbook_model import Step
from coldgrid.orchestration.playbook_state import StepState
from coldgrid.orchestration.playbooks import MoveRun, PublishPlaybook
from coldgrid.orchestration.runs import get_run
from coldgrid.orchestration.visibility import incident_for, timezone_of
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "orchestration.view"}


@get("/playbooks", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def playbooks_page(request: Req, db: Db) -> Response[str]:
    """Show which playbook each site uses, and the form for a new one."""
    return _playbooks(request, db, NO_FORM)


def _playbooks(request: Req, db: Reader, form: Form) -> Response[str]:
    allowed = visitor_of(request).principal.sites
    sites = [one.site_id for one in site_labels(db) if allowed is None or one.site_id in allowed]
    return page(
        request,
        "orchestration/playbooks.html",
        db,
        title="Playbooks",
        nav="/playbooks",
        used=playbooks_in_use(db, sites),
        site_count=len(sites),
        site_options=[(site_id, site_id) for site_id in sites],
        may_publish=any(may(request, "orchestration.publish_playbook", site_id) for site_id in sites[:1]),
        form=form,
    )


@post("/playbooks", include_in_schema=False)
async def publish(request: Req, db: Db) -> Response[Any]:
    """Put a new version in force at a site."""
    return await submit_form(
        request,
        PublishPlaybook,
        then=lambda outcome: f"/playbooks/{outcome.result['hash']}",
        said="The playbook is in force for new incidents.",
        again=lambda form: _playbooks(request, db, form),
    )


@get("/playbooks/{hash_:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def playbook_page(request: Req, db: Db, hash_: FromPath[str]) -> Response[str]:
    """Show one version: its steps in words, and its bytes."""
    playbook = playbook_of(db, hash_)
    return page(
        request,
        "orchestration/playbook.html",
        db,
        title=playbook.title,
        nav="/playbooks",
        playbook=playbook,
        steps=[(step, _kind(step)) for step in playbook.steps],
        words=playbook_words,
        source=source_of(db, hash_),
    )


# --- One run --------------------------------------------------------------------


@get("/runs/{run_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def run_page(request: Req, db: Db, run_id: FromPath[str]) -> Response[str]:
    """Show where a run stands, step by step."""
    return _run(request, db, run_id, NO_FORM)


def _run(request: Req, db: Reader, run_id: str, form: Form) -> Response[str]:
    run = get_run(db, run_id)
    incident = incident_for(visitor_of(request), db, run.incident_id)
    playbook = playbook_of(db, run.hash)
    current = current_playbook(db, run.site_id, run.playbook)
    newer = current if current is not None and current.version > run.version else None
    return page(
        request,
        "orchestration/run.html",
        db,
        title=playbook.title,
        nav="/incidents",
        timezone=timezone_of(db, run.site_id),
        run=run,
        incident=incident,
        playbook=playbook,
        steps=[(step, _kind(step), run.state.steps.get(step.id, StepState())) for step in playbook.steps],
        words=playbook_words,
        newer=newer if run.ended_at is None else None,
        may_move=may(request, "orchestration.move_run", run.site_id),
        form=form,
    )


@post("/runs/{run_id:str}", include_in_schema=False)
async def move_run(request: Req, db: Db, run_id: FromPath[str]) -> Response[Any]:
    """Let a newer version of the playbook go on."""
    run = get_run(db, run_id)
    incident_for(visitor_of(request), db, run.incident_id)
    return await submit_form(
        request,
        MoveRun,
        then=f"/runs/{run_id}",
        said="The newer version goes on.",
        again=lambda form: _run(request, db, run_id, form),
        site_id=run.site_id,
        run_id=run_id,
    )


def _kind(step: Step) -> str:
    kinds = (
        (step.ask, "task"),
        (step.approve, "approval"),
        (step.wait_for, "wait for news"),
        (step.wait_min is not None, "wait"),
        (step.choose, "choice"),
    )
    return next((name for told, name in kinds if told), "action")


register_nav(NavItem(group="Set up", label="Playbooks", href="/playbooks", icon="route", order=40))
handlers = [playbooks_page, publish, playbook_page, run_page, move_run]
