"""What a site can no longer give becomes new sourcing, and word to the customers; on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from coldgrid.kernel import outbox
from coldgrid.kernel.outbox import ReportEffect
from coldgrid.network.sites import ChangeSiteMode, SiteMode
from coldgrid.network_flows import resourcing, telling
from coldgrid.network_flows.notices import NoticeStatus, notices_of
from coldgrid.network_flows.wording import NoticeKind
from coldgrid.orchestration.approvals import DecideApproval, waiting_approvals
from coldgrid.orders import orders
from coldgrid.orders.resourcing import Why
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone
from tests.conftest import Kernel
from tests.orders import world
from tests.orders.world import AWAY, FREEZER, OTHER, PALLET, SECOND, SITE, order, promised, stocked, told
from tests.stock.world import hold, receive, release, sscc


def pause(kernel: Kernel, reason: PauseReason = PauseReason.EXCURSION) -> None:
    kernel.do(PauseZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason=reason, cause_id="alarm-1"))


def statuses(kernel: Kernel, number: int = 1) -> list[tuple[NoticeKind, NoticeStatus]]:
    return [(one.kind, one.status) for one in notices_of(kernel.reader(), f"web-{number}")]


def decide(kernel: Kernel, choice: str) -> None:
    (waiting,) = waiting_approvals(kernel.reader())
    command = DecideApproval(
        site_id=SITE,
        approval_id=waiting.approval_id,
        choice=choice,
        override=choice != telling.TELL,
        reason="the next truck brings some",
    )
    kernel.do(command, actor="cara", roles={"customer_care"})


def deliver(kernel: Kernel) -> list[dict[str, Any]]:
    """Take every message, as a mail server would; return what was in them."""
    taken = []
    for effect in kernel.effects():
        payload = outbox.payload_of(kernel.reader(), effect)
        assert payload is not None
        taken.append(payload)
        kernel.do(ReportEffect(origin="network", key=effect.key, delivered=True, reference="250 ok"))
    return taken


class TestSourcingAgain:
    def test_a_paused_zone_moves_its_orders_provisionally(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        pause(kernel)
        assert promised(kernel) == [(1, OTHER, 10)]
        assert [event.reason for event in told(kernel, "OrderResourced")] == [Why.PAUSE]
        world.check_everything(kernel)

    def test_a_pre_alarm_keeps_new_orders_out_and_moves_none(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order(1))
        pause(kernel, PauseReason.PRE_ALARM)
        kernel.do(order(2))
        assert (promised(kernel, 1), promised(kernel, 2)) == ([(1, SITE, 10)], [(1, OTHER, 10)])
        assert told(kernel, "OrderResourced") == []

    def test_a_hold_moves_the_orders_that_lose_their_goods(self, kernel: Kernel) -> None:
        stocked(kernel, near=15)
        kernel.do(receive(sscc(7), 10))
        kernel.do(order(1))
        kernel.do(order(2))
        kernel.do(hold("h1", PALLET))
        assert promised(kernel, 1) == [(1, SITE, 10)]  # who was promised first keeps what is left
        assert promised(kernel, 2) == [(1, OTHER, 10)]
        (event,) = told(kernel, "OrderResourced")
        assert event.reason == Why.SHORTFALL
        assert event.cause_id.startswith("network/1/")
        world.check_everything(kernel)

    def test_a_site_that_stops_shipping_loses_its_orders_and_gets_those_back_that_nobody_served(
        self, kernel: Kernel
    ) -> None:
        stocked(kernel, far=15)
        kernel.do(order(1))
        kernel.do(order(2))
        kernel.do(ChangeSiteMode(site_id=SITE, mode=SiteMode.CLOSED, reason="power is out"))
        kernel.advance(0)
        assert promised(kernel, 1) == [(1, OTHER, 10)]  # who was promised first gets others first
        assert promised(kernel, 2) == []
        assert [lost.line_no for lost in orders.get_order(kernel.reader(), "web-2").unsourced or ()] == [1]
        kernel.do(ChangeSiteMode(site_id=SITE, mode=SiteMode.NORMAL, reason="power is back"))
        assert promised(kernel, 2) == [(1, SITE, 10)]
        world.check_everything(kernel)

    def test_many_orders_are_taken_a_few_at_a_time(self, kernel: Kernel) -> None:
        stocked(kernel, near=1000, far=1000)
        count = resourcing.CHUNK * 2 + 3
        for number in range(count):
            kernel.do(order(number))
        pause(kernel)
        moved = [number for number in range(count) if promised(kernel, number) == [(1, OTHER, 10)]]
        assert len(moved) == resourcing.CHUNK
        kernel.advance(0)
        assert all(promised(kernel, number) == [(1, OTHER, 10)] for number in range(count))
        world.check_everything(kernel)

    def test_goods_that_come_in_or_come_free_serve_who_waits_longest(self, kernel: Kernel) -> None:
        stocked(kernel, near=10, far=0)
        kernel.do(order(1))
        kernel.do(order(2))
        kernel.do(hold("h1", PALLET))
        assert promised(kernel, 1) == []
        kernel.do(release("h1", PALLET), actor="quinn", roles={"quality"})
        assert promised(kernel, 1) == [(1, SITE, 10)]
        kernel.do(receive(sscc(9), 20))
        assert promised(kernel, 2) == [(1, SITE, 10)]
        world.check_everything(kernel)

    def test_once_the_goods_that_came_are_promised_the_other_orders_that_wait_are_left_alone(
        self, kernel: Kernel
    ) -> None:
        stocked(kernel, near=0, far=0)
        count = resourcing.CHUNK * 2 + 3
        for number in range(count):
            kernel.do(order(number))
        kernel.do(receive(sscc(9), 20))
        kernel.advance(0)
        assert [number for number in range(count) if promised(kernel, number)] == [0, 1]
        assert [event.order_id for event in told(kernel, "OrderResourced")] == ["web-0", "web-1"]
        assert told(kernel, "DecisionRecorded") == []
        world.check_everything(kernel)

    def test_a_zone_that_recovers_serves_what_could_not_be_served(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        pause(kernel)
        kernel.do(order())
        assert promised(kernel) == []
        kernel.do(
            ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason="recovered"), roles={"quality"}
        )
        assert promised(kernel) == [(1, SITE, 10)]


class TestTelling:
    def test_a_delay_is_told_at_once_and_recorded_when_it_was_taken(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        assert statuses(kernel) == [(NoticeKind.DELAY, NoticeStatus.QUEUED)]
        (effect,) = kernel.effects()
        assert (effect.channel, effect.about, effect.payload) == ("email", "order/web-1", None)  # sealed
        (message,) = deliver(kernel)
        assert message["to"] == "ann@example.com"
        assert message["subject"] == "Your order 1 arrives later"
        assert "Hello Ann Example" in message["text"]
        assert SITE not in message["text"]
        (event,) = told(kernel, "CustomerNotified")
        assert (event.order_id, event.kind, event.reference) == ("web-1", NoticeKind.DELAY, "250 ok")
        world.check_everything(kernel)

    def test_a_loss_waits_for_customer_care_one_approval_for_all(self, kernel: Kernel) -> None:
        stocked(kernel, near=20, far=0)
        kernel.do(order(1))
        kernel.do(order(2))
        kernel.do(hold("h1", PALLET))
        assert kernel.effects() == []
        assert statuses(kernel, 1) == statuses(kernel, 2) == [(NoticeKind.LOSS, NoticeStatus.WAITING)]
        decide(kernel, telling.TELL)
        messages = deliver(kernel)
        assert len(messages) == 2
        assert "- 10 × Vanilla ice cream 1 l" in messages[0]["text"]
        assert statuses(kernel, 1) == [(NoticeKind.LOSS, NoticeStatus.DELIVERED)]
        kernel.do(receive(SECOND, 50, site_id=OTHER, location_id=AWAY))
        assert statuses(kernel, 1)[-1] == (NoticeKind.RESTORED, NoticeStatus.QUEUED)
        world.check_everything(kernel)

    def test_customer_care_may_keep_quiet(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        decide(kernel, telling.KEEP_QUIET)
        assert kernel.effects() == []
        assert statuses(kernel) == [(NoticeKind.LOSS, NoticeStatus.DROPPED)]

    def test_what_was_made_good_before_it_was_told_is_not_told(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        kernel.do(receive(SECOND, 50, site_id=OTHER, location_id=AWAY))
        assert statuses(kernel)[0] == (NoticeKind.LOSS, NoticeStatus.DROPPED)
        decide(kernel, telling.TELL)
        assert [message["kind"] for message in deliver(kernel)] == []

    def test_a_cancelled_order_hears_nothing_more(self, kernel: Kernel) -> None:
        stocked(kernel, far=0)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        kernel.do(world.cancel())
        decide(kernel, telling.TELL)
        assert kernel.effects() == []

    @pytest.mark.parametrize("customer", [None, world.Customer(name="No Address")])
    def test_who_left_no_address_is_not_told_and_the_reason_is_kept(
        self, kernel: Kernel, customer: world.Customer | None
    ) -> None:
        stocked(kernel)
        kernel.do(order(customer=customer))
        kernel.do(hold("h1", PALLET))
        (notice,) = notices_of(kernel.reader(), "web-1")
        assert (notice.status, notice.why) == (
            NoticeStatus.DROPPED,
            "the customer left no address, or was erased",
        )

    def test_a_dead_letter_is_told_apart_from_a_delivery(self, kernel: Kernel) -> None:
        stocked(kernel)
        kernel.do(order())
        kernel.do(hold("h1", PALLET))
        (effect,) = kernel.effects()
        kernel.do(
            ReportEffect(
                origin="network", key=effect.key, delivered=False, permanent=True, why="no such user"
            )
        )
        assert statuses(kernel) == [(NoticeKind.DELAY, NoticeStatus.FAILED)]
        assert told(kernel, "CustomerNotified") == []
