"""Work with a scanner alone: what is scanned leads on, a wrong scan moves nothing and says why."""

from __future__ import annotations

import re
from typing import Any

import pytest

from coldgrid.kernel.reading import Reads
from coldgrid.stock.inventory import get_unit, units_by_sscc
from tests.stock.test_web import House, house  # noqa: F401
from tests.stock.world import AWAY, BULK, COOL, FREEZER, LOT, OTHER, PALLET, PICK, SECOND, SITE, THIRD, sscc

GTIN = "09521000000018"
FNC1 = "\x1d"


def said(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


def place_of(house: House, code: str, site_id: str = SITE) -> str:  # noqa: F811
    with house.kernel.database.reader() as connection:
        return get_unit(Reads(connection), site_id, code).location_id


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"(00){THIRD}", f"/stock/units/{THIRD}"),
        (f"]C100{THIRD}", f"/stock/units/{THIRD}"),
        (f"(01){GTIN}(10){LOT}", f"/stock/lots/{LOT}"),
        (f"01{GTIN}10{LOT}{FNC1}17260601", f"/stock/lots/{LOT}"),
        (GTIN, "/catalog/ICE-VAN-1L"),
        ("ice-van-1l", "/catalog/ICE-VAN-1L"),
        (BULK.lower(), f"/stock/sites/{SITE}/zones/{FREEZER}?at={BULK}"),
    ],
)
def test_a_label_leads_to_what_it_is_on_from_stock_and_from_the_scan_page(
    house: House,  # noqa: F811
    text: str,
    where: str,
) -> None:
    for page in ("/stock", "/stock/scan"):
        answer = house.client.get(page, params={"q": text})
        work = "/work" if page == "/stock/scan" and "/units/" in where else ""
        assert (answer.status_code, answer.headers["location"]) == (303, where + work)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{THIRD[:-1]}{(int(THIRD[-1]) + 1) % 10}", f"its last digit would be {THIRD[-1]}"),
        (sscc(99), "was ever received"),
        ("(01)09521000000117", "No product has the GTIN"),
        (f"(01)09521000000025(10){LOT}", f"Lot {LOT} is of ICE-VAN-1L"),
        (f"01{GTIN}10{LOT}17260601", "set it to send the character 29"),
    ],
)
def test_a_label_that_leads_nowhere_says_why_and_the_field_waits_for_the_next_scan(
    house: House,  # noqa: F811
    text: str,
    why: str,
) -> None:
    answer = house.client.get("/stock", params={"q": text})
    assert answer.status_code == 303
    shown = house.client.get(answer.headers["location"])
    assert why in said(shown)
    assert "autofocus data-focus" in shown.text


def test_a_place_shows_what_stands_there_and_nothing_else(house: House) -> None:  # noqa: F811
    shown = said(house.client.get(f"/stock/sites/{SITE}/zones/{FREEZER}?at={PICK}"))
    assert f"at {PICK}" in shown
    assert PALLET not in shown
    assert "The place is empty." in shown


def test_a_move_is_two_scans(house: House) -> None:  # noqa: F811
    first = house.client.get("/stock/scan", params={"q": f"00{THIRD}"})
    assert "autofocus data-focus" in house.client.get(first.headers["location"]).text
    answer = house.send(f"/stock/units/{THIRD}/move", to_location_id=f" {PICK.lower()}\r")
    assert (answer.status_code, answer.headers["location"]) == (303, "/stock/scan")
    assert place_of(house, THIRD) == PICK


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"(00){THIRD}", "That is this unit, not a place."),
        (SECOND, f"That is unit {SECOND}, not a place."),
        (f"(01){GTIN}", "That is no label of a place."),
        ("ATL1-FRZ1-Z99", "There is no place ATL1-FRZ1-Z99."),
        (f"]C100{THIRD[:-2]}", "The code broke off"),
        (AWAY, f"{AWAY} is a place of {OTHER}"),
        ("", "Nothing was scanned."),
    ],
)
def test_a_scan_of_the_wrong_thing_moves_nothing_and_says_what_it_was(
    house: House,  # noqa: F811
    text: str,
    why: str,
) -> None:
    answer = house.send(f"/stock/units/{THIRD}/move", to_location_id=text)
    assert answer.status_code == 422
    assert why in said(answer)
    assert "autofocus data-focus" in answer.text
    assert place_of(house, THIRD) == BULK


def test_goods_go_to_a_zone_of_another_temperature_only_at_the_second_scan(house: House) -> None:  # noqa: F811
    answer = house.send(f"/stock/units/{THIRD}/move", to_location_id=COOL)
    assert answer.status_code == 422
    assert "ATL1-CHL1 is chilled, and ICE-VAN-1L is kept frozen." in said(answer)
    assert place_of(house, THIRD) == BULK
    again = re.search(r'action="([^"]*/move\?[^"]*)"', answer.text)
    assert again is not None
    assert house.send(again[1], to_location_id=PICK).status_code == 303
    assert house.send(again[1], to_location_id=COOL).status_code == 303
    assert place_of(house, THIRD) == COOL


def test_the_same_place_scanned_twice_is_said_to_hold_the_unit_already(house: House) -> None:  # noqa: F811
    answer = house.send(f"/stock/units/{THIRD}/move", to_location_id=BULK)
    assert answer.status_code == 409
    assert "stands at that location already" in said(answer)


def test_what_comes_by_a_transfer_is_taken_in_by_the_same_two_scans(house: House) -> None:  # noqa: F811
    code = sscc(5)
    assert "Take in" in said(house.client.get(f"/stock/units/{code}/work"))
    answer = house.send(f"/stock/units/{code}/move", location_id=AWAY)
    assert answer.status_code == 303, said(answer)
    assert place_of(house, code, OTHER) == AWAY


def test_a_held_unit_says_so_before_anything_is_done_with_it_and_moves_under_its_hold(
    house: House,  # noqa: F811
) -> None:
    shown = said(house.client.get(f"/stock/units/{SECOND}/work"))
    assert "goes to no customer" in shown
    assert "ended by quality" in shown
    assert house.send(f"/stock/units/{SECOND}/move", to_location_id=PICK).status_code == 303


def test_a_count_that_agrees_is_told_so_and_one_that_differs_is_booked(house: House) -> None:  # noqa: F811
    with house.kernel.database.reader() as connection:
        qty = get_unit(Reads(connection), SITE, THIRD).qty
    path = f"/stock/units/{THIRD}/count"
    assert house.send(path, counted_qty=str(qty)).status_code == 303
    refused = house.send(path, counted_qty=str(qty - 1))
    assert refused.status_code == 422
    assert "say why the count differs" in said(refused).lower() or "reason" in said(refused)
    assert house.send(path, counted_qty=str(qty - 1), reason="Miscounted before").status_code == 303
    with house.kernel.database.reader() as connection:
        assert get_unit(Reads(connection), SITE, THIRD).qty == qty - 1


def test_a_part_is_split_off_under_the_label_that_is_scanned(house: House) -> None:  # noqa: F811
    path = f"/stock/units/{THIRD}/split"
    refused = house.send(path, qty="5", pack_level="case", new_sscc=f"(00){THIRD}")
    assert refused.status_code == 409
    answer = house.send(path, qty="5", pack_level="case", new_sscc=f"]C100{sscc(9)}")
    assert answer.headers["location"] == f"/stock/units/{sscc(9)}/work"
    with house.kernel.database.reader() as connection:
        assert [unit.qty for unit in units_by_sscc(Reads(connection), sscc(9))] == [5]


def test_a_label_nobody_received_has_no_page_of_work(house: House) -> None:  # noqa: F811
    assert house.client.get(f"/stock/units/{sscc(99)}/work").status_code == 404
