"""The fleet's day: what its page and its API show, who sees what, and how it looks in a browser."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from playwright.sync_api import Browser

from coldgrid.kernel.database import open_database
from coldgrid.kernel.settings import Settings
from coldgrid.node import history_pages
from coldgrid.telemetry.blocks import DAY_US
from coldgrid.telemetry.history_files import day_of
from coldgrid.webkit.app import create_app
from tests.conftest import Kernel
from tests.doors import Doorman, deciding, services_over
from tests.telemetry.cold_room import AIR, AIR_2, feed
from tests.telemetry.losing import lose
from tests.telemetry.test_history import DAY, Duty
from tests.telemetry.test_seal import MIDNIGHT_MIN, a_day
from tests.webkit.browser import chromium, looks, serving, visiting

NEXT = MIDNIGHT_MIN + 24 * 60
WARM_DAY = DAY + timedelta(days=2)
ROLES = {"quinn": "quality", "cleo": "quality", "gus": "gateway"}
SITES = {"cleo": frozenset({"CLT1"})}


@contextmanager
def app_with(folder: Path, *, history: bool = True) -> Iterator[Litestar]:
    kernel = Kernel(open_database(f"sqlite:///{folder}/served.db"))
    duty = Duty(kernel, folder / "history")
    if history:
        a_day(kernel)
        feed(kernel, [(AIR, NEXT + i, -10.0) for i in range(6)], NEXT + 6)
        kernel.advance(40 * 60)
        duty.round()
        lose(kernel.decider, "ATL1", AIR_2, day_of(DAY) * DAY_US)
    door = Doorman(ROLES, SITES, tokens=ROLES)
    state = {"settings": Settings(history=str(folder / "history") if history else "")}
    try:
        with deciding(kernel.decider) as service:
            services = services_over(kernel.database, service, door, kernel.host.now, state)
            yield create_app(services, history_pages.handlers)
    finally:
        kernel.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litestar]:
    with app_with(tmp_path_factory.mktemp("history")) as made:
        yield made


@pytest.fixture(scope="module")
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app) as made:
        yield made


def test_without_a_day_the_newest_one_is_shown_what_is_outside_first(client: TestClient[Litestar]) -> None:
    text = client.get("/history").text
    assert f"{WARM_DAY.day} {WARM_DAY:%b %Y}" in text
    assert text.index(AIR) < text.index(AIR_2)
    assert "To assess" in text
    assert "10 min" in text
    assert f'href="/history?day={DAY + timedelta(days=1)}"' in text


def test_the_kinetic_mean_of_what_is_frozen_is_not_shown_and_the_page_says_why(
    client: TestClient[Litestar],
) -> None:
    text = client.get("/history").text
    assert "−10.0 °C" in text
    assert "kinetic −" not in text
    assert "means nothing where goods are frozen" in text


def test_one_kind_of_verdict_can_be_looked_at(client: TestClient[Litestar]) -> None:
    text = client.get("/history", params={"day": str(WARM_DAY), "show": "unknown"}).text
    assert AIR_2 in text
    assert AIR not in text


def test_what_nobody_measured_is_unknown_not_none(client: TestClient[Litestar]) -> None:
    text = client.get("/history", params={"day": str(WARM_DAY), "show": "unknown"}).text
    cells = dict(re.findall(r'data-label="([^"]+)">\s*([^<]*)', text))
    assert {cells[name].strip() for name in ("Outside limits", "Lowest to highest", "Mean")} == {"unknown"}
    assert cells["Without readings"].startswith("1 d"), "all day"


def test_many_sensors_are_paged_and_the_page_says_of_how_many(
    client: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_pages, "ROWS_PER_PAGE", 1)
    first = client.get("/history", params={"day": str(WARM_DAY)}).text
    assert "Sensors 1 to 1 of 2" in first
    assert AIR_2 not in first
    second = client.get("/history", params={"day": str(WARM_DAY), "first": "1"}).text
    assert "Sensors 2 to 2 of 2" in second
    assert AIR_2 in second
    assert "Sensors 2 to 2 of 2" in client.get("/history", params={"day": str(WARM_DAY), "first": "99"}).text


def test_the_api_says_the_same_as_numbers(client: TestClient[Litestar]) -> None:
    found = client.get("/api/v1/history/report", params={"day": str(WARM_DAY)}).json()
    assert (found["outside"], found["unknown"], found["sensors"]) == (1, 1, 2)
    assert [row["verdict"] for row in found["rows"]] == ["assess", "unknown"]


def test_a_day_without_files_says_so_and_names_who_is_missing(client: TestClient[Litestar]) -> None:
    text = client.get("/history", params={"day": str(WARM_DAY + timedelta(days=1))}).text
    assert "No file of the history has readings of this day" in text
    assert "Nothing of this day from ATL1" in text


def test_lost_readings_are_named_on_their_day_to_who_has_the_site(client: TestClient[Litestar]) -> None:
    told = f"Lost readings of this day from {AIR_2}"
    day = {"day": str(DAY)}
    assert told in client.get("/history", params=day).text
    assert "Lost readings" not in client.get("/history", params=day, headers={"x-as": "cleo"}).text
    assert "Lost readings" not in client.get("/history").text


def test_a_site_is_seen_by_whoever_has_it(client: TestClient[Litestar]) -> None:
    found = client.get("/api/v1/history/report", headers={"x-as": "cleo"}).json()
    assert (found["rows"], found["readings"], found["outside"]) == ([], 0, 0)
    assert client.get("/history", headers={"x-as": "gus"}).status_code == 403


@pytest.mark.parametrize("day", ["yesterday", "2026-13-01", "2026-03-01'; DROP", "1"])
def test_what_is_no_day_is_refused_with_the_form(client: TestClient[Litestar], day: str) -> None:
    answer = client.get("/api/v1/history/report", params={"day": day})
    assert answer.status_code == 422
    assert "write it as 2026-03-01" in answer.text


def test_without_a_history_the_page_says_how_to_begin_one(tmp_path: Path) -> None:
    with app_with(tmp_path, history=False) as app, TestClient(app) as client:
        answer = client.get("/history", headers={"accept": "text/html"})
        assert answer.status_code == 404
        assert "COLDGRID_HISTORY" in answer.text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with app_with(tmp_path_factory.mktemp("served")) as app, serving(app) as served:
        yield served


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, address: str, look: dict[str, Any]) -> None:
    with visiting(browser, address, **look) as visit:
        for path in ("/history", f"/history?day={DAY}", "/history?day=2020-01-01"):
            page = visit.open(path)
            assert visit.violations() == []
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            if path == "/history" and os.environ.get("COLDGRID_TEST_PICTURES"):
                name = f"history-{len(look)}-{look.get('color_scheme', '')}-{look['viewport']['width']}.png"
                page.screenshot(path=f"{os.environ['COLDGRID_TEST_PICTURES']}/{name}", full_page=True)


def test_it_works_by_keyboard_and_without_scripts(browser: Browser, address: str) -> None:
    with visiting(browser, address, java_script_enabled=False) as visit:
        page = visit.open("/history")
        page.fill("#f-day", str(DAY))
        page.press("#f-day", "Enter")
        page.wait_for_load_state()
        assert f"day={DAY}" in page.url
        assert page.locator("table.grid tbody tr").count() == 2
