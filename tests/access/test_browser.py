"""People, tokens and the way in, in a browser: accessible in every look, and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from coldgrid.access.refusals import address_key
from coldgrid.access.roles import Role
from tests.access.house import PASSWORD, House, housed
from tests.webkit.browser import DESKTOP, chromium, looks, serving, visiting


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    with housed(Path(tmp_path_factory.mktemp("house"))) as house:
        house.add("ana", Role.ADMIN)
        house.add("ben", Role.QUALITY)
        house.add("cleo", Role.SUPERVISOR, Role.OPERATOR, sites=["ATL1", "CLT1", "TPA1", "DFW1"])
        house.add("dana", Role.AUDITOR, temporary=True)
        with serving(house.app) as address:
            yield house, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def sign_in(page: Page, login: str = "ana") -> None:
    page.fill("#f-login", login)
    page.fill("#f-password", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_load_state()


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, shown: tuple[House, str], look: dict[str, Any]) -> None:
    with visiting(browser, shown[1], **look) as visit:
        page = visit.open("/login")
        assert visit.violations() == []
        page.fill("#f-login", "ana")
        page.fill("#f-password", "wrong")
        page.click("button:has-text('Sign in')")
        expect(page.get_by_role("alert")).to_contain_text("do not match")
        assert visit.violations() == []
        sign_in(page)
        for path in ("/people", "/people/cleo", "/people/ana", "/tokens", "/account"):
            visit.open(path)
            assert visit.violations() == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                f"{path} scrolls sideways"
            )
        visit.complaints = [c for c in visit.complaints if "401" not in c]
    shown[0].door.by_address.succeeded(address_key("127.0.0.1"))


@looks()
def test_axe_finds_nothing_wrong_on_the_first_run(
    browser: Browser, tmp_path: Path, look: dict[str, Any]
) -> None:
    with (
        housed(tmp_path) as house,
        serving(house.app) as address,
        visiting(browser, address, **look) as visit,
    ):
        page = visit.open("/")
        expect(page.get_by_text("the server printed")).to_be_visible()
        assert visit.violations() == []
        visit.open(f"/setup?token={house.door.set_up_token}")
        assert visit.violations() == []


def test_the_first_admin_sets_up_and_adds_somebody_without_javascript(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        housed(tmp_path) as house,
        serving(house.app) as address,
        visiting(browser, address, viewport=DESKTOP, java_script_enabled=False) as visit,
    ):
        page = visit.open(f"/setup?token={house.door.set_up_token}")
        page.fill("#f-name", "Ana Ortiz")
        page.fill("#f-login", "ana")
        page.fill("#f-password", PASSWORD)
        page.click("button:has-text('Set up')")
        expect(page.locator("#notices")).to_contain_text("Coldgrid is yours.")
        visit.open("/people")
        page.fill("#f-name", "Ben")
        page.fill("#f-login", "ben")
        page.check("text=Judges exposed goods")
        page.click("button:has-text('Add person')")
        expect(page.locator(".secret")).to_contain_text("ben · ")
        visit.open("/tokens")
        page.fill("#f-label", "Storefront")
        page.check("text=A machine: posts orders")
        page.click("button:has-text('Issue token')")
        expect(page.locator("code.secret")).to_contain_text("cgt_")
        page.click("details.menu summary")
        page.click("button:has-text('Sign out')")
        expect(page.locator("#notices")).to_contain_text("You are signed out.")


def test_an_open_page_goes_to_sign_in_when_its_session_is_over(
    browser: Browser, shown: tuple[House, str]
) -> None:
    with visiting(browser, shown[1], viewport=DESKTOP) as visit:
        page = visit.open("/login?next=/account")
        sign_in(page, "ben")
        visit.context.clear_cookies()
        visit.open("/account")
        assert page.url.endswith("/login?next=%2Faccount")
