"""Sourcing again: what an order counted on is paused, held or gone, so it is looked for elsewhere.

Invariants
    R1  Only what is affected moves: other lines, and other goods of the same line, stay where they are.
    R2  Goods that are held or gone are given back at once, whether or not others are found: they cannot ship.
    R3  Goods of a paused zone stay promised until others are found: a pause passes, and they still ship.
    R4  Moving is one fact: never promised twice, never between two stools.
    R5  Where goods came free, an order that lacks others is left as it is: there is nothing to choose.

The outcome is provisional until the order is released; after that a move is released to its new sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision, record_decision
from coldgrid.orders import orders, promising
from coldgrid.orders.orders import (
    LineUnsourceable,
    Offer,
    Order,
    OrderEnded,
    OrderLine,
    OrderReleased,
    OrderResourced,
    OrderStatus,
    WorkLine,
)
from coldgrid.orders.promising import Sourced
from coldgrid.orders.sourcing import Unsourceable
from coldgrid.orders.whose import check_own
from coldgrid.stock import promises
from coldgrid.stock.promises import PromisableIndex, Promise, open_promises_of


class Why(StrEnum):
    """What made an order be sourced again."""

    PAUSE = "pause"
    HOLD = "hold"
    SHORTFALL = "shortfall"
    SITE_MODE = "site_mode"
    RESUMED = "resumed"
    FINAL = "final"
    MANUAL = "manual"


class SourceAgain(Command, frozen=True, tag="orders.source_again"):
    """Look elsewhere for what an order cannot count on any more. `cause_id`: the entry behind it."""

    order_id: str
    cause_id: str
    reason: Why


class SourcedAgain(msgspec.Struct, frozen=True):
    """What came of it: lines that moved, lines that nobody can serve, the promise as it stands now."""

    moved: list[int]
    unsourced: list[Unsourceable]
    offer: Offer


# --- Decisions (pure) -----------------------------------------------------------


class Standing(msgspec.Struct, frozen=True):
    """How an open promise stands: `lost` when its goods cannot ship, `risky` when its zone is paused."""

    promise: Promise
    lost: bool
    risky: bool


def affected_lines(order: Order, standings: Sequence[Standing]) -> tuple[list[OrderLine], list[Standing]]:
    """What to look for: the affected goods of each line (R1), and the lines that had none to begin with."""
    affected = [standing for standing in standings if standing.lost or standing.risky]
    wanted: dict[int, int] = {}
    for standing in affected:
        line_no = standing.promise.line_no
        wanted[line_no] = wanted.get(line_no, 0) + standing.promise.open_qty
    for line in order.unsourced or ():
        wanted[line.line_no] = wanted.get(line.line_no, 0) + line.qty
    lines = [
        msgspec.structs.replace(line, qty=wanted[line.line_no])
        for line in order.request.lines
        if line.line_no in wanted
    ]
    return lines, affected


def merged_offer(order: Order, kept: Sequence[Promise], sourced: Sourced, why: Why) -> Offer:
    """The promise as it stands once the plan is carried out: what was kept, and what was found.

    An order that is left with nothing on the last try has no `final_at` any more: nothing is due.
    """
    found = sourced.offer
    sites: dict[str, set[int]] = {}
    for promise in kept:
        sites.setdefault(promise.site_id, set()).add(promise.line_no)
    for pick in sourced.plan.picks:
        site_id = sourced.reach.site_ids[pick.site]
        sites.setdefault(site_id, set()).add(sourced.needs[pick.line].line_no)
    old_arrival = order.arrives_at if kept else None
    old_final = order.final_at if kept or not sourced.plan.picks else None
    over = why is Why.FINAL and not sites
    return Offer(
        sites={site_id: len(lines) for site_id, lines in sorted(sites.items())},
        arrives_at=_latest(old_arrival, found.arrives_at if sourced.plan.picks else None),
        final_at=None if over else _earliest(old_final, found.final_at),
        score_cents=found.score_cents,
    )


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def work_of(held: Sequence[Promise]) -> dict[str, list[WorkLine]]:
    """What each site is to pick."""
    work: dict[str, list[WorkLine]] = {}
    for promise in held:
        line = WorkLine(
            promise.line_no, promise.product_id, promise.lot_id, promise.zone_id, promise.open_qty
        )
        work.setdefault(promise.site_id, []).append(line)
    return work


# --- Command --------------------------------------------------------------------


@handles(SourceAgain, action="orders.source_again", owner=Owner.NETWORK)
def source_again(tx: Tx, command: SourceAgain) -> SourcedAgain:
    """Source what is affected of an order again. An order that nothing affects is left as it is."""
    order = orders.get_order(tx, command.order_id)
    check_own(tx, tx.principal.sites, order)
    if not order.live:
        raise OrderEnded(order_id=order.order_id, status=order.status)
    standings = [_standing(tx, promise) for promise in open_promises_of(tx, order.order_id)]
    lines, affected = affected_lines(order, standings)
    if not lines or (command.reason is Why.RESUMED and not affected and not may_gain(tx, order)):
        return SourcedAgain([], order.unsourced or [], order.offer)
    sourced = promising.source_lines(tx, order.order_id, order.request, lines)
    return _Outcome(tx, command, order, standings, affected, sourced).record()


def may_gain(tx: Tx, order: Order) -> bool:
    """Whether any site has some of what an order lacks to promise now."""
    return promising.any_promisable(tx, order.request, {line.product_id for line in order.unsourced or ()})


def _standing(tx: Tx, promise: Promise) -> Standing:
    bucket = tx.hot(PromisableIndex).bucket(promise.key)
    if bucket is None or bucket.short or bucket.site.closed:
        return Standing(promise, lost=True, risky=False)
    return Standing(promise, lost=False, risky=bucket.paused)


class _Outcome:
    """What a plan for the affected lines changes, and recording it."""

    def __init__(
        self,
        tx: Tx,
        command: SourceAgain,
        order: Order,
        standings: Sequence[Standing],
        affected: Sequence[Standing],
        sourced: Sourced,
    ) -> None:
        self.tx, self.command, self.order, self.sourced = tx, command, order, sourced
        self.moved = sorted({sourced.needs[pick.line].line_no for pick in sourced.plan.picks})
        self.freed = [s.promise for s in affected if s.lost or s.promise.line_no in self.moved]
        self.kept = [s.promise for s in standings if s.promise not in self.freed]
        still = {promise.line_no for promise in self.kept}
        lost = {s.promise.line_no for s in affected if s.lost}
        # A line whose goods are only paused is still promised (R3).
        self.unsourced = [
            line for line in sourced.plan.unsourceable if line.line_no in lost or line.line_no not in still
        ]
        self.offer = merged_offer(order, self.kept, sourced, command.reason)
        self.provisional = order.status is OrderStatus.OPEN and command.reason is not Why.FINAL
        self.stream = f"order/{order.order_id}"

    def record(self) -> SourcedAgain:
        """Move, give back, and say so (R2, R4)."""
        command, order = self.command, self.order
        decision = self.sourced.decision(command.cause_id)
        told = bool(self.moved or self.freed)
        if told:
            to = self.sourced.allocations()
            promises.move(self.tx, order.order_id, self.freed, to, decision, cause_id=command.cause_id)
        if self.moved:
            self._record_moved()
        if self.unsourced and (
            told or self.unsourced != order.unsourced or order.provisional != self.provisional
        ):
            self._record_unsourced(None if told else decision)
        elif not told:
            record_decision(self.tx, self.stream, decision)
        if self.moved and order.status is OrderStatus.RELEASED:
            self._release_moved()
        if order.status is OrderStatus.OPEN:
            promising.arm_release(self.tx, self.offer.final_at)
        return SourcedAgain(self.moved, self.unsourced, self.offer)

    def _record_moved(self) -> None:
        self.tx.record(
            self.stream,
            OrderResourced(
                order_id=self.order.order_id,
                cause_id=self.command.cause_id,
                reason=self.command.reason,
                lines=self.moved,
                provisional=self.provisional,
                before=self.order.offer,
                offer=self.offer,
                unsourced=self.unsourced,
            ),
        )

    def _record_unsourced(self, decision: Decision | None) -> None:
        self.tx.record(
            self.stream,
            LineUnsourceable(
                order_id=self.order.order_id,
                cause_id=self.command.cause_id,
                lines=self.unsourced,
                provisional=self.provisional,
                before=self.offer if self.moved else self.order.offer,
                offer=self.offer,
                decision=decision,
            ),
        )

    def _release_moved(self) -> None:
        """The sites that get lines after the release may begin at once."""
        held = open_promises_of(self.tx, self.order.order_id)
        moved = [promise for promise in held if promise.line_no in self.moved]
        work = work_of(moved)
        request = self.order.request
        self.tx.record(
            self.stream,
            OrderReleased(
                order_id=self.order.order_id,
                work=work,
                ship_to=request.ship_to,
                customer=request.customer,
                leaves_at=promising.leaves_at(self.tx, request, work),
            ),
            audience=sorted(work),
        )
