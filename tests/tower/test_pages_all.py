"""Every page that anybody can reach by links, in a real browser: whole, accessible, and silent."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.tower.browser import Shown, as_person, hidden_columns, too_low, walk
from tests.webkit.browser import DESKTOP, PHONE

# A walk opens some fifty pages, and one with axe also judges them.
pytestmark = pytest.mark.timeout(600)

ROLES = ["dana", "sam", "quinn", "cleo", "omar", "ada", "avi"]


@pytest.mark.parametrize("login", ROLES)
def test_every_page_in_reach_opens_without_a_complaint(browser: Browser, shown: Shown, login: str) -> None:
    """Console errors, requests to others and breaches of the content policy fail the visit itself."""
    with as_person(browser, shown, login, viewport=DESKTOP) as visit:
        count = 0
        # Whoever has the most pages opens them whatever they are asked to show; the others one of each kind.
        for path in walk(visit, once=login != "ada"):
            count += 1
            page = visit.page
            assert page.title().endswith("Coldgrid"), path
            assert page.locator("h1").count() == 1, f"{path} has not one h1"
            assert visit.complaints == [], path
        assert count > 15


# The least width at which tables stand beside each other: no column may be out of sight.
LAPTOP = {"width": 1280, "height": 800}
# Each theme on each kind of screen; ada's pages are those that nobody else has.
LOOKS = {
    "desktop": ("sam", DESKTOP, "light"),
    "small laptop dark": ("ada", LAPTOP, "dark"),
    "phone": ("ada", PHONE, "light"),
    "phone dark": ("quinn", PHONE, "dark"),
}


@pytest.mark.parametrize(("login", "viewport", "scheme"), list(LOOKS.values()), ids=list(LOOKS))
def test_axe_finds_nothing_wrong_on_any_page(
    browser: Browser, shown: Shown, login: str, viewport: dict[str, int], scheme: str
) -> None:
    wrong: list[str] = []
    look = {"viewport": viewport, "color_scheme": scheme, "reduced_motion": "reduce"}
    with as_person(browser, shown, login, **look) as visit:
        for path in walk(visit, once=True):
            wrong += [f"{path}: {told}" for told in visit.violations()]
            wrong += [f"{path}: {told}" for told in hidden_columns(visit.page)]
            if visit.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append(f"{path} scrolls sideways")
    assert wrong == []


def test_on_a_phone_whatever_is_pressed_has_room_for_a_thumb(browser: Browser, shown: Shown) -> None:
    """Buttons and fields; a link in a sentence is as high as its line."""
    wrong: list[str] = []
    with as_person(browser, shown, "ada", viewport=PHONE, has_touch=True) as visit:
        for path in walk(visit, once=True):
            wrong += [f"{path}: {told}" for told in too_low(visit.page)]
    assert wrong == []
