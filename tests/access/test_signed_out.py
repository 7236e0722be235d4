"""A session that ended under somebody's hands: to the sign-in and back, with a word; machines get a 401."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.access.roles import Role
from coldgrid.webkit.notices import COOKIE
from tests.access.house import House
from tests.access.test_door import PAGE, SESSION, sign_in, token_in

Client = TestClient[Litestar]
FORM_AT = "http://testserver.local/people?show=all"


def lose_session(client: Client) -> None:
    """The cookie stays, the session is gone: as after its end, or when it was ended on the server."""
    client.cookies.set(SESSION, "gone")


def test_a_form_sent_without_a_session_leads_to_the_sign_in_and_back_to_its_page(client: Client) -> None:
    sign_in(client, "ana")
    data = {"_csrf": token_in(client.get("/people").text), "name": "Zoe", "login": "zoe"}
    lose_session(client)
    answer = client.post("/people/ben/suspend", data=data, headers=PAGE | {"referer": FORM_AT})
    back = quote("/people?show=all", safe="")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={back}")
    told = client.get(answer.headers["location"]).text
    assert "nothing of it was done" in told
    assert sign_in(client, "ana", next="/people?show=all").headers["location"] == "/people?show=all"


def test_a_form_from_elsewhere_leads_to_no_address_of_theirs(client: Client) -> None:
    headers = PAGE | {"referer": "https://evil.example/people"}
    assert client.post("/people", data={}, headers=headers).headers["location"] == "/login?next=%2F"


def test_signing_out_twice_ends_at_the_sign_in(client: Client) -> None:
    sign_in(client, "ana")
    lose_session(client)
    answer = client.post("/logout", data={"_csrf": "old"}, headers=PAGE | {"referer": FORM_AT})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "You are signed out." in client.get("/login").text


def test_a_form_of_the_session_before_leads_back_to_its_page(client: Client) -> None:
    sign_in(client, "ana")
    old = token_in(client.get("/people").text)
    sign_in_again(client)
    answer = client.post("/people", data={"_csrf": old}, headers=PAGE | {"referer": FORM_AT})
    assert answer.status_code == 403
    assert 'href="/people?show=all"' in answer.text
    assert "nothing was changed" in answer.text


def sign_in_again(client: Client) -> None:
    client.cookies.clear()
    sign_in(client, "ana")


def test_a_sign_in_page_that_was_open_over_night_is_shown_anew_with_its_way_on(client: Client) -> None:
    page = client.get("/login?next=/people").text
    client.cookies.clear()
    where = "http://testserver.local/login?next=/people"
    data = {"_csrf": token_in(page), "login": "ana", "password": "x", "next": "/people"}
    answer = client.post("/login", data=data, headers=PAGE | {"referer": where})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/people")
    assert COOKIE in answer.headers["set-cookie"]
    assert "open for too long" in client.get("/login?next=/people").text


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/events", "/stream?topics=incidents"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
def test_a_machine_without_a_session_gets_a_problem(client: Client, path: str, accept: str) -> None:
    lose_session(client)
    answer = client.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_with_a_first_password_every_page_leads_to_the_one_where_it_is_changed(
    client: Client, house: House
) -> None:
    house.add("nia", Role.SUPERVISOR, temporary=True)
    sign_in(client, "nia")
    answer = client.get("/people", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    assert "choose a password of your own first" in client.get("/account").text
    assert client.get("/people").status_code == 403


def test_a_token_that_is_not_accepted_is_told_so(client: Client) -> None:
    answer = client.post(
        "/api/v1/commands/stock.place_hold", json={}, headers={"authorization": "Bearer cgt_x"}
    )
    assert (answer.status_code, answer.json()["code"]) == (401, "token_refused")
    assert answer.json()["title"] == "This API token is unknown, expired or revoked."
    assert answer.headers["www-authenticate"] == 'Bearer realm="coldgrid", error="invalid_token"'
