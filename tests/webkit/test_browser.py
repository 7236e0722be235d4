"""The tour in a browser: accessible in every look, usable by keyboard, without JavaScript, and live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from coldgrid.webkit.charts import ZoneReading
from tests.webkit.browser import DESKTOP, PHONE, chromium, looks, serving, visiting
from tests.webkit.tour import SITES, Tour, touring


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tour, str]]:
    with touring(Path(tmp_path_factory.mktemp("tour"))) as tour, serving(tour.app) as address:
        yield tour, address


@pytest.fixture(scope="module")
def address(shown: tuple[Tour, str]) -> str:
    return shown[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@looks()
@pytest.mark.parametrize("path", ["/tour", "/menu", "/nowhere"])
def test_axe_finds_nothing_wrong(browser: Browser, address: str, path: str, look: dict[str, Any]) -> None:
    with visiting(browser, address, **look, reduced_motion="reduce") as visit:
        page = visit.open(path)
        page.wait_for_timeout(300)
        assert visit.violations() == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "the page scrolls sideways"
        )
        visit.complaints = [c for c in visit.complaints if path != "/nowhere" or "404" not in c]


@looks()
def test_axe_finds_nothing_wrong_with_a_refused_form(
    browser: Browser, address: str, look: dict[str, Any]
) -> None:
    with visiting(browser, address, **look) as visit:
        page = visit.open("/tour")
        page.fill("#f-count", "many")
        page.evaluate("document.querySelector('form.fields').noValidate = true")
        page.click("text=Approve")
        expect(page.locator("#f-count-error")).to_be_visible()
        assert page.evaluate("document.activeElement.getAttribute('role')") == "alert"
        assert visit.violations() == []
        visit.complaints = [c for c in visit.complaints if "422" not in c]


def test_the_api_page_shows_the_viewer_without_asking_anybody_else(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/api")
        expect(page.locator("#swagger .opblock-tag").first).to_be_visible()
        assert visit.violations(exclude="#swagger") == []


def test_everything_is_reached_by_keyboard(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/tour")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        seen: set[str] = set()
        for _ in range(120):
            page.keyboard.press("Tab")
            seen.add(
                page.evaluate(
                    "[document.activeElement].map(e => e.id || e.getAttribute('href') ||"
                    " e.getAttribute('aria-label') || e.name || e.tagName)[0]"
                )
            )
        assert {
            "/tour",
            "/orders",
            "q",
            "SUMMARY",
            "pin-ATL1",
            "Open incidents, table",
            "f-reason",
        } <= seen
        page.focus(".brand")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus is not seen"


# What of the map is drawn, by its site: left, top, right, bottom.
SHOWN = """all => all.filter(e => e.getBoundingClientRect().width > 0).map(e => {
    const box = e.getBoundingClientRect();
    return [e.closest('a').id, box.left, box.top, box.right, box.bottom];
})"""


def covered(boxes: list[list[Any]], others: list[list[Any]]) -> list[str]:
    return [
        f"{one} covers {other}"
        for one, left, top, right, bottom in boxes
        for other, o_left, o_top, o_right, o_bottom in others
        if one != other and left < o_right and o_left < right and top < o_bottom and o_top < bottom
    ]


@pytest.mark.parametrize("trouble", ["", "warn", "crit"])
@pytest.mark.parametrize(
    "viewport", [PHONE, DESKTOP, {"width": 360, "height": 740}], ids=["390", "1440", "360"]
)
def test_no_label_of_the_map_covers_another_or_a_mark(
    browser: Browser, address: str, viewport: dict[str, int], trouble: str
) -> None:
    with visiting(browser, address, viewport=viewport, reduced_motion="reduce") as visit:
        page = visit.open(f"/tour?trouble={trouble}")
        labels = page.eval_on_selector_all(".us .plate", SHOWN)
        assert len(labels) >= 3, "who has trouble is named"
        assert covered(labels, labels) == []
        assert covered(labels, page.eval_on_selector_all(".us .mark", SHOWN)) == []
        assert all(left >= 0 and right <= viewport["width"] for _, left, _, right, _ in labels)
        texts = page.eval_on_selector_all(".us .label text", SHOWN)
        inside = {one: (left, right) for one, left, _, right, _ in labels}
        assert all(inside[one][0] <= left and right <= inside[one][1] for one, left, _, right, _ in texts)


def test_on_a_phone_each_site_of_the_map_is_reached_by_keyboard_and_told_whether_it_is_labelled_or_not(
    browser: Browser, address: str
) -> None:
    with visiting(browser, address, viewport=PHONE, reduced_motion="reduce") as visit:
        page = visit.open("/tour")
        page.focus("#pin-SEA1")
        for site, place, *_ in SITES:
            pin = page.locator(f"#pin-{site}")
            expect(pin).to_be_focused()
            expect(pin.locator(".label.small")).to_be_visible()
            expect(page.get_by_role("link", name=f"{site} {place}")).to_have_count(1)
            page.keyboard.press("Tab")
        expect(page.locator("#pin-SEA1 .label.small")).to_be_hidden()


@pytest.mark.parametrize("width", [1180, 1280, 1366, 1440])
def test_no_sparkline_covers_the_figure_beside_it(browser: Browser, address: str, width: int) -> None:
    with visiting(browser, address, viewport={"width": width, "height": 900}) as visit:
        gaps = visit.open("/tour").eval_on_selector_all(
            ".kpi:has(svg.sp)",
            """all => all.map(one => {
                const figure = document.createRange();
                const line = one.querySelector("svg.sp").getBoundingClientRect();
                figure.selectNodeContents(one.querySelector("dd"));
                return line.width ? line.left - figure.getBoundingClientRect().right : 0;
            })""",
        )
        assert len(gaps) == 6
        assert min(gaps) >= 0


# Where what has the focus lies, and where the bars of the page leave room.
FOCUS_AND_ROOM = """() => {
    const here = document.activeElement, box = here.getBoundingClientRect();
    const top = document.querySelector(".top").getBoundingClientRect().bottom;
    const tabs = document.querySelector(".tabbar").getBoundingClientRect();
    const name = here.id || here.textContent.trim(), low = (tabs.top || innerHeight) - box.bottom;
    return here.closest("main") && box.height < 200 ? [name, box.top - top, low] : null;
}"""


@pytest.mark.parametrize("viewport", [PHONE, {"width": 1280, "height": 600}], ids=["phone", "laptop"])
def test_what_has_the_focus_is_never_behind_a_bar(
    browser: Browser, address: str, viewport: dict[str, int]
) -> None:
    with visiting(browser, address, viewport=viewport, reduced_motion="reduce") as visit:
        page = visit.open("/tour")
        met = []
        for key in ["Tab"] * 60 + ["Shift+Tab"] * 50:
            page.keyboard.press(key)
            met.append(page.evaluate(FOCUS_AND_ROOM))
        stops = [one for one in met if one]
        assert len(stops) > 40
        assert [name for name, above, below in stops if above < 0 or below < 0] == []


def test_the_skip_link_leads_past_the_navigation(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/tour")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_the_account_menu_opens_and_closes_by_keyboard(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/tour")
        page.focus(".menu summary")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        assert visit.violations() == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        page.keyboard.press("Control+k")
        assert page.evaluate("document.activeElement.id") == "q"


def test_on_a_phone_the_bottom_bar_has_room_for_a_thumb(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=PHONE, has_touch=True) as visit:
        page = visit.open("/tour")
        boxes = [link.bounding_box() for link in page.locator(".tabbar a").all()]
        assert len(boxes) == 5
        assert all(box and box["height"] >= 44 and box["width"] >= 44 for box in boxes)
        page.click(".tabbar >> text=Menu")
        expect(page.get_by_role("navigation", name="All places")).to_be_visible()
        expect(page.get_by_role("search", name="Everything, from here")).to_be_visible()


def test_without_javascript_the_forms_still_work(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP, java_script_enabled=False) as visit:
        page = visit.open("/tour")
        page.fill("#f-count", "12")
        page.fill("#f-reason", "closed")
        page.click("text=Approve")
        expect(page.get_by_role("alert")).to_contain_text("The tour is closed.")
        expect(page.locator("#f-count")).to_have_value("12")
        page.fill("#f-reason", "no scripts here")
        page.click("text=Approve")
        expect(page.locator("#notices")).to_contain_text("Noted 12 pallets.")
        page.click("[aria-label='Switch light and dark']")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.click(".us a#pin-PHX1 .mark")
        expect(page.locator("#pin-PHX1")).to_have_attribute("aria-current", "true")
        visit.complaints = [c for c in visit.complaints if "409" not in c]


def test_the_theme_chosen_is_there_before_any_script(browser: Browser, address: str) -> None:
    with visiting(browser, address, viewport=DESKTOP, color_scheme="light") as visit:
        page = visit.open("/tour")
        with page.expect_response("**/preferences"):
            page.click("[aria-label='Switch light and dark']")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        raw = page.request.get("/tour").text()
        assert 'data-theme="dark"' in raw[:200]


def test_what_is_published_shows_without_a_reload(browser: Browser, shown: tuple[Tour, str]) -> None:
    tour, address = shown
    hub = tour.services.hub
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/tour")
        expect(page.locator("#live")).to_have_attribute("data-state", "up")
        expect(page.locator(".chart canvas")).to_be_visible()
        hub.publish("tour", "kpis", '<div class="kpi"><dt>Pallets held</dt><dd>38</dd></div>')
        expect(page.locator(".kpis")).to_contain_text("Pallets held")
        before = page.evaluate("document.querySelector('.chart canvas').toDataURL().length")
        reading = ZoneReading(topic="site/ATL1/ATL1-FRZ1", t=1_772_440_000, air=2.0, product=1.0)
        hub.publish("site/ATL1", "reading", msgspec.json.encode(reading).decode())
        page.wait_for_function(
            "n => document.querySelector('.chart canvas').toDataURL().length !== n", arg=before, timeout=5000
        )


def test_a_page_that_lost_messages_reloads_but_not_over_what_is_being_typed(
    browser: Browser, shown: tuple[Tour, str]
) -> None:
    tour, address = shown
    hub = tour.services.hub
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/tour")
        expect(page.locator("#live")).to_have_attribute("data-state", "up")
        with page.expect_navigation():
            hub.publish("tour", "resync", "{}")
        expect(page.locator("#live")).to_have_attribute("data-state", "up")
        page.fill("#f-reason", "half a sentence")
        hub.publish("tour", "resync", "{}")
        expect(page.locator("#notices")).to_contain_text("Your input is kept")
        expect(page.locator("#f-reason")).to_have_value("half a sentence")
    until = time.monotonic() + 10
    while hub.streams and time.monotonic() < until:
        time.sleep(0.05)
    assert hub.streams == 0, "a page that was left still holds its stream"
