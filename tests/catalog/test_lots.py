"""Lots: known as they were received, the same at every site."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from coldgrid.catalog import lots, products
from coldgrid.catalog.lots import Lot, LotDiffers, LotNotFound, LotRegistered, RegisterLot
from coldgrid.kernel.rejections import Invalid
from tests.conftest import Kernel
from tests.network.master import group, product, put_in_force, site

SITES = [group(), site(), site("CLT1")]


def arrival(**fields: Any) -> RegisterLot:
    told: dict[str, Any] = {
        "site_id": "ATL1",
        "lot_id": "L-1",
        "product_id": "ICE-VAN-1L",
        "tlc": "0952100000001810260915A",
        "tlc_source": "FFRN 12345678901",
        "produced_on": date(2026, 2, 1),
    }
    return RegisterLot(**told | fields)


def test_a_lot_is_kept_as_received_and_expires_by_its_shelf_life(kernel: Kernel) -> None:
    put_in_force(kernel, *SITES, product(shelf_life_days=10))
    kernel.do(arrival(tlc="a-Z 0/9é"))
    lot = lots.get_lot(kernel.reader(), "L-1")
    assert (lot.tlc, lot.tlc_source, lot.expires_on) == ("a-Z 0/9é", "FFRN 12345678901", date(2026, 2, 11))
    assert lots.lots_by_tlc(kernel.reader(), "a-Z 0/9é") == [lot]
    kernel.rebuild()


def test_the_label_s_expiry_beats_the_shelf_life(kernel: Kernel) -> None:
    put_in_force(kernel, *SITES, product(shelf_life_days=10))
    kernel.do(arrival(expires_on=date(2026, 2, 9)))
    assert lots.get_lot(kernel.reader(), "L-1").expires_on == date(2026, 2, 9)


def test_the_same_lot_again_changes_nothing_and_at_another_site_is_one_lot(kernel: Kernel) -> None:
    put_in_force(kernel, *SITES, product())
    kernel.do(arrival())
    before = len(kernel.events())
    kernel.do(arrival())
    assert len(kernel.events()) == before
    kernel.do(arrival(site_id="CLT1"))
    assert len(kernel.events()) == before + 1
    assert len(lots.lots_of(kernel.reader(), "ICE-VAN-1L")) == 1
    kernel.rebuild()


@pytest.mark.parametrize(
    "other",
    [{"tlc": "X"}, {"tlc_source": "X"}, {"produced_on": date(2026, 2, 2)}, {"expires_on": date(2026, 3, 1)}],
)
@pytest.mark.parametrize("site_id", ["ATL1", "CLT1"])
def test_other_facts_for_a_known_lot_are_refused_everywhere(
    kernel: Kernel, other: dict[str, Any], site_id: str
) -> None:
    put_in_force(kernel, *SITES, product())
    kernel.do(arrival())
    with pytest.raises(LotDiffers):
        kernel.do(arrival(site_id=site_id, **other))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tlc": "L-1\n"}, "tlc"),
        ({"tlc": " L-1"}, "tlc"),
        ({"tlc_source": "a\x00b"}, "tlc_source"),
        ({"produced_on": None}, "expires_on"),
        ({"expires_on": date(2026, 2, 1)}, "expires_on"),
    ],
)
def test_what_cannot_be_a_label_is_refused(kernel: Kernel, fields: dict[str, Any], field: str) -> None:
    put_in_force(kernel, *SITES, product())
    with pytest.raises(Invalid) as caught:
        kernel.do(arrival(**fields))
    assert [problem.field for problem in caught.value.problems] == [field]


def test_a_lot_is_of_a_product_that_exists(kernel: Kernel) -> None:
    put_in_force(kernel, *SITES)
    with pytest.raises(products.ProductNotFound):
        kernel.do(arrival())
    with pytest.raises(LotNotFound):
        lots.get_lot(kernel.reader(), "L-1")


def test_events_keep_their_wire_form() -> None:
    """Bytes from release 1 must decode for ever. Add lines; never edit one."""
    stored = (
        b'{"type":"catalog.lot_registered","site_id":"ATL1","lot":{"lot_id":"L-1","product_id":"ICE-VAN-1L",'
        b'"tlc":"0952100000001810260915A","tlc_source":"FFRN 12345678901","produced_on":"2026-02-01",'
        b'"expires_on":"2027-07-26"}}'
    )
    event = msgspec.json.decode(stored, type=LotRegistered)
    assert event.lot == Lot(
        lot_id="L-1",
        product_id="ICE-VAN-1L",
        tlc="0952100000001810260915A",
        tlc_source="FFRN 12345678901",
        produced_on=date(2026, 2, 1),
        expires_on=date(2027, 7, 26),
    )
    assert msgspec.json.encode(event) == stored
