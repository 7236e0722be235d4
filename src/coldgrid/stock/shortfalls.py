"""Shortfalls: a site's later facts cover less than the network promised. Said aloud, with the orders.

Invariants
    F1  A site's fact that takes goods from sale is answered once: each bucket it left short gets one
        shortfall with the orders that stand to lose, the latest promised first.
    F2  A dispatch first keeps the promises it fulfils; only what is short after that is a shortfall.
    F3  A site that stops shipping is short of everything promised there.

The sites' facts are another origin's, so the network answers from a durable cursor after the commit; nothing
is oversold meanwhile, because the index counted the fact at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, reacts
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import SiteModeChanged
from coldgrid.stock.buckets import SHIPPING_MODES, BucketKey
from coldgrid.stock.conditions import UnitStatusSet
from coldgrid.stock.counts import UnitAdjusted
from coldgrid.stock.dispatch import GoodsDispatched, GoodsRemoved
from coldgrid.stock.hold_facts import HeldUnit, HoldExtended, HoldPlaced
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.movements import UnitMoved
from coldgrid.stock.promises import Promise, Shipped, keep, promised_on_bucket
from coldgrid.stock.splits import GoodsTransformed
from coldgrid.stock.transfer_book import TransferShipped
from coldgrid.stock.units import Line


class Shortfall(Event, frozen=True, tag="stock.shortfall"):
    """Less may be sold from a bucket than is promised on it: `short` base units. `orders` stand to lose them.

    `cause_id`: the entry of the fact behind it, or the change of a site's mode.
    """

    shortfall_id: str
    site_id: str
    product_id: str
    owner: str
    lot_id: str
    zone_id: str
    short: int
    orders: list[str]
    cause_id: str


class SettleDispatch(Command, frozen=True, tag="stock.settle_dispatch"):
    """Ask to count dispatched goods against the order's promises."""

    dispatch_id: str
    order_id: str
    from_site_id: str
    shipped: tuple[Shipped, ...]


class RaiseShortfalls(Command, frozen=True, tag="stock.raise_shortfalls"):
    """Ask to look at some buckets, and to raise a shortfall for each that is short."""

    cause_id: str
    buckets: tuple[BucketKey, ...]
    whole: bool = False


# --- Decisions (pure) -----------------------------------------------------------


def decide_shortfall(key: BucketKey, short: int, open_: Sequence[Promise], cause_id: str) -> Shortfall:
    """Return the shortfall of a bucket (F1): the orders promised last lose first, as far as it is short."""
    orders: list[str] = []
    left = short
    for promise in open_:
        if left <= 0:
            break
        left -= promise.open_qty
        if promise.order_id not in orders:
            orders.append(promise.order_id)
    product_id, owner, site_id, zone_id, lot_id, expires_on = key
    return Shortfall(
        shortfall_id=derive_id("short", cause_id, *key[:5], expires_on.isoformat()),
        site_id=site_id,
        product_id=product_id,
        owner=owner,
        lot_id=lot_id,
        zone_id=zone_id,
        short=short,
        orders=orders,
        cause_id=cause_id,
    )


# --- Commands -------------------------------------------------------------------


@handles(SettleDispatch, action="stock.settle_dispatch", owner=Owner.NETWORK)
def settle_dispatch(tx: Tx, command: SettleDispatch) -> None:
    """Keep the promises that a dispatch fulfils; goods nobody promised keep none (F2)."""
    keep(tx, command.order_id, command.dispatch_id, command.from_site_id, command.shipped)


@handles(RaiseShortfalls, action="stock.raise_shortfalls", owner=Owner.NETWORK)
def raise_shortfalls(tx: Tx, command: RaiseShortfalls) -> list[str]:
    """Raise what is short; return the shortfalls' ids. `whole`: count all that is promised as short (F3)."""
    raised = []
    for key in command.buckets:
        bucket = tx.hot(PromisableIndex).bucket(key)
        short = 0 if bucket is None else bucket.promised if command.whole else bucket.short
        if short > 0:
            event = decide_shortfall(key, short, promised_on_bucket(tx, key), command.cause_id)
            tx.record(f"shortfall/{event.shortfall_id}", event, audience=(event.site_id,))
            raised.append(event.shortfall_id)
    return raised


# --- Reactions ------------------------------------------------------------------


def _raise(tx: Tx, keys: Iterable[BucketKey], *, whole: bool = False) -> None:
    """Look in hot state first: most facts leave no bucket short, and then nothing is asked."""
    index = tx.hot(PromisableIndex)
    short = [
        key
        for key in dict.fromkeys(keys)
        if (bucket := index.bucket(key)) is not None and (bucket.short or (whole and bucket.promised))
    ]
    if short:
        tx.run(RaiseShortfalls(cause_id=tx.cause, buckets=tuple(short), whole=whole))


def _left(site_id: str, lines: Iterable[Line]) -> list[BucketKey]:
    return [
        (line.product_id, line.owner, site_id, line.origin.zone_id, line.lot_id, line.expires_on)
        for line in lines
        if line.was_sellable
    ]


def _held(site_id: str, units: Iterable[HeldUnit]) -> list[BucketKey]:
    return [
        (unit.product_id, unit.owner, site_id, unit.zone_id, unit.lot_id, unit.expires_on)
        for unit in units
        if unit.was_sellable
    ]


@reacts(HoldPlaced, name="stock.short_after_hold", cursor=True)
def _after_hold(tx: Tx, event: HoldPlaced) -> None:
    _raise(tx, _held(event.site_id, event.units))


@reacts(HoldExtended, name="stock.short_after_hold_extended", cursor=True)
def _after_extension(tx: Tx, event: HoldExtended) -> None:
    _raise(tx, _held(event.site_id, event.units))


@reacts(UnitMoved, name="stock.short_after_move", cursor=True)
def _after_move(tx: Tx, event: UnitMoved) -> None:
    _raise(tx, _left(event.site_id, event.lines))


@reacts(UnitAdjusted, name="stock.short_after_count", cursor=True)
def _after_count(tx: Tx, event: UnitAdjusted) -> None:
    _raise(tx, _left(event.site_id, [event.line]))


@reacts(UnitStatusSet, name="stock.short_after_status", cursor=True)
def _after_status(tx: Tx, event: UnitStatusSet) -> None:
    _raise(tx, _left(event.site_id, [event.line]))


@reacts(GoodsRemoved, name="stock.short_after_removal", cursor=True)
def _after_removal(tx: Tx, event: GoodsRemoved) -> None:
    _raise(tx, _left(event.site_id, [event.line]))


@reacts(TransferShipped, name="stock.short_after_transfer", cursor=True)
def _after_transfer(tx: Tx, event: TransferShipped) -> None:
    _raise(tx, _left(event.site_id, [unit.line for unit in event.units]))


@reacts(GoodsTransformed, name="stock.short_after_transformation", cursor=True)
def _after_transformation(tx: Tx, event: GoodsTransformed) -> None:
    _raise(tx, _left(event.site_id, event.consumed))


@reacts(GoodsDispatched, name="stock.settle_dispatch", cursor=True)
def _after_dispatch(tx: Tx, event: GoodsDispatched) -> None:
    shipped = [
        Shipped(
            key=(n.product_id, n.owner, event.site_id, n.origin.zone_id, n.lot_id, n.expires_on), qty=n.qty
        )
        for n in event.lines
        if n.qty
    ]
    if shipped and event.order_id:
        command = SettleDispatch(
            dispatch_id=event.dispatch_id,
            order_id=event.order_id,
            from_site_id=event.site_id,
            shipped=tuple(shipped),
        )
        tx.run(command)
    _raise(tx, _left(event.site_id, event.lines))


@reacts(SiteModeChanged, name="stock.short_after_mode")
def _after_mode(tx: Tx, event: SiteModeChanged) -> None:
    if event.mode not in SHIPPING_MODES and event.before in SHIPPING_MODES:
        buckets = tx.hot(PromisableIndex).buckets_at(event.site_id)
        _raise(tx, [bucket.key for bucket in buckets], whole=True)
