"""Pages about orders: what they tell, and that a refused cancellation keeps what was typed."""

from __future__ import annotations

import pytest

from coldgrid.kernel.authorize import Principal
from tests.orders.served import CSRF, Client, Served
from tests.orders.test_api import body
from tests.orders.world import OTHER, PALLET, SITE
from tests.stock.world import hold

CARE = {"x-as": "cara", "accept": "text/html"}


@pytest.fixture
def placed(client: Client) -> Client:
    assert client.post("/api/v1/orders", json=[body(1), body(2, qty=500)]).status_code == 200
    client.headers.update(CARE)
    return client


def test_the_list_tells_what_waits_and_filters(placed: Client) -> None:
    everything = placed.get("/orders")
    assert everything.status_code == 200
    assert "web-1" in everything.text
    assert "waits for goods" in everything.text
    waiting = placed.get("/orders?show=waiting").text
    assert "web-2" in waiting
    assert ">web-1<" not in waiting
    assert ">web-1<" in placed.get(f"/orders?site={SITE}").text
    assert ">web-1<" not in placed.get(f"/orders?site={OTHER}").text
    assert ">web-2<" in placed.get("/orders?q=web-2").text
    assert "No orders" in placed.get("/orders?q=nothing").text
    for odd in ("/orders?before=-9", "/orders?before=999999999999999999999", "/orders?show=nonsense"):
        answer = placed.get(odd)
        assert answer.status_code == 200
        assert ">web-2<" not in answer.text if "-9" in odd else ">web-2<" in answer.text
        assert ("There is no &#39;nonsense&#39; to show here" in answer.text) == ("nonsense" in odd)


def test_an_order_tells_why_these_sites_and_what_happened(served: Served, placed: Client) -> None:
    quality = Principal("quinn", frozenset({"quality"}))
    served.service.submit(hold("h1", PALLET), quality).result(timeout=30)
    served.service.call(lambda decider: decider.settle()).result(timeout=30)
    text = placed.get("/orders/web-1").text
    for told in ("Why these sites", "Earlier choice", "Sourced again", "Placed and promised", OTHER, "$"):
        assert told in text
    assert "What the customer is told" in text
    assert "It arrives later" in text
    assert "Ann" not in text
    assert "500 × without goods" in placed.get("/orders/web-2").text
    assert placed.get("/orders/none").status_code == 404


def test_reading_the_customer_is_a_page_of_its_own(placed: Client) -> None:
    assert "Ann Example" in placed.get("/orders/web-1/customer").text


def test_an_order_is_cancelled_by_a_form_with_a_reason(placed: Client) -> None:
    assert "Its goods go back on sale" in placed.get("/orders/web-1/cancel").text
    refused = placed.post("/orders/web-1/cancel", data={"_csrf": CSRF, "reason": ""})
    assert refused.status_code == 422
    done = placed.post("/orders/web-1/cancel", data={"_csrf": CSRF, "reason": "ordered twice"})
    assert (done.status_code, done.headers["location"]) == (303, "/orders/web-1")
    text = placed.get("/orders/web-1").text
    assert "ordered twice" in text
    assert "/orders/web-1/cancel" not in text


def test_who_may_not_cancel_sees_no_button(placed: Client) -> None:
    assert "/cancel" not in placed.get("/orders/web-1", headers={"x-as": "otto"}).text
    assert placed.get("/orders/web-1/cancel", headers={"x-as": "otto"}).status_code == 403


def test_who_has_some_sites_is_shown_the_orders_that_these_ever_served(
    served: Served, placed: Client
) -> None:
    def listed(who: str, asked: str = "") -> list[bool]:
        page = placed.get(f"/orders{asked}", headers={"x-as": who}).text
        return [f">{order_id}<" in page for order_id in ("web-1", "web-2")]

    assert listed("near") == [True, False], "nobody ever promised goods to the second one"
    assert listed("far") == [False, False]
    quality = Principal("quinn", frozenset({"quality"}))
    served.service.submit(hold("h1", PALLET), quality).result(timeout=30)
    served.service.call(lambda decider: decider.settle()).result(timeout=30)
    assert listed("far") == [True, False]
    assert listed("near") == [True, False], "it was sourced from there, and went elsewhere"
    assert listed("near", f"?site={SITE}") == [False, False], "no line of it is open there"
    assert placed.post("/orders/web-1/cancel", data={"_csrf": CSRF, "reason": "twice"}).status_code == 303
    assert [listed(who) for who in ("near", "far")] == [[True, False]] * 2
    assert listed("near", "?show=canceled") == [True, False]
    assert listed("near", "?show=open") == [False, False]
    assert listed("near", "?show=waiting") == [False, False]
    found = placed.get("/api/v1/orders", headers={"x-as": "near"}).json()
    assert [order["order_id"] for order in found] == ["web-1"]
