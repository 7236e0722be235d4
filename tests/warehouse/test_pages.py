"""The pages of work, used as a picker does: a scan, Enter, and what a refusal says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from litestar.testing import TestClient

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.service import DeciderService
from coldgrid.orders.handling import ReleaseOrder
from coldgrid.stock import pages as stock_pages
from coldgrid.stock.inventory import get_unit
from coldgrid.warehouse import pages, receiving_pages
from coldgrid.webkit.app import Services, create_app
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.network import master
from tests.orders.world import cancel, order, stocked
from tests.stock.world import BULK, ICE, LATER, LOT, PALLET, PICK, SITE, THIRD, hold, receive, sscc
from tests.webkit.tour import CSRF, Guide

HERE = f"/warehouse/{SITE}/orders/web-1"


class Floor:
    def __init__(self, kernel: Kernel, guide: Guide, client: TestClient[Any]) -> None:
        self.kernel, self.guide, self.client = kernel, guide, client

    def be(self, role: str, *sites: str) -> None:
        principal = Principal("olga", frozenset({role}), frozenset(sites or {SITE}))
        self.guide.visitor = msgspec.structs.replace(self.guide.visitor, principal=principal)

    def send(self, path: str, **fields: Any) -> Any:
        values = {"_csrf": CSRF, "_key": self.guide.fresh_key(), **fields}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.client.post(path, content=urlencode(values, doseq=True), headers=headers)

    def shown(self, path: str, status: int = 200, **query: str) -> str:
        answer = self.client.get(path, params=query)
        assert answer.status_code == status, answer.text[-2000:]
        assert "autofocus" in answer.text or not query
        return said(answer)

    def qty(self, code: str = PALLET) -> int:
        with self.kernel.database.reader() as connection:
            return get_unit(Reads(connection), SITE, code).qty


def said(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


@pytest.fixture
def floor() -> Iterator[Floor]:
    with sqlite_kernel() as kernel:
        stocked(kernel, near=40)
        kernel.do(receive(THIRD, 20, lot_id=LATER, location_id=PICK))
        master.put_in_force(kernel, master.limit(ICE), change_id="change-limits")
        kernel.do(order(qty=10))
        kernel.do(ReleaseOrder(order_id="web-1"))
        service = DeciderService(kernel.decider, lambda due: (due - T0) / timedelta(seconds=1))
        service.start()

        @contextmanager
        def reader() -> Iterator[Reader]:
            with kernel.database.reader() as connection:
                yield Reads(connection)

        guide = Guide()
        now = kernel.host.now
        services = Services(
            decider=service,
            reader=reader,
            authorizer=CedarAuthorizer(),
            door=guide,
            now=now,
            system_now=now,
        )
        app = create_app(services, [*pages.handlers, *receiving_pages.handlers, *stock_pages.handlers])
        try:
            with TestClient(app, raise_server_exceptions=False) as client:
                client.headers["x-csrf-token"] = CSRF
                client.follow_redirects = False
                made = Floor(kernel, guide, client)
                made.be("operator")
                yield made
        finally:
            service.stop()


def test_an_order_is_picked_by_scan_and_enter_and_dispatched(floor: Floor) -> None:
    assert floor.client.get("/warehouse").headers["location"] == f"/warehouse/{SITE}"
    listed = floor.shown(f"/warehouse/{SITE}")
    assert [word for word in ("web-1", "frozen", "waiting") if word not in listed] == []
    assert f"Go to {BULK}" in floor.shown(HERE)
    taken = floor.client.get(HERE, params={"scan": f"]C100{PALLET}"})
    assert 'placeholder="10"' in taken.text
    assert floor.send(f"{HERE}/pick", sscc=PALLET, qty="", short="").headers["location"] == HERE
    assert "All that is here for this order is picked." in floor.shown(HERE)
    assert "picked: dispatch it" in floor.shown(f"/warehouse/{SITE}")
    assert floor.send(f"{HERE}/dispatch").headers["location"] == f"/warehouse/{SITE}"
    assert floor.qty() == 30
    assert "Nothing to pick" in floor.shown(f"/warehouse/{SITE}")


def test_a_lot_or_the_end_of_a_label_may_be_typed(floor: Floor) -> None:
    for text in (LOT.lower(), PALLET[-6:], f"(10){LOT}"):
        assert f"Take from …{PALLET[-6:]}" in floor.shown(HERE, scan=text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (THIRD, f"is of lot {LATER}, not of {LOT}. Put it back and take lot {LOT}."),
        (BULK, f"is neither a unit nor a lot of this list. Take lot {LOT}."),
        (f"{PALLET[:-1]}{(int(PALLET[-1]) + 1) % 10}", "was misread or mistyped"),
        ("(01)09521000000018", "Scan the one with the lot"),
        (sscc(77), "was ever at ATL1"),
    ],
)
def test_a_wrong_scan_says_what_it_was_and_what_to_do(floor: Floor, text: str, why: str) -> None:
    answer = floor.client.get(HERE, params={"scan": text})
    assert why in said(answer)
    assert "autofocus data-focus" in answer.text


def test_a_held_unit_is_refused_and_one_held_after_the_pick_keeps_the_order_here(floor: Floor) -> None:
    floor.send(f"{HERE}/pick", sscc=PALLET, qty="10", short="")
    floor.kernel.do(hold("h1", PALLET))
    shown = floor.shown(HERE)
    assert "Something that was picked may not leave." in shown
    assert "Held: temperature excursion, ended by quality." in shown
    answer = floor.send(f"{HERE}/dispatch")
    assert answer.status_code == 409
    assert "Held goods are not allocated and not shipped to customers" in said(answer)
    floor.send(f"{HERE}/pick", sscc=PALLET, qty="0")
    assert "is held: temperature excursion. Leave it" in floor.shown(HERE, scan=PALLET)
    assert floor.qty() == 40


def test_a_quantity_that_is_wrong_comes_back_beside_its_field_with_what_was_typed(floor: Floor) -> None:
    for qty, why in (("11", "The order wants 10 of this lot."), ("ten", "Is no whole number.")):
        answer = floor.send(f"{HERE}/pick", sscc=PALLET, qty=qty, short="")
        assert (answer.status_code, why in said(answer), f'value="{qty}"' in answer.text) == (422, True, True)


def test_a_cancelled_order_asks_for_what_was_picked_to_be_put_back(floor: Floor) -> None:
    floor.send(f"{HERE}/pick", sscc=PALLET, qty="4", short="")
    floor.kernel.do(cancel())
    assert "Put back" in floor.shown(f"/warehouse/{SITE}")
    assert "This order wants nothing from here any more." in floor.shown(HERE)


def test_what_is_short_is_told_with_its_reason_and_blocks_the_unit(floor: Floor) -> None:
    floor.send(f"{HERE}/pick", sscc=PALLET, qty="3", short="missing")
    assert "Not to be had here" in floor.shown(HERE)
    assert floor.send(f"{HERE}/dispatch").status_code == 303
    with floor.kernel.database.reader() as connection:
        assert not get_unit(Reads(connection), SITE, PALLET).sellable
    shown = f"/stock/units/{PALLET}"
    assert "For sale again" not in floor.shown(shown)
    floor.be("supervisor")
    assert "For sale again" in floor.shown(shown)
    there = f"/warehouse/{SITE}/units/{PALLET}/available"
    assert floor.send(there, reason="counted 37").headers["location"] == shown
    with floor.kernel.database.reader() as connection:
        assert get_unit(Reads(connection), SITE, PALLET).sellable


def test_a_pallet_is_taken_in_by_its_labels_its_place_and_its_temperature(floor: Floor) -> None:
    here, values = f"/warehouse/{SITE}/receive", {"tlc_source": "Dairy 7", "probe_id": "P-3"}
    label, number = "(02)09521000000018(37)48(17)261130(10)L-NEW", f"(00){sscc(50)}"
    for text in (label, number, BULK.lower()):
        answer = floor.client.get(here, params={**values, "scan": text})
        assert answer.status_code == 200, said(answer)
        values = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', answer.text))
        values = {name: value for name, value in values.items() if not name.startswith("_")}
    assert values["qty"] == "48"
    assert re.search(r'id="value_c"[^>]*autofocus', answer.text)
    other = floor.client.get(here, params={**values, "scan": "(01)09521000000025"})
    assert "That label is of product MLK-WHL-1L, and this unit is of ICE-VAN-1L." in said(other)
    refused = floor.send(here, **values)
    assert refused.status_code == 422
    assert "Measure it: ICE-VAN-1L is kept at -18 °C or colder." in said(refused)
    taken = floor.send(here, **values, value_c="-9")
    assert (taken.status_code, taken.headers["location"]) == (303, f"{here}?tlc_source=Dairy+7&probe_id=P-3")
    with floor.kernel.database.reader() as connection:
        assert get_unit(Reads(connection), SITE, sscc(50)).open_holds == 1
    again = floor.send(here, **values, value_c="-20")
    assert "A handling unit with this SSCC is in the building already" in said(again)


def test_whoever_reads_fahrenheit_types_it(floor: Floor) -> None:
    here = f"/warehouse/{SITE}/receive"
    floor.client.cookies.set("coldgrid_unit", "f")
    text = floor.client.get(here).text
    assert '<span class="unit">°F</span><input type="hidden" name="_f" value="value_c">' in text


def test_who_works_at_several_sites_chooses_among_those_alone(floor: Floor) -> None:
    others = [master.site(site_id) for site_id in ("MIA1", "ORL1")]
    master.put_in_force(floor.kernel, *others, change_id="change-others")
    floor.be("operator", SITE, "MIA1")
    listed = floor.client.get("/warehouse").text
    assert set(re.findall(r'"/warehouse/(\w+)"', listed)) == {SITE, "MIA1"}
    assert floor.client.get("/warehouse/ORL1").status_code == 403
    floor.be("operator", "ABQ1")
    assert "You work at no site" in floor.client.get("/warehouse").text


def test_only_who_works_with_goods_at_the_site_sees_its_work(floor: Floor) -> None:
    for role in ("quality", "planner", "auditor", "customer_care"):
        floor.be(role)
        for path in ("/warehouse", f"/warehouse/{SITE}", HERE, f"/warehouse/{SITE}/receive"):
            assert floor.client.get(path).status_code == 403
        assert '"/warehouse"' not in floor.client.get("/stock").text
    floor.be("operator")
    assert floor.client.get("/warehouse/CLT1").status_code == 403
    assert '"/warehouse"' in floor.client.get("/stock").text
