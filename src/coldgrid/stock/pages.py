"""Pages about stock: by site, zone and lot, one unit with its history, and the trace of a lot."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.access.people import names
from coldgrid.catalog.lots import Lot, LotNotFound, get_lot
from coldgrid.catalog.products import get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import SiteLabel, get_site, site_labels, some_sites
from coldgrid.network.zones import get_zone, zones_of
from coldgrid.stock import hold_pages, lot_holds, scan_pages, transfer_pages
from coldgrid.stock.counts import counts_of
from coldgrid.stock.finding import find
from coldgrid.stock.hold_book import holds_of_unit, open_holds
from coldgrid.stock.hold_facts import HeldState
from coldgrid.stock.inventory import children_of, site_totals, units_at, units_by_sscc, zone_units
from coldgrid.stock.ledger import movements_of_unit
from coldgrid.stock.lineage import came_from, went_into
from coldgrid.stock.pauses import all_open_pauses, open_pauses
from coldgrid.stock.reserves import silence_of
from coldgrid.stock.stays import stays_of
from coldgrid.stock.summaries import StockRow, stock_rows, sum_of
from coldgrid.stock.trace import trace_lot
from coldgrid.stock.transfer_book import on_the_way, on_their_way
from coldgrid.stock.units import UnitNotFound, where_now
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.commands import see_other
from coldgrid.webkit.hits import hits
from coldgrid.webkit.shell import NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, Visitor, admit_at, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
UNITS_PER_PAGE = 100
SITES_PER_PAGE = 60
STEPS_SHOWN = 200

register_nav(NavItem(group="Run", label="Stock", href="/stock", icon="box", order=30, phone=True))


@get("/stock", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def stock_page(request: Req, db: Db, q: FromQuery[str] = "", after: FromQuery[str] = "") -> Response[Any]:
    """Show the stock of every site, go to what was searched for, or show what it may be."""
    found = find(db, q)
    if found.address:
        return see_other(found.address)
    sites = [site for site in _visible(db, visitor_of(request)) if _matches(site, q)]
    meant = [] if sites else hits(db, visitor_of(request).principal.sites, q)
    if len(meant) == 1 or (found.why and not meant):
        return see_other(meant[0].href if meant else f"{scan_pages.SCAN}?q={quote(q.strip())}")
    totals = {total.site_id: total for total in site_totals(db)}
    behind = [site for site in sites if site.site_id > after]
    shown = some_sites(db, [site.site_id for site in behind[:SITES_PER_PAGE]])
    paused: dict[str, int] = {}
    for zone_id in {pause.zone_id for pause in all_open_pauses(db)}:
        site_id = zone_id.partition("-")[0]
        paused[site_id] = paused.get(site_id, 0) + 1
    return page(
        request,
        "stock/sites.html",
        db,
        title="Stock",
        nav="/stock",
        sites=[(site, totals.get(site.site_id), paused.get(site.site_id, 0)) for site in shown],
        total=len(sites),
        older=shown[-1].site_id if len(behind) > len(shown) else "",
        q=q,
        meant=meant,
    )


def _visible(db: Reader, visitor: Visitor) -> list[SiteLabel]:
    allowed = visitor.principal.sites
    return [site for site in site_labels(db) if allowed is None or site.site_id in allowed]


def _matches(site: SiteLabel, q: str) -> bool:
    return q.strip().lower() in f"{site.site_id} {site.name} {site.city} {site.region}".lower()


def _lot(db: Reader, lot_id: str) -> Lot | None:
    try:
        return get_lot(db, lot_id)
    except LotNotFound:
        return None


@get("/stock/sites/{site_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def site_page(
    request: Req, db: Db, site_id: FromPath[str], zone: FromQuery[str] = "", q: FromQuery[str] = ""
) -> Response[str]:
    """Show a site's stock by zone, product and lot."""
    site = get_site(db, site_id)
    zones = zones_of(db, site_id)
    zone = word_or_all(request, zone, {one.zone_id for one in zones})
    everything = stock_rows(db, [one.zone_id for one in zones])
    rows = [row for row in everything if zone in ("", row.zone_id) and _names(row, q)]
    return page(
        request,
        "stock/site.html",
        db,
        title=f"Stock of {site_id}",
        nav="/stock",
        topics=(f"site/{site_id}",),
        timezone=site.timezone,
        site=site,
        zones=zones,
        zone_id=zone,
        q=q,
        rows=rows,
        sums={one.zone_id: sum_of(r for r in everything if r.zone_id == one.zone_id) for one in zones},
        all=sum_of(everything),
        pauses={one.zone_id: open_pauses(db, one.zone_id) for one in zones},
        holds=open_holds(db, site_id),
        coming=on_their_way(db, site_id),
        may_send=may(request, "stock.ship_transfer", site_id),
    )


def _names(row: StockRow, q: str) -> bool:
    told = f"{row.product.product_id} {row.product.name} {row.lot_id}".lower()
    return q.strip().lower() in told


@get(
    "/stock/sites/{site_id:str}/zones/{zone_id:str}",
    opt=VIEW,
    include_in_schema=False,
    sync_to_thread=True,
)
def zone_page(
    request: Req,
    db: Db,
    site_id: FromPath[str],
    zone_id: FromPath[str],
    after: FromQuery[str] = "",
    at: FromQuery[str] = "",
) -> Response[str]:
    """Show a zone's units one by one, or those at one location, and what pauses it."""
    site, zone = get_site(db, site_id), get_zone(db, zone_id)
    if zone.site_id != site_id:
        raise UnitNotFound(site_id=site_id, zone_id=zone_id)
    units = units_at(db, zone_id, at) if at else zone_units(db, zone_id, after, UNITS_PER_PAGE + 1)
    rows = stock_rows(db, [zone_id])
    return page(
        request,
        "stock/zone.html",
        db,
        title=f"Stock of {zone_id}",
        nav="/stock",
        topics=(f"site/{site_id}",),
        timezone=site.timezone,
        site=site,
        zone=zone,
        at=at,
        units=units if at else units[:UNITS_PER_PAGE],
        older=units[UNITS_PER_PAGE - 1].sscc if len(units) > UNITS_PER_PAGE and not at else "",
        products={row.product.product_id: row.product for row in rows},
        sum=sum_of(rows),
        pauses=open_pauses(db, zone_id),
        names=names(db),
        may_send=may(request, "stock.ship_transfer", site_id),
        **hold_pages.zone_controls(request, site_id),
    )


@get("/stock/units/{sscc:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def unit_page(request: Req, db: Db, sscc: FromPath[str]) -> Response[str]:
    """Show one unit: what it holds, what blocks it, where it stood, and how its goods moved."""
    rows = units_by_sscc(db, sscc)
    if not rows:
        raise UnitNotFound(sscc=sscc)
    unit = where_now(rows)
    admit_at(request, VIEW["action"], [row.site_id for row in rows])
    site = get_site(db, unit.site_id)
    holds = holds_of_unit(db, sscc)
    return page(
        request,
        "stock/unit.html",
        db,
        title=f"Unit {sscc}",
        nav="/stock",
        timezone=site.timezone,
        site=site,
        handling_unit=unit,
        product=get_product(db, unit.product_id) if unit.product_id else None,
        lot=_lot(db, unit.lot_id) if unit.lot_id else None,
        nested=children_of(db, unit.site_id, sscc),
        holds=holds,
        blocked=[one for one in holds if one.state is HeldState.OPEN],
        stays=stays_of(db, sscc),
        movements=movements_of_unit(db, sscc)[-STEPS_SHOWN:],
        counted=counts_of(db, sscc)[-1:],
        came_from=came_from(db, sscc),
        went_into=went_into(db, sscc),
        names=names(db),
        may_send=may(request, "stock.ship_transfer", unit.site_id),
        coming=on_the_way(db, sscc),
        **hold_pages.unit_controls(request, unit.site_id),
    )


@get("/stock/lots/{lot_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def lot_page(request: Req, db: Db, lot_id: FromPath[str]) -> Response[str]:
    """Show a lot both ways: where it came from and where it went, at the visitor's sites."""
    lot = get_lot(db, lot_id)
    trace = trace_lot(db, lot_id, visitor_of(request).principal.sites)
    return page(
        request,
        "stock/lot.html",
        db,
        title=f"Lot {lot_id}",
        nav="/stock",
        lot=lot,
        product=get_product(db, lot.product_id),
        trace=trace,
        in_stock=sum(trace.in_stock.values()),
        shipped=sum(trace.orders.values()),
        shown=STEPS_SHOWN,
        may_hold=any(may(request, "stock.place_hold", site_id) for site_id in trace.in_stock),
    )


def _site_panel(c: PanelContext) -> Markup | None:
    site = c.about["site"]
    zones = zones_of(c.db, site.site_id)
    rows = stock_rows(c.db, [zone.zone_id for zone in zones])
    sums = [(zone, sum_of(row for row in rows if row.zone_id == zone.zone_id)) for zone in zones]
    paused = {zone.zone_id for zone in zones if open_pauses(c.db, zone.zone_id)}
    return c.render("stock/_site_panel.html", site=site, sums=sums, paused=paused)


def _silence_panel(c: PanelContext) -> Markup | None:
    """How old a silent site's facts are, above everything that rests on them."""
    silence = silence_of(c.db, c.about["site"].site_id)
    return None if silence is None else c.render("stock/_silence.html", silence=silence)


register_panel("site", "main", _site_panel, order=40)
register_panel("site", "top", _silence_panel, order=10)
register_panel("stock-site", "top", _silence_panel, order=10)

handlers = [
    stock_page,
    site_page,
    zone_page,
    unit_page,
    lot_page,
    *hold_pages.handlers,
    *lot_holds.handlers,
    *scan_pages.handlers,
    *transfer_pages.handlers,
]
