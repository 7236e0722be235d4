"""Sourcing: from which sites an order is served, and why from no other. Pure.

Invariants
    S1  A plan takes from a bucket no more than it may promise.
    S2  Goods taken have the life the line asks for on the day they arrive, and are not older than the last
        ones shipped to this customer; within a site the first to expire goes first (FEFO).
    S3  A line is sourced whole or named with the reason; the other lines are sourced all the same.
    S4  Every site has a reason; an order is split only where no site can serve it or a split scores lower.
    S5  The same arguments give the same plan: integers only, ties go to the earlier site.

The score of a plan is money and time in thousandths of a cent: for every box (one per site and temperature
class) its base from the reach, the weight's freight, a penalty for arriving after the promised time, and
`split_cents` for each site after the first. Lowest wins.

Search. Sites are tried from the lowest score up and the first that can serve all lines is the best single
site, so dearer sites need no look at their stock. A split is searched (`splits.py`) only if its lower bound,
the two lowest box bases plus the least freight plus one split, is below that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Protocol

import msgspec

from coldgrid.orders import splits
from coldgrid.orders.policy import SourcingPolicy
from coldgrid.orders.reach import DEARER, KIND, MODE, NO_DEPARTURE, SILENT, TOO_FAR, Combined, Reach

CHOSEN = "s.best"
PART = "s.part"
NO_STOCK = "s.none"
SHORT = "s.few"
PAUSED = "s.pause"
SHORT_LIVED = "s.life"
OLDER = "s.older"
FULL = "s.full"

REASON_TEXTS = {
    CHOSEN: "chosen",
    PART: "chosen for part of the order",
    DEARER: "could only score higher than the choice",
    NO_STOCK: "has none of a product",
    SHORT: "has too little of a product",
    PAUSED: "its stock of a product is paused",
    SHORT_LIVED: "its stock of a product would not live long enough after arrival",
    OLDER: "its stock of a product is older than what the customer got last",
    FULL: "has as many open lines as it can work off",
    MODE: "does not ship in its present mode",
    SILENT: "its facts have not come for too long",
    KIND: "is not a kind of site that ships to customers",
    TOO_FAR: "too long on the road for the temperature class",
    NO_DEPARTURE: "has no departure in the coming days",
}


class Stock(Protocol):
    """One bucket of the promisable index: a product's lot in one zone. `promisable` is never negative."""

    @property
    def promisable(self) -> int:
        """How much may be promised from it now."""

    @property
    def paused(self) -> bool:
        """Whether its zone is paused."""

    @property
    def expires_on(self) -> date:
        """The last day of its life; goods without one have the last day of all."""


class Need(msgspec.Struct, frozen=True, gc=False):
    """One line of an order. `unit_g`: weight of one unit. `life_min`: life the goods must have on arrival.

    `not_before`: the expiry of what was last shipped to the customer, None where unknown.
    """

    line_no: int
    product_id: str
    qty: int
    unit_g: int
    temperature_class: str
    life_min: timedelta = timedelta(0)
    not_before: date | None = None


class Pick(msgspec.Struct, frozen=True, gc=False):
    """Take `qty` of the line at `line` (an index) from a bucket at a site (an index into the reach)."""

    line: int
    site: int
    bucket: Any  # a `Stock`, by its own type
    qty: int


class Unsourceable(msgspec.Struct, frozen=True):
    """A line that no plan can serve whole: the reason closest to a remedy, and how much could be had."""

    line_no: int
    product_id: str
    qty: int
    reason: str
    available: int


class Plan(msgspec.Struct):
    """What to promise, with the reasons. `used`: indexes of the chosen sites in the reach.

    `scores_mcents` (what a site would cost for all lines), `reasons` and `lines` (the line that a reason is
    about, 0 for all of them; empty when no reason names one) follow `columns`. `score_mcents` is None when
    nothing could be sourced. `bound_mcents`: no plan scores lower; `proven`: the plan reaches that bound.
    """

    picks: list[Pick]
    used: list[int]
    score_mcents: int | None
    columns: Combined
    scores_mcents: list[int]
    reasons: list[str]
    lines: list[int]
    bound_mcents: int
    proven: bool = True
    unsourceable: list[Unsourceable] = msgspec.field(default_factory=list)


class Question(msgspec.Struct, frozen=True):
    """What sourcing is asked, beside the lines.

    `full`: sites with as many open lines as they can work off. `promise_by_min`: when the customer was
    promised or wants the goods; missing it costs, it does not forbid.
    """

    reach: Reach
    policy: SourcingPolicy
    full: Collection[str] = ()
    promise_by_min: int | None = None


Buckets = Mapping[str, Sequence[Stock]]


def source(needs: Sequence[Need], stock: Sequence[Buckets], question: Question) -> Plan:
    """Choose sites and buckets for an order.

    Args:
        needs: The lines, each product once, quantities positive.
        stock: For each line the buckets of its product by site, first to expire first.
        question: Reach, policy, full sites, and the promised time.

    Returns:
        The plan with the lowest score over all lines that can be sourced (S1-S5). It is the optimum unless
        the search for a split ran into `policy.search_max`; then `proven` is False.
    """
    plan, split_bound = _best_site(needs, stock, question)
    if plan.score_mcents is not None and split_bound >= plan.score_mcents:
        return plan
    return _with_splits(needs, stock, question, plan)


def _best_site(needs: Sequence[Need], stock: Sequence[Buckets], question: Question) -> tuple[Plan, int]:
    """The best single site, with the reason of every cheaper one; and the least that a split can score."""
    reach, full = question.reach, question.full
    columns = reach.of(_classes(needs))
    grams = 0
    for need in needs:
        grams += need.qty * need.unit_g
    scores = [base + kg * grams for base, kg in columns.freight]
    if question.promise_by_min is not None and reach.latest_min > question.promise_by_min:
        late, boxes = _late_mcents(question), len(columns.classes)
        scores = [score + boxes * late[i] for score, i in zip(scores, columns.sites, strict=False)]
    bound = columns.split_mcents + columns.kg_min_cents * grams + question.policy.split_cents * 1_000
    reasons = columns.reasons.copy()
    lines: list[int] = []
    for place in _cheapest_first(scores):
        site = columns.sites[place]
        if full and reach.site_ids[site] in full:
            reasons[place] = FULL
            continue
        picks = _picks(needs, stock, reach, site)
        if picks is not None:
            reasons[place], score = CHOSEN, scores[place]
            return Plan(picks, [site], score, columns, scores, reasons, lines, min(bound, score)), bound
        lines = lines or [0] * len(reasons)
        reasons[place], lines[place] = _shortage(needs, stock, reach, site)
    return Plan([], [], None, columns, scores, reasons, lines, bound), bound


def _classes(needs: Sequence[Need]) -> tuple[str, ...]:
    first = needs[0].temperature_class
    for need in needs:
        if need.temperature_class != first:
            return tuple(sorted({need.temperature_class for need in needs}))
    return (first,)


def _cheapest_first(scores: Sequence[int]) -> Iterator[int]:
    """Places by score, the earlier one first where scores are equal; mostly only the first is asked for."""
    if scores:
        yield scores.index(min(scores))
        yield from sorted(range(len(scores)), key=scores.__getitem__)[1:]


def _late_mcents(question: Question) -> list[int]:
    """What arriving late weighs per box, for each site of the reach."""
    policy, by_min = question.policy, question.promise_by_min or 0
    return [
        (policy.late_cents * 60 + (at_min - by_min) * policy.late_hour_cents) * 1_000 // 60
        if at_min > by_min
        else 0
        for at_min in question.reach.arrives_min
    ]


def _picks(needs: Sequence[Need], stock: Sequence[Buckets], reach: Reach, site: int) -> list[Pick] | None:
    """FEFO from one site for all lines (S1, S2), None when a line falls short."""
    site_id, arrives_on = reach.site_ids[site], reach.arrives_on[site]
    picks: list[Pick] = []
    for line, need in enumerate(needs):
        rows = stock[line].get(site_id)
        if rows is None or _fill(picks, (line, site), rows, _floor(need, arrives_on), need.qty):
            return None
    return picks


def _floor(need: Need, arrives_on: date) -> date:
    """The earliest expiry that a line may get from a site (S2)."""
    floor = arrives_on + need.life_min
    return floor if need.not_before is None or need.not_before < floor else need.not_before


def _fill(picks: list[Pick], where: tuple[int, int], rows: Sequence[Stock], floor: date, wanted: int) -> int:
    """Add picks for the line and site in `where`, first to expire first; return what is still missing."""
    line, site = where
    for row in rows:
        if row.expires_on >= floor and (free := row.promisable) > 0:
            if free >= wanted:
                picks.append(Pick(line, site, row, wanted))
                return 0
            picks.append(Pick(line, site, row, free))
            wanted -= free
    return wanted


def _shortage(needs: Sequence[Need], stock: Sequence[Buckets], reach: Reach, site: int) -> tuple[str, int]:
    """Why a site cannot serve all lines: the reason and number of the first line that falls short."""
    for need, buckets in zip(needs, stock, strict=True):
        rows, arrives_on = buckets.get(reach.site_ids[site], ()), reach.arrives_on[site]
        if _usable(rows, need, arrives_on) < need.qty:
            return _why_short(rows, need, arrives_on), need.line_no
    raise AssertionError("asked for the shortage of a site that has none")


def _usable(rows: Sequence[Stock], need: Need, arrives_on: date) -> int:
    floor = _floor(need, arrives_on)
    return sum(row.promisable for row in rows if row.expires_on >= floor)


def _why_short(rows: Sequence[Stock], need: Need, arrives_on: date) -> str:
    """What keeps a site's stock from serving a line; a pause is named first, because it may pass."""
    free = [row for row in rows if row.promisable > 0]
    unfit = [row for row in free if row.expires_on < _floor(need, arrives_on)]
    if any(row.paused for row in rows):
        return PAUSED
    if not unfit:
        return SHORT if free else NO_STOCK
    short_lived = any(row.expires_on < arrives_on + need.life_min for row in unfit)
    return SHORT_LIVED if short_lived else OLDER


# --- More than one site ---------------------------------------------------------


def _with_splits(needs: Sequence[Need], stock: Sequence[Buckets], question: Question, single: Plan) -> Plan:
    """Name the lines that nobody can serve; source the rest from one site or several."""
    boxes = _boxes(needs, stock, question)
    covered = [sum(box.available[line] for box in boxes) for line in range(len(needs))]
    kept = [line for line, need in enumerate(needs) if covered[line] >= need.qty]
    if len(kept) < len(needs):
        return _without(needs, stock, question, single, covered)
    found = splits.cheapest_split(
        boxes,
        splits.Lines(tuple(need.qty for need in needs), tuple(need.unit_g for need in needs)),
        question.policy.split_cents * 1_000,
        single.score_mcents,
        question.policy.search_max,
    )
    return single if found is None else _split_plan(needs, stock, question.reach, (single, boxes, found))


def _boxes(needs: Sequence[Need], stock: Sequence[Buckets], question: Question) -> list[splits.Box]:
    """What every site could send in every class of the order."""
    reach, late = question.reach, _late_mcents(question) if question.promise_by_min is not None else None
    boxes = []
    for name in sorted({need.temperature_class for need in needs}):
        columns = reach.of((name,))
        for i in columns.sites[: len(columns.freight)]:
            available = tuple(
                min(need.qty, _usable(rows.get(reach.site_ids[i], ()), need, reach.arrives_on[i]))
                if need.temperature_class == name
                else 0
                for need, rows in zip(needs, stock, strict=True)
            )
            if any(available) and reach.site_ids[i] not in question.full:
                base_mcents = reach.base_mcents[name][i] + (late[i] if late else 0)
                boxes.append(splits.Box(i, base_mcents, reach.kg_cents[i], available))
    return boxes


def _split_plan(
    needs: Sequence[Need],
    stock: Sequence[Buckets],
    reach: Reach,
    searched: tuple[Plan, list[splits.Box], splits.Split],
) -> Plan:
    single, boxes, found = searched
    picks: list[Pick] = []
    for line, box, qty in found.takes:
        site, need = boxes[box].site, needs[line]
        rows, floor = stock[line][reach.site_ids[site]], _floor(need, reach.arrives_on[site])
        missing = _fill(picks, (line, site), rows, floor, qty)
        assert not missing, "a split takes more than a site may promise"
    used = sorted({pick.site for pick in picks})
    reasons = [DEARER if why == CHOSEN else why for why in single.reasons]
    lines = single.lines.copy()
    for place, site in enumerate(single.columns.sites):
        if site in used:
            reasons[place] = CHOSEN if len(used) == 1 else PART
            if lines:
                lines[place] = 0
    return msgspec.structs.replace(
        single,
        picks=picks,
        used=used,
        score_mcents=found.score_mcents,
        reasons=reasons,
        lines=lines,
        bound_mcents=found.bound_mcents,
        proven=found.proven,
    )


def _without(
    needs: Sequence[Need], stock: Sequence[Buckets], question: Question, single: Plan, covered: Sequence[int]
) -> Plan:
    """Source the lines that can be had whole (S3) and name the others."""
    kept = [line for line, need in enumerate(needs) if covered[line] >= need.qty]
    plan = single
    if kept:
        plan = source([needs[line] for line in kept], [stock[line] for line in kept], question)
        plan.picks = [Pick(kept[pick.line], pick.site, pick.bucket, pick.qty) for pick in plan.picks]
    plan.unsourceable = [
        Unsourceable(
            need.line_no, need.product_id, need.qty, _why_nowhere(need, stock[line], question), covered[line]
        )
        for line, need in enumerate(needs)
        if line not in kept
    ]
    return plan


def _why_nowhere(need: Need, buckets: Buckets, question: Question) -> str:
    """The reason closest to a remedy: a pause passes, a site frees up, other stock does not appear."""
    reach, found = question.reach, set()
    for site_id, arrives_on, blocked in zip(
        reach.site_ids, reach.arrives_on, reach.reasons[need.temperature_class], strict=True
    ):
        rows = buckets.get(site_id, ())
        if not rows:
            continue
        if blocked != DEARER:
            found.add(blocked)
        elif site_id in question.full:
            found.add(FULL)
        else:
            found.add(_why_short(rows, need, arrives_on))
    return next((why for why in _MOST_HELPFUL if why in found), NO_STOCK)


_MOST_HELPFUL = (PAUSED, FULL, SHORT, SILENT, MODE, NO_DEPARTURE, OLDER, SHORT_LIVED, TOO_FAR, KIND)
