"""Sourcing again: which orders count on what a site can no longer give, and which wait for what it can again.

Invariants
    N1  Every order named by a shortfall, and every order promised from a failed zone, is looked at once per
        cause.
    N2  Of those who lose their goods, who was promised first gets others first; the orders are taken `CHUNK`
        at a time, so that no commit takes long, however many count on a zone.
    N3  Goods that come, or come free, are offered to the orders that lack some, the longest waiting first, as
        long as some are left to promise.

The causes are facts of sites, or the network's own shortfalls, so all of it runs from durable cursors, after
the commit of the cause. Sourcing an order again that nothing affects changes nothing: a repeat is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable

from coldgrid.kernel.registry import on_timer, reacts
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.timers import Timer
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import SiteModeChanged
from coldgrid.orders.orders import orders_wanting_goods
from coldgrid.orders.resourcing import SourceAgain, Why, may_gain
from coldgrid.stock.buckets import SHIPPING_MODES
from coldgrid.stock.hold_facts import HoldReleased
from coldgrid.stock.movements import UnitReceived
from coldgrid.stock.pauses import PASSING, ZonePaused, ZoneResumed
from coldgrid.stock.promises import promised_on
from coldgrid.stock.reserves import StalenessNoted
from coldgrid.stock.shortfalls import Shortfall

CHUNK = 10
WANTING_MAX = 500
TIMER = "network_flows.source_again"


def source_all_again(tx: Tx, order_ids: Iterable[str], cause_id: str, reason: Why) -> None:
    """Source orders again, the first ones now and the rest by a timer that is due at once (N2)."""
    waiting = list(dict.fromkeys(order_ids))
    for order_id in waiting[:CHUNK]:
        try:
            tx.run(SourceAgain(order_id=order_id, cause_id=cause_id, reason=reason))
        except Rejected:
            continue  # it was dispatched, cancelled, or is promised by something else than an order
    if waiting[CHUNK:]:
        payload = {"orders": waiting[CHUNK:], "cause_id": cause_id, "reason": reason.value}
        tx.set_timer(f"source-again/{cause_id}/{reason}", TIMER, tx.now, payload)


@on_timer(TIMER)
def source_the_rest_again(tx: Tx, timer: Timer) -> None:
    """Take the next orders of a cause."""
    told = timer.payload
    source_all_again(tx, told["orders"], told["cause_id"], Why(told["reason"]))


# --- What sites can no longer give ----------------------------------------------


@reacts(Shortfall, name="network_flows.after_shortfall", cursor=True)
def after_shortfall(tx: Tx, event: Shortfall) -> None:
    """Goods that were promised are held, gone or locked up: source the orders that lose them again."""
    source_all_again(tx, reversed(event.orders), tx.cause, Why.SHORTFALL)


@reacts(ZonePaused, name="network_flows.after_pause", cursor=True)
def after_pause(tx: Tx, event: ZonePaused) -> None:
    """A zone failed: look for other goods for the orders that count on it, provisionally.

    A pre-alarm only keeps new orders out: most of them pass, and what was promised then still holds.
    """
    if event.reason in PASSING:
        return
    newest_first = [promise.order_id for promise in promised_on(tx, event.zone_id)]
    source_all_again(tx, reversed(newest_first), tx.cause, Why.PAUSE)


# --- What comes, or comes free --------------------------------------------------


def _offer_to_waiting(tx: Tx, products: Iterable[str] | None = None) -> None:
    """Offer goods to the orders that lack some; of these products, or of any (N3)."""
    named = None if products is None else set(products)
    wanting = [
        order.order_id
        for order in orders_wanting_goods(tx, WANTING_MAX)
        if (named is None or any(line.product_id in named for line in order.unsourced or ()))
        and may_gain(tx, order)
    ]
    source_all_again(tx, wanting, tx.cause, Why.RESUMED)


@reacts(ZoneResumed, name="network_flows.after_resume", cursor=True)
def after_resume(tx: Tx, event: ZoneResumed) -> None:
    """A zone can be promised from again."""
    if not event.still_paused:
        _offer_to_waiting(tx)


@reacts(HoldReleased, name="network_flows.after_release", cursor=True)
def after_release(tx: Tx, event: HoldReleased) -> None:
    """Held goods came free."""
    freed = {unit.product_id for unit in event.units if unit.is_sellable}
    if freed:
        _offer_to_waiting(tx, freed)


@reacts(UnitReceived, name="network_flows.after_receipt", cursor=True)
def after_receipt(tx: Tx, event: UnitReceived) -> None:
    """Goods came in."""
    _offer_to_waiting(tx, {event.line.product_id})


@reacts(StalenessNoted, name="network_flows.after_contact", cursor=True)
def after_contact(tx: Tx, event: StalenessNoted) -> None:
    """A silent site is heard again: what was kept back is free. What it lost meanwhile are shortfalls."""
    if not event.stale_min:
        _offer_to_waiting(tx)


@reacts(SiteModeChanged, name="network_flows.after_mode", cursor=True)
def after_mode(tx: Tx, event: SiteModeChanged) -> None:
    """A site ships again. What one loses that stops shipping is told by its shortfalls."""
    if event.mode in SHIPPING_MODES and event.before not in SHIPPING_MODES:
        _offer_to_waiting(tx)
