"""Orders through the decider, on both databases."""

from __future__ import annotations

import msgspec
import pytest

from coldgrid.kernel.personal import EraseSubject
from coldgrid.kernel.rejections import Invalid, KeyReused
from coldgrid.network.sites import ChangeSiteMode, SiteMode
from coldgrid.orchestration.decisions import alternatives_of, get_decision
from coldgrid.orders import orders
from coldgrid.orders.explain import sourcing_decisions
from coldgrid.orders.handling import MarkDispatched
from coldgrid.orders.intake import PlaceOrder
from coldgrid.orders.orders import OrderDiffers, OrderEnded, OrderPartlyGone, OrderStatus
from coldgrid.orders.resourcing import Why
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone
from coldgrid.tower.order_counts import order_counts
from tests.conftest import T0, Kernel
from tests.orders import world
from tests.orders.world import FREEZER, MILK, OTHER, PALLET, SITE, line, order, promised, stocked, told
from tests.stock.world import dispatch, hold, receive


def pause(reason: PauseReason = PauseReason.EXCURSION) -> PauseZone:
    return PauseZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason=reason, cause_id="alarm-1")


class TestPlacing:
    def test_an_order_is_promised_from_the_nearest_site_and_says_why(self, kernel: Kernel) -> None:
        stocked(kernel)
        placed = kernel.do(order(), actor="shop")
        assert (placed.order_id, placed.sites, placed.unsourced) == ("web-1", {SITE: 1}, [])
        assert promised(kernel) == [(1, SITE, 10)]
        decision = get_decision(kernel.reader(), "sourcing/web-1/placed").decision
        assert decision.outcome == SITE
        rows = alternatives_of(decision)
        assert [(row.name, row.why) for row in rows] == [
            (SITE, "chosen"),
            (OTHER, "could only score higher than the choice"),
        ]
        assert (rows[0].score or 0) < (rows[1].score or 0)
        world.check_everything(kernel)

    def test_personal_data_is_sealed_and_the_place_is_rounded(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order(customer_id="C-7"))
        for _, event in kernel.events():
            assert b"Ann" not in msgspec.json.encode(event)
        found = orders.get_order(kernel.reader(), "web-1")
        assert found.request.ship_to == orders.ShipTo("GA", 33.75, -84.5)
        assert "Ann Example" in (kernel.reader().open(found.request.customer) or "")
        kernel.do(EraseSubject(subject="customer-C-7", reason="asked to be forgotten"))
        assert kernel.reader().open(found.request.customer) is None

    def test_what_one_site_lacks_is_split_and_what_nobody_has_is_named(self, kernel: Kernel) -> None:
        stocked(kernel, near=6, far=8)
        placed = kernel.do(order(lines=[line(10), line(5, MILK, 2)]))
        assert promised(kernel) == [(1, SITE, 6), (1, OTHER, 4)]
        assert [(lost.line_no, lost.reason, lost.available) for lost in placed.unsourced] == [
            (2, "s.none", 0)
        ]
        assert [e.lines[0].line_no for e in told(kernel, "LineUnsourceable")] == [2]
        world.check_everything(kernel)

    def test_an_order_that_nobody_can_serve_is_taken_and_says_so(self, kernel: Kernel) -> None:
        stocked(kernel, near=0, far=0)
        placed = kernel.do(order())
        assert placed.sites == {}
        (event,) = told(kernel, "LineUnsourceable")
        assert event.provisional
        assert event.decision.why == "no site can serve any line"
        assert get_decision(kernel.reader(), "sourcing/web-1/placed").decision.outcome == "none"
        assert [found.order_id for found in orders.orders_wanting_goods(kernel.reader(), 10)] == ["web-1"]

    def test_an_order_that_waits_for_goods_is_not_counted_as_promised(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(order(2, qty=10_000))
        assert order_counts(kernel.reader()) == {"waiting": 1, "promised": 1}

    def test_a_site_that_does_not_ship_is_not_asked(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(ChangeSiteMode(site_id=SITE, mode=SiteMode.RECEIVE_ONLY, reason="dock is flooded"))
        assert kernel.do(order()).sites == {OTHER: 1}
        rows = alternatives_of(get_decision(kernel.reader(), "sourcing/web-1/placed").decision)
        assert (rows[1].name, rows[1].why) == (SITE, "does not ship in its present mode")

    def test_goods_too_short_lived_for_the_line_are_passed_over(self, kernel: Kernel) -> None:
        stocked(kernel)
        placed = kernel.do(order(lines=[line(10, life_min_days=120)]))
        assert [lost.reason for lost in placed.unsourced] == ["s.life"]

    def test_a_site_with_all_the_open_lines_it_can_work_off_is_full(self, kernel: Kernel) -> None:
        stocked(kernel)
        world.facts(kernel).load_of.change({}, {SITE: 60_000})
        assert kernel.do(order()).sites == {OTHER: 1}


class TestOnce:
    def test_the_same_order_again_is_the_same_answer_whoever_sends_it(self, kernel: Kernel) -> None:
        stocked(kernel)
        first = kernel.do(order(), actor="shop", key="k1")
        kept = kernel.do(order(), actor="shop", key="k1")
        assert kept == msgspec.to_builtins(first)
        assert kernel.do(order(), actor="other-worker", key="k2") == first
        assert len(told(kernel, "OrderPlaced")) == 1
        kernel.restart()
        assert kernel.do(order(), actor="other-worker", key="k3") == first

    @pytest.mark.parametrize(
        "other",
        [
            order(qty=11),
            order(customer=None),
            order(customer=world.Customer(name="Bob")),
            order(owner="ACME"),
        ],
    )
    def test_another_body_under_the_same_id_is_refused(self, kernel: Kernel, other: PlaceOrder) -> None:
        stocked(kernel)
        kernel.do(order(), actor="shop", key="k1")
        with pytest.raises(KeyReused):
            kernel.do(other, actor="shop", key="k1")
        with pytest.raises(OrderDiffers) as caught:
            kernel.do(other, actor="shop", key="k2")
        assert caught.value.facts["order_id"] == "web-1"
        assert len(told(kernel, "OrderPlaced")) == 1

    def test_all_that_is_wrong_with_an_order_is_told_and_nothing_is_stored(self, kernel: Kernel) -> None:
        stocked(kernel)
        before = len(kernel.events())
        lines = [line(1), line(2, "ICE-VAM-1L"), line(3, line_no=3)]
        with pytest.raises(Invalid) as caught:
            kernel.do(order(lines=lines, never_older=True))
        assert [(p.field, p.fix) for p in caught.value.problems] == [
            ("lines[1].line_no", "number each line once"),
            ("lines[1].product_id", "did you mean ICE-VAN-1L?"),
            ("lines[2].product_id", "add the quantities up"),
            ("customer_id", ""),
        ]
        assert len(kernel.events()) == before


class TestAgain:
    def test_a_pause_moves_the_promise_to_another_site(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(pause())
        assert promised(kernel) == [(1, OTHER, 10)]
        (event,) = told(kernel, "OrderResourced")
        assert (event.lines, event.provisional, event.before.sites, event.offer.sites) == (
            [1],
            True,
            {SITE: 1},
            {OTHER: 1},
        )
        decisions = sourcing_decisions(kernel.reader(), "web-1")
        assert [kept.decision.inputs for kept in decisions] == [[], [event.cause_id]]
        assert event.cause_id.startswith(SITE)
        world.check_everything(kernel)

    def test_paused_goods_stay_promised_where_nobody_else_has_any(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(pause())
        assert promised(kernel) == [(1, SITE, 10)]
        outcome = kernel.do(world.again())
        assert (outcome.moved, outcome.unsourced) == ([], [])
        assert len(told(kernel, "DecisionRecorded")) == 2

    def test_held_goods_are_given_back_and_the_line_is_named(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        assert promised(kernel) == []
        found = orders.get_order(kernel.reader(), "web-1")
        assert [lost.line_no for lost in found.unsourced or ()] == [1]
        assert found.sites == {}
        world.check_everything(kernel)

    def test_an_order_that_nothing_affects_is_left_alone(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        before = len(kernel.events())
        assert kernel.do(world.again()).moved == []
        assert len(kernel.events()) == before

    def test_goods_that_come_later_serve_a_line_that_went_without(self, kernel: Kernel) -> None:
        stocked(kernel, near=0, far=0)
        kernel.do(order())
        kernel.do(receive(PALLET, 50))
        assert [event.reason for event in told(kernel, "OrderResourced")] == [Why.RESUMED]
        found = orders.get_order(kernel.reader(), "web-1")
        assert (found.unsourced, found.sites) == (None, {SITE: 1})
        world.check_everything(kernel)


class TestHandling:
    def test_an_order_is_released_when_its_first_site_must_begin_to_pick(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        found = orders.get_order(kernel.reader(), "web-1")
        assert found.final_at == T0  # a courier can leave as soon as the goods are picked
        kernel.advance(1)
        (event,) = told(kernel, "OrderReleased")
        assert {site: [work.qty for work in lines] for site, lines in event.work.items()} == {SITE: [10]}
        assert orders.get_order(kernel.reader(), "web-1").status is OrderStatus.RELEASED
        world.check_everything(kernel)

    def test_what_is_still_missing_at_the_last_workable_moment_is_final(self, kernel: Kernel) -> None:
        stocked(kernel, near=0, far=0)
        kernel.do(order())
        kernel.advance(60 * 24 * 3)
        assert [event.provisional for event in told(kernel, "LineUnsourceable")] == [True, False]
        found = orders.get_order(kernel.reader(), "web-1")
        assert (found.status, found.provisional, found.final_at) == (OrderStatus.OPEN, False, None)

    def test_a_move_after_the_release_goes_to_the_new_site_at_once(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.advance(1)
        kernel.do(hold("h1", PALLET))
        assert [sorted(event.work) for event in told(kernel, "OrderReleased")] == [[SITE], [OTHER]]
        assert [event.provisional for event in told(kernel, "OrderResourced")] == [False]

    def test_dispatched_goods_keep_the_promise_and_end_the_order(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order(customer_id="C-7", never_older=True))
        kernel.advance(1)
        kernel.do(dispatch("d1", (PALLET, 10), order_id="web-1"))
        found = orders.get_order(kernel.reader(), "web-1")
        assert (found.status, found.sites, list(found.dispatches or ())) == (
            OrderStatus.DISPATCHED,
            {},
            ["d1"],
        )
        assert world.facts(kernel).last_shipped == {("C-7", world.ICE): world.EXPIRES}
        world.check_everything(kernel)
        kernel.restart()
        assert world.facts(kernel).last_shipped == {("C-7", world.ICE): world.EXPIRES}

    def test_a_dispatch_is_marked_once(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(dispatch("d1", (PALLET, 4), order_id="web-1"))
        mark = MarkDispatched(order_id="web-1", site_id=SITE, dispatch_id="d1", goods=[])
        before = len(kernel.events())
        kernel.do(mark)
        assert len(kernel.events()) == before
        assert orders.get_order(kernel.reader(), "web-1").status is OrderStatus.RELEASED

    def test_an_order_is_cancelled_with_its_promises_until_something_left(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(world.cancel())
        assert promised(kernel) == []
        with pytest.raises(OrderEnded):
            kernel.do(world.cancel())
        with pytest.raises(OrderEnded):
            kernel.do(world.again())
        kernel.do(order(2))
        kernel.do(dispatch("d2", (PALLET, 4), order_id="web-2"))
        with pytest.raises(OrderPartlyGone):
            kernel.do(world.cancel(2))
        world.check_everything(kernel)

    def test_never_older_than_what_the_customer_got_last(self, kernel: Kernel) -> None:
        stocked(kernel, near=0, far=0)
        kernel.do(receive(PALLET, 50, lot_id=world.LATER))
        kernel.do(order(customer_id="C-7", never_older=True))
        kernel.do(dispatch("d1", (PALLET, 10), order_id="web-1"))
        kernel.do(receive(world.SECOND, 50))  # the older lot would go first
        kernel.do(order(2, customer_id="C-7", never_older=True))
        kernel.do(order(3, customer_id="C-8", never_older=True))
        lots = {e.order_id: [a.lot_id for a in e.allocations] for e in told(kernel, "Promised")}
        assert (lots["web-2"], lots["web-3"]) == ([world.LATER], [world.LOT])

    def test_resuming_a_zone_changes_no_promise_by_itself(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(pause())
        kernel.do(
            ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason="it recovered"), roles={"quality"}
        )
        assert promised(kernel) == [(1, SITE, 10)]
