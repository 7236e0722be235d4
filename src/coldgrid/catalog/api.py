"""JSON API of the catalog: products with their limits, and lots."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from coldgrid.catalog.gtins import gtin_problems
from coldgrid.catalog.limits import StorageLimit, limits_of
from coldgrid.catalog.lots import Lot, RegisterLot, get_lot, lots_by_tlc, lots_of
from coldgrid.catalog.products import Product, get_product, list_products, product_by_gtin
from coldgrid.kernel.rejections import Invalid
from coldgrid.webkit.commands import submit
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
READ = {"action": "catalog.read"}
TAGS = ["catalog"]
Most = Annotated[int, QueryParameter(ge=1, le=500)]


class ProductDetail(msgspec.Struct, frozen=True):
    """A product with the rows of what it tolerates."""

    product: Product
    limits: list[StorageLimit]


@get("/api/v1/products", opt=READ, tags=TAGS, sync_to_thread=True)
def products(db: Db, after: FromQuery[str] = "", limit: Most = 100) -> list[Product]:
    """List products by id; `after` is the last id of the page before."""
    return [product for product in list_products(db) if product.product_id > after][:limit]


@get("/api/v1/products/{product_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def product(db: Db, product_id: FromPath[str]) -> ProductDetail:
    """Return one product with its storage limits and their sources."""
    return ProductDetail(get_product(db, product_id), limits_of(db, product_id))


@get("/api/v1/gtins/{gtin:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def scanned(db: Db, gtin: FromPath[str]) -> ProductDetail:
    """Return the product that a scanned GTIN names, of any length and pack level."""
    problems = gtin_problems("gtin", gtin)
    if problems:
        raise Invalid(problems)
    found = product_by_gtin(db, gtin)
    return ProductDetail(found, limits_of(db, found.product_id))


@get("/api/v1/products/{product_id:str}/lots", opt=READ, tags=TAGS, sync_to_thread=True)
def product_lots(db: Db, product_id: FromPath[str], limit: Most = 100) -> list[Lot]:
    """List a product's lots, the first to expire first."""
    get_product(db, product_id)
    return lots_of(db, product_id)[:limit]


@get("/api/v1/lots", opt=READ, tags=TAGS, sync_to_thread=True)
def lots(db: Db, tlc: FromQuery[str]) -> list[Lot]:
    """Find lots by their traceability lot code."""
    return lots_by_tlc(db, tlc)


@get("/api/v1/lots/{lot_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def lot(db: Db, lot_id: FromPath[str]) -> Lot:
    """Return one lot."""
    return get_lot(db, lot_id)


@post("/api/v1/sites/{site_id:str}/lots", opt={"takes": RegisterLot}, tags=TAGS, status_code=200)
async def register(request: Req, site_id: FromPath[str]) -> Response[bytes]:
    """Make a lot known where it arrives: its TLC and the code's source exactly as received."""
    return await submit(request, RegisterLot, site_id=site_id)


handlers = [products, product, scanned, product_lots, lots, lot, register]
