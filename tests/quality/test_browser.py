"""Quality's pages in a browser: accessible in every look, signed without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from coldgrid.quality.excursions import list_excursions
from tests.quality.night import ZONE
from tests.quality.office import Office, open_office
from tests.stock.world import PALLET, SECOND, SITE
from tests.webkit.browser import DESKTOP, chromium, looks, serving, visiting


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Office, str]]:
    with open_office(Path(tmp_path_factory.mktemp("office"))) as office, serving(office.app) as address:
        yield office, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def paths(office: Office) -> list[str]:
    excursion_id = office.read(list_excursions)[0].excursion_id
    return [
        "/quality",
        f"/quality/excursions/{excursion_id}",
        f"/quality/excursions/{excursion_id}/units/{PALLET}",
        f"/quality/sites/{SITE}/zones/{ZONE}/reading",
        f"/stock/units/{PALLET}",
    ]


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, shown: tuple[Office, str], look: dict[str, Any]) -> None:
    office, address = shown
    with visiting(browser, address, **look, reduced_motion="reduce") as visit:
        for path in paths(office):
            page = visit.open(path)
            page.wait_for_timeout(150)
            assert visit.violations() == [], path
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path


def test_a_unit_is_signed_for_without_javascript(browser: Browser, shown: tuple[Office, str]) -> None:
    office, address = shown
    excursion_id = office.read(list_excursions)[0].excursion_id
    with visiting(browser, address, viewport=DESKTOP, java_script_enabled=False) as visit:
        page = visit.open(f"/quality/excursions/{excursion_id}/units/{SECOND}")
        page.check("input[name=outcome][value=donate]")
        page.fill("textarea[name=reason]", "soft, but safe to eat")
        page.click("main button:has-text('Sign')")
        expect(page.locator("#notices")).to_contain_text("Signed.")
        expect(page.locator("main")).to_contain_text("Donate")
