"""The pages about nodes in a browser: accessible in every look, and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from coldgrid.sync.gate import REGISTRAR
from coldgrid.sync.node_words import ReportClone
from tests.sync.office import office
from tests.sync.tower import TowerPort
from tests.webkit.browser import DESKTOP, chromium, looks, serving, visiting


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TowerPort, str, list[str]]]:
    folder = tmp_path_factory.mktemp("office")
    with office(folder) as (tower, app):
        nodes = [
            tower.join(folder / str(n), tower.code(s)).node_id for n, s in enumerate(["ATL1", "CLT1"] * 2)
        ]
        tower.revoke(nodes[1])
        why = "two hosts are both at start 2 of this node"
        tower.do(ReportClone(node_id=nodes[2], serial="7", why=why, at=tower.clock.at), REGISTRAR)
        tower.code()
        tower.clock.forward(days=3)
        tower.code("CLT1")
        with serving(app) as address:
            yield tower, address, nodes


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@looks()
def test_axe_finds_nothing_wrong(
    browser: Browser, shown: tuple[TowerPort, str, list[str]], look: dict[str, Any]
) -> None:
    with visiting(browser, shown[1], **look) as visit:
        for path in ("/nodes", *(f"/nodes/{node_id}" for node_id in shown[2][:3])):
            page = visit.open(path)
            assert visit.violations() == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                f"{path} scrolls sideways"
            )
        visit.open("/nodes")
        page.select_option("#f-site_id", "ATL1")
        page.click("button:has-text('Make a code')")
        expect(page.locator("code.secret")).to_contain_text("coldgrid node join https://")
        assert visit.violations() == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_code_is_made_and_a_node_revoked_without_javascript(
    browser: Browser, shown: tuple[TowerPort, str, list[str]]
) -> None:
    with visiting(browser, shown[1], viewport=DESKTOP, java_script_enabled=False) as visit:
        page = visit.open("/nodes")
        page.select_option("#f-site_id", "CLT1")
        page.click("button:has-text('Make a code')")
        expect(page.locator("code.secret")).to_contain_text("--code")
        visit.open(f"/nodes/{shown[2][3]}")
        page.fill("#f-reason", "computer replaced")
        page.click("button:has-text('Revoke this node')")
        expect(page.locator("#notices")).to_contain_text("The node is cut off.")
        expect(page.get_by_text("computer replaced")).to_be_visible()
