"""Any history: goods are conserved, nothing is oversold, nothing held is dispatched, nothing is forgotten.

Random commands run against the real decider; a rejected one must leave no trace. What units, balances, holds
and stays say is compared with each other after every step, since each is written by code of its own.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from coldgrid.kernel.events import Command
from coldgrid.kernel.rejections import Rejected
from coldgrid.stock.counts import AdjustUnit
from coldgrid.stock.hold_book import Hold, open_holds, open_holds_of
from coldgrid.stock.hold_facts import Disposition
from coldgrid.stock.inventory import units_by_sscc
from coldgrid.stock.ledger import balances_of_product, unbalanced
from coldgrid.stock.movements import MoveUnit
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone, all_open_pauses
from coldgrid.stock.promise_book import Promised, PromiseMoved
from coldgrid.stock.splits import MergeUnit, SplitUnit
from coldgrid.stock.stays import stays_of
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer, on_their_way
from coldgrid.stock.units import may_sell
from tests.conftest import Kernel, sqlite_kernel
from tests.stock.world import (
    AWAY,
    BULK,
    COOL,
    FREEZER,
    ICE,
    OTHER,
    PICK,
    QUARANTINE,
    SITE,
    Ask,
    GiveBack,
    check_everything,
    dispatch,
    hold,
    index,
    open_world,
    receive,
    release,
    sscc,
)

UNITS = [sscc(n) for n in range(1, 7)]
units = st.sampled_from(UNITS)
some_units = st.lists(units, min_size=1, max_size=3, unique=True)
sites = st.sampled_from([SITE, OTHER])
numbers = st.integers(1, 60)
ALL_ROLES = {"quality", "supervisor", "recall_coordinator"}


EXAMPLES = 8


class Histories(RuleBasedStateMachine):
    """Two sites, six labels, and everything that can be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.kernel: Kernel = self.stack.enter_context(sqlite_kernel())
        open_world(self.kernel)
        self.count = 0
        self.seen = 0

    def teardown(self) -> None:
        try:
            check_everything(self.kernel)
            self.kernel.restart()
            check_everything(self.kernel)
        finally:
            self.stack.close()

    def next_id(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def do(self, command: Command, actor: str = "ana") -> bool:
        """Run a command; a rejection changes nothing."""
        before = self.kernel.decider.position, index(self.kernel).snapshot()
        try:
            self.kernel.do(command, actor, ALL_ROLES)
        except Rejected:
            assert (self.kernel.decider.position, index(self.kernel).snapshot()) == before
            return False
        return True

    # --- what people do ---------------------------------------------------------

    @initialize(qty=numbers)
    def opening_stock(self, qty: int) -> None:
        for code in UNITS[:3]:
            self.do(receive(code, qty))

    @rule(code=units, qty=numbers, place=st.sampled_from([BULK, PICK]), parent=st.none() | units)
    def receive(self, code: str, qty: int, place: str, parent: str | None) -> None:
        self.do(receive(code, qty, location_id=place, parent_sscc=parent))

    @rule(code=units, place=st.sampled_from([BULK, PICK, COOL, QUARANTINE]))
    def move(self, code: str, place: str) -> None:
        self.do(MoveUnit(site_id=SITE, sscc=code, to_location_id=place, other_class=True))

    @rule(code=units, qty=st.integers(0, 60))
    def count_unit(self, code: str, qty: int) -> None:
        self.do(AdjustUnit(site_id=SITE, sscc=code, counted_qty=qty, reason="count"))

    @rule(code=units, part=units, qty=st.integers(1, 20))
    def split(self, code: str, part: str, qty: int) -> None:
        self.do(SplitUnit(site_id=SITE, sscc=code, new_sscc=part, qty=qty))

    @rule(code=units, other=units)
    def merge(self, code: str, other: str) -> None:
        self.do(MergeUnit(site_id=SITE, sscc=code, into_sscc=other))

    @precondition(lambda self: len(self.holds()) < 3)
    @rule(site_id=sites, codes=some_units, cause=st.sampled_from("xy"))
    def hold_units(self, site_id: str, codes: list[str], cause: str) -> None:
        self.do(hold(self.next_id("h"), *codes, site_id=site_id, cause_id=cause))

    @precondition(lambda self: not self.holds())
    @rule(cause=st.sampled_from("xy"))
    def hold_the_freezer(self, cause: str) -> None:
        now = self.kernel.host.now()
        self.do(hold(self.next_id("h"), zone_id=FREEZER, from_at=now, cause_id=cause))

    @precondition(lambda self: bool(self.holds()))
    @rule(
        data=st.data(),
        codes=st.lists(units, max_size=2, unique=True),
        outcome=st.sampled_from([Disposition.RELEASE, Disposition.RELEASE, Disposition.DESTROY]),
    )
    def end_hold(self, data: st.DataObject, codes: list[str], outcome: Disposition) -> None:
        one = data.draw(st.sampled_from(self.holds()))
        self.do(release(one.hold_id, *codes, site_id=one.site_id, disposition=outcome), "ben")

    def holds(self) -> list[Hold]:
        reader = self.kernel.reader()
        return [*open_holds(reader, SITE), *open_holds(reader, OTHER)]

    @precondition(lambda self: not all_open_pauses(self.kernel.reader()))
    @rule()
    def pause(self) -> None:
        for reason in (PauseReason.PRE_ALARM, PauseReason.EXCURSION):
            pause_id = self.next_id("p")
            self.do(
                PauseZone(site_id=SITE, zone_id=FREEZER, pause_id=pause_id, reason=reason, cause_id=pause_id)
            )

    @precondition(lambda self: bool(all_open_pauses(self.kernel.reader())))
    @rule()
    def resume(self) -> None:
        first = all_open_pauses(self.kernel.reader())[0]
        again = ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id=first.pause_id, reason="well again")
        self.do(again)

    @rule(codes=some_units, ends=st.sampled_from([(SITE, OTHER), (OTHER, SITE)]))
    def send(self, codes: list[str], ends: tuple[str, str]) -> None:
        from_site, to_site = ends
        self.do(
            ShipTransfer(
                site_id=from_site, transfer_id=self.next_id("t"), to_site_id=to_site, sscc=tuple(codes)
            )
        )

    @rule(site_id=sites, some=st.booleans())
    def take_in(self, site_id: str, some: bool) -> None:
        coming = on_their_way(self.kernel.reader(), site_id)
        if coming:
            place = BULK if site_id == SITE else AWAY
            codes = (coming[0].sscc,) if some else ()
            transfer_id = coming[0].transfer_id
            self.do(ReceiveTransfer(site_id=site_id, transfer_id=transfer_id, location_id=place, sscc=codes))

    # --- what orders do ---------------------------------------------------------

    @rule(order=st.integers(1, 4), data=st.data(), more=st.integers(-5, 2), again=st.booleans())
    def promise(self, order: int, data: st.DataObject, more: int, again: bool) -> None:
        """Ask for what is there, more or less, from one bucket or two."""
        buckets = [b for shelf in index(self.kernel).candidates(ICE, "COLDGRID").values() for b in shelf]
        if buckets:
            chosen = data.draw(st.lists(st.sampled_from(range(len(buckets))), min_size=1, max_size=2))
            wanted = [
                buckets[n].allocation(line, max(1, buckets[n].promisable // line + more))
                for line, n in enumerate(chosen, start=1)
            ]
            self.do(Ask(order_id=f"o{order}", allocations=wanted, again=again))

    @rule(order=st.integers(1, 4))
    def cancel(self, order: int) -> None:
        self.do(GiveBack(order_id=f"o{order}"))

    @rule(order=st.integers(1, 4), code=units, qty=st.integers(0, 30))
    def ship(self, order: int, code: str, qty: int) -> None:
        """Held goods never go to a customer."""
        reader = self.kernel.reader()
        blocked = {one.sscc for one in open_holds_of(reader, SITE, UNITS)}
        went = self.do(dispatch(self.next_id("d"), (code, qty), order_id=f"o{order}"))
        assert not (went and code in blocked)

    @precondition(lambda self: self.count % 7 == 6)
    @rule()
    def crash(self) -> None:
        self.kernel.restart()

    # --- what must hold ---------------------------------------------------------

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        reader = self.kernel.reader()
        assert unbalanced(reader) == []
        standing: dict[tuple[str, str, str], int] = {}
        for code in UNITS:
            rows = units_by_sscc(reader, code)
            assert sum(unit.present for unit in rows) <= 1
            for unit in rows:
                assert unit.qty >= 0
                assert unit.present or unit.qty == 0
                if unit.present:
                    key = (unit.site_id, unit.location_id, unit.lot_id)
                    standing[key] = standing.get(key, 0) + unit.qty
        real = [b for b in balances_of_product(reader, ICE) if b.zone_id]
        assert {(b.site_id, b.location_id, b.lot_id): b.qty for b in real} == {
            key: qty for key, qty in standing.items() if qty
        }

    @invariant()
    def units_say_the_truth_about_their_holds_and_stays(self) -> None:
        reader = self.kernel.reader()
        for code in UNITS:
            for unit in units_by_sscc(reader, code):
                held = len(open_holds_of(reader, unit.site_id, [code])) if unit.present else 0
                assert unit.sellable == (unit.present and may_sell(unit.status, held, unit.place))
                open_stays = [
                    s for s in stays_of(reader, code) if s.left_at is None and s.site_id == unit.site_id
                ]
                assert [(s.location_id, s.qty) for s in open_stays] == (
                    [(unit.location_id, unit.qty)] if unit.present else []
                )

    @invariant()
    def nothing_is_oversold(self) -> None:
        """At every promise made since the last look, its buckets covered what was promised on them."""
        events = [event for _, event in self.kernel.events()[self.seen :]]
        self.seen += len(events)
        hot = index(self.kernel)
        for event in events[-1:]:
            if isinstance(event, Promised | PromiseMoved):
                for one in event.allocations:
                    bucket = hot.bucket(one.key)
                    assert bucket is not None
                    assert bucket.promised <= bucket.sellable
                    assert not bucket.paused

    @invariant()
    def hot_state_is_what_a_fresh_load_gives(self) -> None:
        hot = index(self.kernel)
        fresh: Any = type(hot).load(self.kernel.reader())
        assert hot.snapshot() == fresh.snapshot()


Histories.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
