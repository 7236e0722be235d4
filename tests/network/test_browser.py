"""Network and catalog in a browser: accessible in every look, and usable without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from coldgrid.kernel.authorize import Principal
from coldgrid.network.change_rules import DraftChange
from coldgrid.network.changes import body_in_force
from tests.network.served import Served
from tests.webkit.browser import DESKTOP, chromium, looks, serving, visiting

PLANNER = Principal("dana", frozenset({"planner"}))
PAGES = (
    "/network",
    "/network?kind=dc&q=forest",
    "/network?q=nothing",
    "/network/sites/ATL1",
    "/network/sites/SEA1",
    "/network/zones/ATL1-FRZ1",
    "/network/changes",
    "/network/changes/colder",
    "/network/changes/change-demo",
    "/network/changes/change-demo?kind=zone&show=all",
    "/network/import",
    "/network/new/product",
    "/network/edit/site/ATL1",
    "/network/edit/group/GRP-ATL1",
    "/network/edit/sensor/ATL1-FRZ1-T1",
    "/catalog",
    "/catalog?temperature=frozen&q=ice",
    "/catalog/ICE-VAN-1L",
    "/catalog/VAX-FLU-10",
)

# Otto works at ATL1 and drafts nothing.
OPERATORS_PAGES = ("/network", "/network/sites/ATL1", "/network/changes/colder", "/catalog/ICE-VAN-1L")


@pytest.fixture(scope="module")
def address(served: Served) -> Iterator[str]:
    with served.reader() as db:
        body = body_in_force(db, "zone", "ATL1-FRZ1")
    item = {"kind": "zone", **(body or {}), "setpoint_c": -26}
    served.do(DraftChange(change_id="colder", items=[item], reason="summer"), PLANNER)
    with serving(served.app) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@looks()
@pytest.mark.parametrize("who", ["ada", "otto"])
def test_axe_finds_nothing_wrong(browser: Browser, address: str, look: dict[str, Any], who: str) -> None:
    with visiting(browser, address, extra_http_headers={"x-as": who}, **look) as visit:
        for path in PAGES if who == "ada" else OPERATORS_PAGES:
            page = visit.open(path)
            assert visit.violations() == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls"


def test_bad_files_are_shown_line_by_line_in_an_accessible_way(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/network/import")
        bad = b"zones:\n  - zone_id: atl1-frz3\n    lag_min: 4 h\n"
        page.set_input_files("#f-files", {"name": "zones.yaml", "mimeType": "text/yaml", "buffer": bad})
        page.fill("#f-reason", "more ice cream")
        page.click("text=Check and draft")
        expect(page.get_by_role("row", name="lag_min")).to_contain_text("write 240")
        expect(page.locator("#f-reason")).to_have_value("more ice cream")
        assert visit.violations() == []
        visit.complaints = [c for c in visit.complaints if "422" not in c]


def test_a_change_is_drafted_reviewed_and_approved_without_javascript(browser: Browser, address: str) -> None:
    plain = {"java_script_enabled": False, "viewport": DESKTOP}
    with visiting(browser, address, **plain) as visit:
        review = _draft(visit.open("/network/sites/CLT1"))
        visit.complaints = [c for c in visit.complaints if "422" not in c]
    with visiting(browser, address, extra_http_headers={"x-as": "ada"}, **plain) as visit:
        page = visit.open(review)
        page.fill("#f-reason", "checked with the town")
        page.click("button:has-text('Approve')")
        expect(page.locator("#notices")).to_contain_text("in force")
        visit.open("/network/sites/CLT1")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Concord north")


def _draft(page: Page) -> str:
    """Draft a change of a site with two mistakes on the way; return the address of its review."""
    page.click("text=Draft a change")
    page.fill("#f-name", "Concord north")
    page.fill("#f-lon", "80.58")
    page.fill("#f-cutoffs", "- {carrier: metro-cool, local_time: '20:30', days: [mon, tue}")
    page.fill("#f-reason", "renamed by the town")
    page.click("button:has-text('Draft the change')")
    expect(page.locator("#f-cutoffs-error")).to_contain_text("YAML")
    page.fill("#f-cutoffs", "- {carrier: metro-cool, local_time: '20:30', days: [mon, tue]}")
    page.click("button:has-text('Draft the change')")
    expect(page.locator("#f-lon-error")).to_contain_text("its sign")
    expect(page.locator("#f-name")).to_have_value("Concord north")
    page.fill("#f-lon", "-80.58")
    page.click("button:has-text('Draft the change')")
    expect(page.locator("#notices")).to_contain_text("Somebody else approves it")
    expect(page.get_by_role("row", name="name")).to_contain_text("Concord north")
    expect(page.get_by_text("You drafted it")).to_be_visible()
    assert page.get_by_role("button", name="Approve").count() == 0
    return page.url


def test_a_site_s_mode_is_changed_without_javascript(browser: Browser, address: str) -> None:
    with visiting(browser, address, java_script_enabled=False, viewport=DESKTOP) as visit:
        page = visit.open("/network/sites/PHX1")
        page.check("text=Ship only")
        page.fill("#f-reason", "the dock is flooded")
        page.click("button:has-text('Change mode')")
        expect(page.locator("#notices")).to_contain_text("mode was changed")
        expect(page.get_by_text("the dock is flooded").first).to_be_visible()


def test_hundreds_of_items_are_folded_and_each_is_reached_by_keyboard_without_javascript(
    browser: Browser, address: str
) -> None:
    """Nobody approves what they cannot see: every item is a line that opens, on pages that say how many."""
    plain = {"java_script_enabled": False, "viewport": DESKTOP, "extra_http_headers": {"x-as": "ada"}}
    with visiting(browser, address, **plain) as visit:
        page = visit.open("/network/changes/change-demo")
        expect(page.locator("#items")).to_have_text(re.compile(r"^Items 1 to 50 of [0-9,]+$"))
        assert page.evaluate("document.documentElement.scrollHeight") < 3000
        first = page.locator("details.fold").first
        expect(first.locator("table")).to_be_hidden()
        first.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(first.locator("table")).to_be_visible()
        page.get_by_role("link", name="Open all on this page").focus()
        page.keyboard.press("Enter")
        expect(page.locator("details.fold[open]")).to_have_count(50)
        seen = set(page.locator("details.fold h3").all_inner_texts())
        while (on := page.get_by_role("link", name="On", exact=True).first).count():
            on.focus()
            page.keyboard.press("Enter")
            expect(page.locator("details.fold h3", has_text=next(iter(seen)))).to_have_count(0)
            expect(page.locator("details.fold:not([open])")).to_have_count(0)
            seen |= set(page.locator("details.fold h3").all_inner_texts())
        with_all = page.get_by_role("link", name="All", exact=False).inner_text()
        assert len(seen) == int(with_all.removeprefix("All").strip().replace(",", ""))
