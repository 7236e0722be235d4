"""The night to its end by keyboard alone: decide, sign, release the zone, and the incident is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from coldgrid.orchestration.approvals import ApprovalStatus, approvals_of
from coldgrid.orchestration.incidents import Incident, Status, get_incident, open_incidents
from coldgrid.quality.dispositions import dispositions_of, undecided_units
from coldgrid.quality.excursions import list_excursions
from coldgrid.stock.pauses import open_pauses
from coldgrid.tower.demo.people import PASSWORD
from tests.tower.browser import Shown, showing
from tests.tower.keyboard import Keys
from tests.webkit.browser import DESKTOP, visiting

pytestmark = pytest.mark.timeout(600)

ZONE = "ATL1-FRZ1"
# So long the air takes to come back, and to have stayed cold for the half hour of the playbook.
AT_MOST_MIN = 180


@contextmanager
def signed_in(browser: Browser, shown: Shown, login: str, *, script: bool) -> Iterator[tuple[Page, Keys]]:
    """Sign in by keyboard."""
    with visiting(browser, shown.address, viewport=DESKTOP, java_script_enabled=script) as visit:
        page = visit.open("/login")
        keys = Keys(page)
        keys.type(page.locator("#f-login"), login)
        keys.type(page.locator("#f-password"), PASSWORD)
        keys.press(page.get_by_role("button", name="Sign in"))
        yield page, keys


def incident_in(shown: Shown) -> Incident:
    return next(one for one in shown.night.read(open_incidents) if one.zone_id == ZONE)


def status_of(shown: Shown, incident_id: str) -> Status:
    return shown.night.read(lambda db: get_incident(db, incident_id)).status


def supervisor_approves(page: Page, keys: Keys) -> None:
    keys.press(page.get_by_role("link", name="Incidents"))
    keys.press(page.locator("main a[href^='/incidents/incident-']", has_text="freezer"))
    keys.press(page.get_by_role("button", name="Approve: "))
    expect(page.locator("#notices")).to_contain_text("Decided and recorded.")


def quality_signs(page: Page, keys: Keys) -> int:
    """Sign for every unit of the excursion, going on to the next one each time; return how many."""
    keys.press(page.get_by_role("link", name="Quality"))
    keys.press(page.locator("main a[href^='/quality/excursions/']").first)
    keys.press(page.locator("main a[href*='/units/']").first)
    signed = 0
    while page.get_by_role("button", name="Sign", exact=True).count():
        keys.choose(page.locator("input[name=outcome]"), "return")
        keys.type(page.locator("#f-reason"), "The supplier takes back what was above its limit.")
        keys.press(page.get_by_role("button", name="Sign", exact=True))
        expect(page.locator("#notices")).to_contain_text("Signed")
        signed += 1
    return signed


def quality_releases_the_zone(page: Page, keys: Keys) -> None:
    keys.press(page.get_by_role("link", name="Decisions").first)
    keys.press(page.get_by_role("link", name="Answer"))
    task = page.locator("article[aria-label*='release it for new stock']")
    keys.type(task.locator("input[name='values.hand_reading_c']"), "-22.5")
    keys.press(task.get_by_role("button", name="Released"))
    expect(page.locator("#notices")).to_contain_text("Answered.")


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
def test_the_night_is_brought_to_its_end_by_keyboard(browser: Browser, *, script: bool) -> None:
    with showing() as shown:
        night, incident_id = shown.night, incident_in(shown).incident_id
        with signed_in(browser, shown, "sam", script=script) as (page, keys):
            supervisor_approves(page, keys)
        approval = night.read(lambda db: approvals_of(db, incident_id))[-1]
        assert (approval.status, approval.decided_by) == (ApprovalStatus.AGREED, "person-sam")

        night.repair(ZONE)
        waited = 0
        while status_of(shown, incident_id) is not Status.DISPOSITION_PENDING:
            assert waited < AT_MOST_MIN, "the zone never became cold again"
            night.go_on(10)
            waited += 10

        with signed_in(browser, shown, "quinn", script=script) as (page, keys):
            signed = quality_signs(page, keys)
            excursion = night.read(list_excursions)[0]
            assert signed == len(night.read(lambda db: dispositions_of(db, excursion.excursion_id))) > 1
            assert night.read(lambda db: undecided_units(db, excursion.excursion_id)) == []
            assert night.read(lambda db: open_pauses(db, ZONE)), "it takes a person to let stock in again"
            quality_releases_the_zone(page, keys)
            page.reload()
            last = page.get_by_role("list", name="Closing steps").locator("li").last
            expect(last).to_contain_text("Closed passed")
            expect(page.get_by_role("region", name="To do")).to_have_count(0)
        assert night.read(lambda db: open_pauses(db, ZONE)) == []
        assert status_of(shown, incident_id) is Status.CLOSED
