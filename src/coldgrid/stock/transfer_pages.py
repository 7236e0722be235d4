"""Pages about transfers: choose units and send them to another site, what is under way, and taking it in.

Invariants
    T1  Units are chosen by scan or by ticking them on a zone's page; the address keeps them, so that a page
        that is loaded again, or a refusal, loses none. Nothing here needs JavaScript.
    T2  Only sites are offered that may take these goods; of the others the page says why not.
    T3  A scan that means no unit here adds nothing and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.catalog.products import Product, ProductNotFound, get_product
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.reading import Reader
from coldgrid.network.lanes import lanes_from
from coldgrid.network.sites import get_site, some_sites
from coldgrid.stock.destinations import Destination, classes_of, destinations
from coldgrid.stock.finding import location_of
from coldgrid.stock.inventory import find_unit, units_at, units_by_sscc, with_nested
from coldgrid.stock.scans import read_scan
from coldgrid.stock.summaries import uncovered_without
from coldgrid.stock.transfer_book import Sent, UnderWay, newest_sent, sent_units, under_way
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer, TransferNotFound, TransferShipped
from coldgrid.stock.units import Unit, where_now
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.formats import cents, count, duration
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, admit_at, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "stock.view"}
SEND = {"action": "stock.ship_transfer"}
TRANSFERS = "/stock/transfers"
CHOSEN_MAX = 200
SHOWN = 100
LATELY = 10


# --- Sending --------------------------------------------------------------------


@get("/stock/sites/{site_id:str}/transfer", opt=SEND, include_in_schema=False, sync_to_thread=True)
def send_page(
    request: Req, db: Db, site_id: FromPath[str], scan: FromQuery[str] = "", at: FromQuery[str] = ""
) -> Response[str]:
    """Show what is chosen to be sent, with a scan what it adds, and where it may go."""
    chosen = list(dict.fromkeys(request.query_params.getall("sscc", [])))
    added, why = scanned(db, site_id, scan) if scan.strip() else ([], "")
    if at:
        added += [unit.sscc for unit in _floor(db, site_id, at)]
    chosen = list(dict.fromkeys([*chosen, *added]))
    if len(chosen) > CHOSEN_MAX:
        chosen, why = chosen[:CHOSEN_MAX], f"{CHOSEN_MAX} units go with one transfer. Send these first."
    response = _send(request, db, site_id, chosen, why)
    if why:
        response.status_code = 422
    return response


def _send(
    request: Req, db: Reader, site_id: str, ssccs: Sequence[str], why: str = "", form: Form = NO_FORM
) -> Response[str]:
    site = get_site(db, site_id)
    chosen = [unit for unit in (find_unit(db, site_id, sscc) for sscc in ssccs) if unit and unit.present]
    units = with_nested(db, chosen) if chosen else []
    products = _products(db, {unit.product_id for unit in units})
    classes = classes_of(db, products)
    found = destinations(db, site_id, classes)
    return page(
        request,
        "stock/send.html",
        db,
        title=f"Send from {site_id}",
        nav="/stock",
        timezone=site.timezone,
        site=site,
        address=f"/stock/sites/{site_id}/transfer",
        chosen=chosen,
        without={unit.sscc: _without(chosen, unit.sscc) for unit in chosen},
        on_them=len(units) - len(chosen),
        held=sum(unit.open_holds > 0 for unit in units),
        may_send_held=visitor_of(request).has("supervisor"),
        uncovered=uncovered_without(db, units),
        classes=sorted(one.value for one in classes),
        products=products,
        options=[_option(request.app.state.now(), one, classes) for one in found if one.suits],
        others=[one for one in found if not one.suits],
        lanes=len(found),
        why=why,
        form=form,
    )


def _without(chosen: Sequence[Unit], sscc: str) -> str:
    return urlencode([("sscc", unit.sscc) for unit in chosen if unit.sscc != sscc])


def _option(now: datetime, to: Destination, classes: set[Any]) -> tuple[str, str, str]:
    """A site as a choice: what it is called, how long the way is, what it costs."""
    lane = to.lane(classes)
    name = f"{to.site_id} · {to.site.name}" if to.site is not None else to.site_id
    if lane is None:
        return to.site_id, name, ""
    far = f", {count(lane.distance_km)} km" if lane.distance_km else ""
    kept = ", ".join(one.value for one in lane.classes)
    return (
        to.site_id,
        name,
        f"{duration(lane.transit_min)}{far} · {cents(lane.cost_cents)} a pallet · keeps {kept}",
    )


def _products(db: Reader, product_ids: set[str]) -> dict[str, Product]:
    found = {}
    for product_id in product_ids - {""}:
        try:
            found[product_id] = get_product(db, product_id)
        except ProductNotFound:  # its master data has not come to this site yet
            continue
    return found


def _floor(db: Reader, site_id: str, location_id: str) -> list[Unit]:
    """What stands at a place itself, not on another unit there."""
    place = location_of(db, location_id)
    if place is None or place.site_id != site_id:
        return []
    units = units_at(db, place.zone_id, place.location_id)
    there = {unit.sscc for unit in units}
    return [unit for unit in units if unit.parent_sscc not in there]


def scanned(db: Reader, site_id: str, text: str) -> tuple[list[str], str]:
    """Return the units that a scan means at a site: one, or all at a place; else why it means none (T3)."""
    place = location_of(db, text)
    if place is not None:
        units = _floor(db, site_id, place.location_id)
        return [
            unit.sscc for unit in units
        ], "" if units else f"Nothing of {site_id} stands at {text.strip()}."
    scan = read_scan(text)
    if scan.wrong:
        return [], scan.wrong
    if not scan.sscc:
        return [], "That is neither a unit nor a place of this site. Scan the label with the unit's number."
    rows = units_by_sscc(db, scan.sscc)
    if not rows:
        return [], f"No unit {scan.sscc} was ever received here."
    unit = where_now(rows)
    if not unit.present or unit.site_id != site_id:
        return [], f"Unit {scan.sscc} is not here: it is at {unit.site_id}, {unit.location_id}."
    return [unit.sscc], ""


@post("/stock/sites/{site_id:str}/transfer", include_in_schema=False)
async def send(request: Req, db: Db, site_id: FromPath[str]) -> Response[Any]:
    """Send what is chosen."""
    sent = await request.form()
    chosen = [str(one) for one in sent.getall("sscc", [])]
    transfer_id = derive_id("transfer", site_id, str(sent.get("_key", "")))
    return await submit_form(
        request,
        ShipTransfer,
        then=f"{TRANSFERS}/{quote(transfer_id, safe='')}",
        said=lambda outcome: _gone(outcome.result),
        again=lambda form: _send(request, db, site_id, chosen, form=form),
        site_id=site_id,
        transfer_id=transfer_id,
        sscc=chosen,
    )


def _gone(event: TransferShipped) -> str:
    return f"{_units(len(event.units))} on the way to {event.to_site_id}."


def _units(how_many: int) -> str:
    return f"{how_many} unit is" if how_many == 1 else f"{how_many} units are"


# --- Under way ------------------------------------------------------------------


class Journey(msgspec.Struct, frozen=True):
    """A transfer as its list shows it. `due_at`: by the lane that leads there; None where there is none."""

    about: UnderWay
    due_at: datetime | None


@get(TRANSFERS, opt=VIEW, include_in_schema=False, sync_to_thread=True)
def transfers_page(request: Req, db: Db, site: FromQuery[str] = "") -> Response[str]:
    """Show the transfers under way, the oldest first; of one site also those that were received lately."""
    allowed = visitor_of(request).principal.sites
    if site:
        get_site(db, site)
        admit_at(request, VIEW["action"], [site])
        allowed = frozenset({site})
    return page(
        request,
        "stock/transfers.html",
        db,
        title=f"Transfers of {site}" if site else "Transfers",
        nav="/stock",
        site_id=site,
        may_send=bool(site) and may(request, SEND["action"], site),
        open=[Journey(one, due_at(db, one)) for one in under_way(db, allowed, SHOWN)],
        most=SHOWN,
        done=received_lately(newest_sent(db, site, SHOWN * 3)) if site else [],
    )


def received_lately(sent: Sequence[Sent]) -> list[UnderWay]:
    """Return the transfers among some units of which all have arrived, the newest first. Pure."""
    found: dict[str, list[Sent]] = {}
    for one in sent:
        found.setdefault(one.transfer_id, []).append(one)
    return [
        UnderWay(name, units[0].from_site_id, units[0].to_site_id, units[0].sent_at, 0, len(units))
        for name, units in found.items()
        if all(one.arrived_at for one in units)
    ][:LATELY]


def due_at(db: Reader, one: UnderWay | Sent) -> datetime | None:
    """Return when a transfer should arrive by its quickest lane; None where no lane leads there."""
    lanes = [lane for lane in lanes_from(db, one.from_site_id) if lane.to_site == one.to_site_id]
    return one.sent_at + timedelta(minutes=min(lane.transit_min for lane in lanes)) if lanes else None


@get("/stock/transfers/{transfer_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def transfer_page(request: Req, db: Db, transfer_id: FromPath[str]) -> Response[str]:
    """Show a transfer: what was sent, what of it arrived, and to who receives it a field for the place."""
    return _transfer(request, db, transfer_id)


def _transfer(request: Req, db: Reader, transfer_id: str, form: Form = NO_FORM) -> Response[str]:
    units = sent_units(db, transfer_id)
    if not units:
        raise TransferNotFound(transfer_id=transfer_id)
    first = units[0]
    ends = [first.from_site_id, first.to_site_id]
    admit_at(request, VIEW["action"], ends)
    own = [site_id for site_id in reversed(ends) if _at_home(request, site_id)]
    clocks = {site.site_id: site.timezone for site in some_sites(db, ends)}
    return page(
        request,
        "stock/transfer.html",
        db,
        title=f"{first.from_site_id} to {first.to_site_id}",
        nav="/stock",
        topics=tuple(f"site/{site_id}" for site_id in own),
        timezone=next((clocks[one] for one in (*own, *ends) if one in clocks), ""),
        first=first,
        units=units,
        missing=[one for one in units if one.arrived_at is None],
        held=sum(bool(one.unit.holds) for one in units),
        due_at=due_at(db, first),
        products=_products(db, {one.unit.line.product_id for one in units}),
        names=names(db),
        may_receive=may(request, "stock.receive_transfer", first.to_site_id),
        form=form,
        unfit=bool(form.error("location_id")),
    )


def _at_home(request: Req, site_id: str) -> bool:
    sites = visitor_of(request).principal.sites
    return sites is None or site_id in sites


@post("/stock/transfers/{transfer_id:str}/receive", include_in_schema=False)
async def receive(request: Req, db: Db, transfer_id: FromPath[str]) -> Response[Any]:
    """Take in all that is still to come, at the place that was scanned."""
    units = sent_units(db, transfer_id)
    if not units:
        raise TransferNotFound(transfer_id=transfer_id)
    to_site_id = units[0].to_site_id
    place = str((await request.form()).get("location_id", "")).strip().upper()
    return await submit_form(
        request,
        ReceiveTransfer,
        then=f"{TRANSFERS}/{quote(transfer_id, safe='')}",
        said=lambda outcome: f"{_units(len(outcome.result.units))} taken in at {place}.",
        again=lambda form: _transfer(request, db, transfer_id, form),
        site_id=to_site_id,
        transfer_id=transfer_id,
        location_id=place,
    )


handlers = [send_page, send, transfers_page, transfer_page, receive]
