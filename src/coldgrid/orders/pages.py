"""Pages about orders: the list, one order with its sourcing explained, its customer, and giving it up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.access.people import names
from coldgrid.catalog.products import Product, ProductNotFound, get_product
from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import site_labels
from coldgrid.orchestration.decisions import Alternative, KeptDecision, alternatives_of, reason_text
from coldgrid.orders import orders
from coldgrid.orders.explain import sourcing_decisions
from coldgrid.orders.handling import CancelOrder
from coldgrid.orders.history import history_of
from coldgrid.orders.intake import Customer
from coldgrid.orders.orders import Order, OrderStatus
from coldgrid.orders.reach import instant
from coldgrid.orders.whose import concerns, order_for, orders_for
from coldgrid.stock.promises import Promise, promises_of
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.commands import submit_form
from coldgrid.webkit.forms import NO_FORM, Form
from coldgrid.webkit.shell import Badge, NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, Visitor, may, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "orders.view"}
PERSONAL = {"action": "orders.view", "reads": "personal"}
# Alternatives of a choice that are shown; its record has them all.
ROWS_SHOWN = 24
ORDERS_PER_PAGE = 50
WAITING = "waiting"


def _badge(db: Reader, visitor: Visitor) -> Badge | None:
    if visitor.principal.sites is not None:
        return None  # what waits for goods is at no site yet
    return Badge(orders.count_unsourced(db), hot=True)


register_nav(
    NavItem(group="Run", label="Orders", href="/orders", icon="cart", badge=_badge, order=20, phone=True)
)


# --- The list -------------------------------------------------------------------


@get("/orders", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def list_page(
    request: Req,
    db: Db,
    show: FromQuery[str] = "",
    site: FromQuery[str] = "",
    q: FromQuery[str] = "",
    before: FromQuery[int] = orders.NO_END,
) -> Response[Any]:
    """Show the newest orders: all, of a status, those that wait for goods, of a site; or one by its id."""
    sites = visitor_of(request).principal.sites
    show = word_or_all(request, show, {*OrderStatus, WAITING})
    if site:
        site = word_or_all(request, site, {one.site_id for one in site_labels(db)})
    status = OrderStatus(show) if show in set(OrderStatus) else None
    asked = q.strip()
    if asked and asked in {one.site_id for one in site_labels(db)}:
        site, asked = asked, ""
    if asked:
        order = orders.find_order(db, asked)
        found = [] if order is None or not concerns(db, sites, order) else [order]
    else:
        found = orders_for(
            db,
            sites,
            before=min(before, orders.NO_END),
            status=status,
            unsourced=show == WAITING,
            site_id=site,
            limit=ORDERS_PER_PAGE + 1,
        )
    shown = found[:ORDERS_PER_PAGE]
    return page(
        request,
        "orders/list.html",
        db,
        title="Orders",
        nav="/orders",
        orders=shown,
        older=shown[-1].placed_no if len(found) > len(shown) else None,
        counts=orders.count_by_status(db) if sites is None else {},
        waiting=orders.count_unsourced(db) if sites is None else None,
        show=show,
        site_id=site,
        q=asked,
    )


# --- One order ------------------------------------------------------------------


class Line(msgspec.Struct, frozen=True):
    """A line of an order as the page shows it: its goods, where they are promised, and what is wrong."""

    line_no: int
    product_id: str
    name: str
    qty: int
    promises: list[Promise]
    lost: str
    lost_qty: int


class Row(msgspec.Struct, frozen=True):
    """An alternative as the page shows it. `over_cents`: how much more it would cost than the choice."""

    name: str
    cents: int | None
    over_cents: int | None
    arrives_at: datetime | None
    line_no: int | None
    why: str
    chosen: bool


class Explained(msgspec.Struct, frozen=True):
    """A sourcing decision with its alternatives, the chosen ones first."""

    kept: KeptDecision
    rows: list[Row]
    folded: int


@get("/orders/{order_id:str}", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def order_page(request: Req, db: Db, order_id: FromPath[str]) -> Response[str]:
    """Show one order: its lines and promises, why it is sourced as it is, and what happened to it."""
    order = order_for(db, visitor_of(request).principal.sites, order_id)
    decisions = [_explained(kept) for kept in sourcing_decisions(db, order_id)]
    return page(
        request,
        "orders/order.html",
        db,
        title=f"Order {order_id}",
        nav="/orders",
        topics=(f"order/{order_id}",),
        order=order,
        lines=_lines(db, order),
        decisions=decisions[::-1],
        history=history_of(db, order_id)[::-1],
        names=names(db),
        can_cancel=order.live and not order.dispatches and may(request, "orders.cancel"),
    )


def _lines(db: Reader, order: Order) -> list[Line]:
    lost = {one.line_no: one for one in order.unsourced or ()}
    promised = promises_of(db, order.order_id)
    return [
        Line(
            line_no=line.line_no,
            product_id=line.product_id,
            name=_name(db, line.product_id),
            qty=line.qty,
            promises=[one for one in promised if one.line_no == line.line_no and one.open_qty],
            lost=reason_text(lost[line.line_no].reason) if line.line_no in lost else "",
            lost_qty=lost[line.line_no].qty if line.line_no in lost else 0,
        )
        for line in order.request.lines
    ]


def _name(db: Reader, product_id: str) -> str:
    try:
        product: Product = get_product(db, product_id)
    except ProductNotFound:
        return product_id
    return product.name


def _explained(kept: KeptDecision) -> Explained:
    decision = kept.decision
    chosen = set(decision.outcome.split("+"))
    paid = decision.facts.get("score")
    at_min = decision.facts.get("at_min", 0)
    rows = [_row(one, one.name in chosen, paid, at_min) for one in alternatives_of(decision)]
    rows.sort(key=lambda row: not row.chosen)
    return Explained(kept, rows[:ROWS_SHOWN], max(0, len(rows) - ROWS_SHOWN))


def _row(one: Alternative, chosen: bool, paid: int | None, at_min: int) -> Row:
    after_min = one.facts.get("arrives_after_min")
    cents = None if one.score is None else int(one.score)
    return Row(
        name=one.name,
        cents=cents,
        over_cents=None if chosen or cents is None or paid is None else cents - paid,
        arrives_at=None if after_min is None else instant(at_min) + timedelta(minutes=after_min),
        line_no=one.facts.get("line") or None,
        why=one.why,
        chosen=chosen,
    )


@get("/orders/{order_id:str}/customer", opt=PERSONAL, include_in_schema=False, sync_to_thread=True)
def customer_page(request: Req, db: Db, order_id: FromPath[str]) -> Response[str]:
    """Show who an order is for; that it was read is logged."""
    order = order_for(db, visitor_of(request).principal.sites, order_id)
    text = db.open(order.request.customer)
    customer = None if text is None else msgspec.json.decode(text, type=Customer)
    return page(
        request,
        "orders/customer.html",
        db,
        title=f"Customer of {order_id}",
        nav="/orders",
        order=order,
        customer=customer,
    )


# --- Giving an order up ---------------------------------------------------------


def _cancel_page(request: Req, db: Reader, order_id: str, form: Form = NO_FORM) -> Response[Any]:
    order = order_for(db, visitor_of(request).principal.sites, order_id)
    title = f"Cancel {order_id}"
    return page(request, "orders/cancel.html", db, title=title, nav="/orders", order=order, form=form)


@get(
    "/orders/{order_id:str}/cancel",
    opt={"action": "orders.cancel"},
    include_in_schema=False,
    sync_to_thread=True,
)
def cancel_page(request: Req, db: Db, order_id: FromPath[str]) -> Response[Any]:
    """Ask before an order is given up."""
    return _cancel_page(request, db, order_id)


@post("/orders/{order_id:str}/cancel", include_in_schema=False)
async def cancel(request: Req, db: Db, order_id: FromPath[str]) -> Response[Any]:
    """Give an order up."""
    return await submit_form(
        request,
        CancelOrder,
        then=f"/orders/{order_id}",
        said=f"Order {order_id} was cancelled and its goods were given back.",
        again=lambda form: _cancel_page(request, db, order_id, form),
        order_id=order_id,
    )


handlers = [list_page, order_page, customer_page, cancel_page, cancel]
