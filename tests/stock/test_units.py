"""Units, buckets and what is decided about them: pure, so no database here."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.kernel.rejections import Invalid
from coldgrid.stock import units
from coldgrid.stock.buckets import Buckets, WouldOversell
from coldgrid.stock.dispatch import DispatchLine, decide_asked
from coldgrid.stock.promise_book import Promise
from coldgrid.stock.promises import Shipped, decide_kept
from coldgrid.stock.reserves import buffer_permille
from coldgrid.stock.shortfalls import decide_shortfall
from coldgrid.stock.units import PackLevel, Place, Unit, UnitStatus
from tests.conftest import T0
from tests.stock.world import EXPIRES, EXPIRES_LATER, FREEZER, ICE, LATER, LOT, SITE, goods

TODAY = T0.date()
SHELF = Place("ATL1-FRZ1-A01-02", FREEZER, "pick")


def unit(**fields: Any) -> Unit:
    raw: dict[str, Any] = {
        "site_id": SITE,
        "sscc": units.make_sscc("10614141", 1),
        "parent_sscc": None,
        "owner": "COLDGRID",
        "product_id": ICE,
        "lot_id": LOT,
        "expires_on": EXPIRES,
        "pack_level": PackLevel.PALLET,
        "qty": 100,
        "weight_g": None,
        "status": UnitStatus.AVAILABLE,
        "location_id": SHELF.location_id,
        "zone_id": FREEZER,
        "location_kind": "pick",
        "arrived_at": T0,
        "received_at": T0,
        "open_holds": 0,
        "sellable": True,
    }
    return Unit(**{**raw, **fields})


class TestSscc:
    def test_check_digit_worked_by_hand(self) -> None:
        """3·(1+6+4+4+1+3+5+7+9) + (0+1+1+1+2+4+6+8) = 143, and 7 more make the next ten."""
        assert units.check_digit("10614141123456789") == 7

    @pytest.mark.parametrize("wrong", ["", "1", "10614141123456789X", "\u0660" * 18, "106141411234567898"])
    def test_a_wrong_label_says_how_to_put_it_right(self, wrong: str) -> None:
        [problem] = units.sscc_problems(wrong)
        assert "label" in problem.fix

    @given(st.integers(0, 10**9 - 1))
    def test_every_made_label_is_right(self, serial: int) -> None:
        assert units.sscc_problems(units.make_sscc("10614141", serial)) == []

    @given(st.integers(0, 10**9 - 1), st.integers(0, 17), st.integers(1, 9))
    def test_one_wrong_digit_is_always_found(self, serial: int, place: int, more: int) -> None:
        good = units.make_sscc("10614141", serial)
        bad = good[:place] + str((int(good[place]) + more) % 10) + good[place + 1 :]
        assert units.sscc_problems(bad)


class TestMaySell:
    @pytest.mark.parametrize(
        ("status", "holds", "place", "may"),
        [
            (UnitStatus.AVAILABLE, 0, SHELF, True),
            (UnitStatus.AVAILABLE, 1, SHELF, False),
            (UnitStatus.INSPECT, 0, SHELF, False),
            (UnitStatus.CONDEMNED, 0, SHELF, False),
            (UnitStatus.AVAILABLE, 0, Place("ATL1-FRZ1-QRN-01", FREEZER, "quarantine"), False),
            (UnitStatus.AVAILABLE, 0, Place("CUSTOMER"), False),
        ],
    )
    def test_three_separate_things_agree(
        self, status: UnitStatus, holds: int, place: Place, may: bool
    ) -> None:
        assert units.may_sell(status, holds, place) is may

    def test_weight_goes_with_the_part(self) -> None:
        line = units.line_of(unit(weight_g=10_001), SHELF, 33)
        assert (line.weight_g, line.whole) == (3_300, False)

    def test_what_left_cannot_leave_again(self) -> None:
        with pytest.raises(units.UnitNotPresent):
            units.line_of(unit(zone_id="", qty=0), SHELF)
        with pytest.raises(units.TooFewGoods):
            units.line_of(unit(), SHELF, 101)


def stocked(**sellable: int) -> Buckets:
    buckets = Buckets()
    buckets.add(goods(1).key, sellable.get("first", 100), 0)
    buckets.add(goods(1, lot_id=LATER, expires_on=EXPIRES_LATER).key, sellable.get("later", 50), 0)
    return buckets


class TestBuckets:
    def test_first_to_expire_comes_first(self) -> None:
        buckets = stocked()
        buckets.add(goods(1, lot_id="L-0", expires_on=EXPIRES - timedelta(days=1)).key, 5, 0)
        shelf = buckets.candidates(ICE, "COLDGRID")[SITE]
        assert [bucket.lot_id for bucket in shelf] == ["L-0", LOT, LATER]

    @pytest.mark.parametrize("qty", [0, -1, 101])
    def test_nothing_less_than_one_and_nothing_more_than_there_is(self, qty: int) -> None:
        with pytest.raises(WouldOversell):
            stocked().require_promisable([goods(qty)], TODAY)

    def test_the_last_day_counts(self) -> None:
        stocked().require_promisable([goods(1)], EXPIRES)
        with pytest.raises(WouldOversell):
            stocked().require_promisable([goods(1)], EXPIRES + timedelta(days=1))

    def test_a_site_far_below_its_promises_promises_nothing(self) -> None:
        buckets = stocked()
        buckets.add(goods(1).key, -100, 60)
        bucket = buckets.bucket(goods(1).key)
        assert bucket is not None
        assert (bucket.promisable, bucket.short) == (0, 60)

    def test_credit_pays_back_a_debt_first(self) -> None:
        """60 promised on 40: giving 30 back leaves 10 to promise again, not 30."""
        buckets = stocked(first=40)
        buckets.add(goods(1).key, 0, 60)
        buckets.require_promisable([goods(10)], TODAY, {goods(1).key: 30})
        with pytest.raises(WouldOversell):
            buckets.require_promisable([goods(11)], TODAY, {goods(1).key: 30})

    @given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 250))
    def test_shares_of_protected_stock_add_up(self, first: int, later: int, protected: int) -> None:
        buckets = stocked(first=first, later=later)
        buckets.protect(ICE, "COLDGRID", SITE, protected)
        shelf = buckets.candidates(ICE, "COLDGRID").get(SITE, [])
        assert sum(bucket.promisable for bucket in shelf) == max(0, first + later - protected)

    @given(
        st.lists(
            st.tuples(st.sampled_from([LOT, LATER, "L-3"]), st.integers(-50, 50), st.integers(0, 50)),
            max_size=12,
        )
    )
    def test_every_change_can_be_taken_back(self, changes: list[tuple[str, int, int]]) -> None:
        buckets = stocked()
        buckets.set_pauses(FREEZER, {"p1"})
        before = buckets.snapshot()
        keys = [(goods(1, lot_id=lot_id).key, sellable, promised) for lot_id, sellable, promised in changes]
        for key, sellable, promised in keys:
            buckets.add(key, sellable, promised)
        for key, sellable, promised in reversed(keys):
            buckets.add(key, -sellable, -promised)
        assert buckets.snapshot() == before


@pytest.mark.parametrize(("stale_min", "permille"), [(0, 0), (4, 0), (5, 10), (60, 80), (10_000, 1000)])
def test_the_longer_a_site_is_silent_the_less_is_promised(stale_min: int, permille: int) -> None:
    assert buffer_permille(stale_min) == permille


def promised(order_id: str, qty: int, n: int = 0, **fields: Any) -> Promise:
    one = goods(qty, **fields)
    names = ("line_no", "site_id", "product_id", "owner", "lot_id", "zone_id", "expires_on")
    raw = {name: getattr(one, name) for name in names}
    return Promise(order_id=order_id, epoch=1, seq=7, n=n, qty=qty, open_qty=qty, promised_at=T0, **raw)


class TestKeptAndShort:
    def test_goods_of_the_promised_bucket_count_first(self) -> None:
        open_ = [promised("o1", 10), promised("o1", 10, 1, lot_id=LATER)]
        freed = decide_kept(open_, [Shipped(key=open_[1].key, qty=10)])
        assert [(part.n, part.qty) for part in freed] == [(1, 10)]

    def test_more_than_was_promised_keeps_only_what_was(self) -> None:
        open_ = [promised("o1", 10)]
        freed = decide_kept(open_, [Shipped(key=open_[0].key, qty=25)])
        assert [part.qty for part in freed] == [10]

    def test_another_product_keeps_nothing(self) -> None:
        open_ = [promised("o1", 10)]
        assert decide_kept(open_, [Shipped(key=goods(1, product_id="MLK").key, qty=10)]) == []

    def test_the_latest_promises_lose_first_and_only_as_many_as_needed(self) -> None:
        open_ = [promised("o3", 5), promised("o2", 5), promised("o3", 5), promised("o1", 5)]
        assert decide_shortfall(goods(1).key, 8, open_, "c").orders == ["o3", "o2"]
        assert decide_shortfall(goods(1).key, 16, open_, "c").orders == ["o3", "o2", "o1"]


class TestDispatchedQuantities:
    def test_a_whole_pallet_takes_along_what_nests_in_it(self) -> None:
        pallet, case = unit(sscc="p", product_id="", qty=0), unit(sscc="c", parent_sscc="p", qty=8)
        assert decide_asked([DispatchLine("p")], [pallet, case]) == {"p": 0, "c": 8}

    def test_lines_of_one_unit_add_up(self) -> None:
        assert decide_asked([DispatchLine("c", 3), DispatchLine("c", 4)], [unit(sscc="c", qty=8)]) == {"c": 7}
        with pytest.raises(units.TooFewGoods):
            decide_asked([DispatchLine("c", 5), DispatchLine("c", 4)], [unit(sscc="c", qty=8)])

    def test_a_unit_does_not_leave_from_under_its_cases(self) -> None:
        pallet, case = unit(sscc="p", qty=20), unit(sscc="c", parent_sscc="p", qty=8)
        with pytest.raises(units.UnitCarriesOthers):
            decide_asked([DispatchLine("p", 20)], [pallet, case])


def test_problems_are_rejected_all_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        units.require([*units.qty_problems(0), *units.sscc_problems("1")])
    assert len(caught.value.problems) == 2


def test_an_allocation_survives_the_wire() -> None:
    one = goods(3, expires_on=date(2026, 6, 1))
    assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
