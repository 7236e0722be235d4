"""Stock's pages and API, read and used as people do: by link, by form, by JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.rejections import Forbidden
from coldgrid.kernel.service import DeciderService
from coldgrid.stock import api, pages
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.inventory import units_of_lot
from coldgrid.stock.pauses import open_pauses
from coldgrid.stock.splits import Output, Portion, SplitUnit, TransformGoods
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from coldgrid.webkit.app import Services, create_app
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.stock.world import (
    AWAY,
    CHILLER,
    FREEZER,
    LATER,
    LOT,
    OTHER,
    PALLET,
    PICK,
    QUALITY,
    SECOND,
    SITE,
    THIRD,
    Ask,
    carrier,
    dispatch,
    goods,
    hold,
    open_world,
    receive,
    release,
    sscc,
)
from tests.webkit.tour import CSRF, Guide

Client = TestClient[Litestar]


def furnish(kernel: Kernel) -> None:
    """A bit of everything that a page may have to show."""
    open_world(kernel)
    kernel.do(carrier(PALLET))
    kernel.do(receive(SECOND, 40, parent_sscc=PALLET))
    kernel.do(receive(THIRD, 100, weight_g=56_000))
    kernel.do(Ask(order_id="o1", allocations=[goods(30)]))
    kernel.do(dispatch("d1", (THIRD, 10)))
    kernel.do(SplitUnit(site_id=SITE, sscc=THIRD, new_sscc=sscc(4), qty=20))
    made = (Output(sscc=sscc(5), product_id="ICE-VAN-1L", lot_id=LATER, qty=8),)
    used = (Portion(sscc=THIRD, qty=4),)
    kernel.do(TransformGoods(site_id=SITE, transform_id="cut-1", location_id=PICK, inputs=used, outputs=made))
    kernel.do(hold("h1", PALLET))
    kernel.do(hold("h2", sscc(4), cause_id="x2"))
    kernel.do(release("h2"), "ben", QUALITY)
    for transfer_id, code in (("t1", sscc(4)), ("t2", sscc(5))):
        kernel.do(ShipTransfer(site_id=SITE, transfer_id=transfer_id, to_site_id=OTHER, sscc=(code,)))
    kernel.do(ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY))


class House:
    def __init__(self, kernel: Kernel, guide: Guide, client: Client) -> None:
        self.kernel = kernel
        self.guide = guide
        self.client = client

    def be(self, actor: str, *roles: str, sites: frozenset[str] | None = None) -> None:
        principal = Principal(actor, frozenset(roles), sites)
        self.guide.visitor = msgspec.structs.replace(self.guide.visitor, principal=principal)

    def send(self, path: str, **fields: Any) -> Any:
        values = {"_csrf": CSRF, "_key": self.guide.fresh_key(), **fields}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return self.client.post(path, content=urlencode(values, doseq=True), headers=headers)


@pytest.fixture
def house() -> Iterator[House]:
    with sqlite_kernel() as kernel:
        furnish(kernel)
        service = DeciderService(kernel.decider, lambda due: (due - T0) / timedelta(seconds=1))
        service.start()

        @contextmanager
        def reader() -> Iterator[Reader]:
            with kernel.database.reader() as connection:
                yield Reads(connection)

        guide = Guide()
        services = Services(
            decider=service,
            reader=reader,
            authorizer=kernel.host.authorizer,
            door=guide,
            now=kernel.host.now,
            system_now=kernel.host.now,
        )
        app = create_app(services, [*pages.handlers, *api.handlers])
        try:
            with TestClient(app, raise_server_exceptions=False) as client:
                client.headers["x-csrf-token"] = CSRF
                client.follow_redirects = False
                made = House(kernel, guide, client)
                made.be("quinn", "quality", "supervisor")
                yield made
        finally:
            service.stop()


PAGES = {
    "/stock": ["ATL1", "goods held"],
    f"/stock/sites/{SITE}": ["Vanilla ice cream", LOT, "partly held"],
    f"/stock/sites/{SITE}?zone={CHILLER}": ["No goods here"],
    f"/stock/sites/{SITE}?q=nothing": ["No goods here"],
    f"/stock/sites/{OTHER}": ["On the way here", sscc(5)],
    f"/stock/sites/{SITE}/zones/{FREEZER}": [PALLET, "carrier", "Pause promising"],
    f"/stock/units/{SECOND}": ["Held", PALLET, "Temperature excursion"],
    f"/stock/units/{THIRD}": ["37 kg", "order o1", "Split", "cut-1"],
    f"/stock/units/{sscc(4)}": ["CLT1-FRZ1-A01-01", "From"],
    f"/stock/lots/{LOT}": ["TLC-L-2601", "o1", LATER, "ATL1/1/"],
    "/stock/holds": ["Temperature excursion", "quality"],
    f"/stock/sites/{SITE}/hold": [FREEZER],
    f"/stock/sites/{SITE}/hold?sscc={SECOND}": ["Place the hold"],
    f"/stock/sites/{SITE}/holds/h1": ["2 still held", "Sign"],
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_what_there_is(house: House, path: str) -> None:
    answer = house.client.get(path)
    assert answer.status_code == 200, answer.text[-2000:]
    shown = re.sub(r"<[^>]+>", " ", answer.text)
    assert [text for text in PAGES[path] if text not in re.sub(r"\s+", " ", shown)] == []


def test_a_unit_in_degrees_fahrenheit_is_still_a_unit(house: House) -> None:
    """The page's own unit must not take the place of the reader's unit of temperature."""
    text = house.client.get(f"/stock/units/{SECOND}", headers={"cookie": "coldgrid_unit=f"}).text
    assert 'data-unit="f"' in text
    assert "Show °C" in text


def test_the_open_holds_of_all_sites_are_read_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = Reads.all

    def counted(self: Reads, statement: Any, **named: Any) -> Any:
        asked.append(id(statement))
        return real(self, statement, **named)

    monkeypatch.setattr(Reads, "all", counted)
    assert house.client.get("/stock/holds").status_code == 200
    assert len(asked) == len(set(asked)), "a statement was asked more than once"


def test_a_scanned_label_or_a_lot_leads_to_its_page(house: House) -> None:
    assert house.client.get(f"/stock?q={SECOND}").headers["location"] == f"/stock/units/{SECOND}"
    assert house.client.get(f"/stock?q={LOT}").headers["location"] == f"/stock/lots/{LOT}"
    assert "Nothing found" in house.client.get("/stock?q=nowhere").text


def test_a_hold_is_placed_and_decided_by_two_people(house: House) -> None:
    house.be("sam", "supervisor", "quality")
    path = f"/stock/sites/{SITE}/hold?sscc={THIRD}"
    placed = house.send(path, reason="damage", cause_id="report 7")
    where = placed.headers["location"]
    assert placed.status_code == 303
    refused = house.send(where, disposition="release", evidence_id="photo 1")
    assert refused.status_code == 403  # four eyes
    assert "someone other than" in refused.text
    house.be("lee", "supervisor")
    incomplete = house.send(where, disposition="reduced_life", evidence_id="photo 1")
    assert incomplete.status_code == 422
    assert "the disposition reduced_life" in incomplete.text
    signed = house.send(where, disposition="release", evidence_id="photo 1", sscc=[THIRD])
    assert signed.status_code == 303
    assert [one.hold_id for one in open_holds(house.kernel.reader(), SITE)] == ["h1"]


def test_a_recalled_lot_is_held_wherever_it_stands_with_what_was_made_from_it(house: House) -> None:
    house.be("rita", "recall_coordinator", "quality")
    assert f"/stock/lots/{LOT}/hold" in house.client.get(f"/stock/lots/{LOT}").text
    asked = house.client.get(f"/stock/lots/{LOT}/hold")
    assert [text for text in (SITE, OTHER, LATER, "with customers") if text not in asked.text] == []
    nameless = house.send(f"/stock/lots/{LOT}/hold", reason="recall", cause_id=" ")
    assert (nameless.status_code, "name what the hold answers" in nameless.text.lower()) == (422, True)
    assert house.send(f"/stock/lots/{LOT}/hold", reason="recall", cause_id="R-12").status_code == 303
    kept = [one for site in (SITE, OTHER) for one in open_holds(house.kernel.reader(), site)]
    assert [(one.site_id, one.cause_id) for one in kept if one.reason == "recall"] == [
        (SITE, "R-12"),
        (OTHER, "R-12"),
    ]
    loose = [
        unit.sscc for unit in units_of_lot(house.kernel.reader(), LOT) if unit.present and not unit.open_holds
    ]
    assert loose == []
    again = house.send(f"/stock/lots/{LOT}/hold", reason="recall", cause_id="R-12")
    assert again.status_code == 303, "who asks twice is told that it is held"


def test_who_may_not_hold_goods_is_not_offered_to_hold_a_lot(house: House) -> None:
    class Nobody:
        def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
            if action == "stock.place_hold":
                raise Forbidden

    house.client.app.state.authorizer = Nobody()
    assert f"/stock/lots/{LOT}/hold" not in house.client.get(f"/stock/lots/{LOT}").text
    assert house.send(f"/stock/lots/{LOT}/hold", reason="recall", cause_id="R-12").status_code == 403
    assert [one.hold_id for one in open_holds(house.kernel.reader(), SITE)] == ["h1"]


def test_a_zone_is_held_paused_and_resumed_from_its_page(house: House) -> None:
    held = house.send(f"/stock/sites/{SITE}/hold?zone={FREEZER}", reason="quality", cause_id="n-1")
    assert held.status_code == 303
    zone = f"/stock/sites/{SITE}/zones/{FREEZER}"
    assert house.send(f"{zone}/pause", reason="manual").status_code == 303
    [pause] = open_pauses(house.kernel.reader(), FREEZER)
    assert "By hand" in house.client.get(zone).text
    assert house.send(f"{zone}/resume", pause_id=pause.pause_id, reason="checked").status_code == 303
    assert open_pauses(house.kernel.reader(), FREEZER) == []


def test_what_is_not_there_is_told_so(house: House) -> None:
    missing = [
        "/stock/sites/XXX9",
        f"/stock/sites/{OTHER}/zones/{FREEZER}",
        f"/stock/units/{sscc(99)}",
        "/stock/lots/L-0",
        f"/stock/sites/{SITE}/holds/h99",
    ]
    assert [house.client.get(path).status_code for path in missing] == [404] * len(missing)


READS = {
    f"/api/v1/stock/sites/{SITE}/balances": "SUPPLIER",
    "/api/v1/stock/products/ICE-VAN-1L/balances": "CLT1",
    f"/api/v1/stock/sites/{SITE}/zones/{FREEZER}/units?limit=1": PALLET,
    f"/api/v1/stock/units/{SECOND}": "h1",
    f"/api/v1/stock/sites/{SITE}/holds": "temperature_excursion",
    f"/api/v1/stock/sites/{SITE}/zones/{FREEZER}/pauses": "[]",
    f"/api/v1/stock/lots/{LOT}/trace": "o1",
    "/api/v1/stock/orders/o1/promises": FREEZER,
    "/api/v1/stock/transfers/t2": sscc(5),
}


@pytest.mark.parametrize("path", READS)
def test_the_api_reads(house: House, path: str) -> None:
    answer = house.client.get(path)
    assert answer.status_code == 200
    assert READS[path] in answer.text


def test_the_api_writes_and_refuses_with_a_problem(house: House) -> None:
    base = f"/api/v1/stock/sites/{SITE}"
    body = {"sscc": sscc(7), "location_id": PICK, "product_id": "ICE-VAN-1L", "lot_id": LOT, "qty": 5}
    assert house.client.post(f"{base}/units", json=body).status_code == 200
    again = house.client.post(f"{base}/units", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "unit_already_present")
    wrong = house.client.post(f"{base}/units", json={**body, "sscc": "1", "qty": -1, "owner": "ACME"})
    assert wrong.status_code == 422
    assert [problem["field"] for problem in wrong.json()["problems"]] == ["sscc", "qty", "owner"]
    lines = {"dispatch_id": "d9", "order_id": "o9", "lines": [{"sscc": SECOND, "qty": 1}]}
    held = house.client.post(f"{base}/dispatches", json=lines)
    assert (held.status_code, held.json()["code"]) == (409, "units_held")
    assert held.json()["facts"]["holds"][0]["hold_id"] == "h1"


@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=0", 422), ("limit=1001", 422), ("limit=x", 400), ("limit=99999999999999999999", 422)],
)
def test_a_senseless_page_size_is_refused(house: House, query: str, status: int) -> None:
    path = f"/api/v1/stock/sites/{SITE}/zones/{FREEZER}/units?{query}"
    assert house.client.get(path).status_code == status


def test_what_is_promised_is_not_told_to_be_still_for_sale(house: House) -> None:
    before = dict(_lots_of(house))
    house.kernel.do(Ask(order_id="o9", allocations=[goods(20)]))
    after = dict(_lots_of(house))
    on_hand, held, promised, left = before[LOT]
    assert after[LOT] == (on_hand, held, promised + 20, left - 20)
    house.kernel.do(Ask(order_id="o10", allocations=[goods(after[LOT][3])]))
    assert _lots_of(house)[0][1][3] == 0
    zone = re.sub(r"<[^>]+>", " ", house.client.get(f"/stock/sites/{SITE}/zones/{FREEZER}").text)
    assert "Still for sale" in zone


def _lots_of(house: House) -> list[tuple[str, tuple[int, ...]]]:
    """Each lot of the site's page, with what is on hand, held, promised and still for sale."""
    text = house.client.get(f"/stock/sites/{SITE}").text
    rows = re.findall(r'<tr><td class="main">Vanilla.*?</tr>', text, re.DOTALL)
    found = []
    for row in rows:
        lot = re.search(r'/stock/lots/([^"]+)"', row)
        assert lot is not None
        told = [re.search(rf'data-label="{name}">([\d,]+)<', row) for name in FIGURES]
        found.append((lot[1], tuple(int(one[1].replace(",", "")) for one in told if one)))
    return found


FIGURES = ("On hand", "Held", "Promised", "Still for sale")
