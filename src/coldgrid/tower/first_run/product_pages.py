"""The step of the products: a few to begin with, from files, or later."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post

from coldgrid.catalog.products import list_products
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.network.uploads import BODY_BYTES_MAX
from coldgrid.network.zones import zones_of
from coldgrid.tower.first_run import goods
from coldgrid.tower.first_run.enacting import Filled, done_before, key_in, put_in_force
from coldgrid.tower.first_run.frame import SET_UP, after, must_be_open, refused, step_page
from coldgrid.tower.first_run.link import WELCOME
from coldgrid.tower.first_run.progress import progress_of
from coldgrid.tower.first_run.site_pages import import_files
from coldgrid.webkit.commands import form_values, see_other
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
REASON = "products to begin with, each limit with its source"


@get(f"{WELCOME}/products", opt=SET_UP, include_in_schema=False, sync_to_thread=True)
def products_page(request: Req, db: Db) -> Response[str]:
    """Show the products that there are, and those to choose from."""
    return _products(request, db, NO_FORM)


def _products(request: Req, db: Reader, form: Form, bad_lines: list[Problem] | None = None) -> Response[str]:
    progress, unit = progress_of(db), visitor_of(request).unit
    zones = zones_of(db, progress.site_id) if progress.site_id else []
    kept = {zone.temperature_class.value for zone in zones}
    known = {product.product_id for product in list_products(db)}
    options = [
        (one.product_id, one.name, one.told(unit))
        for one in goods.choices()
        if one.product_id not in known and (not kept or one.temperature_class in kept)
    ]
    return step_page(
        request,
        db,
        "products",
        form,
        progress=progress,
        products=list_products(db),
        options=options,
        bad_lines=bad_lines or [],
    )


@post(f"{WELCOME}/products", opt=SET_UP, include_in_schema=False)
async def choose(request: Req, db: Db) -> Response[Any]:
    """Put the chosen products in force."""
    values = await form_values(request)
    chosen = values.get("products", [])
    try:
        must_be_open(db)
        key = key_in(values)
        if not done_before(request, db, key):
            items = goods.items_of(chosen)
            if not items:
                fix = "tick at least one, or leave products for later"
                raise Invalid([Problem(field="products", message="none is chosen", fix=fix)])
            await put_in_force(request, db, Filled(items, REASON, key))
    except Rejected as rejected:
        return _products(request, db, refused(rejected, values))
    return see_other(after("products"), "The products are there, with their limits.")


@post(f"{WELCOME}/products/import", opt=SET_UP, include_in_schema=False, request_max_body_size=BODY_BYTES_MAX)
async def import_products(request: Req, db: Db) -> Response[Any]:
    """Put in force what files say; every bad line is told at once."""
    return await import_files(
        request, db, "products", lambda form, lines: _products(request, db, form, lines)
    )


handlers = [products_page, choose, import_products]
