"""The door: sign-in without JavaScript, sessions nobody can fix or outlive, throttling, tokens, first run."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access import people, reads
from coldgrid.access.account import browser_name
from coldgrid.access.door import KNOWN_FOR, LOGIN_FAILURES, THROTTLE_WINDOW
from coldgrid.access.people import login_key
from coldgrid.access.refusals import refusals_since
from coldgrid.access.roles import Role
from coldgrid.access.sessions import Limits
from coldgrid.access.set_up import GOOD_FOR, GUESSES, GUESSES_WINDOW, SetUpSecret
from coldgrid.access.sign_in import local_path
from coldgrid.access.words import GrantRole, SuspendPerson
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reads
from coldgrid.webkit.visitors import BY_HAND, RELOADED
from tests.access.house import PASSWORD, T0, House, housed

Client = TestClient[Litestar]
PAGE = {"accept": "text/html"}
SESSION = "coldgrid_session"
IDLE = Limits().idle


def token_in(page: str) -> str:
    found = re.search(r'name="_csrf" value="([^"]+)"', page)
    assert found, "the form has no token"
    return found.group(1)


def sign_in(client: Client, login: str, password: str = PASSWORD, **more: str) -> Any:
    page = client.get("/login").text
    return client.post("/login", data={"_csrf": token_in(page), "login": login, "password": password} | more)


def post(client: Client, path: str, source: str = "/account", **data: Any) -> Any:
    return client.post(path, data={"_csrf": token_in(client.get(source).text)} | data)


class TestSignIn:
    def test_with_the_right_password_one_is_in_and_where_one_wanted_to_be(self, client: Client) -> None:
        answer = sign_in(client, "ana", next="/people")
        assert (answer.status_code, answer.headers["location"]) == (303, "/people")
        assert client.get("/people").status_code == 200

    def test_the_cookie_is_kept_from_scripts_and_other_sites(self, client: Client) -> None:
        cookies = [c.lower() for c in sign_in(client, "ana").headers.get_list("set-cookie")]
        session = next(c for c in cookies if c.startswith(SESSION))
        assert "httponly" in session
        assert "samesite=lax" in session
        assert "path=/" in session

    def test_over_tls_the_cookie_is_bound_to_the_host(self, tmp_path: Path) -> None:
        with (
            housed(tmp_path, secure=True) as house,
            TestClient(house.app, base_url="https://testserver.local") as c,
        ):
            house.add("ana", Role.ADMIN)
            c.follow_redirects = False
            cookies = sign_in(c, "ana").headers.get_list("set-cookie")
            session = next(cookie for cookie in cookies if cookie.startswith("__Host-coldgrid="))
            assert "secure" in session.lower()
            assert c.get("/account").status_code == 200

    @pytest.mark.parametrize(
        ("login", "password"), [("ana", "wrong"), ("nobody", PASSWORD), ("", ""), ("ana", "x" * 9999)]
    )
    def test_otherwise_one_is_not_and_learns_nothing(self, client: Client, login: str, password: str) -> None:
        answer = sign_in(client, login, password)
        assert answer.status_code == 401
        assert "Login and password do not match." in answer.text
        assert SESSION not in answer.headers.get("set-cookie", "")
        assert password == "" or f'value="{password}"' not in answer.text

    def test_a_login_is_known_whatever_its_case(self, client: Client) -> None:
        assert sign_in(client, " ANA ").status_code == 303

    def test_a_session_chosen_beforehand_is_not_used(self, client: Client) -> None:
        client.cookies.set(SESSION, "chosen-by-the-attacker")
        answer = sign_in(client, "ana")
        new = re.search(rf"{SESSION}=([^;]+)", ";".join(answer.headers.get_list("set-cookie")))
        assert new
        assert new.group(1) != "chosen-by-the-attacker"
        client.cookies.clear()
        client.cookies.set(SESSION, "chosen-by-the-attacker")
        assert client.get("/account", headers=PAGE).status_code == 303

    def test_signing_in_again_ends_the_session_before(self, client: Client) -> None:
        sign_in(client, "ana")
        old = client.cookies[SESSION]
        client.cookies.delete(SESSION)
        page = client.get("/login").text
        client.cookies.set(SESSION, old)
        # The form of a visit does not fit a session: its token belongs to another cookie.
        assert (
            client.post(
                "/login", data={"_csrf": token_in(page), "login": "ana", "password": PASSWORD}
            ).status_code
            == 403
        )

    def test_without_the_forms_token_it_is_refused(self, client: Client) -> None:
        client.get("/login")
        assert client.post("/login", data={"login": "ana", "password": PASSWORD}).status_code == 403

    def test_a_token_of_another_visit_is_refused(self, client: Client, house: House) -> None:
        other = token_in(client.get("/login").text)
        client.cookies.clear()
        client.get("/login")
        answer = client.post("/login", data={"_csrf": other, "login": "ana", "password": PASSWORD})
        assert answer.status_code == 403

    def test_after_too_many_failures_even_the_right_password_waits(
        self, client: Client, house: House
    ) -> None:
        for _ in range(LOGIN_FAILURES):
            assert sign_in(client, "ana", "wrong").status_code == 401
        answer = sign_in(client, "ana")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 800
        assert "Too many attempts" in answer.text
        assert sign_in(client, "ben").status_code == 303
        client.cookies.clear()
        house.clocks.system += THROTTLE_WINDOW
        assert sign_in(client, "ana").status_code == 303

    def test_a_restart_forgives_no_guesser_and_forgets_who_came_in(self, tmp_path: Path) -> None:
        with housed(tmp_path) as before, TestClient(before.app) as client:
            client.follow_redirects = False
            before.add("ana", Role.ADMIN)
            before.add("ben", Role.ADMIN)
            for who in ("ana", "ben"):
                for _ in range(LOGIN_FAILURES - 1):
                    sign_in(client, who, "wrong")
            assert sign_in(client, "ben").status_code == 303
            client.cookies.clear()
            sign_in(client, "ana", "wrong")
        with housed(tmp_path) as after, TestClient(after.app) as client:
            client.follow_redirects = False
            assert sign_in(client, "ana").status_code == 429
            assert sign_in(client, "ben").status_code == 303
            client.cookies.clear()
            after.clocks.system += THROTTLE_WINDOW
            assert sign_in(client, "ana").status_code == 303

    def test_what_is_kept_of_a_refusal_names_nobody(self, client: Client, house: House) -> None:
        sign_in(client, "ana", "wrong")

        def kept(decider: Decider) -> str:
            return str(refusals_since(Reads(decider.connection), T0))

        told = house.decider.call(kept).result(10)
        assert login_key("ana") in told
        assert "ana'" not in told
        assert "testclient" not in told

    @pytest.mark.parametrize(
        "text",
        [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "",
            "/x\n/y",
            "x",
        ],
    )
    def test_the_way_on_never_leads_to_another_site(self, text: str) -> None:
        assert local_path(text) == "/"
        assert local_path("/people?x=1") == "/people?x=1"


def noted(house: House) -> None:
    """Wait for what was sent to the decider behind an answer, as the note that a session is in use."""
    house.decider.call(lambda decider: None).result(timeout=10)


class TestSession:
    def test_signed_out_is_out(self, client: Client) -> None:
        sign_in(client, "ana")
        old = client.cookies[SESSION]
        assert post(client, "/logout").status_code == 303
        client.cookies.set(SESSION, old)
        assert client.get("/account", headers=PAGE).headers["location"].startswith("/login")

    def test_it_ends_when_idle(self, client: Client, house: House) -> None:
        sign_in(client, "ana")
        house.clocks.system += IDLE - timedelta(minutes=1)
        assert client.get("/account").status_code == 200
        house.clocks.system += IDLE
        assert client.get("/account", headers=PAGE).status_code == 303

    def test_it_is_touched_by_use(self, client: Client, house: House) -> None:
        sign_in(client, "ana")
        for _ in range(2):
            house.clocks.system += IDLE - timedelta(minutes=1)
            assert client.get("/account").status_code == 200
            noted(house)

    @pytest.mark.parametrize(
        "asked",
        [{"hx-request": "true"}, {"accept": "text/event-stream"}, {"cookie": f"{RELOADED}=1"}],
        ids=["a part", "the stream", "the page again"],
    )
    def test_what_a_page_asks_for_by_itself_is_answered_and_is_no_use(
        self, client: Client, house: House, asked: dict[str, str]
    ) -> None:
        sign_in(client, "ana")
        if "cookie" in asked:
            asked = {"cookie": f"{SESSION}={client.cookies[SESSION]}; {asked['cookie']}"}
        house.clocks.system += IDLE - timedelta(minutes=1)
        assert client.get("/account", headers=asked).status_code == 200
        noted(house)
        house.clocks.system += timedelta(minutes=2)
        assert client.get("/account", headers=PAGE).status_code == 303

    def test_a_part_that_somebody_pressed_for_is_use(self, client: Client, house: House) -> None:
        sign_in(client, "ana")
        for _ in range(2):
            house.clocks.system += IDLE - timedelta(minutes=1)
            assert client.get("/account", headers={"hx-request": "true", BY_HAND: "1"}).status_code == 200
            noted(house)

    def test_a_press_counts_right_behind_what_the_page_asked_for(self, client: Client, house: House) -> None:
        sign_in(client, "ana")
        house.clocks.system += IDLE - timedelta(minutes=1)
        assert client.get("/account", headers={"hx-request": "true"}).status_code == 200
        assert client.get("/account").status_code == 200, "the visitor is still remembered from just before"
        noted(house)
        house.clocks.system += timedelta(minutes=2)
        assert client.get("/account", headers=PAGE).status_code == 200

    def test_it_ends_at_once_for_a_suspended_person(self, client: Client, house: House) -> None:
        sign_in(client, "cleo")
        assert client.get("/account").status_code == 200
        house.decider.submit(SuspendPerson(person_id="cleo", reason="left")).result(timeout=10)
        assert client.get("/account", headers=PAGE).status_code == 303
        client.cookies.clear()
        assert sign_in(client, "cleo").status_code == 401

    def test_a_changed_role_counts_from_the_next_request(self, client: Client, house: House) -> None:
        sign_in(client, "cleo")
        assert client.get("/people").status_code == 403
        house.decider.submit(GrantRole(person_id="cleo", role=Role.ADMIN)).result(timeout=10)
        assert client.get("/people").status_code == 200

    def test_it_is_nobody_elses_to_open(self, client: Client) -> None:
        sign_in(client, "ana")
        body = {"token_hash": "0" * 64, "person_id": "ben", "at": "2026-03-01T08:00:00Z"}
        headers = {"x-csrf-token": token_in(client.get("/account").text)}
        for name in ("access.open_session", "access.touch_session", "access.set_up_first_admin"):
            answer = client.post(f"/api/v1/commands/{name}", json=body, headers=headers)
            assert answer.status_code in (403, 422), name


class TestAccount:
    def change(self, client: Client, old: str, new: str, again: str) -> Any:
        return post(client, "/account/password", old_password=old, new_password=new, again_password=again)

    def test_a_new_password_ends_every_other_session(self, client: Client, house: House) -> None:
        sign_in(client, "ben")
        old = client.cookies[SESSION]
        answer = self.change(client, PASSWORD, "four cold docks at dawn", "four cold docks at dawn")
        assert answer.status_code == 303
        assert client.get("/account").status_code == 200
        client.cookies.clear()
        client.cookies.set(SESSION, old)
        assert client.get("/account", headers=PAGE).status_code == 303
        client.cookies.clear()
        assert sign_in(client, "ben").status_code == 401
        assert sign_in(client, "ben", "four cold docks at dawn").status_code == 303

    def test_every_mistake_is_told_and_no_password_comes_back(self, client: Client) -> None:
        sign_in(client, "ben")
        answer = self.change(client, "wrong-old-one", "short-new", "other-again")
        assert answer.status_code == 422
        for said in (
            "Is not your password.",
            "Has 9 characters, 12 are needed",
            "Is not the same as the new password.",
        ):
            assert said in answer.text
        assert not re.search("wrong-old-one|short-new|other-again", answer.text)

    def test_with_a_first_password_one_can_only_change_it(self, client: Client, house: House) -> None:
        house.add("dana", Role.ADMIN, temporary=True)
        assert sign_in(client, "dana").headers["location"] == "/account"
        assert client.get("/people").status_code == 403
        assert "Choose a password of your own." in client.get("/account").text
        self.change(client, PASSWORD, "four cold docks at dawn", "four cold docks at dawn")
        assert client.get("/people").status_code == 200


class TestPages:
    def test_only_admins_and_auditors_see_people(self, client: Client, house: House) -> None:
        house.add("audrey", Role.AUDITOR)
        for login, status in (("ana", 200), ("audrey", 200), ("ben", 403), ("cleo", 403)):
            client.cookies.clear()
            sign_in(client, login)
            assert client.get("/people", headers=PAGE).status_code == status, login
        client.cookies.clear()
        sign_in(client, "audrey")
        assert "Add a person" not in client.get("/people").text

    def test_a_person_is_added_with_a_first_password_shown_once(self, client: Client) -> None:
        sign_in(client, "ana")
        answer = post(
            client, "/people", "/people", name="Dan", login="dan", roles=["operator", "technician"],
            which_sites="some", sites="atl1, clt1",
        )  # fmt: skip
        first = re.search(r"dan · ([a-z2-9]{4}(?:-[a-z2-9]{4}){3})", answer.text)
        assert first
        assert first.group(1) not in client.get("/people").text
        assert "ATL1, CLT1" in client.get("/people").text
        client.cookies.clear()
        assert sign_in(client, "dan", first.group(1)).headers["location"] == "/account"

    def test_a_refused_person_keeps_the_form(self, client: Client) -> None:
        sign_in(client, "ana")
        answer = post(client, "/people", "/people", name="Dan", login="ben", which_sites="all")
        assert answer.status_code == 409
        assert "Somebody else has this login" in answer.text
        assert 'value="Dan"' in answer.text

    def test_only_these_sites_needs_a_site(self, client: Client) -> None:
        sign_in(client, "ana")
        answer = post(client, "/people", "/people", name="Dan", login="dan", which_sites="some", sites=" ")
        assert answer.status_code == 422
        assert "Names no site." in answer.text

    def test_roles_are_given_and_taken_but_never_ones_own(self, client: Client) -> None:
        sign_in(client, "ana")
        assert post(client, "/people/cleo/grant", "/people/cleo", role="technician").status_code == 303
        assert 'Take<span class="vh"> technician' in client.get("/people/cleo").text
        assert post(client, "/people/cleo/revoke", "/people/cleo", role="technician").status_code == 303
        assert post(client, "/people/ana/grant", "/account", role="planner").status_code == 403
        assert post(client, "/people/ben/grant", "/people/ben", role="admin").status_code == 409
        assert "Give<span" not in client.get("/people/ana").text

    def test_suspend_reset_and_erase(self, client: Client) -> None:
        sign_in(client, "ana")
        assert post(client, "/people/cleo/suspend", "/people/cleo", reason="left").status_code == 303
        assert post(client, "/people/cleo/reinstate", "/people/cleo", reason="back").status_code == 303
        assert "New first password." in post(client, "/people/cleo/password", "/people/cleo").text
        assert post(client, "/people/cleo/sites", "/people/cleo", which_sites="all").status_code == 303
        assert post(client, "/people/cleo/erase", "/people/cleo", reason="asked").status_code == 303
        assert "Erased person" in client.get("/people/cleo").text
        assert post(client, "/people/cleo/explode", "/people").status_code == 404
        assert client.get("/people/nobody").status_code == 404

    def test_reads_of_people_and_of_quality_are_in_the_log(self, client: Client, house: House) -> None:
        sign_in(client, "ana")
        client.get("/people/ben")
        client.get("/health-of-goods")
        house.decider.call(lambda decider: None).result(timeout=10)
        noted = house.decider.call(lambda d: reads.latest_reads(Reads(d.connection))).result(timeout=10)
        assert {(r.actor, r.kind, r.subject) for r in noted} == {
            ("ana", "personal", "/people/ben"),
            ("ana", "quality", "/health-of-goods"),
        }

    def test_another_sites_page_is_refused_with_the_reason(self, client: Client) -> None:
        sign_in(client, "cleo")
        assert client.get("/sites/ATL1").status_code == 200
        answer = client.get("/sites/CLT1", headers={"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (403, "other_site")


class TestTokens:
    def issue(self, client: Client, **data: Any) -> str:
        sign_in(client, "ana")
        page = post(
            client, "/tokens", "/tokens", label="Shop", roles=["integrator"], which_sites="all", **data
        ).text
        found = re.search(r"cgt_[\w-]{43}", page)
        assert found, page
        client.cookies.clear()
        return found.group(0)

    def test_a_token_is_shown_once_and_signs_in(self, client: Client) -> None:
        token = self.issue(client)
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/api/v1/events", headers=bearer).status_code == 200
        assert client.get("/people", headers=bearer).status_code == 403
        me = client.get("/api/v1/me", headers=bearer).json()
        assert (me["name"], me["roles"], me["sites"], me["by_token"]) == ("Shop", ["integrator"], None, True)
        sign_in(client, "ana")
        assert token not in client.get("/tokens").text

    def test_a_revoked_token_is_refused_at_once(self, client: Client) -> None:
        token = self.issue(client)
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/api/v1/events", headers=bearer).status_code == 200
        sign_in(client, "ana")
        address = re.search(r'action="(/tokens/[^"]+/revoke)"', client.get("/tokens").text)
        assert address
        assert post(client, address.group(1), "/tokens").status_code == 303
        client.cookies.clear()
        assert client.get("/api/v1/events", headers=bearer).status_code == 401

    def test_an_expired_token_is_refused(self, client: Client, house: House) -> None:
        token = self.issue(client, expires_on="2026-03-01")
        bearer = {"authorization": f"Bearer {token}"}
        assert client.get("/api/v1/events", headers=bearer).status_code == 200
        house.clocks.system += timedelta(days=1) + KNOWN_FOR
        assert client.get("/api/v1/events", headers=bearer).status_code == 401

    @pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic YTpi", "cgt_x"])
    def test_a_wrong_token_is_a_stranger_even_with_a_session(self, client: Client, header: str) -> None:
        sign_in(client, "ana")
        answer = client.get("/api/v1/events", headers={"authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")

    def test_a_token_with_a_wrong_day_is_refused(self, client: Client) -> None:
        sign_in(client, "ana")
        answer = post(client, "/tokens", "/tokens", label="S", roles=["integrator"], expires_on="soon")
        assert answer.status_code == 422
        assert "Is no day." in answer.text

    @pytest.mark.parametrize(
        ("day", "told"), [("2026-02-28", "Is over."), ("9999-12-31", "Is not between the years")]
    )
    def test_a_token_that_would_be_of_no_use_is_refused_at_its_day(
        self, client: Client, day: str, told: str
    ) -> None:
        sign_in(client, "ana")
        answer = post(client, "/tokens", "/tokens", label="S", roles=["integrator"], expires_on=day)
        assert answer.status_code == 422
        assert "cgt_" not in answer.text
        said = re.search(r'id="f-expires_on-error">(?:<svg.*?</svg>)?([^<]*)', answer.text)
        assert said
        assert told in said[1]

    def test_the_same_form_sent_again_issues_no_second_token(self, client: Client) -> None:
        sign_in(client, "ana")
        data = {"label": "Once", "roles": ["integrator"], "which_sites": "all", "_key": "form-1"}
        assert "cgt_" in post(client, "/tokens", "/tokens", **data).text
        again = post(client, "/tokens", "/tokens", **data)
        assert again.status_code == 409
        assert "This form was sent before" in again.text
        assert again.text.count("/revoke") == 1


class TestFirstRun:
    def set_up(self, client: Client, token: str, **data: str) -> Any:
        page = client.get(f"/setup?token={token}").text
        values = {
            "_csrf": token_in(page),
            "token": token,
            "name": "Ana",
            "login": "ana",
            "password": PASSWORD,
        }
        return client.post("/setup", data=values | data)

    @pytest.fixture
    def first(self, empty_house: House) -> Any:
        with TestClient(empty_house.app) as made:
            made.follow_redirects = False
            yield made

    def test_whoever_has_the_printed_address_becomes_the_first_admin(
        self, empty_house: House, first: Client
    ) -> None:
        assert first.get("/login").headers["location"] == "/setup"
        assert empty_house.door.nobody_yet()
        answer = self.set_up(first, empty_house.door.set_up_token)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert first.get("/people").status_code == 200
        assert not empty_house.door.nobody_yet()

    def test_everything_that_is_wrong_with_the_first_admin_is_said_at_once(
        self, empty_house: House, first: Client
    ) -> None:
        token = empty_house.door.set_up_token
        answer = self.set_up(first, token, name=" ", login="a b", password="short")
        assert answer.status_code == 422
        for field in ("name", "login", "password"):
            assert f'id="f-{field}-error"' in answer.text
        assert "short" not in answer.text.partition('id="f-password"')[2].partition(">")[0]

    def test_without_it_nobody_does(self, empty_house: House, first: Client) -> None:
        page = first.get("/setup").text
        assert "the server printed" in page
        values = {
            "_csrf": token_in(page),
            "token": "guess",
            "name": "Eve",
            "login": "eve",
            "password": PASSWORD,
        }
        answer = first.post("/setup", data=values, headers={"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (403, "wrong_set_up_token")

    def test_wrong_secrets_are_counted_by_address_and_then_even_the_right_one_waits(
        self, empty_house: House, first: Client
    ) -> None:
        secret = empty_house.door.set_up_token
        for n in range(GUESSES):
            answer = first.get(f"/setup?token=guess-{n}")
            assert answer.status_code == 403
            assert "not the one that the server printed" in answer.text
        answer = first.get(f"/setup?token={secret}")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "901")
        assert 'name="password"' not in answer.text
        empty_house.clocks.system += GUESSES_WINDOW
        assert self.set_up(first, secret).status_code == 303

    def test_an_old_secret_opens_nothing_and_a_new_one_ends_the_one_before(
        self, empty_house: House, first: Client
    ) -> None:
        old = empty_house.door.set_up_token
        page = first.get(f"/setup?token={old}").text
        values = {"_csrf": token_in(page), "token": old, "name": "Ana", "login": "ana", "password": PASSWORD}
        empty_house.clocks.system += GOOD_FOR
        late = first.post("/setup", data=values, headers={"accept": "application/json"})
        assert (late.status_code, late.json()["code"]) == (403, "set_up_token_expired")
        assert "coldgrid tower setup" in first.get(f"/setup?token={old}").text
        new = empty_house.door.set_up.renew()
        assert first.get(f"/setup?token={old}").status_code == 403
        assert empty_house.door.nobody_yet()
        assert self.set_up(first, new).status_code == 303

    def test_each_start_has_a_secret_of_its_own(self, empty_house: House) -> None:
        other = SetUpSecret(empty_house.clocks.system_now)
        assert len(other.value) >= 40
        assert other.value == other.value
        assert other.value != empty_house.door.set_up_token

    def test_two_people_with_the_link_make_one_admin(self, empty_house: House, first: Client) -> None:
        secret = empty_house.door.set_up_token
        page = first.get(f"/setup?token={secret}").text
        eve = {"_csrf": token_in(page), "token": secret, "name": "Eve", "login": "eve", "password": PASSWORD}
        visit = dict(first.cookies)
        self.set_up(first, secret)
        first.cookies.clear()
        first.cookies.update(visit)
        late = first.post("/setup", data=eve)
        assert late.status_code == 409
        assert "already set up" in late.text
        assert empty_house.door.nobody_yet() is False

    def test_it_works_once(self, empty_house: House, first: Client) -> None:
        self.set_up(first, empty_house.door.set_up_token)
        first.cookies.clear()
        assert first.get(f"/setup?token={empty_house.door.set_up_token}").headers["location"] == "/login"

    def test_a_weak_password_is_refused_and_the_rest_kept(self, empty_house: House, first: Client) -> None:
        answer = self.set_up(first, empty_house.door.set_up_token, password="ana")
        assert answer.status_code == 422
        assert "Has 3 characters, 12 are needed." in answer.text
        assert 'value="Ana"' in answer.text


def test_the_house_knows_its_people(house: House) -> None:
    names = house.decider.call(lambda d: people.names(Reads(d.connection))).result(timeout=10)
    assert names == {"ana": "Ana Ortiz", "ben": "Ben Ortiz", "cleo": "Cleo Ortiz"}


@pytest.mark.parametrize(
    ("client_said", "shown"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Edg/120.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1",
            "Safari on iOS",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:120.0) Firefox/120.0",
            "Firefox on macOS",
        ),
        ("curl/8.4.0", "curl/8.4.0"),
        ("", ""),
    ],
)
def test_a_session_is_shown_by_the_name_that_people_call_its_browser(client_said: str, shown: str) -> None:
    assert browser_name(client_said) == shown
