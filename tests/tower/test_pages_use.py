"""Using the pages: by keyboard, by search, and while things happen."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from coldgrid.kernel.tables import to_micros
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.stock.inventory import units_in_zone
from tests.telemetry.losing import lose
from tests.tower.browser import Shown, as_person
from tests.webkit.browser import DESKTOP, PHONE

ZONE = "ATL1-FRZ1"


def test_the_approve_button_is_reached_by_keyboard_and_seen_to_be(browser: Browser, shown: Shown) -> None:
    incident_id = shown.night.read(open_incidents)[0].incident_id
    with as_person(browser, shown, "sam", viewport=DESKTOP) as visit:
        page = visit.open(f"/incidents/{incident_id}")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").startswith("Approve: "):
                break
        assert page.evaluate("document.activeElement.textContent").startswith("Approve: ")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_search_goes_to_whatever_has_this_id(browser: Browser, shown: Shown) -> None:
    unit = next(one for one in shown.night.read(lambda db: units_in_zone(db, ZONE)) if one.lot_id)
    ends = {
        unit.lot_id: f"/stock/lots/{unit.lot_id}",
        unit.sscc: f"/stock/units/{unit.sscc}",
        "atl1": "/sites/ATL1",
        ZONE: f"/sites/ATL1?zone={ZONE}",
    }
    with as_person(browser, shown, "dana", viewport=DESKTOP) as visit:
        order_id = visit.open("/orders").locator("main tbody a[href^='/orders/']").first.inner_text()
        ends[order_id] = f"/orders/{order_id}"
        for wanted, end in ends.items():
            page = visit.open("/")
            page.keyboard.press("Control+k")
            page.keyboard.type(wanted)
            page.keyboard.press("Enter")
            page.wait_for_url(f"**{end}")
        page = visit.open("/search?q=nothing-of-this-name")
        expect(page.locator("main")).to_contain_text("Nothing has this name")
        visit.complaints = [told for told in visit.complaints if "404" not in told]


def test_the_control_tower_changes_without_being_loaded_again(browser: Browser, shown: Shown) -> None:
    night = shown.night
    with (
        as_person(browser, shown, "dana", viewport=DESKTOP) as visit,
        as_person(browser, shown, "sam", viewport=DESKTOP) as other,
    ):
        page = visit.open("/")
        expect(page.locator("#live")).not_to_have_attribute("data-state", "wait")
        page.evaluate("window.sameDocument = true")
        orders = page.locator(".kpi", has_text="Orders").locator("dd").first
        before = orders.inner_text()
        night.go_on(3)
        expect(orders).not_to_have_text(before, timeout=15_000)
        incident = night.read(open_incidents)[0]
        other.open(f"/incidents/{incident.incident_id}").get_by_role("button", name="Take it on").click()
        owner = page.locator("section[aria-label='Open incidents'] tbody tr").first
        expect(owner).to_contain_text("Sam Okafor", timeout=15_000)
        assert page.evaluate("window.sameDocument")


def test_the_zone_on_the_control_tower_and_on_its_site_keeps_to_the_newest_reading(
    browser: Browser, shown: Shown
) -> None:
    with as_person(browser, shown, "dana", viewport=DESKTOP) as visit:
        for path in (f"/?site=ATL1&zone={ZONE}", f"/sites/ATL1?zone={ZONE}"):
            page = visit.open(path)
            expect(page.locator("#live")).not_to_have_attribute("data-state", "wait")
            page.evaluate("window.sameDocument = true")
            read = page.locator(".probe dd").nth(3)
            before = read.inner_text()
            shown.night.go_on(3)
            expect(read).not_to_have_text(before, timeout=30_000)
            expect(page.locator("#zone-state")).to_have_count(1)
            expect(page.locator(".zone-chart canvas")).to_have_count(1)
            assert page.evaluate("window.sameDocument")


def test_an_incident_is_as_serious_in_the_same_words_on_every_page_that_shows_it(
    browser: Browser, shown: Shown
) -> None:
    incident = shown.night.read(open_incidents)[0]
    row = f"tr:has(td.main a[href='/incidents/{incident.incident_id}'])"
    with as_person(browser, shown, "sam", viewport=DESKTOP) as visit:
        for path in ("/", "/incidents"):
            told = visit.open(path).locator(row)
            expect(told.locator("td[data-label='Severity']")).to_have_text(incident.severity.word)
            expect(told.locator(f"td[data-label='Severity'] .st.{incident.severity.state}")).to_be_visible()
        lefts = {
            visit.open(p).locator(row).locator("td[data-label='Time left']").inner_text()
            for p in ("/", "/incidents")
        }
        assert len(lefts) == 1
        steps = {visit.open(p).locator(row).locator("td.act").inner_text() for p in ("/", "/incidents")}
        assert len(steps) == 1
        header = visit.open(f"/incidents/{incident.incident_id}").locator(
            "section[aria-label='The incident'] header"
        )
        expect(header).to_contain_text(incident.severity.word)


def test_a_site_names_the_readings_that_it_lost(browser: Browser, shown: Shown) -> None:
    last_week_us = to_micros(shown.night.host.instant) - 7 * 86_400_000_000
    shown.night.tower.service.call(lambda decider: lose(decider, "ATL1", f"{ZONE}-T1", last_week_us)).result()
    with as_person(browser, shown, "quinn", viewport=PHONE) as visit:
        page = visit.open("/sites/ATL1")
        lost = page.get_by_role("region", name="Readings that are lost").first
        expect(lost).to_contain_text(f"{ZONE}-T1")
        expect(lost).to_contain_text("60")
        assert visit.violations() == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert "Readings that are lost" not in visit.open("/sites/CLT1").content()
