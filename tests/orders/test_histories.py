"""Any history of orders: nothing oversold, nothing held dispatched, every line promised or named."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.service import DeciderService
from coldgrid.network.sites import ChangeSiteMode, SiteMode
from coldgrid.orders import orders
from coldgrid.stock.dispatch import DispatchGoods, DispatchLine
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone, all_open_pauses
from coldgrid.stock.promises import open_promises_of
from tests.conftest import KERNELS, Kernel, sqlite_kernel
from tests.orders import world
from tests.orders.world import FREEZER, MILK, OTHER, SITE, line, order
from tests.stock.world import AWAY, BULK, COOL, hold, index, open_world, receive, release, sscc

UNITS = [sscc(n) for n in range(1, 7)]
ROLES = {"quality", "supervisor"}
numbers = st.integers(1, 6)
units = st.sampled_from(UNITS)
quantities = st.integers(1, 40)


def ordered(number: int, ice: int, milk: int) -> Command:
    lines = [line(ice)] + ([line(milk, MILK, 2)] if milk else [])
    return order(number, lines=lines)


class Histories(RuleBasedStateMachine):
    """Two sites, six pallets, six orders, and everything that can happen to them, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.kernel: Kernel = self.stack.enter_context(sqlite_kernel())
        open_world(self.kernel)
        self.count = 0

    def teardown(self) -> None:
        try:
            world.check_everything(self.kernel)
            self.kernel.restart()
            world.check_everything(self.kernel)
        finally:
            self.stack.close()

    def do(self, command: Command) -> None:
        self.count += 1
        with suppress(Rejected):
            self.kernel.do(command, actor="quinn", roles=ROLES)

    @rule(unit=units, qty=quantities, far=st.booleans())
    def goods_come(self, unit: str, qty: int, far: bool) -> None:
        place = {"site_id": OTHER, "location_id": AWAY} if far else {"location_id": BULK}
        self.do(receive(unit, qty, **place))

    @rule(unit=units, qty=quantities)
    def milk_comes(self, unit: str, qty: int) -> None:
        self.do(receive(unit, qty, location_id=COOL, product_id=MILK, lot_id="L-M1"))

    @rule(number=numbers, ice=quantities, milk=st.integers(0, 20))
    def somebody_orders(self, number: int, ice: int, milk: int) -> None:
        self.do(ordered(number, ice, milk))

    @rule(number=numbers)
    def somebody_cancels(self, number: int) -> None:
        self.do(world.cancel(number))

    @rule(number=numbers)
    def an_order_is_released(self, number: int) -> None:
        self.do(world.release(number))

    @rule(number=numbers)
    def an_order_is_sourced_again(self, number: int) -> None:
        self.do(world.again(number))

    @rule(number=numbers, unit=units, qty=quantities, far=st.booleans())
    def goods_leave(self, number: int, unit: str, qty: int, far: bool) -> None:
        lines = (DispatchLine(sscc=unit, qty=qty),)
        site_id = OTHER if far else SITE
        dispatch_id = f"d{self.count}"
        self.do(
            DispatchGoods(site_id=site_id, dispatch_id=dispatch_id, order_id=f"web-{number}", lines=lines)
        )

    @rule(unit=units, name=st.sampled_from(["h1", "h2"]))
    def goods_are_held(self, unit: str, name: str) -> None:
        self.do(hold(name, unit))

    @rule(unit=units, name=st.sampled_from(["h1", "h2"]))
    def goods_are_let_go(self, unit: str, name: str) -> None:
        self.do(release(name, unit))

    @rule(reason=st.sampled_from([PauseReason.PRE_ALARM, PauseReason.EXCURSION]))
    def a_zone_is_paused(self, reason: PauseReason) -> None:
        self.do(
            PauseZone(
                site_id=SITE,
                zone_id=FREEZER,
                pause_id=f"p{self.count}",
                reason=reason,
                cause_id=f"a{self.count}",
            )
        )

    @rule()
    def a_zone_resumes(self) -> None:
        for pause in all_open_pauses(self.kernel.reader())[:1]:
            self.do(ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id=pause.pause_id, reason="it is cold"))

    @rule(mode=st.sampled_from(list(SiteMode)), site_id=st.sampled_from([SITE, OTHER]))
    def a_site_changes_its_mode(self, mode: SiteMode, site_id: str) -> None:
        self.do(ChangeSiteMode(site_id=site_id, mode=mode, reason="because"))

    @rule(minutes=st.integers(0, 2_000))
    def time_passes(self, minutes: int) -> None:
        self.kernel.advance(minutes)

    @invariant()
    def every_line_is_promised_or_named_or_gone(self) -> None:
        reader = self.kernel.reader()
        for number in range(1, 7):
            found = orders.find_order(reader, f"web-{number}")
            if found is None:
                continue
            held = open_promises_of(reader, found.order_id)
            if not found.live:
                assert held == []
                continue
            promised = {promise.line_no for promise in held}
            named = {lost.line_no for lost in found.unsourced or ()}
            gone = {goods.product_id for some in (found.dispatches or {}).values() for goods in some}
            for one in found.request.lines:
                assert one.line_no in promised | named or one.product_id in gone, found

    @invariant()
    def what_is_promised_is_on_hand_or_short_and_said(self) -> None:
        """After all reactions nothing stays promised on goods that are held or gone."""
        for bucket in index(self.kernel)._by_key.values():  # noqa: SLF001 (looks at every bucket there is)
            assert bucket.short == 0, bucket.key

    @invariant()
    def nothing_held_left_for_a_customer(self) -> None:
        """A dispatch of held goods is refused, so no unit that is gone to a customer has an open hold."""
        reader = self.kernel.reader()
        for unit in UNITS:
            for row in units_by_sscc(reader, unit):
                assert not (row.location_id == "CUSTOMER" and row.open_holds), row


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_many_callers_at_once_never_oversell(database: str) -> None:
    """Forty threads want more than there is, while goods are held under them."""
    with KERNELS[database]() as kernel:
        open_world(kernel)
        kernel.do(receive(UNITS[0], 100))
        kernel.do(receive(UNITS[1], 100, site_id=OTHER, location_id=AWAY))
        answers = _place_from_threads(kernel, threads=40, each=3)
        kernel.advance(0)
        world.check_everything(kernel)
        buckets = list(index(kernel)._by_key.values())  # noqa: SLF001 (looks at every bucket there is)
        assert all(bucket.promised <= bucket.sellable for bucket in buckets)
        promised = sum(bucket.promised for bucket in buckets)
        assert promised == 99  # 33 orders of 3 from what is not held
        found = orders.list_orders(kernel.reader(), limit=200)
        assert len(found) == len(answers) == 120
        assert sum(not one.unsourced for one in found) == 33


def _place_from_threads(kernel: Kernel, threads: int, each: int) -> list[Any]:
    """Orders from many threads at once, and in the middle of them a hold on half of the goods."""
    service = DeciderService(kernel.decider, lambda due: 3_600.0, lambda: False)
    service.start()
    answers: list[Any] = []

    def customer(number: int) -> None:
        for part in range(each):
            command = order(number * each + part, 3)
            answers.append(service.submit(command, key=f"k{number}-{part}").result(timeout=60).result)

    running = [threading.Thread(target=customer, args=(number,)) for number in range(threads)]
    held = threading.Thread(target=lambda: service.submit(hold("h1", UNITS[0])).result(timeout=60))
    running.insert(threads // 2, held)
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    service.call(lambda decider: decider.settle()).result(timeout=60)
    service.stop()
    return answers
