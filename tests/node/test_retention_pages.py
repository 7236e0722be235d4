"""The page of retention: each class with its time, what goes next, what went with its proof; who may look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from playwright.sync_api import Browser, expect

from coldgrid.evidence import pages as evidence_pages
from coldgrid.evidence.checkpoints import Notary, make_checkpoints
from coldgrid.evidence.notes import Signer
from coldgrid.kernel import retention
from coldgrid.kernel.database import open_database
from coldgrid.kernel.retention import Spared
from coldgrid.kernel.settings import Settings
from coldgrid.node import health, retention_pages
from coldgrid.orchestration.incidents import OpenIncident, Severity
from coldgrid.telemetry.retention import READINGS
from coldgrid.webkit.app import create_app
from tests.conftest import T0, Kernel
from tests.doors import Doorman, deciding, services_over
from tests.telemetry.test_seal import a_day
from tests.webkit.browser import chromium, looks, serving, visiting

ROLES = {"ada": "admin", "avi": "auditor", "otto": "operator", "quinn": "quality"}
NOTARY = Notary(Signer("coldgrid.example/tower", bytes(range(32))), "coldgrid.example", "network")
KEPT = Settings(keep_readings_days=60, keep_messages_days=7)
LATER = T0 + timedelta(days=90)


def let_go(kernel: Kernel, most: int = 100) -> int:
    things = retention.plan(kernel.reader(), READINGS, LATER, Spared(), most)
    if things:
        retention.drop(kernel.decider, "network", READINGS, LATER, things)
    return len(things)


def nothing_went(kernel: Kernel) -> None:
    a_day(kernel)


def one_went(kernel: Kernel) -> None:
    """One of two blocks went, signed; the other would go."""
    a_day(kernel)
    assert let_go(kernel, most=1) == 1
    make_checkpoints(kernel.decider, NOTARY)


def spared(kernel: Kernel) -> None:
    one_went(kernel)
    kernel.do(
        OpenIncident(
            site_id="ATL1",
            incident_id="incident-1",
            zone_id="ATL1-FRZ1",
            severity=Severity.EXCURSION_RISK,
            title="Freezer 1 is warm",
        )
    )


@contextmanager
def app_with(folder: Path, past: Any, settings: Settings = KEPT, **state: Any) -> Iterator[Litestar]:
    kernel = Kernel(open_database(f"sqlite:///{folder}/served.db"))
    past(kernel)
    state |= {"settings": settings, "notary": NOTARY}
    try:
        with deciding(kernel.decider) as service:
            services = services_over(kernel.database, service, Doorman(ROLES), lambda: LATER, state)
            yield create_app(services, [*retention_pages.handlers, *evidence_pages.handlers])
    finally:
        kernel.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Litestar]]:
    with app_with(tmp_path_factory.mktemp("one"), one_went) as app, TestClient(app) as made:
        yield made


def test_each_class_says_for_how_long_it_is_kept_and_which_setting_changes_that(
    client: TestClient[Litestar],
) -> None:
    text = client.get("/retention").text
    for name in ("READINGS", "MESSAGES", "ANSWERS"):
        assert f"COLDGRID_KEEP_{name}_DAYS" in text
    assert "60 days" in text
    assert "7 days" in text
    assert "For ever" in text


def test_what_would_go_next_is_said_and_nothing_is_changed_by_looking(client: TestClient[Litestar]) -> None:
    first = client.get("/retention").text
    assert "01 Mar 2026" in first
    assert "all from before" in first
    assert client.get("/retention").text == first


def test_what_went_leads_to_the_entry_that_proves_it(client: TestClient[Litestar]) -> None:
    text = client.get("/retention").text
    assert "1 of readings" in text
    assert "signed in the checkpoint of" in text
    href = text.split('href="/evidence/logs/')[1].split('"')[0].replace("&amp;", "&")
    entry = client.get(f"/evidence/logs/{href}").text
    assert "This entry is what was signed." in entry
    assert "kernel.dropped" in entry


def test_only_who_administers_or_audits_may_look(client: TestClient[Litestar]) -> None:
    answers = {who: client.get("/retention", headers={"x-as": who}).status_code for who in ROLES}
    assert answers == {"ada": 200, "avi": 200, "otto": 403, "quinn": 403}


def test_by_default_everything_is_kept_and_the_page_says_so(tmp_path: Path) -> None:
    with app_with(tmp_path, nothing_went, Settings()) as app, TestClient(app) as client:
        text = client.get("/retention").text
        assert text.count("For ever") == 4, "three classes and the log"
        assert "Everything was kept." in text
        assert "spared" not in text, "where nothing goes nothing needs to be spared"


def test_before_its_time_the_page_says_when_the_oldest_is_old_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where other tests of this process loaded every room, the day opens an incident, which spares it.
    monkeypatch.setattr(retention_pages, "spared_of", lambda db: Spared())
    long = Settings(keep_readings_days=365)
    with app_with(tmp_path, nothing_went, long) as app, TestClient(app) as client:
        text = client.get("/retention").text
        assert "Nothing yet" in text
        assert "01 Mar 2027" in text


def test_what_an_open_incident_rests_on_is_named(tmp_path: Path) -> None:
    with app_with(tmp_path, spared) as app, TestClient(app) as client:
        text = client.get("/retention").text
        assert "What is spared" in text
        assert "31 Jan 2026" in text, "thirty days before the incident"
        assert "coldgrid retention --dry-run" not in text


def test_of_many_spared_sites_the_page_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = {f"ATL{n}": T0 - timedelta(days=n) for n in range(1, 61)}
    monkeypatch.setattr(retention_pages, "spared_of", lambda db: Spared(since))
    with app_with(tmp_path, one_went) as app, TestClient(app) as client:
        text = client.get("/retention").text
        assert "50 of 60 sites" in text
        assert "ATL60<" in text
        assert "ATL1<" not in text, "its readings stay for the shortest time"


def test_a_node_says_why_its_readings_wait(tmp_path: Path) -> None:
    away = app_with(tmp_path, nothing_went, unsent=lambda: "the tower does not answer")
    with away as app, TestClient(app) as client:
        assert "the tower does not answer" in client.get("/retention").text


def test_many_facts_are_paged_the_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_went(kernel: Kernel) -> None:
        a_day(kernel)
        assert (let_go(kernel, 1), let_go(kernel, 1)) == (1, 1)

    monkeypatch.setattr(retention_pages, "FACTS_PER_PAGE", 1)
    with app_with(tmp_path, two_went) as app, TestClient(app) as client:
        first = client.get("/retention").text
        assert "not signed yet" in first
        href = first.split('href="/retention?before=')[1].split('"')[0]
        second = client.get("/retention", params={"before": href}).text
        entries = [text.split("Entry ")[1].split("<")[0] for text in (first, second)]
        assert int(entries[0].rsplit("/", 1)[1]) > int(entries[1].rsplit("/", 1)[1])
        assert 'href="/retention?before=' not in second
        assert 'href="/retention"' in second


def test_the_health_page_leads_there() -> None:
    template = Path(health.__file__).with_name("templates") / "health.html"
    assert 'href="/retention"' in template.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with app_with(tmp_path_factory.mktemp("served"), spared) as app, serving(app) as served:
        yield served


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, address: str, look: dict[str, Any]) -> None:
    with visiting(browser, address, **look) as visit:
        page = visit.open("/retention")
        assert visit.violations() == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        if os.environ.get("COLDGRID_TEST_PICTURES"):
            name = f"retention-{look['color_scheme']}-{look['viewport']['width']}.png"
            page.screenshot(path=f"{os.environ['COLDGRID_TEST_PICTURES']}/{name}", full_page=True)


def test_by_keyboard_the_proof_is_one_enter_away(browser: Browser, address: str) -> None:
    with visiting(browser, address, java_script_enabled=False) as visit:
        page = visit.open("/retention")
        page.get_by_role("link", name="Entry network/").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("This entry is what was signed.")).to_be_visible()
