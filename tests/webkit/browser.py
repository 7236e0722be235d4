"""A real browser on a real server: what no client of ours can judge."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import service_missing
from tests.ports import free_port

# Debian's browser; without its windows it takes half of the processor.
CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
AXE = Path(__file__).parents[2] / "ui/node_modules/axe-core/axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP, PHONE = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@contextmanager
def serving(app: Litestar) -> Iterator[str]:
    """Serve an app on a free port; yield its address."""
    port = free_port()
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        log_enabled=False,
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),), daemon=True)
    thread.start()
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(server.stop)
        thread.join(timeout=15)
        if not loop.is_running():
            loop.close()


def wait_for(port: int) -> None:
    until = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's browser; skip on a machine without it."""
    found = next((path for path in CHROMIUMS if path.exists()), None)
    if found is None:
        service_missing(f"{CHROMIUMS[0]} (a browser)")
    if not AXE.exists():
        service_missing("axe-core (npm ci in ui/)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(found), args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """One page in a context of its own, with everything it complained about."""

    def __init__(self, browser: Browser, address: str, **context: Any) -> None:
        self.address = address
        self.context = browser.new_context(base_url=address, **context)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "request", lambda r: self.foreign.append(r.url) if not r.url.startswith(self.ours) else None
        )

    @property
    def ours(self) -> tuple[str, ...]:
        return (self.address, "data:", "blob:")

    def open(self, path: str) -> Page:
        self.page.goto(path, wait_until="load")
        return self.page

    def violations(self, exclude: str = "") -> list[str]:
        """Return what axe-core finds wrong, as short lines."""
        # Evaluated by the debugger, not by the page, so that the page's own policy stays as strict as it is.
        self.page.evaluate(AXE.read_text())
        context = {"exclude": [[exclude]]} if exclude else {"include": [["html"]]}
        found = self.page.evaluate(
            "([context, runOnly]) => axe.run(context, {runOnly, resultTypes: ['violations']})",
            [context, RULES],
        )
        return [
            f"{v['id']}: {node['target']} {node['failureSummary'][:160]}"
            for v in found["violations"]
            for node in v["nodes"][:3]
        ]

    def close(self) -> None:
        self.context.close()


@contextmanager
def visiting(browser: Browser, address: str, **context: Any) -> Iterator[Visit]:
    """Yield a visit; at its end the page must not have complained or asked anybody else."""
    visit = Visit(browser, address, **context)
    try:
        yield visit
        assert visit.complaints == []
        assert visit.foreign == []
    finally:
        visit.close()


def looks() -> pytest.MarkDecorator:
    """Parametrise over both themes, one on a phone; test_pages_all.py has the other two."""
    return pytest.mark.parametrize(
        "look",
        [
            {"color_scheme": "dark", "viewport": DESKTOP},
            {"color_scheme": "light", "viewport": PHONE},
        ],
        ids=["dark", "phone light"],
    )
