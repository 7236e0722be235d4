"""A session that ends while somebody fills in a form: to the sign-in, back, and nothing typed is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from coldgrid.access.door import KNOWN_FOR
from coldgrid.access.roles import Role
from coldgrid.access.sessions import CloseSession, sessions_of
from coldgrid.kernel.authorize import SYSTEM
from coldgrid.webkit.hub import Hub
from tests.access.house import PASSWORD, House, housed
from tests.webkit.browser import Visit, chromium, serving, visiting


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, str]]:
    with housed(tmp_path_factory.mktemp("house")) as house:
        house.add("ana", Role.ADMIN)
        house.add("eva", Role.ADMIN)
        with serving(house.app) as address:
            yield house, address


def sign_in(page: Page, login: str = "ana") -> None:
    page.fill("#f-login", login)
    page.fill("#f-password", PASSWORD)
    page.click("button:has-text('Sign in')")


def end_sessions(house: House, person_id: str = "ana") -> None:
    with house.app.state.reader() as db:
        found = sessions_of(db, person_id, house.clocks.system_now(), house.door.limits)
    for session in found:
        house.decider.submit(CloseSession(token_hash=session.token_hash), SYSTEM).result(timeout=10)
    house.door.forget_all()


def fill_in(page: Page) -> None:
    page.fill("input[name=name]", "Zoe Quiet")
    page.fill("input[name=login]", "zoe")
    page.check("input[name=roles][value=operator]")
    page.check("input[name=which_sites][value=some]")
    page.fill("[name=sites]", "ATL1")


def without_401(visit: Visit) -> None:
    """Leave out what a browser says of a stream that was refused."""
    visit.complaints = [said for said in visit.complaints if "401" not in said and said != "[object Event]"]


def test_a_form_sent_too_late_is_filled_in_again_after_the_sign_in(
    browser: Browser, shown: tuple[House, str]
) -> None:
    house, address = shown
    with visiting(browser, address) as visit:
        page = visit.open("/login?next=/people")
        sign_in(page)
        page.wait_for_url("**/people")
        fill_in(page)
        end_sessions(house)
        page.click("button:has-text('Add')")
        expect(page.locator("#notices")).to_contain_text("nothing of it was done")
        assert visit.violations() == []
        sign_in(page)
        page.wait_for_url("**/people")
        expect(page.locator("#notices")).to_contain_text("is here again")
        assert page.input_value("input[name=name]") == "Zoe Quiet"
        assert page.is_checked("input[name=roles][value=operator]")
        assert not page.is_checked("input[name=roles][value=admin]")
        assert page.input_value("[name=sites]") == "ATL1"
        page.click("button:has-text('Add')")
        expect(page.get_by_text("Zoe Quiet").first).to_be_visible()
        visit.open("/people")
        assert page.input_value("input[name=name]") == ""


def test_who_signs_in_instead_sees_nothing_of_it(browser: Browser, shown: tuple[House, str]) -> None:
    house, address = shown
    with visiting(browser, address) as visit:
        page = visit.open("/login?next=/people")
        sign_in(page)
        page.wait_for_url("**/people")
        fill_in(page)
        end_sessions(house)
        page.click("button:has-text('Add')")
        sign_in(page, "eva")
        page.wait_for_url("**/people")
        assert page.input_value("input[name=name]") == ""
        assert page.evaluate("sessionStorage.getItem('coldgrid.draft')") is None


def test_a_page_that_only_listens_goes_to_the_sign_in_and_comes_back(
    browser: Browser, shown: tuple[House, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, address = shown
    monkeypatch.setattr(Hub.listen, "__defaults__", (0.5,))
    with visiting(browser, address) as visit:
        page = visit.open("/login?next=/live?show=all")
        sign_in(page)
        page.wait_for_url("**/live?show=all")
        expect(page.locator("#live")).to_contain_text("Live")
        end_sessions(house)
        page.wait_for_url("**/login?next=**", timeout=30_000)
        sign_in(page)
        page.wait_for_url("**/live?show=all")
        without_401(visit)


PARTS = """() => {
  const part = (id, asks) =>
    `<a id="${id}" href="/menu" hx-get="/menu?${id}" hx-swap="none" ${asks}>Part</a>`;
  const parts = [part('polled', 'hx-trigger="every 200ms"'), part('told', 'hx-trigger="sse:incident"'),
    part('pressed', '')];
  document.querySelector('main').insertAdjacentHTML('beforeend', parts.join(''));
  htmx.process(document.querySelector('main'));
}"""


def used_at(house: House) -> datetime:
    house.decider.call(lambda decider: None).result(timeout=10)
    with house.app.state.reader() as db:
        (session,) = sessions_of(db, "ana", house.clocks.system_now(), house.door.limits)
    return session.seen_at


def later(house: House) -> None:
    house.clocks.system += house.door.limits.touch_after + KNOWN_FOR


def test_a_page_left_open_keeps_no_session_and_a_press_on_it_does(
    browser: Browser, shown: tuple[House, str]
) -> None:
    house, address = shown
    hub = house.app.state.hub
    with visiting(browser, address) as visit:
        page = visit.open("/login?next=/live")
        sign_in(page)
        page.wait_for_url("**/live")
        expect(page.locator("#live")).to_contain_text("Live")
        page.evaluate(PARTS)
        before = used_at(house)
        later(house)
        with page.expect_response("**/menu?told"):
            hub.publish("incidents", "incident", "{}")
        for _ in range(2):
            with page.expect_response("**/menu?polled"):
                pass
        with page.expect_response("**/live"):
            hub.publish("incidents", "resync", "{}")
        page.wait_for_load_state()
        expect(page.locator("#live")).to_contain_text("Live")
        assert used_at(house) == before
        page.evaluate(PARTS)
        with page.expect_response("**/menu?pressed"):
            page.click("#pressed")
        assert used_at(house) == house.clocks.system
        later(house)
        page.reload()
        assert used_at(house) == house.clocks.system, "its reader asked for the page again"
