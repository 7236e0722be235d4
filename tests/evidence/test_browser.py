"""The pages, and the report of a pack, in a browser: accessible in every look, usable without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from coldgrid.evidence.archive import open_zip
from tests.evidence.served import Served, serving
from tests.evidence.test_verify import PACK
from tests.kernel.rooms import Bump
from tests.webkit.browser import DESKTOP, chromium, looks, visiting
from tests.webkit.browser import serving as serving_at


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    with serving(Path(tmp_path_factory.mktemp("evidence"))) as served:
        for _ in range(20):
            served.do(Bump(site_id="ATL1", name="apples", by=0))
        served.do(Bump(site_id="DFW1", name="pears", by=0))
        served.sign()
        served.edit("UPDATE event_log SET actor = 'bob' WHERE origin = 'DFW1' AND seq = 1")
        served.do(Bump(site_id="DFW1", name="pears", by=0))
        served.sign()
        with serving_at(served.app) as address:
            yield served, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, shown: tuple[Served, str], look: dict[str, Any]) -> None:
    _, address = shown
    for path in (
        "/evidence",
        "/evidence/logs/ATL1/1",
        "/evidence/logs/ATL1/1?seq=3",
        "/evidence/logs/DFW1/1?seq=1",
    ):
        ada = {"x-as": "ada"}
        with visiting(browser, address, **look, extra_http_headers=ada, reduced_motion="reduce") as visit:
            page = visit.open(path)
            page.wait_for_timeout(150)
            assert visit.violations() == [], path
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path


def test_a_pack_is_checked_without_javascript(
    browser: Browser, shown: tuple[Served, str], tmp_path: Path
) -> None:
    _, address = shown
    (tmp_path / "pack.zip").write_bytes(PACK)
    with visiting(browser, address, viewport=DESKTOP, java_script_enabled=False) as visit:
        page = visit.open("/evidence")
        page.set_input_files("#pack-file", tmp_path / "pack.zip")
        page.click("button:has-text('Check')")
        expect(page.locator("main")).to_contain_text("pack.zip: sound")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_a_packs_report(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(open_zip(PACK).files["report.html"])
    for viewport in (DESKTOP, {"width": 390, "height": 844}):
        with visiting(browser, report.as_uri(), viewport=viewport, color_scheme=scheme) as visit:
            page = visit.open("")
            assert visit.violations() == []
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
