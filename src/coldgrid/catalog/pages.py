"""Pages about products: the list, and a product with its packs, its sourced limits and its lots."""

from __future__ import annotations

from datetime import date
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from coldgrid.catalog.limits import LimitKind, limits_of, ranges_of
from coldgrid.catalog.lots import Lot, lots_of
from coldgrid.catalog.products import Product, get_product, list_products
from coldgrid.network.sites import TemperatureClass
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, may

Req = Request[Any, Any, Any]
VIEW = {"action": "catalog.view"}
PRODUCTS_PER_PAGE = 100
LOTS_SHOWN = 50
SOON_DAYS = 3

# What each kind of limit says, for people.
SAYS = {
    LimitKind.RANGE: "Kept at",
    LimitKind.SINGLE_EXCURSION: "In one go",
    LimitKind.CUMULATIVE: "In all its life",
    LimitKind.FREEZE: "Freezes or thaws for good",
    LimitKind.MKT: "Mean kinetic temperature",
}

register_nav(NavItem(group="Set up", label="Products", href="/catalog", icon="box", order=20))


@get("/catalog", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def products_page(
    request: Req, db: Db, q: FromQuery[str] = "", temperature: FromQuery[str] = "", after: FromQuery[str] = ""
) -> Response[str]:
    """List the products with the range each is kept at."""
    products = list_products(db)
    temperature = word_or_all(request, temperature, set(TemperatureClass))
    counts = {member: sum(p.temperature_class is member for p in products) for member in TemperatureClass}
    found = [p for p in products if p.product_id > after and _matches(p, q, temperature)]
    shown = found[:PRODUCTS_PER_PAGE]
    filters = [(f"/catalog?temperature={member}", member.capitalize(), n) for member, n in counts.items()]
    return page(
        request,
        "catalog/products.html",
        db,
        title="Products",
        nav="/catalog",
        products=shown,
        ranges=ranges_of(db, [product.product_id for product in shown]),
        total=len(products),
        filters=filters,
        q=q,
        temperature=temperature,
        older=shown[-1].product_id if len(found) > len(shown) else "",
        may_draft=may(request, "network.draft_change"),
    )


def _matches(product: Product, q: str, temperature: str) -> bool:
    told = f"{product.product_id} {product.name} {product.gtin} {product.owner}".lower()
    return q.lower() in told and temperature in {"", product.temperature_class}


@get("/catalog/{product_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def product_page(request: Req, db: Db, product_id: FromPath[str]) -> Response[str]:
    """Show a product: packs, weights, what it tolerates with the documents that say so, and its lots."""
    product = get_product(db, product_id)
    today = request.app.state.now().date()
    lots = [lot for lot in lots_of(db, product_id) if lot.expires_on >= today]
    return page(
        request,
        "catalog/product.html",
        db,
        title=f"{product.product_id} · {product.name}",
        nav="/catalog",
        product=product,
        limits=sorted(limits_of(db, product_id), key=lambda limit: list(LimitKind).index(limit.kind)),
        says=SAYS,
        lots=[(lot, _lot_state(lot, today)) for lot in lots[:LOTS_SHOWN]],
        lot_count=len(lots),
        item=("product", product_id),
        may_draft=may(request, "network.draft_change"),
    )


def _lot_state(lot: Lot, today: date) -> str:
    return "warn" if (lot.expires_on - today).days <= SOON_DAYS else "ok"


handlers = [products_page, product_page]
