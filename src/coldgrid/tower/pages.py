"""The pages that span rooms: the control tower, a site, and search. Rooms fill their slots with panels."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import NotFound
from coldgrid.network.sites import get_site
from coldgrid.orchestration.approvals import waiting_approvals
from coldgrid.orchestration.incidents import Incident, open_incidents, time_left_first
from coldgrid.orchestration.page_book import alarm_budgets
from coldgrid.orchestration.tasks import open_tasks
from coldgrid.orders.orders import find_order
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.inventory import units_by_sscc, units_of_lot
from coldgrid.tower import kpis
from coldgrid.tower.overview import RANK, WORDS, Overview, Picture, SiteState, ZoneState
from coldgrid.tower.zone_charts import explained, told, zone_frame
from coldgrid.webkit.commands import see_other
from coldgrid.webkit.maps import Pin, label_sides, project
from coldgrid.webkit.shell import NavItem, fragment, page, register_nav
from coldgrid.webkit.visitors import Db, Visitor, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
# More pins than these cover each other: the map shows those that need a look first.
PINS_MAX = 60
BUDGET_OVER = timedelta(days=28)


class NothingFound(NotFound):
    """Nothing has this name."""

    todo = "Search for an order, a lot, an SSCC, a site or a zone by its whole id."


def _overview(request: Req) -> Overview:
    overview: Overview = request.app.state.background.overview
    return overview


def _seen(picture: Picture, visitor: Visitor) -> list[SiteState]:
    """The sites that a visitor may see, worst first."""
    sites = visitor.principal.sites
    shown = [s for key, s in picture.sites.items() if sites is None or key in sites]
    return sorted(shown, key=lambda s: (RANK[s.state], s.site.site_id))


def _pins(sites: list[SiteState], selected: str) -> list[Pin]:
    shown = sites[:PINS_MAX] + [s for s in sites[PINS_MAX:] if s.site.site_id == selected]
    ordered = sorted(shown, key=lambda s: s.site.site_id)
    points = [project(s.site.lat, s.site.lon) for s in ordered]
    pins = []
    for state, (x, y), side in zip(ordered, points, label_sides(points), strict=True):
        worst = state.worst
        air_c = worst.air_c if worst is not None else None
        figure = "no data" if air_c is None else f"{air_c:.1f}°"
        place = f"{state.site.city}, {state.site.region}"
        pins.append(
            Pin(
                code=state.site.site_id,
                place=place,
                x=x,
                y=y,
                state=state.state,
                figure=figure,
                told=f"{state.site.site_id} {place}, {figure}, {WORDS[state.state].lower()}",
                href=f"/?site={state.site.site_id}",
                selected=state.site.site_id == selected,
                side=side,
            )
        )
    return pins


def _zone_view(request: Req, db: Reader, state: SiteState, zone: ZoneState) -> dict[str, Any]:
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
        "told_why": explained(db, zone.zone) if zone.state == "warn" and not zone.incident else "",
        "timezone": state.site.timezone,
    }


def _figures(db: Reader, picture: Picture, sites: list[SiteState]) -> list[kpis.Kpi]:
    held = sum(len(open_holds(db, state.site.site_id)) for state in sites if state.incidents)
    return kpis.figures(picture, sites, held, alarm_budgets(db, picture.at - BUDGET_OVER, picture.at))


def _incidents(request: Req, db: Reader) -> list[Incident]:
    """The open incidents, read anew: a page that hears of one must not be shown the picture before it."""
    sites = visitor_of(request).principal.sites
    shown = [one for one in open_incidents(db) if sites is None or one.site_id in sites]
    return time_left_first(shown, request.app.state.now())


def _pick(state: SiteState, zone_id: str) -> ZoneState | None:
    return next((zone for zone in state.zones if zone.zone.zone_id == zone_id), state.worst)


@get("/", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def tower_page(request: Req, db: Db, site: FromQuery[str] = "", zone: FromQuery[str] = "") -> Response[str]:
    """The control tower: figures, map, the site that needs a look, open incidents."""
    visitor, picture = visitor_of(request), _overview(request).picture()
    sites = _seen(picture, visitor)
    chosen = next((s for s in sites if s.site.site_id == site), sites[0] if sites else None)
    context: dict[str, Any] = {"chosen": chosen}
    topics = ["tower", "incidents"]
    if chosen is not None and (picked := _pick(chosen, zone)) is not None:
        context |= _zone_view(request, db, chosen, picked)
        topics.append(context["frame"].topic)
    return page(
        request,
        "tower/tower.html",
        db,
        title="Control tower",
        nav="/",
        topics=topics,
        pins=_pins(sites, chosen.site.site_id if chosen else ""),
        kpis=_figures(db, picture, sites),
        incidents=_incidents(request, db),
        names=names(db),
        not_shown=max(0, len(sites) - PINS_MAX),
        words=WORDS,
        **context,
    )


@get("/tower/figures", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def figures(request: Req, db: Db) -> Response[str]:
    """The figures alone, for a page that is live."""
    picture = _overview(request).picture()
    sites = _seen(picture, visitor_of(request))
    return fragment(request, "tower/_figures.html", db, kpis=_figures(db, picture, sites))


@get("/tower/map", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def network_map(request: Req, db: Db, site: FromQuery[str] = "") -> Response[str]:
    """The map alone."""
    sites = _seen(_overview(request).picture(), visitor_of(request))
    return fragment(request, "tower/_map.html", db, pins=_pins(sites, site))


@get("/tower/incidents", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incident_rows(request: Req, db: Db) -> Response[str]:
    """The open incidents alone."""
    shown = _incidents(request, db)
    return fragment(request, "tower/_incidents.html", db, incidents=shown, names=names(db))


@get("/sites/{site_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def site_page(request: Req, db: Db, site_id: FromPath[str], zone: FromQuery[str] = "") -> Response[str]:
    """One site: its zones with a chart, what stands there, what happens there."""
    site = get_site(db, site_id)
    state = _overview(request).picture().site(site_id)
    context: dict[str, Any] = {"state": state, "site": site}
    topics = [f"site/{site_id}", "incidents"]
    if state is not None and (picked := _pick(state, zone)) is not None:
        context |= _zone_view(request, db, state, picked)
        topics.append(context["frame"].topic)
    roles = visitor_of(request).roles
    return page(
        request,
        "tower/site.html",
        db,
        title=f"{site.site_id} · {site.name}",
        nav="/",
        topics=topics,
        timezone=site.timezone,
        words=WORDS,
        tasks=open_tasks(db, None, [site_id]),
        approvals=waiting_approvals(db, roles, [site_id]),
        **{name: value for name, value in context.items() if name != "timezone"},
    )


@get("/search", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def search(request: Req, db: Db, q: FromQuery[str] = "") -> Response[Any]:
    """Go to whatever has this id: an order, a unit, a lot, a site, a zone."""
    wanted = q.strip()
    picture = _overview(request).picture()
    upper = wanted.upper()
    if picture.site(upper) is not None:
        return see_other(f"/sites/{upper}")
    site = picture.site(upper.partition("-")[0])
    if site is not None and any(zone.zone.zone_id == upper for zone in site.zones):
        return see_other(f"/sites/{site.site.site_id}?zone={upper}")
    digits = wanted.removeprefix("(00)").replace(" ", "")
    if digits.isdigit() and units_by_sscc(db, digits):
        return see_other(f"/stock/units/{digits}")
    if find_order(db, wanted) is not None:
        return see_other(f"/orders/{quote(wanted)}")
    if units_of_lot(db, wanted):
        return see_other(f"/stock/lots/{quote(wanted)}")
    raise NothingFound(searched=wanted[:80])


register_nav(NavItem(group="", label="Control tower", href="/", icon="tower", order=0, phone=True))
handlers = [tower_page, figures, network_map, incident_rows, site_page, search]
