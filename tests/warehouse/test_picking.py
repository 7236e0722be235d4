"""Picking: what is left to take, which unit is right, and what a dispatch of it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from coldgrid.kernel.rejections import Invalid
from coldgrid.orders.handling import ReleaseOrder
from coldgrid.stock.hold_joins import UnitsHeld
from coldgrid.stock.inventory import get_unit
from coldgrid.stock.promises import Shipped, open_promises_of
from coldgrid.stock.units import UnitStatus
from coldgrid.warehouse.picking import (
    DispatchPicked,
    MorePickedThanWanted,
    NothingPicked,
    NothingToPick,
    PickUnit,
    count_work,
    work_of,
)
from coldgrid.warehouse.picks import SentGoods, picks_at
from coldgrid.warehouse.plan import Stop, decide_stops
from coldgrid.warehouse.released import releases_of
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.orders.world import ATLANTA, cancel, order, promised, stocked
from tests.stock.world import (
    BULK,
    FREEZER,
    LATER,
    LOT,
    PALLET,
    PICK,
    SITE,
    THIRD,
    hold,
    receive,
    sscc,
)

ORDER = "web-1"


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with sqlite_kernel() as kernel:
        stocked(kernel, near=40)
        kernel.do(order(qty=10))
        yield kernel


def pick(qty: int, code: str = PALLET, short: str = "", order_id: str = ORDER) -> PickUnit:
    return PickUnit(site_id=SITE, order_id=order_id, sscc=code, qty=qty, short=short)


def send(dispatch_id: str = "dsp-1", order_id: str = ORDER) -> DispatchPicked:
    return DispatchPicked(site_id=SITE, order_id=order_id, dispatch_id=dispatch_id)


def left(kernel: Kernel, order_id: str = ORDER) -> int:
    return sum(one.open_qty for one in work_of(kernel.reader(), SITE, order_id).left)


def stops(kernel: Kernel) -> list[tuple[str, str, int]]:
    reader = kernel.reader()
    work = work_of(reader, SITE, ORDER)
    units = [get_unit(reader, SITE, code) for code in (PALLET, THIRD)]
    found, _ = decide_stops(work.left, units, {one.sscc: one.qty for one in work.picks}, ())
    return [(one.location_id, one.sscc, one.qty) for one in found]


def problem(kernel: Kernel, command: Any) -> str:
    with pytest.raises(Invalid) as refused:
        kernel.do(command)
    told = refused.value.problems[0]
    return f"{told.field} {told.message}. {told.fix}"


def test_a_release_tells_the_site_by_when_the_goods_are_to_leave(kernel: Kernel) -> None:
    assert releases_of(kernel.reader(), SITE, [ORDER]) == {}
    kernel.do(ReleaseOrder(order_id=ORDER))
    told = releases_of(kernel.reader(), SITE, [ORDER])[ORDER]
    assert (told.region, told.site_id) == (ATLANTA.region, SITE)
    assert told.leaves_at is not None
    assert told.leaves_at > told.released_at


def test_picks_leave_as_one_dispatch_that_keeps_the_promise(kernel: Kernel) -> None:
    kernel.do(pick(4))
    assert left(kernel) == 6
    assert get_unit(kernel.reader(), SITE, PALLET).qty == 40
    kernel.do(pick(10))
    assert left(kernel) == 0
    kernel.do(send())
    assert get_unit(kernel.reader(), SITE, PALLET).qty == 30
    assert picks_at(kernel.reader(), SITE) == []
    assert promised(kernel) == []
    kernel.rebuild()


def test_what_left_is_not_to_be_picked_again_before_the_network_heard_of_it(kernel: Kernel) -> None:
    kernel.do(pick(7))
    kernel.do(send())
    assert promised(kernel) == [(1, SITE, 3)]
    assert left(kernel) == 3
    promise = open_promises_of(kernel.reader(), ORDER)[0]
    gone = SentGoods(ORDER, T0, [Shipped(key=promise.key, qty=2)])
    assert [one.open_qty for one in count_work([promise], [gone], []).left] == [1]
    before = msgspec.structs.replace(gone, sent_at=T0 - timedelta(minutes=1))
    assert [one.open_qty for one in count_work([promise], [before], []).left] == [3]


def test_a_pick_of_nothing_puts_the_goods_back(kernel: Kernel) -> None:
    kernel.do(pick(4))
    kernel.do(pick(0))
    assert left(kernel) == 10
    assert picks_at(kernel.reader(), SITE) == []
    assert "qty must be 1 or more" in problem(kernel, pick(0))
    with pytest.raises(NothingPicked):
        kernel.do(send())


def test_the_list_goes_to_picking_places_first_and_takes_the_smallest_unit(kernel: Kernel) -> None:
    kernel.do(receive(THIRD, 6, location_id=PICK))
    assert stops(kernel) == [(BULK, PALLET, 4), (PICK, THIRD, 6)]


def test_a_wrong_unit_is_refused_with_what_to_do_and_nothing_is_stored(kernel: Kernel) -> None:
    kernel.do(receive(THIRD, 20, lot_id=LATER))
    assert f"is of lot {LATER}, not of {LOT}. Put it back and take lot {LOT}." in problem(
        kernel, pick(1, THIRD)
    )
    assert "no unit" in problem(kernel, pick(1, sscc(77)))
    assert "the order wants 10 of this lot" in problem(kernel, pick(11))
    assert "qty must be 0 or more" in problem(kernel, pick(-1, short="missing"))
    assert "short must be missing, damaged" in problem(kernel, pick(1, short="eaten"))
    assert "nothing is short" in problem(kernel, pick(10, short="missing"))
    kernel.do(hold("h1", PALLET))
    told = problem(kernel, pick(1))
    assert "is held: temperature excursion. Leave it: only quality ends this hold." in told
    assert picks_at(kernel.reader(), SITE) == []


def test_no_unit_is_taken_twice(kernel: Kernel) -> None:
    kernel.do(order(2, qty=30))
    kernel.do(pick(10))
    kernel.do(pick(30, order_id="web-2"))
    kernel.do(pick(0))
    kernel.do(receive(THIRD, 20))
    kernel.do(pick(9))
    assert left(kernel) == 1


def test_goods_held_after_the_pick_stay_and_nothing_of_the_order_leaves(kernel: Kernel) -> None:
    kernel.do(pick(10))
    kernel.do(hold("h1", PALLET))
    with pytest.raises(UnitsHeld):
        kernel.do(send())
    assert get_unit(kernel.reader(), SITE, PALLET).qty == 40
    assert len(picks_at(kernel.reader(), SITE)) == 1


def test_what_is_missing_waits_for_a_count_and_the_rest_is_sourced_from_elsewhere(kernel: Kernel) -> None:
    kernel.do(pick(4, short="missing"))
    kernel.do(send())
    unit = get_unit(kernel.reader(), SITE, PALLET)
    assert (unit.qty, unit.status, unit.sellable) == (36, UnitStatus.INSPECT, False)
    assert [(line, site) for line, site, _ in promised(kernel)] == [(1, "CLT1")]
    assert left(kernel) == 0
    kernel.rebuild()


def test_what_is_damaged_is_held_also_when_nothing_of_it_could_be_taken(kernel: Kernel) -> None:
    kernel.do(pick(0, short="damaged"))
    ended = kernel.do(send())
    assert ended.dispatch_id == ""
    assert get_unit(kernel.reader(), SITE, PALLET).open_holds == 1
    assert [site for _, site, _ in promised(kernel)] == ["CLT1"]


def test_a_cancelled_order_is_not_picked_and_what_was_picked_does_not_leave(kernel: Kernel) -> None:
    kernel.do(pick(4))
    kernel.do(cancel())
    with pytest.raises(NothingToPick):
        kernel.do(pick(5))
    with pytest.raises(MorePickedThanWanted):
        kernel.do(send())
    kernel.do(pick(0))
    assert picks_at(kernel.reader(), SITE) == []


def test_a_unit_found_short_is_not_proposed_again(kernel: Kernel) -> None:
    reader = kernel.reader()
    work, unit = work_of(reader, SITE, ORDER), get_unit(reader, SITE, PALLET)
    found, missing = decide_stops(work.left, [unit], {}, [PALLET])
    assert found == []
    assert [one.qty for one in missing] == [10]
    expired = msgspec.structs.replace(unit, expires_on=date(2026, 5, 1))
    assert decide_stops(work.left, [expired], {}, ())[0] == []
    assert isinstance(decide_stops(work.left, [unit], {}, ())[0][0], Stop)
    assert unit.zone_id == FREEZER
