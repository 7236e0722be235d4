"""The night, played once for every page test of this folder, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.tower.browser import Shown, showing
from tests.webkit.browser import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="session")
def shown(browser: Browser) -> Iterator[Shown]:
    """The night for tests that only look; the browser comes first, so that nothing is played without one."""
    with showing() as made:
        yield made
