"""The pages that span sites: the control tower, and search. Rooms fill their slots with panels."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.params import FromQuery

from coldgrid.access.people import names
from coldgrid.kernel.reading import Reader
from coldgrid.node.overview import RANK, WORDS, Picture, SiteState
from coldgrid.node.search import answer
from coldgrid.node.site_pages import overview_of, pick_zone, zone_view
from coldgrid.orchestration.incident_pages import next_step_of
from coldgrid.orchestration.incidents import open_incidents, time_left_first
from coldgrid.orchestration.page_book import alarm_budgets
from coldgrid.orchestration.views import STATUSES, time_left
from coldgrid.orders.orders import find_order
from coldgrid.stock.hold_book import open_holds
from coldgrid.tower import kpis
from coldgrid.webkit.formats import in_unit, number, temperature
from coldgrid.webkit.maps import Pin, is_beyond, labelled, project
from coldgrid.webkit.shell import NavItem, fragment, page, register_nav
from coldgrid.webkit.visitors import Db, Visitor, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
# More pins than these cover each other: the map shows those that need a look first.
PINS_MAX = 60
BUDGET_OVER = timedelta(days=28)


def _seen(picture: Picture, visitor: Visitor) -> list[SiteState]:
    """The sites that a visitor may see, worst first."""
    sites = visitor.principal.sites
    shown = [s for key, s in picture.sites.items() if sites is None or key in sites]
    return sorted(shown, key=lambda s: (RANK[s.state], s.site.site_id))


def pins_of(sites: list[SiteState], selected: str, unit: str = "c") -> list[Pin]:
    """The sites as pins, the selected one among them. `unit`: what the reader's temperatures show in."""
    shown = sites[:PINS_MAX] + [s for s in sites[PINS_MAX:] if s.site.site_id == selected]
    ordered = sorted(shown, key=lambda s: s.site.site_id)
    points = [project(s.site.lat, s.site.lon) for s in ordered]
    pins = []
    for state, (x, y) in zip(ordered, points, strict=True):
        worst = state.worst
        air_c = worst.air_c if worst is not None else None
        figure = "no data" if air_c is None else f"{number(in_unit(air_c, unit))}°"
        air = "no data" if air_c is None else temperature(air_c, unit)
        place = f"{state.site.city}, {state.site.region}"
        pins.append(
            Pin(
                code=state.site.site_id,
                place=place,
                x=x,
                y=y,
                state=state.state,
                figure=figure,
                told=f"{state.site.site_id} {place}, {air}, {WORDS[state.state].lower()}",
                href=f"/?site={state.site.site_id}",
                selected=state.site.site_id == selected,
                beyond=is_beyond(x, y),
            )
        )
    return labelled(pins)


def _figures(db: Reader, picture: Picture, sites: list[SiteState]) -> list[kpis.Kpi]:
    held = sum(len(open_holds(db, state.site.site_id)) for state in sites if state.incidents)
    return kpis.figures(picture, sites, held, alarm_budgets(db, picture.at - BUDGET_OVER, picture.at))


def _incidents(request: Req, db: Reader) -> dict[str, Any]:
    """The open incidents, read anew: a page that hears of one must not be shown the picture before it.

    They are told in the words of the incidents' own pages.
    """
    sites = visitor_of(request).principal.sites
    shown = [one for one in open_incidents(db) if sites is None or one.site_id in sites]
    return {
        "incidents": time_left_first(shown, request.app.state.now()),
        "next_steps": {one.incident_id: next_step_of(db, one) for one in shown},
        "statuses": STATUSES,
        "time_left": time_left,
        "names": names(db),
    }


@get("/", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def tower_page(request: Req, db: Db, site: FromQuery[str] = "", zone: FromQuery[str] = "") -> Response[str]:
    """The control tower: figures, map, the site that needs a look, open incidents."""
    visitor, picture = visitor_of(request), overview_of(request).picture()
    sites = _seen(picture, visitor)
    chosen = next((s for s in sites if s.site.site_id == site), sites[0] if sites else None)
    context: dict[str, Any] = {"chosen": chosen}
    topics = ["tower", "incidents", "nodes"]
    if chosen is not None and (picked := pick_zone(chosen, zone)) is not None:
        context |= zone_view(request, db, chosen, picked)
        topics.append(context["frame"].topic)
    return page(
        request,
        "tower/tower.html",
        db,
        title="Control tower",
        nav="/",
        topics=topics,
        pins=pins_of(sites, chosen.site.site_id if chosen else "", visitor.unit),
        kpis=_figures(db, picture, sites),
        **_incidents(request, db),
        not_shown=max(0, len(sites) - PINS_MAX),
        words=WORDS,
        **context,
    )


@get("/tower/figures", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def figures(request: Req, db: Db) -> Response[str]:
    """The figures alone, for a page that is live."""
    picture = overview_of(request).picture()
    sites = _seen(picture, visitor_of(request))
    return fragment(request, "tower/_figures.html", db, kpis=_figures(db, picture, sites))


@get("/tower/map", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def network_map(request: Req, db: Db, site: FromQuery[str] = "") -> Response[str]:
    """The map alone."""
    visitor = visitor_of(request)
    sites = _seen(overview_of(request).picture(), visitor)
    return fragment(request, "tower/_map.html", db, pins=pins_of(sites, site, visitor.unit))


@get("/tower/incidents", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def incident_rows(request: Req, db: Db) -> Response[str]:
    """The open incidents alone."""
    return fragment(request, "tower/_incidents.html", db, **_incidents(request, db))


@get("/search", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def search(request: Req, db: Db, q: FromQuery[str] = "") -> Response[Any]:
    """Go to whatever is called so: an order, a unit, a lot, a site, a zone; or show what it may be."""
    order = find_order(db, q.strip())
    return answer(request, db, q, f"/orders/{quote(order.order_id, safe='')}" if order is not None else "")


register_nav(NavItem(group="", label="Control tower", href="/", icon="tower", order=0, phone=True))
handlers = [tower_page, figures, network_map, incident_rows, search]
