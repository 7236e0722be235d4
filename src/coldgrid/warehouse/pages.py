"""Pages of the work at a site: which orders wait, and one order picked and dispatched with a scanner.

Invariants
    P1  One field is ready when a page opens, also after a refusal: a whole unit is a scan and Enter.
    P2  A wrong, held or expired unit says what it is and what to do; nothing is stored of it.
    P3  Only who may dispatch at a site sees its work. Nothing here needs JavaScript, or the tower.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site, site_labels
from coldgrid.stock.conditions import SetUnitStatus
from coldgrid.stock.inventory import find_unit
from coldgrid.stock.transfer_book import on_their_way
from coldgrid.stock.units import Unit, UnitStatus
from coldgrid.warehouse.picking import DispatchPicked, PickUnit, offer_of, source_of, work_of
from coldgrid.warehouse.plan import why_not
from coldgrid.warehouse.work import PickList, floor_of, pick_list, product_of, scanned
from coldgrid.webkit.commands import see_other, submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, may, visitor_of

Req = Request[Any, Any, Any]
PICK = {"action": "stock.dispatch_goods"}
WORK = "/warehouse"
SHORTS = (("missing", "Missing: fewer than the books say"), ("damaged", "Damaged"))

register_nav(
    NavItem(
        group="Run",
        label="Work",
        href=WORK,
        icon="lines",
        order=10,
        roles=frozenset({"operator", "supervisor"}),
        phone=True,
    )
)


@get(WORK, opt=PICK, include_in_schema=False, sync_to_thread=True)
def work_page(request: Req, db: Db) -> Response[Any]:
    """Go to the work of the visitor's site; who has several chooses one."""
    sites = visitor_of(request).principal.sites
    own = [site for site in site_labels(db) if sites is None or site.site_id in sites]
    if len(own) == 1:
        return see_other(f"{WORK}/{own[0].site_id}")
    return page(request, "warehouse/sites.html", db, title="Work", nav=WORK, sites=own)


@get("/warehouse/{site_id:str}", opt=PICK, include_in_schema=False, sync_to_thread=True)
def site_page(request: Req, db: Db, site_id: FromPath[str]) -> Response[str]:
    """Show what there is to do at a site: the next to leave first."""
    site = get_site(db, site_id)
    return page(
        request,
        "warehouse/site.html",
        db,
        title=f"Work at {site_id}",
        nav=WORK,
        topics=(f"site/{site_id}",),
        timezone=site.timezone,
        site=site,
        floor=floor_of(db, site_id),
        coming=on_their_way(db, site_id),
    )


# --- One order ------------------------------------------------------------------


@get("/warehouse/{site_id:str}/orders/{order_id:str}", opt=PICK, include_in_schema=False, sync_to_thread=True)
def order_page(
    request: Req, db: Db, site_id: FromPath[str], order_id: FromPath[str], scan: FromQuery[str] = ""
) -> Response[str]:
    """Show an order's pick list; with a scan, the unit it means, to be taken or refused."""
    found = pick_list(db, site_id, order_id)
    unit, why = scanned(db, site_id, scan, found) if scan.strip() else (None, "")
    response = _order(request, db, (site_id, order_id), found, _Shown(unit, why))
    if why:
        response.status_code = 422
    return response


class _Shown(msgspec.Struct, frozen=True):
    """What an order's page shows beside its list: a scanned unit, why a scan means none, a refused form."""

    unit: Unit | None = None
    why: str = ""
    form: Form = NO_FORM
    about: str = ""


def _order(request: Req, db: Reader, at: tuple[str, str], found: PickList, shown: _Shown) -> Response[str]:
    (site_id, order_id), unit = at, shown.unit
    left = work_of(db, site_id, order_id, without=unit.sscc if unit else "").left
    here = source_of(db, unit, order_id) if unit is not None else None
    refused = why_not(unit, left, here.holds, request.app.state.now().date()) if unit and here else None
    products = {one.product_id for one in found.work.due} | {one.product_id for one in found.work.picks}
    if unit is not None and unit.product_id:
        products.add(unit.product_id)
    return page(
        request,
        "warehouse/order.html",
        db,
        title=f"Pick {order_id}",
        nav=WORK,
        timezone=get_site(db, site_id).timezone,
        site_id=site_id,
        order_id=order_id,
        address=_address(site_id, order_id),
        list=found,
        products={product_id: product_of(db, product_id) for product_id in products},
        handling_unit=unit,
        refused=refused,
        offer=offer_of(db, unit, order_id) if unit and not refused else 0,
        before=here.before if here else None,
        why=shown.why,
        shorts=SHORTS,
        sees_order=not request.app.state.get("home"),
        form=shown.form,
        about=shown.about,
    )


def _address(site_id: str, order_id: str) -> str:
    return f"{WORK}/{site_id}/orders/{quote(order_id, safe='')}"


@post("/warehouse/{site_id:str}/orders/{order_id:str}/pick", include_in_schema=False)
async def pick(request: Req, db: Db, site_id: FromPath[str], order_id: FromPath[str]) -> Response[Any]:
    """Take goods from a unit, or put them back. Enter alone takes all that is wanted."""
    sent = await request.form()
    sscc = str(sent.get("sscc", ""))
    entered = str(sent.get("qty", "")).strip() or str(sent.get("short", "")).strip()
    unit = None if entered else find_unit(db, site_id, sscc)
    whole = {} if unit is None else {"qty": offer_of(db, unit, order_id)}

    def again(form: Form) -> Response[Any]:
        found = pick_list(db, site_id, order_id)
        unit, why = scanned(db, site_id, sscc, found)
        return _order(request, db, (site_id, order_id), found, _Shown(unit, why, form, "pick"))

    return await submit_form(
        request,
        PickUnit,
        then=_address(site_id, order_id),
        said=lambda outcome: _told(outcome.result),
        again=again,
        site_id=site_id,
        order_id=order_id,
        **whole,
    )


def _told(result: Any) -> str:
    if not result.qty:
        return f"…{result.sscc[-6:]}: nothing is taken from it{' now' if result.short else ''}."
    return f"{result.qty} from …{result.sscc[-6:]} picked{', and it is short' if result.short else ''}."


@post("/warehouse/{site_id:str}/orders/{order_id:str}/dispatch", include_in_schema=False)
async def dispatch(request: Req, db: Db, site_id: FromPath[str], order_id: FromPath[str]) -> Response[Any]:
    """Let what is picked leave."""
    key = str((await request.form()).get("_key", ""))
    return await submit_form(
        request,
        DispatchPicked,
        then=f"{WORK}/{site_id}",
        said=lambda outcome: _gone(order_id, outcome.result),
        again=lambda form: _order(
            request,
            db,
            (site_id, order_id),
            pick_list(db, site_id, order_id),
            _Shown(form=form, about="dispatch"),
        ),
        site_id=site_id,
        order_id=order_id,
        dispatch_id=derive_id("dsp", site_id, order_id, key),
    )


def _gone(order_id: str, result: Any) -> str:
    if not result.dispatch_id:
        return f"{order_id}: nothing could leave; what was found short waits for somebody to look at it."
    rest = " What was short is sourced again." if result.short else ""
    return f"{order_id} is dispatched.{rest}"


# --- After an inspection ---------------------------------------------------------


def _inspect_panel(c: PanelContext) -> Markup | None:
    """On a unit that waits for inspection: what whoever may end that has to say."""
    unit: Unit = c.about["handling_unit"]
    waits = unit.present and unit.status is UnitStatus.INSPECT
    if not waits or not may(c.request, "stock.set_unit_status", unit.site_id):
        return None
    return c.render("warehouse/_inspect.html", unit=unit)


@post("/warehouse/{site_id:str}/units/{sscc:str}/available", include_in_schema=False)
async def available(request: Req, site_id: FromPath[str], sscc: FromPath[str]) -> Response[Any]:
    """Let goods be sold again after somebody looked at them."""
    return await submit_form(
        request,
        SetUnitStatus,
        then=f"/stock/units/{sscc}",
        said=f"…{sscc[-6:]} is available again.",
        site_id=site_id,
        sscc=sscc,
        status=UnitStatus.AVAILABLE.value,
    )


register_panel("unit", "side", _inspect_panel, order=5)
handlers = [work_page, site_page, order_page, pick, dispatch, available]
