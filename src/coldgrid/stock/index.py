"""The promisable index: hot state of the decider, from which orders are promised without a single read.

Invariants
    X1  It changes only in projections, each with its undo; loading it afresh gives the same.
    X2  A node keeps the buckets of its own site only, whatever it is told of others'.
    X3  A site's fact never fails here, even where it leaves less than was promised (see `shortfalls`).

Facts of sites reach it through `feeds`; promises, pauses, modes and reserves are projected here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import hot_state, projects
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import SiteModeChanged, list_sites
from coldgrid.stock import inventory, pauses, promise_book, reserves
from coldgrid.stock.buckets import SHIPPING_MODES, Allocation, BucketKey, Buckets
from coldgrid.stock.pauses import ZonePaused, ZoneResumed
from coldgrid.stock.promise_book import Freed, Promised, PromiseKept, PromiseMoved, PromiseReleased
from coldgrid.stock.reserves import StalenessNoted, StockProtected

__all__ = ["PromisableIndex", "change_sellable"]


@hot_state
class PromisableIndex(Buckets):
    """Every bucket of the network; `candidates(product_id, owner)` gives those of a product by site."""

    @classmethod
    def load(cls, reader: Reader) -> PromisableIndex:
        """Build the index from the tables: one pass over sellable units, one over open promises."""
        hosting = Hosting.load(reader)
        index = cls(None if hosting.here(NETWORK_ORIGIN) else hosting.told_here)
        for site in list_sites(reader):
            if site.mode not in SHIPPING_MODES:
                index.set_closed(site.site_id, True)
        for site_id, stale_min in reserves.stale_sites(reader).items():
            index.set_buffer(site_id, reserves.buffer_permille(stale_min))
        for pause in pauses.all_open_pauses(reader):
            index.set_pauses(pause.zone_id, {*index.pauses_of(pause.zone_id), pause.pause_id})
        for kept in reserves.protected_stock(reader):
            index.protect(kept.product_id, kept.owner, kept.site_id, kept.qty)
        for goods in inventory.sellable_totals(reader):
            index.add(_key(goods), goods.qty, 0)
        for promised in promise_book.promised_totals(reader):
            index.add(_key(promised), 0, promised.qty)
        return index


def _key(total: inventory.SellableTotal | promise_book.PromisedTotal) -> BucketKey:
    return (total.product_id, total.owner, total.site_id, total.zone_id, total.lot_id, total.expires_on)


def _back(setter: Callable[..., object], *args: object) -> Callable[[], None]:
    """Return what takes a change back; what the setter tells is of no use then."""

    def back() -> None:
        setter(*args)

    return back


# --- What sites' facts change ---------------------------------------------------


def change_sellable(tx: Tx, changes: Iterable[tuple[BucketKey, int]]) -> None:
    """Add to what may be sold of some buckets; from projections of sites' facts."""
    if tx.rebuilding:
        return
    index = tx.hot(PromisableIndex)
    for key, qty in changes:
        if qty:
            index.add(key, qty, 0)
            tx.undo(partial(index.add, key, -qty, 0))


@projects(ZonePaused)
def _pause(tx: Tx, event: ZonePaused) -> None:
    _set_pauses(tx, event.zone_id, add=event.pause_id)


@projects(ZoneResumed)
def _resume(tx: Tx, event: ZoneResumed) -> None:
    _set_pauses(tx, event.zone_id, drop=event.pause_id)


def _set_pauses(tx: Tx, zone_id: str, add: str = "", drop: str = "") -> None:
    if tx.rebuilding:
        return
    index = tx.hot(PromisableIndex)
    before = index.set_pauses(zone_id, (index.pauses_of(zone_id) | {add}) - {drop, ""})
    tx.undo(_back(index.set_pauses, zone_id, before))


# --- What the network's facts change --------------------------------------------


@projects(Promised)
def _promise(tx: Tx, event: Promised) -> None:
    if not tx.rebuilding:
        index = tx.hot(PromisableIndex)
        index.add_promised(event.allocations, 1)
        tx.undo(partial(index.add_promised, event.allocations, -1))


@projects(PromiseReleased)
def _release(tx: Tx, event: PromiseReleased) -> None:
    _change_promised(tx, event.freed, ())


@projects(PromiseKept)
def _keep(tx: Tx, event: PromiseKept) -> None:
    _change_promised(tx, event.freed, ())


@projects(PromiseMoved)
def _move(tx: Tx, event: PromiseMoved) -> None:
    _change_promised(tx, event.freed, event.allocations)


def _change_promised(tx: Tx, freed: Sequence[Freed], allocations: Sequence[Allocation]) -> None:
    if tx.rebuilding:
        return
    index = tx.hot(PromisableIndex)
    changes = [(part.key, -part.qty) for part in freed] + [(one.key, one.qty) for one in allocations]
    for key, qty in changes:
        index.add(key, 0, qty)
        tx.undo(partial(index.add, key, 0, -qty))


@projects(SiteModeChanged)
def _set_mode(tx: Tx, event: SiteModeChanged) -> None:
    if not tx.rebuilding:
        index = tx.hot(PromisableIndex)
        before = index.set_closed(event.site_id, event.mode not in SHIPPING_MODES)
        tx.undo(_back(index.set_closed, event.site_id, before))


@projects(StalenessNoted)
def _set_buffer(tx: Tx, event: StalenessNoted) -> None:
    if not tx.rebuilding:
        index = tx.hot(PromisableIndex)
        before = index.set_buffer(event.site_id, reserves.buffer_permille(event.stale_min))
        tx.undo(_back(index.set_buffer, event.site_id, before))


@projects(StockProtected)
def _set_protected(tx: Tx, event: StockProtected) -> None:
    if not tx.rebuilding:
        index = tx.hot(PromisableIndex)
        place = (event.product_id, event.owner, event.site_id)
        before = index.protect(*place, event.qty)
        tx.undo(_back(index.protect, *place, before))
