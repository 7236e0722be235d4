"""Searching by a part of a name: its beginning or its end leads to what it may mean, and to nothing else."""

from __future__ import annotations

import re
from typing import Any

from coldgrid.catalog.products import words_of
from coldgrid.webkit.hits import OF_A_KIND, hits
from tests.conftest import Kernel
from tests.stock.test_web import House, house  # noqa: F401
from tests.stock.world import LOT, OTHER, PALLET, SITE, THIRD, check_everything, open_world, receive, sscc


def said(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def found(kernel: Kernel, text: str, sites: set[str] | None = None) -> list[tuple[str, str]]:
    return [(hit.kind, hit.name) for hit in hits(kernel.reader(), sites, text)]


def test_a_name_is_found_by_its_beginning_its_end_and_a_product_by_each_of_its_words(kernel: Kernel) -> None:
    open_world(kernel)
    kernel.do(receive(sscc(987654)))
    kernel.do(receive(sscc(123)))
    first, ice = ("Unit", sscc(987654)), ("Product", "ICE-VAN-1L")
    assert found(kernel, sscc(987654)[-5:]) == [first]
    assert found(kernel, "10614141") == [("Unit", sscc(123)), first]
    assert found(kernel, "l-26") == [("Lot", "L-2601"), ("Lot", "L-2602")]
    assert found(kernel, "2602") == [("Lot", "L-2602")]
    for text in ("ICE-VAN", "vanilla ice", "cream", "9521000000018", "95210", "0018"):
        assert ice in found(kernel, text), text
    assert found(kernel, "illa ice") == []
    assert words_of("Vanilla ice cream") == ["Vanilla ice cream", "ice cream", "cream"]
    check_everything(kernel)


def test_too_little_is_not_looked_for_and_too_much_is_cut(kernel: Kernel) -> None:
    open_world(kernel)
    for serial in range(OF_A_KIND + 3):
        kernel.do(receive(sscc(7000 + serial)))
    assert found(kernel, "10") == []
    assert found(kernel, "%%%") == []
    assert len(found(kernel, "1061414")) == OF_A_KIND
    assert found(kernel, "x" * 200) == []
    assert found(kernel, "\U0010ffff" * 3) == []


def test_units_are_found_by_those_who_are_responsible_for_a_site_that_has_or_had_them(kernel: Kernel) -> None:
    open_world(kernel)
    kernel.do(receive(PALLET))
    assert found(kernel, PALLET[-6:], {OTHER}) == []
    assert found(kernel, PALLET[-6:], {SITE}) == [("Unit", PALLET)]


def test_the_stock_page_shows_what_a_part_may_mean_and_goes_to_the_only_one(house: House) -> None:  # noqa: F811
    answer = house.client.get("/stock", params={"q": THIRD[-6:]})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/stock/units/{THIRD}")
    several = house.client.get("/stock", params={"q": "L-26"})
    assert several.status_code == 200
    assert f'href="/stock/lots/{LOT}"' in several.text
    assert "Nothing is called so" in said(house.client.get("/stock", params={"q": "zzzz"}))


def test_a_units_last_digits_typed_are_as_good_as_its_scan(house: House) -> None:  # noqa: F811
    answer = house.client.get("/stock/scan", params={"q": THIRD[-6:]})
    assert answer.headers["location"] == f"/stock/units/{THIRD}/work"
    many = house.client.get("/stock/scan", params={"q": "1061414"})
    assert "More than one unit begins or ends with 1061414" in said(many)
