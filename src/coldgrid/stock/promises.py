"""Promises: goods promised to orders, decided once for the network and never oversold.

Invariants
    M1  At every promise, of every bucket: promised ≤ promisable. It is checked again in the decider, in the
        same breath as the fact is recorded, so no concurrency can slip between.
    M2  Moving a promise frees and takes in one fact; an order never has two promises, or none, meanwhile.
    M3  Only open promises are given back, moved or kept; each of them once.

What may be promised is computed from the sites' last facts by `Buckets`; a site's later fact may fall below
it and is then a shortfall, not an error. These are functions:
the command is the order that asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from operator import attrgetter

import msgspec

from coldgrid.kernel.events import Entry
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision
from coldgrid.stock.buckets import Allocation, Bucket, BucketKey, WouldOversell
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.promise_book import (
    Freed,
    Promise,
    Promised,
    PromiseKept,
    PromiseMoved,
    PromiseReleased,
    open_promises_of,
    promised_on,
    promised_on_bucket,
    promises_of,
)

__all__ = [
    "Allocation",
    "Bucket",
    "Freed",
    "PromisableIndex",
    "Promise",
    "PromiseKept",
    "PromiseMoved",
    "PromiseNotOpen",
    "PromiseReleased",
    "Promised",
    "Shipped",
    "WouldOversell",
    "keep",
    "move",
    "open_promises_of",
    "promise",
    "promised_on",
    "promised_on_bucket",
    "promises_of",
    "release",
]


_SITE = attrgetter("site_id")


class PromiseNotOpen(Conflict):
    """That promise was given back, moved or shipped before (M3)."""


class Shipped(msgspec.Struct, frozen=True):
    """Goods of one bucket that left for an order."""

    key: BucketKey
    qty: int


# --- Decisions (pure) -----------------------------------------------------------


def decide_freed(open_: Sequence[Promise], line_nos: Collection[int] | None) -> list[Freed]:
    """Return what is given back of an order's open promises: all of it, or that of some lines."""
    return [promise.freed() for promise in open_ if line_nos is None or promise.line_no in line_nos]


def decide_kept(open_: Sequence[Promise], shipped: Sequence[Shipped]) -> list[Freed]:
    """Return which open promises a dispatch fulfilled.

    Goods of the promised bucket count first, then any of the same product from the same site: a picker may
    take another lot. Goods that nobody promised fulfil nothing.
    """
    left = {promise: promise.open_qty for promise in open_}
    kept: Counter[Promise] = Counter()
    rest: list[tuple[Shipped, int]] = []
    for goods in shipped:
        exact = [promise for promise in open_ if promise.key == goods.key]
        rest.append((goods, _take(exact, goods.qty, left, kept)))
    for goods, qty in rest:
        same = [promise for promise in open_ if promise.key[:3] == goods.key[:3]]
        _take(same, qty, left, kept)
    return [promise.freed(kept[promise]) for promise in open_ if kept[promise]]


def _take(from_: Sequence[Promise], qty: int, left: dict[Promise, int], kept: Counter[Promise]) -> int:
    for promise in from_:
        taken = min(qty, left[promise])
        left[promise] -= taken
        kept[promise] += taken
        qty -= taken
    return qty


# --- Facts ----------------------------------------------------------------------


def promise(
    tx: Tx,
    order_id: str,
    allocations: Sequence[Allocation],
    decision: Decision,
    buckets: Sequence[Bucket] | None = None,
) -> Entry:
    """Promise goods to an order (M1). The decision travels in the fact; it gets no row of its own here.

    `buckets`: those of the index that the allocations were made of, where the caller has them at hand.

    Raises:
        WouldOversell: a bucket does not cover it; nothing is promised.
    """
    tx.hot(PromisableIndex).require_promisable(allocations, tx.now.date(), buckets=buckets)
    event = Promised(order_id=order_id, allocations=allocations, decision=decision)
    return tx.record(f"order/{order_id}", event, audience=_sites(allocations))


def release(
    tx: Tx, order_id: str, reason: str, *, cause_id: str = "", line_nos: Collection[int] | None = None
) -> list[Freed]:
    """Give back what is still promised to an order, or to some of its lines; return it, empty or not."""
    freed = decide_freed(open_promises_of(tx, order_id), line_nos)
    if freed:
        event = PromiseReleased(order_id=order_id, freed=freed, reason=reason, cause_id=cause_id)
        tx.record(f"order/{order_id}", event, audience=_sites(freed))
    return freed


def move(
    tx: Tx,
    order_id: str,
    from_: Sequence[Promise],
    to: Sequence[Allocation],
    decision: Decision,
    *,
    cause_id: str = "",
) -> Entry:
    """Move promises of an order to other buckets in one fact (M2). `to` may cover less than `from_`.

    Raises:
        PromiseNotOpen: one of `from_` no longer stands as it was read.
        WouldOversell: a bucket does not cover it, counting what the same fact gives back.
    """
    open_ = set(open_promises_of(tx, order_id))
    gone = [one for one in from_ if one not in open_]
    if gone:
        raise PromiseNotOpen(order_id=order_id, line_no=gone[0].line_no, zone_id=gone[0].zone_id)
    credit: Counter[BucketKey] = Counter()
    for one in from_:
        credit[one.key] += one.open_qty
    tx.hot(PromisableIndex).require_promisable(to, tx.now.date(), credit)
    freed = [one.freed() for one in from_]
    event = PromiseMoved(order_id=order_id, freed=freed, allocations=to, decision=decision, cause_id=cause_id)
    return tx.record(f"order/{order_id}", event, audience=_sites([*freed, *to]))


def keep(tx: Tx, order_id: str, dispatch_id: str, site_id: str, shipped: Sequence[Shipped]) -> list[Freed]:
    """Count dispatched goods against an order's promises at the site; return what they fulfilled."""
    open_ = [promise for promise in open_promises_of(tx, order_id) if promise.site_id == site_id]
    freed = decide_kept(open_, shipped)
    if freed:
        event = PromiseKept(order_id=order_id, dispatch_id=dispatch_id, site_id=site_id, freed=freed)
        tx.record(f"order/{order_id}", event, audience=(site_id,))
    return freed


def _sites(parts: Sequence[Allocation | Freed]) -> tuple[str, ...]:
    sites = set(map(_SITE, parts))
    return tuple(sites if len(sites) == 1 else sorted(sites))
