"""Every page that anybody can reach by links, in a real browser: whole, accessible, and silent."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.tower.browser import Shown, as_person, poor_contrast, walk
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
    ("login", "viewport"), [("sam", DESKTOP), ("quinn", PHONE)], ids=["desktop", "phone"]
)
def test_axe_finds_nothing_wrong_on_any_page(
    browser: Browser, shown: Shown, login: str, viewport: dict[str, int]
) -> None:
    wrong: list[str] = []
    with as_person(browser, shown, login, viewport=viewport, reduced_motion="reduce") as visit:
        for path in walk(visit, once=True):
            wrong += [f"{path}: {told}" for told in visit.violations()]
            if visit.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path} scrolls sideways")
    assert wrong == []


def test_every_page_can_be_read_in_the_dark(browser: Browser, shown: Shown) -> None:
    wrong: list[str] = []
    with as_person(browser, shown, "ada", viewport=DESKTOP, color_scheme="dark") as visit:
        for path in walk(visit, once=True):
            wrong += [f"{path}: {told}" for told in poor_contrast(visit)]
    assert wrong == []
