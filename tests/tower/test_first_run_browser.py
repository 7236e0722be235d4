"""The first run in a browser: in every look, by keyboard, without JavaScript, and live while it waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.tower.browser import hidden_columns, too_low
from tests.tower.new_network import PASSWORD, NewNetwork, new_network
from tests.webkit.browser import DESKTOP, PHONE, looks, serving, visiting

pytestmark = pytest.mark.timeout(300)
STEPS = ("network", "site", "products", "sensor", "people", "summary")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[tuple[NewNetwork, str]]:
    """A tower on an empty database, served."""
    with new_network(tmp_path) as network, serving(network.app) as address:
        yield network, address


def begin(page: Page, network: NewNetwork) -> None:
    """Become admin and name the network, as somebody with a mouse."""
    page.goto(f"/setup?token={network.tower.door.set_up_token}")
    page.fill("#f-name", "Ana Ortiz")
    page.fill("#f-login", "ana")
    page.fill("#f-password", PASSWORD)
    page.click("button:has-text('Set up and sign in')")
    page.fill("#f-name", "Northline Foods")
    page.click("button:has-text('Save and go on')")


def fill_site(page: Page) -> None:
    for field, text in (
        ("site_id", "ATL1"),
        ("name", "Forest Park store"),
        ("city", "Forest Park"),
        ("region", "GA"),
        ("timezone", "America/New_York"),
        ("reach", "ana@example.com"),
    ):
        page.fill(f"#f-{field}", text)
    page.click("button:has-text('Set the site up')")


@looks()
def test_every_step_is_accessible_empty_refused_and_done(
    browser: Browser, fresh: tuple[NewNetwork, str], look: dict[str, Any]
) -> None:
    network, address = fresh
    with visiting(browser, address, **look) as visit:
        page = visit.page
        begin(page, network)

        def look_at(what: str) -> None:
            assert visit.violations() == [], what
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what} scrolls"
            assert hidden_columns(page) == [], what
            if look["viewport"] == PHONE:
                assert too_low(page) == [], what

        for step in STEPS:
            visit.open(f"/first-run/{step}")
            look_at(f"empty {step}")
        visit.open("/first-run/site")
        page.evaluate("document.querySelectorAll('[required]').forEach(e => e.required = false)")
        page.fill("#f-site_id", "atlanta one")
        page.click("button:has-text('Set the site up')")
        expect(page.locator(".error").first).to_be_visible()
        visit.complaints.clear()  # the browser notes that the answer was 422, as it should be
        look_at("refused site")
        fill_site(page)
        page.check("input[value=ICE-CREAM]")
        page.click("button:has-text('Take these')")
        page.click("button:has-text('Register it')")
        look_at("waiting")
        page.click("button:has-text('Make a token')")
        look_at("token")
        for step in STEPS:
            visit.open(f"/first-run/{step}")
            look_at(f"done {step}")
        visit.open("/")
        look_at("the way back")


def test_the_page_that_waits_says_by_itself_that_the_first_reading_is_here(
    browser: Browser, fresh: tuple[NewNetwork, str]
) -> None:
    network, address = fresh
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.page
        begin(page, network)
        fill_site(page)
        visit.open("/first-run/sensor")
        page.click("button:has-text('Register it')")
        page.click("button:has-text('Make a token')")
        expect(page.get_by_text("Waiting for the first reading of ATL1-CHL1-T1")).to_be_visible()
        token = page.locator("#token").inner_text()
        assert token in page.locator("#curl").inner_text()
        reading = {"sensor_id": "ATL1-CHL1-T1", "at": datetime.now(UTC).isoformat(), "value": 7.5}
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{address}/api/v1/readings", json=reading, headers=headers).status_code == 200
        expect(page.get_by_text("The first reading is here: 7.5 °C")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("outside the band of ATL1-CHL1, 0–5 °C")).to_be_visible()
        assert visit.violations() == []
        page.click("text=Go on to who is woken")
        page.click("button:has-text('Try it')")
        expect(page.locator("#contacts").get_by_text("taken")).to_be_visible(timeout=60_000)


def test_without_javascript_everything_is_done_and_looked_at_again_by_hand(
    browser: Browser, fresh: tuple[NewNetwork, str]
) -> None:
    network, address = fresh
    with visiting(browser, address, viewport=DESKTOP, java_script_enabled=False) as visit:
        page = visit.page
        begin(page, network)
        fill_site(page)
        page.click("button:has-text('For later')")
        page.click("button:has-text('Register it')")
        page.click("button:has-text('Make a token')")
        token = page.locator("#token").inner_text()
        reading = {"sensor_id": "ATL1-CHL1-T1", "at": datetime.now(UTC).isoformat(), "value": 3}
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{address}/api/v1/readings", json=reading, headers=headers).status_code == 200
        page.click("text=Look again")
        expect(page.get_by_text("The first reading is here")).to_be_visible()
        visit.open("/first-run/summary")
        page.click("button:has-text('Finish the set-up')")
        expect(page.locator("#notices")).to_contain_text("Your network is set up.")


def test_a_session_that_ends_after_a_refused_form_loses_nothing_that_was_typed(
    browser: Browser, fresh: tuple[NewNetwork, str]
) -> None:
    network, address = fresh
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.page
        begin(page, network)
        fill_site(page)
        visit.open("/first-run/people")
        page.fill("#f-mobile", "by foot")
        page.click("button:has-text('Save')")
        expect(page.locator(".error").first).to_be_visible()
        page.fill("#f-mobile", "+14045550142")
        page.fill("#f-email", "ana@example.com")
        visit.context.clear_cookies()
        page.click("button:has-text('Save')")
        expect(page.locator("#notices")).to_contain_text("nothing of it was done")
        page.fill("#f-login", "ana")
        page.fill("#f-password", PASSWORD)
        page.click("button:has-text('Sign in')")
        page.wait_for_url("**/first-run/people")
        expect(page.locator("#notices")).to_contain_text("is here again")
        assert page.input_value("#f-mobile") == "+14045550142"
        page.click("button:has-text('Save')")
        expect(page.locator("#notices")).to_contain_text("Saved. Try each address now.")
        visit.complaints.clear()  # the browser notes that the first answer was 422, as it should be


def test_the_first_steps_are_taken_by_keyboard_alone(browser: Browser, fresh: tuple[NewNetwork, str]) -> None:
    network, address = fresh
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open(f"/setup?token={network.tower.door.set_up_token}")
        _to(page, "f-name")
        page.keyboard.type("Ana Ortiz")
        page.keyboard.press("Tab")
        page.keyboard.type("ana")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url("**/first-run/network")
        _to(page, "f-name")
        page.keyboard.type("Northline Foods")
        page.keyboard.press("Enter")
        page.wait_for_url("**/first-run/site")
        for field, text in (("site_id", "ATL1"), ("name", "Store"), ("city", "Atlanta"), ("region", "GA")):
            _to(page, f"f-{field}")
            page.keyboard.type(text)
        _to(page, "f-reach")
        page.keyboard.type("ana@example.com")
        page.keyboard.press("Enter")
        page.wait_for_url("**/first-run/products")


def _to(page: Page, element_id: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(80):
        if page.evaluate("document.activeElement.id") == element_id:
            return
        page.keyboard.press("Tab")
    pytest.fail(f"#{element_id} is not reached by Tab")
