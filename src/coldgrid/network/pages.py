"""Pages about sites: the list, a site's settings with who answers for it, and its mode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.access.people import names
from coldgrid.kernel.reading import Reader
from coldgrid.network import change_pages
from coldgrid.network.calendars import is_open, next_departure
from coldgrid.network.change_rules import ChangeStatus
from coldgrid.network.changes import count_changes, history_of
from coldgrid.network.groups import duty_ids
from coldgrid.network.item_forms import word
from coldgrid.network.lanes import lanes_from, lanes_to
from coldgrid.network.sites import (
    ChangeSiteMode,
    Site,
    SiteKind,
    SiteLabel,
    SiteMode,
    get_site,
    site_labels,
    some_sites,
)
from coldgrid.network.zones import get_zone, locations_of_zone, zones_of, zones_of_sites
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import Badge, NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, Visitor, admit_at, may

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
SITES_PER_PAGE = 60
HISTORY_SHOWN = 10
MODE_STATES = {
    SiteMode.NORMAL: "ok",
    SiteMode.RECEIVE_ONLY: "warn",
    SiteMode.SHIP_ONLY: "warn",
    SiteMode.CLOSED: "off",
}


def _waiting(db: Reader, visitor: Visitor) -> Badge:
    waiting = count_changes(db, ChangeStatus.DRAFTED)
    return Badge(waiting, hot=visitor.has("admin"))


register_nav(NavItem(group="Plan", label="Network", href="/network", icon="site", order=10))
register_nav(
    NavItem(group="Set up", label="Changes", href="/network/changes", icon="check", badge=_waiting, order=10)
)


def _history(c: PanelContext) -> Markup:
    """Show who changed an item of master data and why; `item` is its kind and key."""
    kind, key = c.about["item"]
    history = history_of(c.db, kind, key, HISTORY_SHOWN)
    return c.render("network/_history.html", history=history, names=names(c.db))


for _page in ("network_site", "network_zone", "product"):
    register_panel(_page, "side", _history, order=90)


@get("/network", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def sites_page(
    request: Req, db: Db, q: FromQuery[str] = "", kind: FromQuery[str] = "", after: FromQuery[str] = ""
) -> Response[str]:
    """List the sites: what they are, their mode, their next cut-off, and who is on duty."""
    labels = site_labels(db)
    kind = word_or_all(request, kind, set(SiteKind))
    counts = Counter(label.kind for label in labels)
    found = [label.site_id for label in labels if label.site_id > after and _matches(label, q, kind)]
    shown = some_sites(db, found[:SITES_PER_PAGE])
    now = request.app.state.now()
    return page(
        request,
        "network/sites.html",
        db,
        title="Network",
        nav="/network",
        sites=[_row(site, now) for site in shown],
        zones=_classes_by_site(db, found[:SITES_PER_PAGE]),
        duty=duty_ids(db, [site.escalation_group for site in shown], now),
        names=names(db),
        total=len(labels),
        filters=[
            (f"/network?kind={member}", kind_word(member), n) for member in SiteKind if (n := counts[member])
        ],
        kind_word=kind_word,
        q=q,
        kind=kind,
        older=shown[-1].site_id if len(found) > len(shown) else "",
        word=word,
        may_draft=may(request, "network.draft_change"),
    )


def kind_word(kind: SiteKind) -> str:
    """Return a kind of site as people say it."""
    return kind.upper() if kind in {SiteKind.DC, SiteKind.MFC} else word(kind).capitalize()


def _matches(label: SiteLabel, q: str, kind: str) -> bool:
    told = f"{label.site_id} {label.name} {label.city} {label.region}".lower()
    return q.lower() in told and kind in {"", label.kind}


def _row(site: Site, now: datetime) -> dict[str, Any]:
    return {
        "site": site,
        "state": MODE_STATES[site.mode],
        "open": is_open(site.calendar, site.timezone, now),
        "departure": next_departure(site.cutoffs, site.calendar, site.timezone, now),
    }


def _classes_by_site(db: Reader, site_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for zone in zones_of_sites(db, site_ids):
        counts = found.setdefault(zone.site_id, {})
        counts[zone.temperature_class] = counts.get(zone.temperature_class, 0) + 1
    return found


@get("/network/sites/{site_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def site_page(request: Req, db: Db, site_id: FromPath[str]) -> Response[str]:
    """Show a site's settings, what it consists of, and how to change them."""
    return _site(request, db, site_id, NO_FORM)


def _site(request: Req, db: Reader, site_id: str, form: Form) -> Response[str]:
    site = get_site(db, site_id)
    now = request.app.state.now()
    known = names(db)
    duty = duty_ids(db, [site.escalation_group], now).get(site.escalation_group, {}).items()
    carriers = dict.fromkeys(cutoff.carrier for cutoff in site.cutoffs)
    departures = [
        next_departure(site.cutoffs, site.calendar, site.timezone, now, carrier) for carrier in carriers
    ]
    return page(
        request,
        "network/site.html",
        db,
        title=f"{site.site_id} · {site.name}",
        nav="/network",
        timezone=site.timezone,
        site=site,
        mode_state=MODE_STATES[site.mode],
        modes=[(mode.value, word(mode).capitalize()) for mode in SiteMode if mode is not site.mode],
        zones=zones_of(db, site_id),
        lanes_out=lanes_from(db, site_id),
        lanes_in=lanes_to(db, site_id),
        open_now=is_open(site.calendar, site.timezone, now),
        departures=sorted((d for d in departures if d is not None), key=lambda d: d.cutoff_at),
        duty=[
            (word(rota.replace("-", " ")).capitalize(), known.get(person, person)) for rota, person in duty
        ],
        names=known,
        item=("site", site_id),
        form=form,
        kind_word=kind_word,
        word=word,
        may_draft=may(request, "network.draft_change"),
        may_change_mode=may(request, "network.change_site_mode", site_id),
    )


@post("/network/sites/{site_id:str}/mode", include_in_schema=False)
async def change_mode(request: Req, db: Db, site_id: FromPath[str]) -> Response[Any]:
    """Change a site's mode, with a reason."""
    return await submit_form(
        request,
        ChangeSiteMode,
        then=f"/network/sites/{site_id}",
        said="The site's mode was changed.",
        again=lambda form: _site(request, db, site_id, form),
        site_id=site_id,
    )


@get("/network/zones/{zone_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def zone_page(request: Req, db: Db, zone_id: FromPath[str]) -> Response[str]:
    """Show a zone's settings and its locations."""
    zone = get_zone(db, zone_id)
    admit_at(request, VIEW["action"], [zone.site_id])
    site = get_site(db, zone.site_id)
    return page(
        request,
        "network/zone.html",
        db,
        title=f"{zone.zone_id} · {zone.name}",
        nav="/network",
        timezone=site.timezone,
        site=site,
        zone=zone,
        locations=locations_of_zone(db, zone_id),
        item=("zone", zone_id),
        word=word,
        may_draft=may(request, "network.draft_change"),
    )


handlers = [sites_page, site_page, change_mode, zone_page, *change_pages.handlers]
