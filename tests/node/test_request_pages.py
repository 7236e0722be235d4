"""Over HTTP: a command for a site with its own node is taken, 202, and pages say «pending at SITE»."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar import Litestar, Request, Response, get
from litestar.params import FromPath
from litestar.testing import TestClient

from coldgrid.kernel.origins import CloseOrigin
from coldgrid.network.sites import get_site
from coldgrid.node import request_pages
from coldgrid.stock import api, pages
from coldgrid.stock.reserves import NoteStaleness
from coldgrid.webkit.app import create_app
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db
from tests.conftest import T0, Kernel, sqlite_kernel
from tests.doors import Doorman, deciding, services_over
from tests.orders.world import stocked
from tests.stock.world import PALLET, PICK, SITE

CSRF = "token-of-this-session"
MOVE = f"/api/v1/stock/sites/{SITE}/units/{PALLET}/move"
Client = TestClient[Litestar]


@get("/sites/{site_id:str}", opt={"action": "network.view"}, sync_to_thread=True)
def a_sites_page(request: Request[Any, Any, Any], db: Db, site_id: FromPath[str]) -> Response[str]:
    return page(
        request,
        "node/site.html",
        db,
        title=site_id,
        site=get_site(db, site_id),
        state=None,
        at_home=False,
        words={},
        tasks=[],
        approvals=[],
    )


@contextmanager
def serving(kernel: Kernel) -> Iterator[Client]:
    door = Doorman({"otto": "operator"}, {"otto": frozenset({SITE})}, csrf=CSRF)
    handlers: list[Any] = [api.router, *pages.handlers, *request_pages.handlers, a_sites_page]
    with deciding(kernel.decider) as service:
        app = create_app(services_over(kernel.database, service, door, lambda: T0), handlers)
        with TestClient(app) as client:
            client.headers.update({"x-csrf-token": CSRF, "accept": "text/html"})
            client.follow_redirects = False
            yield client


@pytest.fixture
def world() -> Iterator[tuple[Kernel, Client]]:
    with sqlite_kernel() as kernel:
        stocked(kernel)
        kernel.do(CloseOrigin(origin=SITE, reason="moves to its node"))
        with serving(kernel) as client:
            yield kernel, client


def test_json_is_answered_with_202_and_where_to_look(world: tuple[Kernel, Client]) -> None:
    kernel, client = world
    answer = client.post(MOVE, json={"to_location_id": PICK}, headers={"idempotency-key": "k1"})
    assert answer.status_code == 202
    told = answer.json()
    assert (told["pending"], told["origin"], told["result"]["site_id"]) == (SITE, "network", SITE)
    request_id = told["result"]["request_id"]
    again = client.post(MOVE, json={"to_location_id": PICK}, headers={"idempotency-key": "k1"})
    assert (again.status_code, again.json()) == (202, told | {"replayed": True})
    shown = client.get(f"/api/v1/requests/{request_id}").json()
    assert (shown["status"], shown["command"], shown["actor"]) == ("pending", "stock.move_unit", "otto")
    assert shown["body"]["to_location_id"] == PICK
    assert [one["request_id"] for one in client.get(f"/api/v1/requests?site_id={SITE}").json()] == [
        request_id
    ]
    assert client.get("/api/v1/requests?site_id=CLT1").json() == []
    assert client.get("/api/v1/requests/none").status_code == 404
    kernel.decider.reopen(SITE)
    kernel.decider.settle()
    shown = client.get(f"/api/v1/requests/{request_id}").json()
    assert shown["status"] == "done"
    assert shown["entry_id"].startswith(f"{SITE}/2/")


def test_pages_say_pending_at_the_site_until_it_answered(world: tuple[Kernel, Client]) -> None:
    kernel, client = world
    assert "Nothing was asked" in client.get("/requests").text
    assert 'href="/requests"' not in client.get("/stock").text, "no place in the menu while there is none"
    form = {"_csrf": CSRF, "reason": "quality", "cause_id": "seen", "_key": "form-7"}
    answer = client.post(f"/stock/sites/{SITE}/hold?sscc={PALLET}", data=form)
    assert answer.status_code == 303
    after = client.get("/stock")
    assert f"Pending at {SITE}" in after.text
    assert 'href="/requests"' in after.text
    listed = client.get("/requests").text
    assert f"Pending at {SITE}" in listed
    assert "Place hold" in listed
    assert f"Pending at {SITE}" in client.get(f"/sites/{SITE}").text
    assert "Pending at CLT1" not in client.get("/sites/CLT1").text
    kernel.decider.reopen(SITE)
    kernel.decider.settle()
    assert "Done" in client.get("/requests").text
    assert f"Pending at {SITE}" not in client.get(f"/sites/{SITE}").text


def test_a_silent_sites_stock_shows_its_age(world: tuple[Kernel, Client]) -> None:
    kernel, client = world
    assert client.get(f"/api/v1/stock/sites/{SITE}/freshness").json()["silent_since"] is None
    kernel.decider.do(NoteStaleness(site_id=SITE, stale_min=60))
    kernel.decider.settle()
    for address in (f"/stock/sites/{SITE}", f"/sites/{SITE}"):
        text = client.get(address).text
        assert "as of" in text
        assert "8 %" in text
    fresh = client.get(f"/api/v1/stock/sites/{SITE}/freshness").json()
    assert fresh == {
        "site_id": SITE,
        "silent_since": "2026-03-01T07:00:00Z",
        "kept_back_permille": 80,
    }
