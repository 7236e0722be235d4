"""Health: for machines (`/healthz`, `/readyz`, `/deciding`, `/metrics`) and for people (`/health`).

Invariants
    H1  `/healthz` answers while the process serves: a restart would mend nothing that the others tell.
    H2  `/readyz` is for what shares requests out: 200 while facts can be read here, also where nobody decides
        or timers stand still. Pages and reads go on, and the page that puts it right is one of them.
    H3  `/deciding` is for what watches: 503 while no command can be decided or stored, or timers stand still.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from coldgrid.evidence.forks import open_forks
from coldgrid.kernel import log, outbox, parking
from coldgrid.kernel.clock import AcceptClock
from coldgrid.kernel.database import database_size_bytes
from coldgrid.kernel.outbox import EffectStatus, ReviveEffect
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.parking import RetryParked
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.tables import metadata
from coldgrid.node.host import WALL
from coldgrid.node.troubles import Kind, troubles_of
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, may

Req = Request[Any, Any, Any]
WHY = {Kind.FULL: "the disk is full", Kind.UNWRITABLE: "the database refuses what is written"}


@get("/healthz", opt={"public": True}, include_in_schema=False, sync_to_thread=False)
def alive(request: Req) -> dict[str, Any]:
    """Say that the process serves; of several on one database, which it is."""
    return {"status": "ok"} | _standing(request)


def _standing(request: Req) -> dict[str, Any]:
    worker = request.app.state.get("worker")
    return {} if worker is None else worker.standing()


@get("/readyz", opt={"public": True}, include_in_schema=False, sync_to_thread=True)
def ready(request: Req, db: Db) -> Response[dict[str, Any]]:
    """Say that facts can be read here, and whether they are being decided (H2)."""
    return Response(_told(request, db))


@get("/deciding", opt={"public": True}, include_in_schema=False, sync_to_thread=True)
def deciding(request: Req, db: Db) -> Response[dict[str, Any]]:
    """Say whether commands are decided and timers run; 503 where not (H3)."""
    told = _told(request, db)
    return Response(told, status_code=200 if told["status"] == "ready" else 503)


def _told(request: Req, db: Reader) -> dict[str, Any]:
    parts = request.app.state.parts
    position = log.last_position(db)
    trouble = next(iter(troubles_of(parts)), None)
    # A fork stops no decision: the logs in quarantine are named, and why is for those who may see /health.
    barred = [f"{fork.origin}/{fork.epoch}" for fork in open_forks(db)]
    answer = {
        "status": trouble.kind if trouble else "ready",
        "position": position,
        "why": (trouble.why or WHY[trouble.kind]) if trouble else "",
        "quarantined": barred,
    }
    standing = _standing(request)
    if standing.pop("leaderless", False):
        answer |= {"status": "leaderless", "why": standing["stands_back"] or "no worker decides"}
    return answer | standing


@get("/metrics", opt={"public": True}, include_in_schema=False, sync_to_thread=True)
def metrics() -> Response[bytes]:
    """Give the metrics in Prometheus' text form. They name no person and no goods."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@get("/health", opt={"action": "kernel.view"}, include_in_schema=False, sync_to_thread=True)
def health_page(request: Req, db: Db) -> Response[str]:
    """Show background work, effects that wait or died, parked events, and the log."""
    return _shown(request, db)


def _shown(request: Req, db: Reader, form: Form = NO_FORM) -> Response[str]:
    parts, standing = request.app.state.parts, _standing(request)
    return page(
        request,
        "node/health.html",
        db,
        title="Health",
        nav="/health",
        parts=request.app.state.background.health(),
        leaderless=standing["stands_back"] if standing.get("leaderless") else None,
        counts=sorted(outbox.effect_counts(db).items()),
        waiting=[e for e in outbox.effects_of_status(db, EffectStatus.PENDING) if e.attempts],
        dead=outbox.effects_of_status(db, EffectStatus.DEAD),
        parked=parking.parked_events(db),
        forks=open_forks(db),
        frozen_why=parts.host.guard.frozen_why,
        clock=WALL.now(),
        may_accept=may(request, "kernel.accept_clock"),
        may_see_retention=may(request, "kernel.see_retention"),
        form=form,
        position=log.last_position(db),
        epochs=log.epochs(db),
        size_bytes=database_size_bytes(parts.database),
        tables=len(metadata.tables),
    )


@post("/health/effects", include_in_schema=False)
async def revive(request: Req, db: Db) -> Response[Any]:
    """Send a dead letter again."""
    return await submit_form(
        request,
        ReviveEffect,
        then="/health",
        said="Sending again.",
        again=lambda form: _shown(request, db),
    )


@post("/health/parked", include_in_schema=False)
async def retry(request: Req, db: Db) -> Response[Any]:
    """Run parked events again."""
    return await submit_form(
        request,
        RetryParked,
        then="/health",
        said="Tried again.",
        again=lambda form: _shown(request, db),
    )


@post("/health/clock", include_in_schema=False)
async def accept_clock(request: Req, db: Db) -> Response[Any]:
    """Accept the clock as it is now, so that timers run again."""
    return await submit_form(
        request,
        AcceptClock,
        then="/health",
        said="The clock is accepted; timers run again.",
        again=lambda form: _shown(request, db, form),
        origin=request.app.state.home or NETWORK_ORIGIN,
    )


register_nav(NavItem(group="Set up", label="Health", href="/health", icon="pulse", order=90))
handlers = [alive, ready, deciding, metrics, health_page, revive, retry, accept_clock]
