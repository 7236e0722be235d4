"""Promising: sourcing an order's lines on the facts of this instant, and promising what was chosen.

Invariants
    M1  What is promised was promisable in the same commit: the index that sourcing reads is the one that the
        promise is checked against, and only the decider changes it.
    M2  The release timer is due no later than the first open order's `final_at`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from coldgrid.kernel.tables import to_micros
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision
from coldgrid.orders import explain
from coldgrid.orders.facts import SourcingFacts
from coldgrid.orders.orders import Offer, OrderLine, Request
from coldgrid.orders.policy import SourcingPolicy
from coldgrid.orders.reach import Cell, Reach, ShippingSite, cell_of, instant, last_workable_min
from coldgrid.orders.sourcing import Need, Plan, Question, source
from coldgrid.stock import promises
from coldgrid.stock.promises import Allocation, PromisableIndex

RELEASE_TIMER = "orders.release"
_MICROS_PER_MIN = 60_000_000


class Sourced(msgspec.Struct):
    """A plan with what it was made from, so that it can be promised and explained."""

    order_id: str
    needs: Sequence[Need]
    plan: Plan
    reach: Reach
    offer: Offer
    policy: tuple[str, str]
    promise_by_min: int | None

    def allocations(self) -> list[Allocation]:
        """What the plan takes, as promises."""
        needs = self.needs
        return [pick.bucket.allocation(needs[pick.line].line_no, pick.qty) for pick in self.plan.picks]

    def decision(self, cause_id: str) -> Decision:
        """The record of why."""
        facts: Mapping[str, Any] = (
            {} if self.promise_by_min is None else {"promise_by_min": self.promise_by_min}
        )
        return explain.decision_of(self.order_id, cause_id, self.plan, self.reach, self.policy, facts)


def source_lines(tx: Tx, order_id: str, request: Request, lines: Sequence[OrderLine]) -> Sourced:
    """Source lines of an order on the stock, sites and load of this instant. Nothing is promised yet."""
    facts = tx.hot(SourcingFacts)
    index = tx.hot(PromisableIndex)
    cell = cell_of(request.ship_to.lat, request.ship_to.lon)
    reach = facts.sites.reach(cell, tx.stamp.micros // _MICROS_PER_MIN)
    needs, stock, owner = [], [], request.owner
    for line in lines:
        product_id, days = line.product_id, line.life_min_days
        goods = facts.goods[product_id]
        needs.append(
            Need(
                line.line_no,
                product_id,
                line.qty,
                goods.unit_g,
                goods.temperature_class,
                goods.life_min if days is None else timedelta(days=days),
                facts.last_shipped.get((request.customer_id, product_id)) if request.never_older else None,
            )
        )
        stock.append(index.candidates(product_id, owner or goods.owner))
    by_min = None if request.promise_by is None else to_micros(request.promise_by) // _MICROS_PER_MIN
    plan = source(needs, stock, Question(reach, facts.policy, facts.load_of.full, by_min))
    offer = _offer(plan, len(needs), reach)
    if plan.unsourceable and not plan.used:
        offer = _waiting(facts, cell, reach, by_min)
    return Sourced(order_id, needs, plan, reach, offer, (facts.policy.version, facts.policy_hash), by_min)


def any_promisable(tx: Tx, request: Request, product_ids: Iterable[str]) -> bool:
    """Whether any site has some of these products to promise now, near or far, fresh enough or not."""
    facts, index = tx.hot(SourcingFacts), tx.hot(PromisableIndex)
    return any(index.any_promisable(each, request.owner or facts.goods[each].owner) for each in product_ids)


def promise(tx: Tx, sourced: Sourced) -> None:
    """Promise what was chosen (M1)."""
    buckets = [pick.bucket for pick in sourced.plan.picks]
    promises.promise(tx, sourced.order_id, sourced.allocations(), sourced.decision(""), buckets)


def _offer(plan: Plan, lines: int, reach: Reach) -> Offer:
    """Sites, arrival of the last parcel, and when the first site must begin to pick."""
    used = plan.used
    if not used or plan.score_mcents is None:
        return Offer({}, None, None)
    if len(used) == 1:
        site = used[0]
        counts = {reach.site_ids[site]: lines - len(plan.unsourceable)}
        return Offer(counts, reach.arrives_at[site], reach.final_at[site], plan.score_mcents // 1_000)
    counts = {reach.site_ids[i]: len({pick.line for pick in plan.picks if pick.site == i}) for i in used}
    arrives_at = max([reach.arrives_at[i] for i in used])
    return Offer(counts, arrives_at, min([reach.final_at[i] for i in used]), plan.score_mcents // 1_000)


def _waiting(facts: SourcingFacts, cell: Cell, reach: Reach, by_min: int | None) -> Offer:
    """Until when goods can be looked for: the last workable departure, without a promised time the next."""
    policy, sites = facts.policy, facts.sites
    roads, tables = sites.roads(cell), sites.tables(reach.at_min)
    latest: list[int] = []
    for i, site_id in enumerate(reach.site_ids):
        if not reach.departs_min[i]:
            continue
        leaves = reach.departs_min[i]
        if by_min is not None:
            leaves = max(leaves, last_workable_min(tables[i], roads[i], by_min) or 0)
        latest.append(leaves - _pick_min(sites.by_id[site_id], policy))
    return Offer({}, None, instant(max(latest)) if latest else None)


def leaves_at(tx: Tx, request: Request, site_ids: Iterable[str]) -> dict[str, datetime]:
    """Return the departure that goods which are picked from now on make at each site; without one, none."""
    reach = tx.hot(SourcingFacts).sites.reach(
        cell_of(request.ship_to.lat, request.ship_to.lon), tx.stamp.micros // _MICROS_PER_MIN
    )
    departs = dict(zip(reach.site_ids, reach.departs_min, strict=True))
    return {site_id: instant(departs[site_id]) for site_id in site_ids if departs.get(site_id)}


def _pick_min(site: ShippingSite, policy: SourcingPolicy) -> int:
    return policy.kinds[site.kind].pick_min


def arm_release(tx: Tx, final_at: datetime | None) -> None:
    """Have the release timer fire no later than `final_at` (M2)."""
    facts = tx.hot(SourcingFacts)
    before = facts.release_at
    if final_at is None or (before is not None and before <= final_at):
        return
    facts.release_at = final_at
    tx.undo(lambda: setattr(facts, "release_at", before))
    tx.set_timer(RELEASE_TIMER, RELEASE_TIMER, final_at, {})
