"""Sending goods to another site and taking them in, by pages: scans and forms, as people do it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from coldgrid.kernel.reading import Reads
from coldgrid.network.sites import ChangeSiteMode, SiteMode
from coldgrid.stock.hold_book import open_holds_of
from coldgrid.stock.inventory import get_unit
from coldgrid.stock.transfer_book import Sent, sent_units, under_way
from tests.network import master
from tests.stock.test_web import House, house  # noqa: F401
from tests.stock.world import (
    AWAY,
    BULK,
    COOL,
    MILK,
    OTHER,
    PALLET,
    SECOND,
    SITE,
    THIRD,
    Ask,
    goods,
    receive,
    sscc,
)

SEND = f"/stock/sites/{SITE}/transfer"
MILK_UNIT = sscc(30)


def said(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


@pytest.fixture
def sender(house: House) -> House:  # noqa: F811
    """A supervisor of a site from which a lane leads that keeps frozen goods."""
    master.put_in_force(house.kernel, master.lane(distance_km=390), change_id="lane")
    house.kernel.do(receive(MILK_UNIT, 10, product_id=MILK, lot_id="L-M1", location_id=COOL))
    house.be("sam", "supervisor")
    return house


def sent(house: House, transfer_id: str) -> list[Sent]:  # noqa: F811
    with house.kernel.database.reader() as connection:
        return sent_units(Reads(connection), transfer_id)


def test_units_are_chosen_by_scan_and_sent_where_a_lane_leads(sender: House) -> None:
    shown = sender.client.get(SEND, params={"scan": f"(00){THIRD}"})
    assert "4 h, 390 km · $90 a pallet · keeps frozen" in said(shown)
    assert "autofocus data-focus" in shown.text
    answer = sender.send(SEND, sscc=[THIRD], to_site_id=OTHER, reason="rebalance")
    assert answer.status_code == 303, said(answer)
    transfer_id = answer.headers["location"].rpartition("/")[2]
    assert [(one.sscc, one.to_site_id, one.reason) for one in sent(sender, transfer_id)] == [
        (THIRD, OTHER, "rebalance")
    ]
    listed = said(sender.client.get("/stock/transfers"))
    assert "0 of 1" in listed
    page = said(sender.client.get(answer.headers["location"]))
    assert "rebalance" in page
    assert "1 to come" in page


def test_a_scan_adds_to_what_is_chosen_and_a_wrong_one_loses_none_of_it(sender: House) -> None:
    shown = sender.client.get(SEND, params=[("sscc", THIRD), ("scan", PALLET)])
    hidden = re.findall(r'name="sscc" value="(\d+)"', shown.text)
    assert set(hidden) == {THIRD, PALLET}
    assert "With them goes 1 unit" in said(shown)
    leave_out = re.search(rf'href="([^"]+)" aria-label="Leave out {THIRD}"', shown.text)
    assert leave_out is not None
    assert parse_qs(urlsplit(leave_out[1]).query) == {"sscc": [PALLET]}
    for wrong, why in (
        (sscc(4), f"is not here: it is at {OTHER}"),
        (sscc(99), "was ever received here"),
        ("nonsense", "neither a unit nor a place"),
        (COOL.replace("A01-01", "QRN-09"), "neither a unit nor a place"),
    ):
        answer = sender.client.get(SEND, params=[("sscc", THIRD), ("scan", wrong)])
        assert answer.status_code == 422
        assert why in said(answer)
        assert f'value="{THIRD}"' in answer.text


def test_a_place_adds_what_stands_on_its_floor(sender: House) -> None:
    shown = sender.client.get(SEND, params={"scan": BULK.lower()})
    assert PALLET in shown.text
    assert f'name="sscc" value="{SECOND}"' not in shown.text, "it goes with the pallet that it stands on"


def test_a_site_that_cannot_take_the_goods_is_not_offered_and_the_page_says_why(sender: House) -> None:
    shown = sender.client.get(SEND, params={"sscc": MILK_UNIT})
    assert "No site can take these goods" in said(shown)
    assert f"No lane to {OTHER} keeps chilled" in said(shown)
    assert 'type="radio"' not in shown.text
    refused = sender.send(SEND, sscc=[MILK_UNIT], to_site_id=OTHER)
    assert refused.status_code == 422
    assert f"no lane to {OTHER} keeps chilled" in said(refused)
    sender.kernel.do(ChangeSiteMode(site_id=OTHER, mode=SiteMode.CLOSED, reason="flood"))
    closed = said(sender.client.get(SEND, params={"sscc": THIRD}))
    assert f"{OTHER} takes no goods in: it is closed, because: flood" in closed


def test_held_units_are_sent_by_a_supervisor_who_is_told_what_it_means(sender: House) -> None:
    assert "your authorisation" in said(sender.client.get(SEND, params={"sscc": PALLET}))
    sender.be("olga", "operator")
    assert "Only a supervisor" in said(sender.client.get(SEND, params={"sscc": PALLET}))
    refused = sender.send(SEND, sscc=[PALLET], to_site_id=OTHER)
    assert refused.status_code == 403
    assert "ask a supervisor" in said(refused)
    sender.be("sam", "supervisor")
    assert sender.send(SEND, sscc=[PALLET], to_site_id=OTHER).status_code == 303


def test_goods_that_are_promised_are_told_before_they_go(sender: House) -> None:
    told = "base units of these goods are promised to orders"
    sender.kernel.do(receive(sscc(31), 50))
    assert told not in said(sender.client.get(SEND, params={"sscc": sscc(31)}))
    sender.kernel.do(Ask(order_id="o5", allocations=[goods(60)]))
    promised = said(sender.client.get(SEND, params={"sscc": sscc(31)}))
    assert re.search(rf"(\d+) {told}", promised)


def test_a_transfer_is_taken_in_all_at_once_by_the_place(sender: House) -> None:
    answer = sender.send(SEND, sscc=[PALLET, THIRD], to_site_id=OTHER)
    transfer = answer.headers["location"]
    assert "Take all in" in sender.client.get(transfer).text
    wrong = sender.send(f"{transfer}/receive", location_id="CLT1-FRZ1-Z99-99")
    assert wrong.status_code == 404
    assert "Take all in" in wrong.text
    taken = sender.send(f"{transfer}/receive", location_id=AWAY.lower())
    assert (taken.status_code, taken.headers["location"]) == (303, transfer)
    assert "All received" in said(sender.client.get(transfer))
    with sender.kernel.database.reader() as connection:
        db = Reads(connection)
        assert get_unit(db, OTHER, PALLET).location_id == AWAY
        assert open_holds_of(db, OTHER, [PALLET])
        assert [one.transfer_id for one in under_way(db, None, 10)] == ["t2"]
    lately = said(sender.client.get("/stock/transfers", params={"site": OTHER}))
    assert "Received lately" in lately


def test_units_are_ticked_on_a_zones_page_and_sent_from_their_own(sender: House) -> None:
    zone = sender.client.get(f"/stock/sites/{SITE}/zones/{SITE}-FRZ1").text
    assert f'<form action="{SEND}">' in zone
    assert f'name="sscc" value="{THIRD}"' in zone
    assert f"{SEND}?sscc={THIRD}" in sender.client.get(f"/stock/units/{THIRD}").text
    assert SEND not in sender.client.get(f"/stock/units/{sscc(5)}").text, "it is on its way"


def test_transfers_are_seen_from_both_ends_and_from_no_other_site(sender: House) -> None:
    for site_id in (SITE, OTHER):
        sender.be("olga", "operator", sites=frozenset({site_id}))
        assert "0 of 1" in said(sender.client.get("/stock/transfers"))
        assert sender.client.get("/stock/transfers/t2").status_code == 200
    sender.be("olga", "operator", sites=frozenset({"SAV1"}))
    assert "Nothing is under way" in said(sender.client.get("/stock/transfers"))
    assert sender.client.get("/stock/transfers/none").status_code == 404
