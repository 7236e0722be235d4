"""The night as its people live it, by clicking only, with script and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from coldgrid.evidence.verify import verify_pack
from coldgrid.orchestration.approvals import ApprovalStatus, approvals_of
from coldgrid.orchestration.incidents import open_incidents
from coldgrid.quality.dispositions import dispositions_of
from coldgrid.quality.excursions import list_excursions
from tests.tower.browser import Shown, as_person, showing
from tests.webkit.browser import DESKTOP, PHONE


@pytest.fixture(scope="module", params=[True, False], ids=["with script", "without script"])
def story(browser: Browser, request: pytest.FixtureRequest) -> Iterator[tuple[Shown, bool]]:
    """A night of its own for each way of reading it, since the story changes it."""
    with showing() as made:
        yield made, request.param


def incident_of(shown: Shown) -> str:
    return shown.night.read(open_incidents)[0].incident_id


def said(page: Page, text: str) -> None:
    expect(page.locator("#notices")).to_contain_text(text)


def test_the_operator_answers_a_task(browser: Browser, story: tuple[Shown, bool]) -> None:
    shown, script = story
    with as_person(browser, shown, "omar", viewport=PHONE, java_script_enabled=script) as visit:
        page = visit.open("/decisions")
        page.get_by_role("link", name="Answer").first.click()
        page.click("article[aria-label^='Shut the doors'] button:has-text('Shut')")
        said(page, "Answered.")
        expect(page.locator("#timeline")).to_contain_text("keep them shut: shut")


def test_a_refused_form_comes_back_with_what_was_typed(browser: Browser, story: tuple[Shown, bool]) -> None:
    shown, script = story
    with as_person(browser, shown, "sam", viewport=DESKTOP, java_script_enabled=script) as visit:
        page = visit.open("/decisions")
        page.get_by_role("link", name="Decide", exact=True).click()
        choice = page.locator("input[name=choice][type=radio]").nth(1)
        choice.check()
        page.fill("#f-reason", " ")
        page.click("button:has-text('Override')")
        expect(page.get_by_role("alert")).to_be_visible()
        expect(choice).to_be_checked()
        visit.complaints = [told for told in visit.complaints if "422" not in told]


def test_the_supervisor_reads_the_alternatives_and_decides(
    browser: Browser, story: tuple[Shown, bool]
) -> None:
    """With script the recommendation is approved; without, it is overridden with a reason."""
    shown, script = story
    with as_person(browser, shown, "sam", viewport=DESKTOP, java_script_enabled=script) as visit:
        page = visit.open("/")
        page.get_by_role("link", name="Decisions").first.click()
        page.get_by_role("link", name="Decide", exact=True).click()
        expect(page.get_by_role("region", name="Alternatives, best first").locator("tbody tr")).to_have_count(
            5
        )
        page.locator("details.more summary").click()
        expect(page.get_by_role("region", name="The other alternatives")).to_be_visible()
        if script:
            page.get_by_role("button", name="Approve: ").click()
        else:
            page.locator("input[name=choice][type=radio]").first.check()
            page.fill("#f-reason", "The other freezer is being defrosted tonight.")
            page.click("button:has-text('Override')")
        page.wait_for_load_state()
    decided = shown.night.read(lambda db: approvals_of(db, incident_of(shown)))[-1]
    assert decided.status is (ApprovalStatus.AGREED if script else ApprovalStatus.OVERRIDDEN)
    assert decided.decided_by == "person-sam"


def test_quality_signs_what_becomes_of_a_unit(browser: Browser, story: tuple[Shown, bool]) -> None:
    shown, script = story
    with as_person(browser, shown, "quinn", viewport=DESKTOP, java_script_enabled=script) as visit:
        page = visit.open("/")
        page.get_by_role("link", name="Quality").first.click()
        page.locator("main a[href^='/quality/excursions/']").first.click()
        page.locator("main a[href*='/units/']").first.click()
        page.get_by_role("radio", name="Destroy").check()
        page.fill("#f-reason", "Above its limit in the readings and by the probe.")
        page.select_option("#f-witness", index=1)
        page.fill("#f-inspection", "waived by the insurer")
        page.get_by_role("button", name="Sign", exact=True).click()
        page.wait_for_load_state()
    excursion = shown.night.read(list_excursions)[0]
    signed = shown.night.read(lambda db: dispositions_of(db, excursion.excursion_id))
    assert [one.signed_by for one in signed] == ["person-quinn"]


@pytest.mark.parametrize("login", ["dana", "avi"])
def test_the_evidence_pack_is_downloaded_and_holds(
    browser: Browser, story: tuple[Shown, bool], login: str, tmp_path: Path
) -> None:
    shown, script = story
    with as_person(
        browser, shown, login, viewport=DESKTOP, java_script_enabled=script, accept_downloads=True
    ) as visit:
        page = visit.open(f"/incidents/{incident_of(shown)}")
        with page.expect_download(timeout=60_000) as waiting:
            page.get_by_role("link", name="Evidence pack").click()
        waiting.value.save_as(tmp_path / "pack.zip")
    report = verify_pack((tmp_path / "pack.zip").read_bytes())
    assert report.ok
