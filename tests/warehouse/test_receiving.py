"""Receiving: one commit for the unit, its lot, its temperature and, where it came too warm, its hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from coldgrid.catalog.lots import get_lot
from coldgrid.kernel.rejections import Invalid
from coldgrid.quality.hand_readings import hand_readings_of
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.inventory import find_unit, get_unit
from coldgrid.stock.scans import read_scan
from coldgrid.warehouse.receiving import ReceiveGoods, is_outside
from coldgrid.warehouse.receiving_pages import merge
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.network import master
from tests.stock.world import BULK, FREEZER, ICE, LOT, PALLET, QUARANTINE, SITE, open_world


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with sqlite_kernel() as kernel:
        open_world(kernel)
        master.put_in_force(kernel, master.limit(ICE), change_id="change-limits")
        yield kernel


def goods(**fields: Any) -> ReceiveGoods:
    raw: dict[str, Any] = {
        "site_id": SITE,
        "sscc": PALLET,
        "location_id": BULK,
        "product_id": ICE,
        "lot_id": "L-NEW",
        "qty": 40,
        "expires_on": date(2026, 11, 30),
        "tlc_source": "Dairy 7",
        "reference": "ASN-1",
        "value_c": -21.5,
        "probe_id": "P-3",
    }
    return ReceiveGoods(**{**raw, **fields})


def refused(kernel: Kernel, **fields: Any) -> list[str]:
    before = len(kernel.events())
    with pytest.raises(Invalid) as told:
        kernel.do(goods(**fields))
    assert len(kernel.events()) == before
    return [problem.field for problem in told.value.problems]


def test_goods_in_range_are_taken_in_with_their_lot_and_their_temperature(kernel: Kernel) -> None:
    assert kernel.do(goods()).hold_id == ""
    reader = kernel.reader()
    assert (get_unit(reader, SITE, PALLET).qty, get_unit(reader, SITE, PALLET).sellable) == (40, True)
    assert (get_lot(reader, "L-NEW").tlc, get_lot(reader, "L-NEW").tlc_source) == ("L-NEW", "Dairy 7")
    reading = hand_readings_of(reader, FREEZER, T0, T0)[0]
    assert (reading.sscc, reading.value_c, reading.note) == (PALLET, -21.5, "on arrival ASN-1")
    kernel.rebuild()


def test_goods_that_come_too_warm_are_held_for_quality_in_the_same_commit(kernel: Kernel) -> None:
    assert kernel.do(goods(value_c=-9)).hold_id
    assert not get_unit(kernel.reader(), SITE, PALLET).sellable
    hold = open_holds_of(kernel.reader(), SITE, [PALLET])[0]
    assert (hold.reason, hold.releasing_role) == ("temperature_excursion", "quality")


def test_a_receipt_that_lacks_something_says_what_and_stores_nothing(kernel: Kernel) -> None:
    assert refused(kernel, value_c=None) == ["value_c"]
    assert refused(kernel, probe_id="") == ["probe_id"]
    assert refused(kernel, tlc_source="") == ["tlc_source"]
    assert refused(kernel, expires_on=None) == ["expires_on"]
    assert refused(kernel, lot_id=LOT) == ["expires_on"]
    assert refused(kernel, sscc="1") == ["sscc"]
    assert refused(kernel, qty=0) == ["qty"]
    assert refused(kernel, expires_on=date(2025, 12, 1)) == ["expires_on"]
    assert find_unit(kernel.reader(), SITE, PALLET) is None


def test_expired_goods_go_to_quarantine_only(kernel: Kernel) -> None:
    kernel.do(goods(expires_on=date(2025, 12, 1), location_id=QUARANTINE))
    assert not get_unit(kernel.reader(), SITE, PALLET).sellable


@pytest.mark.parametrize(
    ("value_c", "outside"), [(2, False), (8, False), (1.9, True), (8.1, True), (None, False)]
)
def test_both_ends_of_a_range_are_within(value_c: float | None, outside: bool) -> None:
    assert is_outside((2, 8), value_c) is outside
    assert not is_outside(None, value_c)


def test_labels_of_one_unit_add_up_and_those_of_another_do_not() -> None:
    known, why = merge({"product_id": "A", "lot_id": "1"}, {"sscc": "9"})
    assert (known, why) == ({"product_id": "A", "lot_id": "1", "sscc": "9"}, "")
    known, why = merge({"product_id": "A"}, {"product_id": "B"})
    assert known == {"product_id": "A"}
    assert "of product B, and this unit is of A" in why


def test_a_label_says_the_days_the_count_and_the_weight() -> None:
    scan = read_scan("(02)09521000000018(37)48(17)261100(11)260131(3102)001250(10)L-7")
    assert (scan.count, scan.weight_g, scan.lot) == (48, 12_500, "L-7")
    assert (scan.expires_on, scan.produced_on) == (date(2026, 11, 30), date(2026, 1, 31))
    assert "The day (17) 261341" in read_scan("(17)261341").wrong
