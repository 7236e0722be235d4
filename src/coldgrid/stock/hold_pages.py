"""Pages about holds and pauses: what blocks goods, who may end it, and the forms to do so."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.catalog.products import Product, get_product
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.network.zones import zones_of
from coldgrid.stock.hold_book import get_hold, open_holds_of_all_sites, units_of_hold
from coldgrid.stock.hold_facts import Disposition, HeldState, HoldReason
from coldgrid.stock.holds import RELEASING_ROLE, PlaceHold, ReleaseHold
from coldgrid.stock.inventory import get_units
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
REASONS = {
    HoldReason.TEMPERATURE_EXCURSION: "Temperature excursion",
    HoldReason.RECALL: "Recall",
    HoldReason.DAMAGE: "Damage",
    HoldReason.CUSTOMS: "Customs",
    HoldReason.INSURER: "Insurer's inspection",
    HoldReason.QUALITY: "Quality",
}
DISPOSITIONS = {
    Disposition.RELEASE: ("Release", "Back to stock, as good as before"),
    Disposition.REDUCED_LIFE: ("Release with reduced life", "Back to stock, with an earlier last day"),
    Disposition.REWORK: ("Rework", "Kept from sale until it was reworked"),
    Disposition.RETURN: ("Return to supplier", "Leaves with the supplier's carrier"),
    Disposition.DONATE: ("Donate", "Leaves for a food bank"),
    Disposition.DESTROY: ("Destroy", "Destroyed before a witness"),
}
PAUSES = {
    PauseReason.PRE_ALARM: "Pre-alarm",
    PauseReason.EXCURSION: "Excursion",
    PauseReason.SAFETY: "Safety",
    PauseReason.MAINTENANCE: "Maintenance",
    PauseReason.MANUAL: "By hand",
}
UNITS_SHOWN = 300


def unit_controls(request: Req, site_id: str) -> dict[str, Any]:
    """Return what a unit's page needs to know about holds."""
    return {"reasons": REASONS, "may_hold": may(request, "stock.place_hold", site_id)}


def zone_controls(request: Req, site_id: str) -> dict[str, Any]:
    """Return what a zone's page needs to know about holds and pauses."""
    return {
        "pause_names": PAUSES,
        "may_hold": may(request, "stock.place_hold", site_id),
        "may_pause": may(request, "stock.pause_zone", site_id),
        "may_resume": may(request, "stock.resume_zone", site_id),
    }


@get("/stock/holds", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def holds_page(request: Req, db: Db) -> Response[str]:
    """Show every open hold, oldest first, with what it keeps back."""
    allowed = visitor_of(request).principal.sites
    rows = [hold for hold in open_holds_of_all_sites(db) if allowed is None or hold.site_id in allowed]
    return page(
        request,
        "stock/holds.html",
        db,
        title="Holds",
        nav="/stock",
        rows=rows,
        reasons=REASONS,
        names=names(db),
    )


@get("/stock/sites/{site_id:str}/hold", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def place_page(
    request: Req, db: Db, site_id: FromPath[str], sscc: FromQuery[str] = "", zone: FromQuery[str] = ""
) -> Response[str]:
    """Ask what to hold, and why."""
    return _place(request, db, site_id, NO_FORM, sscc=sscc, zone=zone)


def _place(request: Req, db: Reader, site_id: str, form: Form, *, sscc: str, zone: str) -> Response[str]:
    site = get_site(db, site_id)
    return page(
        request,
        "stock/place_hold.html",
        db,
        title="Place a hold",
        nav="/stock",
        timezone=site.timezone,
        site=site,
        sscc=sscc,
        zone=zone,
        zones=[(one.zone_id, f"{one.zone_id} · {one.name}") for one in zones_of(db, site_id)],
        reasons=[(reason.value, text) for reason, text in REASONS.items()],
        roles=RELEASING_ROLE,
        form=form,
    )


@post("/stock/sites/{site_id:str}/hold", include_in_schema=False)
async def place(
    request: Req, db: Db, site_id: FromPath[str], sscc: FromQuery[str] = "", zone: FromQuery[str] = ""
) -> Response[Any]:
    """Place a hold on a unit or a zone."""
    key = (await request.form()).get("_key", "")
    fixed: dict[str, Any] = {"site_id": site_id, "hold_id": derive_id("hold", site_id, sscc, zone, key)}
    if sscc:
        fixed["sscc"] = [sscc]
    else:
        fixed["zone_id"] = zone
        fixed["from_at"] = request.app.state.now().isoformat()
    return await submit_form(
        request,
        PlaceHold,
        then=lambda outcome: f"/stock/sites/{site_id}/holds/{outcome.result.hold_id}",
        said="The goods are held.",
        again=lambda form: _place(request, db, site_id, form, sscc=sscc, zone=zone),
        **fixed,
    )


@get("/stock/sites/{site_id:str}/holds/{hold_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def hold_page(request: Req, db: Db, site_id: FromPath[str], hold_id: FromPath[str]) -> Response[str]:
    """Show a hold: why, who may end it, and what becomes of each unit."""
    return _hold(request, db, site_id, hold_id, NO_FORM)


def _hold(request: Req, db: Reader, site_id: str, hold_id: str, form: Form) -> Response[str]:
    site = get_site(db, site_id)
    hold = get_hold(db, site_id, hold_id)
    parts = units_of_hold(db, site_id, hold_id)
    shown = parts[:UNITS_SHOWN]
    units = {unit.sscc: unit for unit in get_units(db, site_id, [part.sscc for part in shown])}
    products: dict[str, Product] = {}
    for product_id in {unit.product_id for unit in units.values() if unit.product_id}:
        products[product_id] = get_product(db, product_id)
    return page(
        request,
        "stock/hold.html",
        db,
        title=f"Hold at {site_id}",
        nav="/stock",
        topics=(f"site/{site_id}",),
        timezone=site.timezone,
        site=site,
        hold=hold,
        parts=shown,
        more=len(parts) - len(shown),
        open_count=sum(part.state is HeldState.OPEN for part in parts),
        units=units,
        products=products,
        reasons=REASONS,
        dispositions=[(one.value, *text) for one, text in DISPOSITIONS.items()],
        names=names(db),
        form=form,
        may_release=may(request, "stock.release_hold", site_id)
        and visitor_of(request).has(hold.releasing_role, "responsible_person"),
    )


@post("/stock/sites/{site_id:str}/holds/{hold_id:str}", include_in_schema=False)
async def release(request: Req, db: Db, site_id: FromPath[str], hold_id: FromPath[str]) -> Response[Any]:
    """Decide what becomes of the chosen units."""
    return await submit_form(
        request,
        ReleaseHold,
        then=f"/stock/sites/{site_id}/holds/{hold_id}",
        said="Decided and recorded.",
        again=lambda form: _hold(request, db, site_id, hold_id, form),
        site_id=site_id,
        hold_id=hold_id,
    )


@post("/stock/sites/{site_id:str}/zones/{zone_id:str}/pause", include_in_schema=False)
async def pause(request: Req, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[Any]:
    """Stop new promises from a zone."""
    key = str((await request.form()).get("_key", ""))
    return await submit_form(
        request,
        PauseZone,
        then=f"/stock/sites/{site_id}/zones/{zone_id}",
        said="Nothing new is promised from this zone.",
        site_id=site_id,
        zone_id=zone_id,
        pause_id=derive_id("pause", zone_id, key),
        cause_id=f"by hand {key[:12]}",
    )


@post("/stock/sites/{site_id:str}/zones/{zone_id:str}/resume", include_in_schema=False)
async def resume(request: Req, site_id: FromPath[str], zone_id: FromPath[str]) -> Response[Any]:
    """Lift one cause of a pause."""
    return await submit_form(
        request,
        ResumeZone,
        then=f"/stock/sites/{site_id}/zones/{zone_id}",
        said="The cause is lifted.",
        site_id=site_id,
        zone_id=zone_id,
    )


handlers = [holds_page, place_page, place, hold_page, release, pause, resume]
