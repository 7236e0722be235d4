"""The page of one site: its zones with a chart, what stands there, what happens. Tower and node show it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import NotFound
from coldgrid.network.sites import get_site
from coldgrid.node.overview import WORDS, Overview, Picture, SiteState, ZoneState
from coldgrid.node.zone_charts import explained, told, zone_frame
from coldgrid.orchestration.approvals import waiting_approvals
from coldgrid.orchestration.incident_pages import next_step_of
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.stock.finding import find
from coldgrid.webkit.shell import PanelContext, fragment, page, register_panel
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}


class NothingFound(NotFound):
    """Nothing has this name."""

    todo = "Choose a zone of this site."


def overview_of(request: Req) -> Overview:
    """Return the host's overview."""
    overview: Overview = request.app.state.background.overview
    return overview


def zone_view(request: Req, db: Reader, state: SiteState, zone: ZoneState) -> dict[str, Any]:
    """Return what `node/_zone.html` shows of a zone."""
    visitor = visitor_of(request)
    frame = zone_frame(
        db, zone.zone, request.app.state.now(), unit=visitor.unit, timezone=state.site.timezone
    )
    return {
        "state": state,
        "zone": zone,
        "frame": frame,
        "told": told(frame, zone.zone, state.site.name),
        "word": WORDS[zone.state],
        "next_step": next_step_of(db, zone.incident) if zone.incident else "",
        "told_why": explained(db, zone.zone) if zone.state == "warn" and not zone.incident else "",
        "timezone": state.site.timezone,
    }


def pick_zone(state: SiteState, zone_id: str) -> ZoneState | None:
    """Return the zone asked for, else the one that needs a look first."""
    return next((zone for zone in state.zones if zone.zone.zone_id == zone_id), state.worst)


def place_of(picture: Picture, db: Reader, wanted: str) -> str | None:
    """Return the address of the site, zone, unit, lot or product called so; None where there is none."""
    upper = wanted.upper()
    if picture.site(upper) is not None:
        return f"/sites/{upper}"
    site = picture.site(upper.partition("-")[0])
    if site is not None and any(zone.zone.zone_id == upper for zone in site.zones):
        return f"/sites/{site.site.site_id}?zone={upper}"
    return find(db, wanted).address or None


@get("/sites/{site_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def site_page(request: Req, db: Db, site_id: FromPath[str], zone: FromQuery[str] = "") -> Response[str]:
    """One site: its zones with a chart, what stands there, what happens there."""
    site = get_site(db, site_id)
    state = overview_of(request).picture().site(site_id)
    context: dict[str, Any] = {"state": state, "site": site}
    topics = [f"site/{site_id}", "incidents", "nodes"]
    if state is not None and (picked := pick_zone(state, zone)) is not None:
        context |= zone_view(request, db, state, picked)
        topics.append(context["frame"].topic)
    roles = visitor_of(request).roles
    return page(
        request,
        "node/site.html",
        db,
        title=f"{site.site_id} · {site.name}",
        nav="/",
        at_home=request.app.state.home == site_id,
        topics=topics,
        timezone=site.timezone,
        words=WORDS,
        tasks=open_tasks(db, None, [site_id]),
        approvals=waiting_approvals(db, roles, [site_id]),
        **{name: value for name, value in context.items() if name != "timezone"},
    )


@get("/sites/{site_id:str}/now", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def zone_now(request: Req, db: Db, site_id: FromPath[str], zone: FromQuery[str] = "") -> Response[str]:
    """One zone as it is now, for a page that is live."""
    state = overview_of(request).picture().site(get_site(db, site_id).site_id)
    picked = pick_zone(state, zone) if state is not None else None
    if state is None or picked is None:
        raise NothingFound(searched=zone[:80])
    return fragment(request, "node/_zone_now.html", db, **zone_view(request, db, state, picked))


def _zone_panel(c: PanelContext) -> Markup | None:
    """The chosen zone beside the map of the control tower."""
    return c.render("node/_zone_live.html") if "zone" in c.about else None


register_panel("tower", "right", _zone_panel, order=0)
handlers = [site_page, zone_now]
