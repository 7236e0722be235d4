"""The page of a quarantine in a browser: accessible in every look."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser

from coldgrid.evidence import forks
from coldgrid.evidence.forks import LogForked
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.sync import standing_pages
from tests.sync.office import app_of, office
from tests.webkit.browser import chromium, looks, serving, visiting


def fork(decider: Decider, found: LogForked) -> None:
    decider.within(SYSTEM, NETWORK_ORIGIN, lambda tx: forks.report(tx, [found]), "test")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with office(tmp_path_factory.mktemp("office")) as (tower, _):
        why = "forked: the node's log and the copy here are different histories"
        found = LogForked(log_origin="ATL1", log_epoch=1, size=42, signed="a" * 64, found="b" * 64, why=why)
        tower.service.call(partial(fork, found=found)).result()
        with serving(app_of(tower, more=standing_pages.handlers)) as served:
            yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@looks()
def test_axe_finds_nothing_wrong(browser: Browser, address: str, look: dict[str, Any]) -> None:
    with visiting(browser, address, **look) as visit:
        visit.open("/nodes/quarantine/ATL1")
        assert visit.violations() == []
