"""The page to take in what a supplier brought: labels and the place are scanned, the temperature is typed.

Invariants
    G1  Every scan adds what it says to what is known: the pallet's two labels and the place, in any order.
    G2  A scan that cannot be read, or is of another product or lot, changes nothing and says why.
    G3  The field that is ready is the scan until unit, goods and place are known; then the temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.params import FromPath

from coldgrid.catalog.limits import ranges_of
from coldgrid.catalog.products import Product, ProductNotFound, product_by_gtin
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.stock.finding import location_of
from coldgrid.stock.scans import Scan, read_scan
from coldgrid.warehouse.pages import WORK
from coldgrid.warehouse.receiving import ReceiveGoods, find_lot
from coldgrid.warehouse.work import product_of
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
RECEIVE = {"action": "stock.receive_unit"}
SCANNED = ("sscc", "product_id", "lot_id", "expires_on", "produced_on", "qty", "weight_g", "location_id")
DELIVERY = ("tlc_source", "reference", "probe_id")
KEPT = (*SCANNED, *DELIVERY)
NEEDED = ("sscc", "product_id", "lot_id", "qty", "location_id")


def merge(values: Mapping[str, str], found: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return what is known once a scan is added (G1); else why it is of another unit (G2). Pure."""
    for name, word in (("sscc", "number"), ("product_id", "product"), ("lot_id", "lot")):
        if values.get(name) and found.get(name, values[name]) != values[name]:
            told = f"That label is of {word} {found[name]}, and this unit is of {values[name]}."
            return dict(values), f"{told} Scan the labels of one unit."
    return {**values, **found}, ""


def found_by(db: Reader, site_id: str, text: str) -> tuple[dict[str, str], str]:
    """Return what a scan says of a receipt, by field; else why it says nothing."""
    place = location_of(db, text)
    if place is not None:
        other = f"{place.location_id} is a place of {place.site_id}."
        return ({}, other) if place.site_id != site_id else ({"location_id": place.location_id}, "")
    scan = read_scan(text)
    if scan.wrong:
        return {}, scan.wrong
    if scan.name:
        return {}, f"{scan.name[:80]} is neither a label of goods nor a place of this site."
    product = _product(db, scan.gtin)
    if scan.gtin and product is None:
        return {}, f"No product has the GTIN {scan.gtin}. It is given to a product in the catalog."
    lot = find_lot(db, scan.lot)
    return _fields(scan, product, lot.expires_on if lot is not None else None), ""


def _fields(scan: Scan, product: Product | None, known_until: date | None) -> dict[str, str]:
    qty = base_units(product, scan) if product is not None else 0
    until = scan.expires_on or known_until
    found = {
        "sscc": scan.sscc,
        "lot_id": scan.lot,
        "product_id": product.product_id if product is not None else "",
        "qty": str(qty or ""),
        "weight_g": "" if scan.weight_g is None else str(scan.weight_g),
        "expires_on": until.isoformat() if until else "",
        "produced_on": scan.produced_on.isoformat() if scan.produced_on else "",
    }
    return {name: value for name, value in found.items() if value}


def base_units(product: Product, scan: Scan) -> int:
    """Return the base units of a label: its trade items times what is in each; 0 where it says none."""
    named = {level.gtin.zfill(14): level.qty for level in product.pack_levels if level.gtin}
    each = named.get(scan.gtin, 1)
    return scan.count * each if scan.count else (each if each > 1 else 0)


def _product(db: Reader, gtin: str) -> Product | None:
    try:
        return product_by_gtin(db, gtin) if gtin else None
    except ProductNotFound:
        return None


@get("/warehouse/{site_id:str}/receive", opt=RECEIVE, include_in_schema=False, sync_to_thread=True)
def receive_page(request: Req, db: Db, site_id: FromPath[str]) -> Response[str]:
    """Show what is known of a unit that arrived; with a scan, what it adds."""
    query = request.query_params
    values = {name: str(query[name])[:200] for name in KEPT if query.get(name)}
    text, why = str(query.get("scan", "")), ""
    if text.strip():
        found, why = found_by(db, site_id, text)
        values, unlike = merge(values, found)
        why = why or unlike
    response = _receive(request, db, site_id, values, why)
    if why:
        response.status_code = 422
    return response


def _receive(
    request: Req, db: Reader, site_id: str, values: Mapping[str, str], why: str = "", form: Form = NO_FORM
) -> Response[str]:
    product_id = values.get("product_id", "")
    return page(
        request,
        "warehouse/receive.html",
        db,
        title=f"Receive at {site_id}",
        nav=WORK,
        timezone=get_site(db, site_id).timezone,
        site_id=site_id,
        values=values,
        kept=[(name, values[name]) for name in KEPT if values.get(name)],
        product=product_of(db, product_id) if product_id else None,
        range=ranges_of(db, [product_id]).get(product_id),
        lot=find_lot(db, values.get("lot_id", "")),
        ready=all(values.get(name) for name in NEEDED),
        why=why,
        form=form,
    )


@post("/warehouse/{site_id:str}/receive", include_in_schema=False)
async def receive(request: Req, db: Db, site_id: FromPath[str]) -> Response[Any]:
    """Take the unit in; the next one of the delivery keeps its note, its source and the probe."""
    sent = await request.form()
    same = {name: str(sent[name]) for name in DELIVERY if sent.get(name)}

    def again(form: Form) -> Response[str]:
        values = {name: texts[-1] for name, texts in form.values.items() if texts}
        return _receive(request, db, site_id, values, form=form)

    return await submit_form(
        request,
        ReceiveGoods,
        then=f"{WORK}/{site_id}/receive" + (f"?{urlencode(same)}" if same else ""),
        said=lambda outcome: _told(outcome.result),
        again=again,
        site_id=site_id,
    )


def _told(result: Any) -> str:
    taken = f"{result.qty} on …{result.sscc[-6:]} are taken in at {result.location_id}"
    if result.hold_id:
        return f"{taken} and HELD: they came outside their range. Quality decides; keep them apart."
    return f"{taken}."


handlers = [receive_page, receive]
