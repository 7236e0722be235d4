"""Handling an order: released to its sites, dispatched by them, or cancelled.

Invariants
    H1  An order is released once its sourcing is final: what is missing is looked for a last time, then told.
    H2  Only what was promised is released, and every later move goes to its new site by another release.
    H3  Cancelling gives back every open promise in the same commit.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, on_timer, reacts
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.orders import orders, promising
from coldgrid.orders.facts import SourcingFacts
from coldgrid.orders.orders import (
    DispatchedGoods,
    Offer,
    Order,
    OrderCanceled,
    OrderDispatched,
    OrderEnded,
    OrderPartlyGone,
    OrderReleased,
    OrderStatus,
)
from coldgrid.orders.resourcing import SourceAgain, Why, work_of
from coldgrid.orders.whose import check_own
from coldgrid.stock import promises
from coldgrid.stock.promises import Promise, PromiseKept, open_promises_of

# A command takes at most 5 ms: this many releases go in one firing of the timer, the next follows at once.
RELEASES_MAX = 20
_RETRY = timedelta(minutes=1)


class ReleaseOrder(Command, frozen=True, tag="orders.release"):
    """Let the sites begin to pick: sourcing is final from now on."""

    order_id: str


class CancelOrder(Command, frozen=True, tag="orders.cancel"):
    """Give an order up and its promises back."""

    order_id: str
    reason: Annotated[str, Meta(min_length=1, max_length=400)]


class MarkDispatched(Command, frozen=True, tag="orders.mark_dispatched"):
    """Goods left a site for the customer."""

    order_id: str
    site_id: str
    dispatch_id: str
    goods: list[DispatchedGoods]


# --- Decisions (pure) -----------------------------------------------------------


def decide_cancel(order: Order, reason: str) -> OrderCanceled:
    """Return the event that cancels an order, or reject (O3)."""
    if not order.live:
        raise OrderEnded(order_id=order.order_id, status=order.status)
    if order.dispatches:
        raise OrderPartlyGone(order_id=order.order_id, dispatches=sorted(order.dispatches))
    return OrderCanceled(order_id=order.order_id, reason=reason, before=order.offer)


def decide_dispatched(
    order: Order, command: MarkDispatched, still_open: list[Promise]
) -> OrderDispatched | None:
    """Return the event that marks goods as gone; None when that dispatch was marked before."""
    dispatches = order.dispatches or {}
    if command.dispatch_id in dispatches:
        return None
    lines: dict[str, set[int]] = {}
    for promise in still_open:
        lines.setdefault(promise.site_id, set()).add(promise.line_no)
    request = order.request
    return OrderDispatched(
        order_id=order.order_id,
        site_id=command.site_id,
        dispatch_id=command.dispatch_id,
        goods=command.goods,
        dispatches={**dispatches, command.dispatch_id: command.goods},
        before=order.offer,
        offer=Offer(
            {site_id: len(numbers) for site_id, numbers in sorted(lines.items())},
            order.arrives_at,
            order.final_at,
        ),
        complete=not still_open and not order.unsourced,
        never_older_for=request.customer_id if request.never_older else "",
    )


# --- Commands -------------------------------------------------------------------


@handles(ReleaseOrder, action="orders.release", owner=Owner.NETWORK)
def release_order(tx: Tx, command: ReleaseOrder) -> None:
    """Look for what is missing one last time, then release what is promised (H1, H2)."""
    order = orders.get_order(tx, command.order_id)
    check_own(tx, tx.principal.sites, order)
    if order.status is not OrderStatus.OPEN:
        raise OrderEnded(order_id=order.order_id, status=order.status)
    if order.unsourced:
        again = SourceAgain(order_id=order.order_id, cause_id=tx.cause, reason=Why.FINAL)
        if not tx.run(again).offer.sites:
            return  # nothing to pick: it stays on the books, and is served should goods come
    work, request = work_of(open_promises_of(tx, order.order_id)), order.request
    event = OrderReleased(
        order_id=order.order_id,
        work=work,
        ship_to=request.ship_to,
        customer=request.customer,
        leaves_at=promising.leaves_at(tx, request, work),
    )
    tx.record(f"order/{order.order_id}", event, audience=sorted(work))


@on_timer(promising.RELEASE_TIMER)
def release_due(tx: Tx, timer: Timer) -> None:
    """Release the orders that are due, and set the timer for the next ones."""
    facts = tx.hot(SourcingFacts)
    before, taken = facts.release_at, facts.take_due(tx.now, RELEASES_MAX)
    tx.undo(lambda: _wait_again(facts, taken, before))
    for final_at, order_id in taken:
        order = orders.find_order(tx, order_id)
        if order is None or order.status is not OrderStatus.OPEN:
            continue  # it ended, or was never placed
        if order.final_at is None or order.final_at > final_at:
            continue  # it moved, and waits under its new instant
        try:
            tx.run(ReleaseOrder(order_id=order_id))
        except Rejected:
            facts.await_release(tx.now + _RETRY, order_id)
    facts.release_at = facts.next_release_at()
    if facts.release_at is not None:
        tx.set_timer(promising.RELEASE_TIMER, promising.RELEASE_TIMER, facts.release_at, {})


def _wait_again(facts: SourcingFacts, taken: list[tuple[datetime, str]], release_at: datetime | None) -> None:
    for final_at, order_id in taken:
        facts.await_release(final_at, order_id)
    facts.release_at = release_at


@handles(CancelOrder, action="orders.cancel", owner=Owner.NETWORK)
def cancel_order(tx: Tx, command: CancelOrder) -> None:
    """Cancel an order of which nothing has left, and give its promises back (H3)."""
    order = orders.get_order(tx, command.order_id)
    check_own(tx, tx.principal.sites, order)
    event = decide_cancel(order, command.reason)
    freed = promises.release(tx, order.order_id, "canceled", cause_id=tx.cause)
    sites = sorted({part.site_id for part in freed}) if order.status is OrderStatus.RELEASED else []
    tx.record(f"order/{order.order_id}", event, audience=sites)


@handles(MarkDispatched, action="orders.mark_dispatched", owner=Owner.NETWORK)
def mark_dispatched(tx: Tx, command: MarkDispatched) -> None:
    """Mark an order's goods as gone."""
    order = orders.get_order(tx, command.order_id)
    event = decide_dispatched(order, command, open_promises_of(tx, command.order_id))
    if event is not None:
        tx.record(f"order/{order.order_id}", event)


@reacts(PromiseKept, name="orders.mark_dispatched")
def mark_when_kept(tx: Tx, event: PromiseKept) -> None:
    """Goods that an order was promised left: the order says so in the same commit."""
    if orders.find_order(tx, event.order_id) is None:
        return  # promised by something else than an order
    goods = [DispatchedGoods(part.product_id, part.expires_on, part.qty) for part in event.freed]
    tx.run(
        MarkDispatched(
            order_id=event.order_id, site_id=event.site_id, dispatch_id=event.dispatch_id, goods=goods
        )
    )
