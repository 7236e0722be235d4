"""The served night, signing in as somebody, and a walk over every page that somebody may see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page

from coldgrid.tower.demo.people import PASSWORD
from tests.tower.night import Night, played
from tests.webkit.browser import Visit, serving, visiting

# Of pages whose addresses differ in an id only, so many are walked.
OF_A_KIND = 2
# Not pages: files to download and machines' interfaces. The viewer of the API is checked with the web kit.
NOT_PAGES = re.compile(
    r"^/(api|static|stream|metrics|healthz|readyz|deciding|evidence/packs)\b|\.(json|zip|csv|yaml)$"
)


@dataclass
class Shown:
    """A night that is being served, and who is signed in by which cookies."""

    night: Night
    address: str
    cookies: dict[str, Any] = field(default_factory=dict)


@contextmanager
def showing() -> Iterator[Shown]:
    with played() as night, serving(night.app) as address:
        yield Shown(night, address)


@contextmanager
def as_person(browser: Browser, shown: Shown, login: str, **context: Any) -> Iterator[Visit]:
    """Visit as somebody of the demo; each signs in once, through the form."""
    with visiting(browser, shown.address, **context) as visit:
        if login not in shown.cookies:
            page = visit.open("/login")
            page.fill("#f-login", login)
            page.fill("#f-password", PASSWORD)
            page.click("button:has-text('Sign in')")
            page.wait_for_load_state()
            shown.cookies[login] = visit.context.cookies()
        visit.context.add_cookies(shown.cookies[login])
        yield visit


def kind_of(path: str) -> str:
    """An address without its ids, so that pages of one kind are known as such."""
    return re.sub(r"[^/?=&]*[0-9][^/?=&]*", "…", path)


def links(page: Page) -> list[str]:
    """The pages that a page links to, in its order."""
    found = page.eval_on_selector_all(
        "a[href]",
        "all => all.filter(a => a.origin === location.origin && !a.hasAttribute('download'))"
        ".map(a => a.pathname + a.search)",
    )
    return [path for path in dict.fromkeys(found) if not NOT_PAGES.search(path)]


def hidden_columns(page: Page) -> list[str]:
    """Tables of which a part is out of sight until somebody scrolls them sideways."""
    found: list[str] = page.eval_on_selector_all(
        ".scroll:has(table)",
        "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))",
    )
    return [f"{label} hides columns" for label in found]


def too_low(page: Page) -> list[str]:
    """What is pressed with a thumb and is lower than 44 px."""
    found: list[str] = page.eval_on_selector_all(
        "button, summary, .btn, .seg a, .tabbar a, .places a, select, textarea, input:not([type=hidden])",
        """all => all.filter(e => e.checkVisibility() && !e.closest('.vh')).map(e => {
            const box = (e.matches('[type=checkbox], [type=radio]') && e.closest('label, td') || e);
            return [Math.round(box.getBoundingClientRect().height), e.textContent.trim() || e.id || e.name];
        }).filter(([height]) => height > 0 && height < 44).map(([height, name]) => `${name} ${height} px`)""",
    )
    return found


def walk(visit: Visit, *, once: bool = False) -> Iterator[str]:
    """Open every page that can be reached by links, a few of each kind; yield each path when it is open.

    `once`: one of each kind, whatever it is asked to show.
    """
    to_do, seen = ["/"], set()
    kinds: dict[str, int] = {}
    while to_do:
        path = to_do.pop(0)
        kind = kind_of(path.partition("?")[0] if once else path)
        if path in seen or kinds.get(kind, 0) >= (1 if once else OF_A_KIND):
            continue
        seen.add(path)
        kinds[kind] = kinds.get(kind, 0) + 1
        answer = visit.page.goto(path, wait_until="load")
        assert answer is not None
        assert answer.status == 200, f"{path} answers {answer.status}"
        yield path
        to_do += links(visit.page)
