"""Pages of the first run: the network's name, leaving a step for later, the summary; and the way in."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Rejected
from coldgrid.network.groups import has_network_group
from coldgrid.network.profile import (
    FinishSetUp,
    NameNetwork,
    SetUpOver,
    SetUpStep,
    SkipSetUpStep,
    profile_of,
    set_up_open,
)
from coldgrid.network.sites import get_site
from coldgrid.network.zones import zones_of
from coldgrid.tower.first_run import people_pages, product_pages, sensor_pages, site_pages
from coldgrid.tower.first_run.frame import SET_UP, after, must_be_open, refused, step_page
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.progress import progress_of
from coldgrid.webkit.commands import form_values, run, see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import NavItem, PanelContext, register_nav, register_panel
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
ADMINS = frozenset({"admin"})

register_nav(
    NavItem(
        group="Set up",
        label="First steps",
        href=WELCOME,
        icon="flag",
        roles=ADMINS,
        order=0,
        shown=set_up_open,
    )
)


def _banner(c: PanelContext) -> Markup | None:
    """Lead back to the set-up from every other page, while it is open."""
    path = c.request.scope["path"]
    if path.startswith(WELCOME) or not set_up_open(c.db):
        return None
    return c.render("tower/first_run/_banner.html", progress=progress_of(c.db))


register_panel("shell", "banner", _banner, roles=ADMINS)


@get(WELCOME, opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def begin(db: Db) -> Response[Any]:
    """Go to the first step that is neither done nor left for later."""
    must_be_open(db)
    return see_other(f"{WELCOME}/{progress_of(db).next_step}")


# --- The network ------------------------------------------------------------------


@get(f"{WELCOME}/network", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def network_page(request: Req, db: Db) -> Response[str]:
    """Ask what the network is called and what it reads temperatures in."""
    return step_page(request, db, "network")


@post(f"{WELCOME}/network", opt=SET_UP, include_in_schema=False)
async def name_network(request: Req, db: Db) -> Response[Any]:
    """Name the network."""

    def again(form: Form) -> Response[Any]:
        return step_page(request, db, "network", form)

    return await submit_form(
        request, NameNetwork, then=after("network"), said="The network has its name.", again=again
    )


# --- For later, and the end -------------------------------------------------------


@post(f"{WELCOME}/skip/{{step:str}}", opt=SET_UP, include_in_schema=False)
async def skip(request: Req, step: FromPath[SetUpStep]) -> Response[Any]:
    """Leave a step for later."""
    await form_values(request)
    await run(request, SkipSetUpStep(step=step))
    return see_other(after(step.value))


@get(f"{WELCOME}/summary", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def summary_page(request: Req, db: Db) -> Response[str]:
    """Say what is live and what is left."""
    return _summary(request, db, NO_FORM)


def _summary(request: Req, db: Reader, form: Form) -> Response[str]:
    progress = progress_of(db)
    site = get_site(db, progress.site_id) if progress.site_id else None
    zones = zones_of(db, progress.site_id) if progress.site_id else []
    watched = {sensor.zone_id for sensor, _ in progress.heard}
    awaited = {sensor.zone_id for sensor in progress.sensors} - watched
    return step_page(
        request,
        db,
        "summary",
        form,
        progress=progress,
        site=site,
        unwatched=[zone for zone in zones if zone.zone_id not in watched],
        awaited=awaited,
        unanswered=site is not None and not has_network_group(db),
        has_port=request.app.state.get("node_port") is not None,
    )


@post(f"{WELCOME}/finish", opt=SET_UP, include_in_schema=False)
async def finish(request: Req, db: Db) -> Response[Any]:
    """End the set-up."""
    values = await form_values(request)
    try:
        await run(request, FinishSetUp())
    except SetUpOver:
        if profile_of(db) is None:
            raise
        return see_other("/")  # it was pressed before, here or in another window
    except Rejected as rejected:
        return _summary(request, db, refused(rejected, values))
    return see_other("/", "Your network is set up. What is left is under Network, People and API tokens.")


handlers = [
    begin,
    network_page,
    name_network,
    skip,
    summary_page,
    finish,
    *site_pages.handlers,
    *product_pages.handlers,
    *sensor_pages.handlers,
    *people_pages.handlers,
]
