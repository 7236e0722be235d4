"""The pages in a browser: accessible in every look, usable without JavaScript, live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from coldgrid.orchestration.approvals import approvals_of
from coldgrid.orchestration.decisions import decisions_about
from coldgrid.orchestration.tasks import tasks_of
from tests.orchestration.office import Office, begin_the_night, open_office
from tests.webkit.browser import DESKTOP, chromium, looks, serving, visiting


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, str]]:
    with open_office(Path(tmp_path_factory.mktemp("office"))) as office:
        begin_the_night(office)
        with serving(office.app) as address:
            yield office, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def paths(office: Office) -> dict[str, str]:
    approval = office.read(lambda db: approvals_of(db, "incident-1"))[0]
    weighed = office.read(lambda db: decisions_about(db, "incident/incident-1"))[-1]
    run_id = office.read(lambda db: tasks_of(db, "incident-1"))[0].run_id
    return {
        "incidents": "/incidents",
        "incident": "/incidents/incident-1",
        "decisions": "/decisions",
        "made": "/decisions?show=made",
        "decision": f"/decisions/{weighed.decision_id}",
        "approval": f"/approvals/{approval.approval_id}",
        "run": f"/runs/{run_id}",
        "playbooks": "/playbooks",
        "playbook": f"/playbooks/{weighed.decision.policy_hash}",
        "budget": "/incidents/budget",
    }


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, shown: tuple[Office, str], look: dict[str, Any]) -> None:
    office, address = shown
    for path in paths(office).values():
        who = {"x-as": "ada" if path.startswith("/playbooks") else "sam"}
        with visiting(browser, address, **look, extra_http_headers=who, reduced_motion="reduce") as visit:
            page = visit.open(path)
            page.wait_for_timeout(150)
            assert visit.violations() == [], path
            sideways = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert not sideways, path


def test_a_task_is_answered_without_javascript(browser: Browser, shown: tuple[Office, str]) -> None:
    _, address = shown
    owner = {"x-as": "owner"}
    with visiting(
        browser, address, viewport=DESKTOP, java_script_enabled=False, extra_http_headers=owner
    ) as visit:
        page = visit.open("/incidents/incident-1")
        page.click("article[aria-label^='Shut the doors'] button:has-text('Shut')")
        expect(page.locator("#notices")).to_contain_text("Answered.")
        expect(page.locator("#timeline")).to_contain_text("keep them shut: shut")


def test_a_page_that_is_open_hears_of_news(browser: Browser, shown: tuple[Office, str]) -> None:
    office, address = shown
    with visiting(browser, address, viewport=DESKTOP) as visit:
        page = visit.open("/incidents/incident-1")
        expect(page.locator("#live")).to_contain_text("Live")
        expect(page.locator("#live")).not_to_have_attribute("data-state", "wait")
        note = {"site_id": "ATL1", "incident_id": "incident-1", "text": "the truck is here"}
        page.request.post(
            "/api/v1/commands/orchestration.note_incident",
            data=note,
            headers={"x-csrf-token": "token-of-this-session"},
        )
        office.app.state.hub.publish("incident/incident-1", "incident", "", latest=True)
        expect(page.locator("#timeline")).to_contain_text("the truck is here")
