"""The guards around every handler: sign-in, form tokens, headers, logged reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.rejections import Forbidden
from tests.webkit.tour import CSRF, Tour, touring

Client = TestClient[Litestar]
STRANGER = {"x-stranger": "yes"}
FORM = {"reason": "seen", "count": "2"}


class TestFormToken:
    @pytest.mark.parametrize(
        "headers",
        [
            {"x-csrf-token": ""},
            {"x-csrf-token": "guessed"},
            {"x-csrf-token": CSRF, "sec-fetch-site": "cross-site"},
            {"x-csrf-token": CSRF, "sec-fetch-site": "same-site"},
        ],
        ids=["none", "wrong", "from another site", "from another host of the site"],
    )
    @pytest.mark.parametrize("path", ["/tour", "/api/v1/commands/tour.note", "/preferences"])
    def test_without_its_own_token_a_request_changes_nothing(
        self, client: Client, path: str, headers: dict[str, str]
    ) -> None:
        before = client.get("/api/v1/events").json()["next"]
        answer = client.post(path, data=FORM, headers=headers | {"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_refused")
        assert client.get("/api/v1/events").json()["next"] == before

    def test_the_token_in_the_form_is_enough(self, client: Client) -> None:
        answer = client.post("/tour", data=FORM | {"_csrf": CSRF}, headers={"x-csrf-token": ""})
        assert answer.status_code == 303

    def test_a_token_in_json_is_none(self, client: Client) -> None:
        answer = client.post("/api/v1/commands/tour.note", json={"_csrf": CSRF}, headers={"x-csrf-token": ""})
        assert answer.status_code == 403

    def test_a_machine_needs_none(self, client: Client) -> None:
        headers = {"x-csrf-token": "", "authorization": "Bearer machine"}
        answer = client.post("/api/v1/commands/tour.note", json={"reason": "m", "count": 1}, headers=headers)
        assert answer.status_code == 200

    def test_every_form_of_a_page_carries_it(self, client: Client) -> None:
        page = client.get("/tour").text
        forms = re.findall(r'<form method="post".*?</form>', page, flags=re.DOTALL)
        assert len(forms) >= 4
        assert all(f'name="_csrf" value="{CSRF}"' in form for form in forms)


class TestHeaders:
    @pytest.mark.parametrize(
        "path", ["/tour", "/nowhere", "/api/v1/events", "/api/v1/openapi.json", "/tour/broken"]
    )
    def test_every_answer_carries_them(self, client: Client, path: str) -> None:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "strict-transport-security" not in headers

    def test_transport_security_is_demanded_only_over_tls(self, client: Client) -> None:
        answer = client.get("https://testserver.local/tour")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"

    @pytest.mark.parametrize("path", ["/tour", "/menu", "/api", "/nowhere"])
    def test_no_page_needs_what_the_policy_forbids(self, client: Client, path: str) -> None:
        page = client.get(path, headers={"accept": "text/html"}).text
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", page)
        assert all("src=" in tag or "application/json" in tag for tag in re.findall(r"<script[^>]*>", page))
        outside = re.findall(r'(?:src|href|action)="(?:https?:)?//[^"]*"', page)
        assert not outside

    def test_pages_are_not_kept_by_the_browser(self, client: Client) -> None:
        assert client.get("/tour").headers["cache-control"] == "no-store"


class TestSignIn:
    def test_a_stranger_is_sent_to_sign_in_and_back(self, client: Client) -> None:
        answer = client.get("/tour?site=ATL1", headers=STRANGER | {"accept": "text/html"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=%2Ftour%3Fsite%3DATL1"

    def test_a_strange_machine_is_told_to_authenticate(self, client: Client) -> None:
        answer = client.get("/api/v1/events", headers=STRANGER)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
        assert answer.headers["www-authenticate"] == 'Bearer realm="coldgrid"'

    def test_a_page_that_went_stale_is_sent_to_sign_in_by_htmx(self, client: Client) -> None:
        shown = "http://testserver.local/tour?site=ATL1"
        from_page = {"hx-request": "true", "hx-current-url": shown, "host": "testserver.local"}
        answer = client.get("/secret", headers=STRANGER | from_page)
        assert answer.status_code == 401
        assert answer.headers["hx-redirect"] == "/login?next=%2Ftour%3Fsite%3DATL1"
        assert answer.text == ""


class RefusesSecrets:
    def authorize(self, principal: Principal, action: str, resource: Resource) -> None:
        if action == "tour.secret":
            raise Forbidden(action=action)


def test_the_authorizer_is_asked_for_a_handlers_action(tmp_path: Path) -> None:
    with touring(tmp_path, RefusesSecrets()) as tour, TestClient(tour.app) as client:
        assert client.get("/secret").status_code == 403
        assert tour.guide.notes == []


def test_reads_of_personal_records_are_noted(tour: Tour, client: Client) -> None:
    assert client.get("/secret").json() == {"secret": "yes"}
    assert tour.guide.notes[-1] == ("personal", "/secret")
