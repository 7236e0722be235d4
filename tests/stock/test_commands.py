"""Stock end to end on both databases: receive, move, hold, release, promise, dispatch, transfer, split."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.catalog.lots import RegisterLot
from coldgrid.kernel.rejections import Invalid
from coldgrid.network.sites import ChangeSiteMode, SiteMode
from coldgrid.stock import (
    conditions,
    hold_joins,
    holds,
    pauses,
    promises,
    splits,
    transfer_book,
    transfers,
    units,
)
from coldgrid.stock.authority import PersonNeeded, SignedForAnother
from coldgrid.stock.conditions import NestUnit, SetUnitStatus
from coldgrid.stock.counts import AdjustUnit, CountNeedsSupervisor, counts_of
from coldgrid.stock.dispatch import GoodsNotAvailable, NotDecided, RemoveGoods
from coldgrid.stock.hold_book import holds_of_unit, open_holds, open_holds_of
from coldgrid.stock.hold_facts import Disposition, HoldPlaced, HoldReason
from coldgrid.stock.inventory import get_unit, units_in_zone
from coldgrid.stock.ledger import balances_of_product, unbalanced
from coldgrid.stock.lineage import history_of
from coldgrid.stock.movements import MoveUnit, UnitMoved, UnitReceived
from coldgrid.stock.pauses import PauseReason, PauseZone, ResumeZone
from coldgrid.stock.promises import WouldOversell, open_promises_of, promised_on
from coldgrid.stock.reserves import NoteStaleness, ProtectStock
from coldgrid.stock.shortfalls import Shortfall
from coldgrid.stock.splits import MergeUnit, Output, Portion, SplitUnit, TransformGoods
from coldgrid.stock.stays import units_present
from coldgrid.stock.trace import trace_lot
from coldgrid.stock.transfer_book import UnitOnItsWay
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from coldgrid.stock.units import UnitStatus
from tests.conftest import T0, Kernel
from tests.network import master
from tests.stock.world import (
    AWAY,
    BULK,
    CHILLER,
    COOL,
    EXPIRES,
    FAR,
    FREEZER,
    ICE,
    LATER,
    MILK,
    OTHER,
    PALLET,
    PICK,
    QUALITY,
    QUARANTINE,
    SECOND,
    SITE,
    THIRD,
    Ask,
    GiveBack,
    carrier,
    check_everything,
    dispatch,
    goods,
    hold,
    index,
    open_world,
    promisable,
    receive,
    release,
    sscc,
)

SUPERVISOR = {"supervisor"}


@pytest.fixture
def world(kernel: Kernel) -> Iterator[Kernel]:
    open_world(kernel)
    yield kernel
    check_everything(kernel)
    assert unbalanced(kernel.reader()) == []


def shortfalls(kernel: Kernel) -> list[Shortfall]:
    return [event for _, event in kernel.events() if isinstance(event, Shortfall)]


def move(code: str, to: str, *, other_class: bool = False) -> MoveUnit:
    return MoveUnit(site_id=SITE, sscc=code, to_location_id=to, reason="putaway", other_class=other_class)


class TestMovements:
    def test_received_goods_come_from_the_supplier_and_may_be_promised(self, world: Kernel) -> None:
        world.do(receive())
        balances = {b.location_id: b.qty for b in balances_of_product(world.reader(), ICE)}
        assert balances == {"SUPPLIER": -100, BULK: 100}
        assert promisable(world) == 100

    def test_nested_units_move_with_their_parent(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        world.do(receive(THIRD, 8, parent_sscc=PALLET))
        world.do(move(PALLET, PICK))
        assert {u.location_id for u in units_in_zone(world.reader(), FREEZER)} == {PICK}
        world.do(move(THIRD, BULK))  # a case taken off stands on its own
        assert get_unit(world.reader(), SITE, THIRD).parent_sscc is None
        assert get_unit(world.reader(), SITE, SECOND).parent_sscc == PALLET

    def test_goods_in_quarantine_are_counted_but_not_promised(self, world: Kernel) -> None:
        world.do(receive())
        world.do(move(PALLET, QUARANTINE))
        assert promisable(world) == 0
        assert get_unit(world.reader(), SITE, PALLET).open_holds == 0  # place and hold are two things

    def test_a_count_moves_the_difference_to_the_adjustment_account(self, world: Kernel) -> None:
        world.do(receive())
        world.do(
            AdjustUnit(site_id=SITE, sscc=PALLET, counted_qty=97, reason="cycle count"), roles={"supervisor"}
        )
        world.do(
            AdjustUnit(site_id=SITE, sscc=PALLET, counted_qty=99, reason="found behind"), roles={"supervisor"}
        )
        balances = {b.location_id: b.qty for b in balances_of_product(world.reader(), ICE)}
        assert balances == {"SUPPLIER": -100, BULK: 99, "ADJUSTMENT": 1}
        assert promisable(world) == 99

    def test_a_count_that_agrees_is_a_fact_with_who_counted_and_when(self, world: Kernel) -> None:
        world.do(receive())
        world.do(AdjustUnit(site_id=SITE, sscc=PALLET, counted_qty=100), actor="omar", roles={"operator"})
        (count,) = counts_of(world.reader(), PALLET)
        assert (count.counted_by, count.counted_qty, count.difference_qty) == ("omar", 100, 0)
        assert count.counted_at == world.host.now()
        assert promisable(world) == 100

    def test_an_operator_books_a_small_difference_and_a_supervisor_a_large_one(self, world: Kernel) -> None:
        def count(qty: int, role: str) -> None:
            told = AdjustUnit(site_id=SITE, sscc=PALLET, counted_qty=qty, reason="cycle count")
            world.do(told, actor=role, roles={role})

        world.do(receive())
        count(99, "operator")
        with pytest.raises(CountNeedsSupervisor) as caught:
            count(97, "operator")
        assert caught.value.facts["tolerated_qty"] == 0, "what was booked before counts against the tolerance"
        count(97, "supervisor")
        count(96, "operator")
        with pytest.raises(CountNeedsSupervisor):
            count(0, "operator")
        found = [(one.difference_qty, one.within_qty) for one in counts_of(world.reader(), PALLET)]
        assert found == [(-1, 2), (-2, None), (-1, 1)]

    def test_goods_go_to_a_zone_of_another_class_only_when_the_command_says_so(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        with pytest.raises(Invalid) as caught:
            world.do(move(PALLET, COOL))
        (problem,) = caught.value.problems
        assert problem.field == "to_location_id"
        assert problem.message == f"{CHILLER} is chilled, and {ICE} is kept frozen"
        world.do(move(PALLET, COOL, other_class=True))
        world.do(move(PALLET, BULK))
        with pytest.raises(Invalid, match="kept frozen"):
            world.do(receive(THIRD, location_id=COOL))
        world.do(receive(THIRD, location_id=COOL, other_class=True))
        moved = [event for _, event in world.events() if isinstance(event, UnitMoved | UnitReceived)]
        assert [event.other_class for event in moved] == [False, False, True, False, True]

    def test_a_wrong_receipt_is_refused_with_everything_that_is_wrong(self, world: Kernel) -> None:
        with pytest.raises(Invalid) as caught:
            world.do(receive("123", 0, lot_id="L-M1", owner="ACME", weight_g=-1))
        assert [p.field for p in caught.value.problems] == ["sscc", "qty", "lot_id", "owner", "weight_g"]

    def test_one_label_is_in_one_building_once(self, world: Kernel) -> None:
        world.do(receive())
        with pytest.raises(units.UnitAlreadyPresent):
            world.do(receive())

    def test_stays_cover_only_the_time_that_goods_were_there(self, world: Kernel) -> None:
        world.do(receive(), at=0)
        world.do(receive(SECOND), at=5)
        world.do(move(PALLET, COOL, other_class=True), at=30)
        world.do(dispatch("d1", (SECOND, 40)), at=40)
        reader = world.reader()
        at = T0 + timedelta(minutes=10)
        stays = units_present(reader, FREEZER, at, at + timedelta(minutes=60))
        assert [(s.sscc, s.qty, s.gone_to, s.order_id) for s in stays] == [
            (PALLET, 100, COOL, ""),
            (SECOND, 40, "CUSTOMER", "o1"),
            (SECOND, 60, "", ""),
        ]
        assert units_present(reader, FREEZER, T0 - timedelta(minutes=9), T0) == []
        late = T0 + timedelta(minutes=40)
        assert {s.sscc for s in units_present(reader, CHILLER, late, late + timedelta(minutes=1))} == {PALLET}

    def test_a_unit_does_not_stand_on_what_stands_on_it(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        with pytest.raises(conditions.CannotNest):
            world.do(NestUnit(site_id=SITE, sscc=PALLET, parent_sscc=SECOND))
        world.do(NestUnit(site_id=SITE, sscc=SECOND))
        assert get_unit(world.reader(), SITE, SECOND).parent_sscc is None


class TestHolds:
    def test_a_held_unit_is_neither_promised_nor_dispatched(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        world.do(hold("h2", PALLET, reason=HoldReason.RECALL, cause_id="r1"))
        assert promisable(world) == 0
        with pytest.raises(hold_joins.UnitsHeld) as caught:
            world.do(dispatch("d1", (PALLET, 10)))
        told: Any = caught.value.facts["holds"]
        assert [(one["hold_id"], one["ended_by_role"]) for one in told] == [
            ("h1", "quality"),
            ("h2", "recall_coordinator"),
        ]

    def test_goods_are_free_when_the_last_hold_is_ended(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        world.do(hold("h2", PALLET, cause_id="x2"))
        world.do(release("h1"), "ben", QUALITY)
        assert promisable(world) == 0
        world.do(release("h2"), "ben", QUALITY)
        assert promisable(world) == 100
        assert open_holds(world.reader(), SITE) == []

    def test_what_nests_in_a_held_unit_is_held(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        world.do(hold("h1", PALLET))
        with pytest.raises(hold_joins.UnitsHeld):
            world.do(dispatch("d1", (SECOND, 8)))

    def test_a_unit_put_on_a_held_one_joins_its_hold(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(hold("h1", PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        assert [h.hold_id for h in open_holds_of(world.reader(), SITE, [SECOND])] == ["h1"]

    def test_a_place_holds_what_stood_there_what_left_it_and_what_comes(self, world: Kernel) -> None:
        world.do(receive(PALLET), at=0)
        world.do(receive(SECOND), at=0)
        world.do(move(PALLET, COOL, other_class=True), at=20)
        world.do(dispatch("d1", (SECOND, 30)), at=25)
        answer: HoldPlaced = world.do(hold("h1", zone_id=FREEZER, from_at=T0 + timedelta(minutes=10)), at=30)
        assert {unit.sscc for unit in answer.units} == {PALLET, SECOND}  # also the one that moved on since
        assert [(g.sscc, g.qty, g.gone_by, g.order_id) for g in answer.gone] == [(SECOND, 30, "d1", "o1")]
        world.do(receive(THIRD), at=40)
        assert [h.hold_id for h in open_holds_of(world.reader(), SITE, [THIRD])] == ["h1"]
        world.do(release("h1"), "ben", QUALITY)
        world.do(receive(sscc(4)), at=50)
        assert open_holds_of(world.reader(), SITE, [sscc(4)]) == []

    def test_held_goods_move_and_stay_held(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        world.do(move(PALLET, COOL, other_class=True))
        assert get_unit(world.reader(), SITE, PALLET).zone_id == CHILLER
        with pytest.raises(hold_joins.UnitsHeld):
            world.do(dispatch("d1", (PALLET, 1)))

    def test_the_program_ends_no_hold_of_its_own_accord(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET), "system:flows.hold_exposed")
        with pytest.raises(PersonNeeded):
            world.do(release("h1"), "system:flows.release")
        with pytest.raises(SignedForAnother):
            world.do(release("h1", signed_by="quinn", signed_roles=("quality",)), "ben", {"operator"})
        signed = release("h1", signed_by="quinn", signed_roles=("quality",))
        world.do(signed, "system:flows.release")
        assert holds_of_unit(world.reader(), PALLET)[0].ended_by == "quinn"

    def test_medicines_are_the_responsible_persons(self, world: Kernel) -> None:
        item = master.product("VAX-FLU-1", "09521000000032", regime="pharma", temperature_class="chilled")
        master.put_in_force(world, item, change_id="change-pharma")
        world.do(
            RegisterLot(
                site_id=SITE,
                lot_id="L-V1",
                product_id="VAX-FLU-1",
                tlc="V1",
                tlc_source="Lab",
                produced_on=T0.date(),
                expires_on=EXPIRES,
            )
        )
        world.do(receive(product_id="VAX-FLU-1", lot_id="L-V1", location_id=COOL))
        world.do(hold("h1", PALLET))
        with pytest.raises(holds.ReleaserLacksRole) as caught:
            world.do(release("h1"), "ben", QUALITY)
        assert caught.value.facts["needs"] == "responsible_person"
        world.do(release("h1"), "rae", {"responsible_person"})

    def test_reduced_life_makes_a_bucket_of_its_own(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        until = EXPIRES - timedelta(days=30)
        world.do(
            release("h1", disposition=Disposition.REDUCED_LIFE, reduced_life_until=until), "ben", QUALITY
        )
        assert promisable(world) == 0
        assert promisable(world, expires_on=until) == 100

    def test_condemned_goods_leave_only_with_a_witness_and_after_the_insurer(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        world.do(hold("h2", PALLET, reason=HoldReason.INSURER, cause_id="claim-1"))
        remove = RemoveGoods(site_id=SITE, sscc=PALLET, evidence_id="protocol-1", witness="wim")
        world.do(release("h1", disposition=Disposition.DESTROY), "ben", QUALITY)
        with pytest.raises(hold_joins.UnitsHeld):
            world.do(remove)
        world.do(release("h2", disposition=Disposition.RELEASE), "ben", QUALITY)
        assert get_unit(world.reader(), SITE, PALLET).status is UnitStatus.CONDEMNED
        with pytest.raises(GoodsNotAvailable):
            world.do(dispatch("d1", (PALLET, 1)))
        with pytest.raises(Invalid):
            world.do(RemoveGoods(site_id=SITE, sscc=PALLET, evidence_id="protocol-1", witness="ana"))
        world.do(remove)
        balances = {b.location_id: b.qty for b in balances_of_product(world.reader(), ICE)}
        assert balances == {"SUPPLIER": -100, "DESTROYED": 100}

    def test_goods_nobody_decided_on_do_not_leave_for_good(self, world: Kernel) -> None:
        world.do(receive())
        with pytest.raises(NotDecided):
            world.do(RemoveGoods(site_id=SITE, sscc=PALLET, evidence_id="protocol-1", witness="wim"))

    def test_a_part_can_be_decided_by_itself(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        world.do(SplitUnit(site_id=SITE, sscc=PALLET, new_sscc=SECOND, qty=30))
        world.do(release("h1", SECOND, disposition=Disposition.DESTROY), "ben", QUALITY)
        world.do(release("h1", PALLET), "ben", QUALITY)
        assert promisable(world) == 70
        assert open_holds(world.reader(), SITE) == []


class TestTransfers:
    def ship(self, kernel: Kernel, *codes: str) -> None:
        ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=codes, reason="rescue")
        kernel.do(ship, "sam", SUPERVISOR)

    def arrive(self, kernel: Kernel, *codes: str) -> None:
        kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY, sscc=codes))

    def test_held_goods_arrive_held_with_the_same_reason(self, world: Kernel) -> None:
        world.do(carrier(PALLET))
        world.do(receive(SECOND, 8, parent_sscc=PALLET))
        world.do(hold("h1", PALLET))
        self.ship(world, PALLET)
        assert {one.sscc for one in transfers.on_their_way(world.reader(), OTHER)} == {PALLET, SECOND}
        self.arrive(world)
        arrived = get_unit(world.reader(), OTHER, SECOND)
        assert (arrived.zone_id, arrived.parent_sscc, arrived.open_holds) == (FAR, PALLET, 1)
        assert [h.hold_id for h in open_holds_of(world.reader(), OTHER, [SECOND])] == ["h1"]
        assert open_holds_of(world.reader(), SITE, [SECOND]) == []
        assert promisable(world, site_id=OTHER, zone_id=FAR) == 0
        world.do(release("h1", site_id=OTHER), "ben", QUALITY)
        assert promisable(world, site_id=OTHER, zone_id=FAR) == 8

    def test_what_did_not_arrive_stays_in_transit(self, world: Kernel) -> None:
        world.do(receive(PALLET))
        world.do(receive(SECOND))
        self.ship(world, PALLET, SECOND)
        self.arrive(world, PALLET)
        assert [one.sscc for one in transfers.on_their_way(world.reader(), OTHER)] == [SECOND]
        with pytest.raises(transfers.NotOnTransfer):
            self.arrive(world, PALLET)
        transit = [b.qty for b in balances_of_product(world.reader(), ICE) if b.location_id == "TRANSIT"]
        assert sum(transit) == 100

    def test_a_label_on_its_way_is_not_given_to_other_goods(self, world: Kernel) -> None:
        world.do(receive())
        world.do(receive(SECOND))
        self.ship(world, PALLET)
        for wrong in (receive(), SplitUnit(site_id=SITE, sscc=SECOND, new_sscc=PALLET, qty=1)):
            with pytest.raises(UnitOnItsWay):
                world.do(wrong)

    def test_a_rescue_that_comes_home_is_still_held(self, world: Kernel) -> None:
        world.do(receive())
        world.do(hold("h1", PALLET))
        self.ship(world, PALLET)
        self.arrive(world)
        back = ShipTransfer(site_id=OTHER, transfer_id="t2", to_site_id=SITE, sscc=(PALLET,))
        world.do(back, "sam", SUPERVISOR)
        world.do(ReceiveTransfer(site_id=SITE, transfer_id="t2", location_id=BULK))
        assert [h.hold_id for h in open_holds_of(world.reader(), SITE, [PALLET])] == ["h1"]
        assert get_unit(world.reader(), SITE, PALLET).open_holds == 1

    def test_held_goods_leave_by_a_supervisor_or_by_what_was_approved_and_free_ones_by_anybody(
        self, world: Kernel
    ) -> None:
        for code in (PALLET, SECOND, THIRD):
            world.do(receive(code))
        world.do(hold("h1", PALLET, SECOND))
        held = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET, THIRD))
        with pytest.raises(transfers.HeldTransferNeedsSupervisor, match=PALLET):
            world.do(held, roles={"operator"})
        assert transfers.sent_units(world.reader(), "t1") == []
        world.do(held, "sam", SUPERVISOR)
        world.do(msgspec.structs.replace(held, transfer_id="t2", sscc=(SECOND,)), "system:timer:rescue")
        world.do(ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY, sscc=(THIRD,)))
        free = ShipTransfer(site_id=OTHER, transfer_id="t3", to_site_id=SITE, sscc=(THIRD,))
        assert world.do(free, roles={"operator"}).to_site_id == SITE

    def test_goods_go_only_where_their_class_is_kept_unless_it_is_said_that_they_must(
        self, world: Kernel
    ) -> None:
        milk: dict[str, Any] = {"product_id": MILK, "lot_id": "L-M1", "location_id": COOL}
        world.do(receive())
        world.do(receive(SECOND, **milk))
        master.put_in_force(world, master.lane(), change_id="lane")
        ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET, SECOND))
        with pytest.raises(Invalid) as refused:
            world.do(ship)
        assert [(one.field, one.message) for one in refused.value.problems] == [
            ("to_site_id", "no lane to CLT1 keeps chilled and frozen together: what is kept is frozen")
        ]
        assert not world.do(msgspec.structs.replace(ship, sscc=(PALLET,))).other_class
        warm = msgspec.structs.replace(ship, transfer_id="t2", sscc=(SECOND,), other_class=True)
        assert world.do(warm).other_class

    def test_a_site_that_has_no_place_or_takes_nothing_in_is_sent_nothing(self, world: Kernel) -> None:
        world.do(receive())
        far = {"city": "Charlotte", "region": "NC", "lat": 35.2, "lon": -80.8}
        small = master.site("SAV1", capacity={"chilled": 5}, **far)
        master.put_in_force(world, small, change_id="small")
        ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id="SAV1", sscc=(PALLET,))
        with pytest.raises(Invalid, match="SAV1 has no place for frozen goods"):
            world.do(ship)
        shut = ChangeSiteMode(site_id=OTHER, mode=SiteMode.CLOSED, reason="flood")
        world.do(shut)
        closed = msgspec.structs.replace(ship, to_site_id=OTHER, other_class=True)
        with pytest.raises(Invalid, match="takes no goods in: it is closed, because: flood"):
            world.do(closed)
        assert world.do(closed, "system:timer:rescue").to_site_id == OTHER

    def test_what_is_under_way_is_listed_until_all_of_it_arrived(self, world: Kernel) -> None:
        for code in (PALLET, SECOND):
            world.do(receive(code))
        self.ship(world, PALLET, SECOND)
        self.arrive(world, SECOND)
        for sites in (None, {SITE}, {OTHER}):
            found = transfer_book.under_way(world.reader(), sites, 10)
            assert [(one.transfer_id, one.missing, one.units) for one in found] == [("t1", 1, 2)]
        assert transfer_book.under_way(world.reader(), {"SAV1"}, 10) == []
        self.arrive(world)
        assert transfer_book.under_way(world.reader(), None, 10) == []
        for site_id in (SITE, OTHER):
            newest = transfer_book.newest_sent(world.reader(), site_id, 10)
            assert {one.sscc for one in newest if one.arrived_at} == {PALLET, SECOND}
        world.rebuild()


class TestPromises:
    def test_no_more_is_promised_than_there_is(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(60)]))
        with pytest.raises(WouldOversell) as caught:
            world.do(Ask(order_id="o2", allocations=[goods(41)]))
        assert caught.value.facts["promisable"] == 40
        with pytest.raises(WouldOversell):
            world.do(Ask(order_id="o3", allocations=[goods(30), goods(11, line_no=2)]))  # together too much
        assert promisable(world) == 40

    def test_a_promise_given_back_may_be_promised_again(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(60), goods(10, line_no=2)]))
        world.do(GiveBack(order_id="o1", line_nos=[1]))
        assert promisable(world) == 90
        world.do(GiveBack(order_id="o1"))
        world.do(GiveBack(order_id="o1"))
        assert promisable(world) == 100

    def test_a_promise_moves_in_one_fact(self, world: Kernel) -> None:
        world.do(receive())
        world.do(receive(SECOND, lot_id=LATER))
        world.do(Ask(order_id="o1", allocations=[goods(100)]))
        later = index(world).candidates(ICE, "COLDGRID")[SITE][1]
        world.do(Ask(order_id="o1", allocations=[later.allocation(1, 90)], again=True))
        assert promisable(world) == 100
        assert later.promisable == 10

    def test_moving_back_to_the_same_goods_counts_what_is_given_back(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(100)]))
        world.do(Ask(order_id="o1", allocations=[goods(100)], again=True))
        world.do(hold("h1", PALLET))
        with pytest.raises(WouldOversell):
            world.do(Ask(order_id="o1", allocations=[goods(1)], again=True))

    def test_a_dispatch_keeps_the_promise(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(60)]))
        world.do(dispatch("d1", (PALLET, 40)))
        assert [p.open_qty for p in open_promises_of(world.reader(), "o1")] == [20]
        assert promisable(world) == 40
        assert shortfalls(world) == []

    def test_another_lot_keeps_the_promise_too(self, world: Kernel) -> None:
        world.do(receive())
        world.do(receive(SECOND, lot_id=LATER))
        world.do(Ask(order_id="o1", allocations=[goods(60)]))
        world.do(dispatch("d1", (SECOND, 60)))
        assert open_promises_of(world.reader(), "o1") == []

    def test_a_hold_leaves_promises_short_and_names_the_latest_orders(self, world: Kernel) -> None:
        world.do(receive(PALLET, 50))
        world.do(receive(SECOND, 50))
        world.do(Ask(order_id="o1", allocations=[goods(40)]))
        world.do(Ask(order_id="o2", allocations=[goods(30)]))
        world.do(Ask(order_id="o3", allocations=[goods(20)]))
        world.do(hold("h1", PALLET))
        [raised] = shortfalls(world)
        assert (raised.zone_id, raised.short, raised.orders) == (FREEZER, 40, ["o3", "o2"])
        assert {p.order_id for p in promised_on(world.reader(), FREEZER)} == {"o1", "o2", "o3"}

    def test_a_site_that_closes_is_short_of_all_it_promised(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(40)]))
        world.do(ChangeSiteMode(site_id=SITE, mode=SiteMode.RECEIVE_ONLY, reason="flooded dock"))
        assert [(s.short, s.orders) for s in shortfalls(world)] == [(40, ["o1"])]
        assert promisable(world) == 0
        world.do(ChangeSiteMode(site_id=SITE, mode=SiteMode.SHIP_ONLY, reason="dry again"))
        assert promisable(world) == 60

    def test_a_pause_stops_new_promises_until_every_cause_is_lifted(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(40)]))
        pause = PauseZone(
            site_id=SITE, zone_id=FREEZER, pause_id="p1", reason=PauseReason.PRE_ALARM, cause_id="a1"
        )
        world.do(pause)
        world.do(
            PauseZone(
                site_id=SITE, zone_id=FREEZER, pause_id="p2", reason=PauseReason.EXCURSION, cause_id="x1"
            )
        )
        assert promisable(world) == 0
        resume = ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id="p1", reason="the air came back")
        world.do(resume, "system:flows.returned")  # a passing cause, lifted by the policy that paused
        assert promisable(world) == 0
        last = ResumeZone(site_id=SITE, zone_id=FREEZER, pause_id="p2", reason="all units decided")
        with pytest.raises(PersonNeeded):
            world.do(last, "system:flows.returned")
        with pytest.raises(pauses.ResumerLacksRole):
            world.do(last, "ben", {"operator"})
        world.do(dispatch("d1", (PALLET, 40)))  # what was promised still ships
        world.do(last, "quinn", QUALITY)
        assert promisable(world) == 60

    def test_protected_stock_is_taken_from_what_expires_last(self, world: Kernel) -> None:
        world.do(receive())
        world.do(receive(SECOND, 50, lot_id=LATER))
        world.do(
            ProtectStock(site_id=SITE, product_id=ICE, owner="COLDGRID", qty=70, reason="store promotion")
        )
        assert [b.promisable for b in index(world).candidates(ICE, "COLDGRID")[SITE]] == [80, 0]

    def test_a_silent_site_promises_less(self, world: Kernel) -> None:
        world.do(receive())
        world.do(NoteStaleness(site_id=SITE, stale_min=60))
        assert promisable(world) == 92
        world.do(NoteStaleness(site_id=SITE, stale_min=0))
        assert promisable(world) == 100

    def test_expired_goods_are_promised_to_nobody(self, world: Kernel) -> None:
        world.do(receive())
        with pytest.raises(WouldOversell):
            world.do(Ask(order_id="o1", allocations=[goods(1)]), at=(EXPIRES - T0.date()).days * 1440 + 1440)

    def test_everything_is_loaded_again_after_a_restart(self, world: Kernel) -> None:
        world.do(receive())
        world.do(Ask(order_id="o1", allocations=[goods(60)]))
        before = index(world).snapshot()
        world.restart()
        assert index(world).snapshot() == before


class TestSplitsAndTrace:
    def test_the_history_of_goods_follows_them_through_splits_and_merges(self, world: Kernel) -> None:
        world.do(receive(), at=0)
        world.do(move(PALLET, COOL, other_class=True), at=30)
        world.do(SplitUnit(site_id=SITE, sscc=PALLET, new_sscc=SECOND, qty=30), at=60)
        world.do(receive(THIRD, 5, location_id=COOL, other_class=True), at=70)
        world.do(MergeUnit(site_id=SITE, sscc=SECOND, into_sscc=THIRD), at=80)
        stood = {(stay.sscc, stay.zone_id) for stay in history_of(world.reader(), THIRD)}
        assert stood == {(THIRD, CHILLER), (SECOND, CHILLER), (PALLET, CHILLER), (PALLET, FREEZER)}
        assert get_unit(world.reader(), SITE, THIRD).qty == 35

    def test_unlike_goods_are_not_put_together(self, world: Kernel) -> None:
        world.do(receive())
        world.do(receive(SECOND, lot_id=LATER))
        world.do(receive(THIRD))
        world.do(hold("h1", THIRD))
        for other in (SECOND, THIRD):
            with pytest.raises(splits.CannotMerge):
                world.do(MergeUnit(site_id=SITE, sscc=PALLET, into_sscc=other))

    def test_a_lot_is_traced_both_ways(self, world: Kernel) -> None:
        world.do(receive())
        world.do(
            TransformGoods(
                site_id=SITE,
                transform_id="cut-1",
                location_id=PICK,
                inputs=(Portion(sscc=PALLET, qty=40),),
                outputs=(Output(sscc=SECOND, product_id=ICE, lot_id=LATER, qty=80),),
            )
        )
        world.do(dispatch("d1", (SECOND, 50), order_id="o7"))
        world.do(dispatch("d2", (PALLET, 10), order_id="o8"))
        world.do(ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET,)))
        old = trace_lot(world.reader(), "L-2601")
        assert old.orders == {"o7": 50, "o8": 10}
        assert [step.partner for step in old.came_in] == ["PO-1"]
        assert (old.in_stock, old.in_transit) == ({}, 50)
        assert [(link.from_lot_id, link.into_lot_id) for link in old.made_into] == [("L-2601", LATER)]
        new = trace_lot(world.reader(), LATER)
        assert [(link.from_lot_id, link.from_qty) for link in new.made_from] == [("L-2601", 40)]
        assert new.in_stock == {SITE: 30}

    def test_returned_goods_wait_for_inspection(self, world: Kernel) -> None:
        world.do(receive(source=units.Virtual.CUSTOMER, reference="o1"))
        assert promisable(world) == 0
        world.do(SetUnitStatus(site_id=SITE, sscc=PALLET, status=UnitStatus.AVAILABLE, reason="sound"))
        assert promisable(world) == 100
        assert promises.promised_on(world.reader(), FREEZER) == []
