"""Every page that anybody can reach by links, in a real browser: whole, accessible, and silent."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.tower.browser import Shown, as_person, walk
from tests.webkit.browser import DESKTOP, PHONE

# A walk opens some fifty pages, and one with axe also judges them.
pytestmark = pytest.mark.timeout(600)

ROLES = ["dana", "sam", "quinn", "cleo", "omar", "ada", "avi"]


@pytest.mark.parametrize("login", ROLES)
def test_every_page_in_reach_opens_without_a_complaint(browser: Browser, shown: Shown, login: str) -> None:
    """Console errors, requests to others and breaches of the content policy fail the visit itself."""
    with as_person(browser, shown, login, viewport=DESKTOP) as visit:
        count = 0
        for path in walk(visit):
            count += 1
            page = visit.page
            assert page.title().endswith("Coldgrid"), path
            assert page.locator("h1").count() == 1, f"{path} has not one h1"
            assert visit.complaints == [], path
        assert count > 25


@pytest.mark.parametrize(
    ("login", "look"),
    [
        ("sam", {"color_scheme": "light", "viewport": DESKTOP}),
        ("ada", {"color_scheme": "dark", "viewport": DESKTOP}),
        ("quinn", {"color_scheme": "light", "viewport": PHONE}),
        ("avi", {"color_scheme": "dark", "viewport": PHONE}),
    ],
    ids=["light", "dark", "phone light", "phone dark"],
)
def test_axe_finds_nothing_wrong_on_any_page(
    browser: Browser, shown: Shown, login: str, look: dict[str, Any]
) -> None:
    wrong: list[str] = []
    with as_person(browser, shown, login, **look, reduced_motion="reduce") as visit:
        for path in walk(visit, of_a_kind=1):
            visit.page.wait_for_timeout(60)
            wrong += [f"{path}: {told}" for told in visit.violations()]
            if visit.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path} scrolls sideways")
    assert wrong == []
