"""The two roads to a command: JSON and forms, refused for the same reasons in the same words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel.rejections import Invalid
from coldgrid.kernel.validation import decode_all
from coldgrid.webkit.forms import form_bytes, refused_form
from coldgrid.webkit.notices import COOKIE, pending_notice

Client = TestClient[Litestar]
NOTE = "/api/v1/commands/tour.note"


class TestJson:
    def test_the_answer_names_the_durable_entry(self, client: Client) -> None:
        answer = client.post(NOTE, json={"reason": "one", "count": 4}).json()
        assert answer["result"] == {"count": 4}
        assert (answer["origin"], answer["epoch"], answer["replayed"]) == ("network", 1, False)
        entry = client.get(f"/api/v1/events?after={answer['position'] - 1}").json()["entries"][0]
        assert (entry["seq"], entry["type"], entry["body"]["count"]) == (answer["seq"], "tour.noted", 4)
        assert entry["actor"] == "person-ana"

    def test_a_retry_under_its_key_is_answered_and_not_repeated(self, client: Client) -> None:
        key = {"idempotency-key": "retry-1"}
        first = client.post(NOTE, json={"reason": "two", "count": 1}, headers=key).json()
        second = client.post(NOTE, json={"reason": "two", "count": 1}, headers=key).json()
        assert second == first | {"replayed": True}

    def test_another_body_under_a_used_key_is_refused(self, client: Client) -> None:
        key = {"idempotency-key": "retry-2"}
        client.post(NOTE, json={"reason": "a", "count": 1}, headers=key)
        answer = client.post(NOTE, json={"reason": "b", "count": 1}, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_reused")

    def test_a_key_has_a_bound(self, client: Client) -> None:
        answer = client.post(NOTE, json={"reason": "a", "count": 1}, headers={"idempotency-key": "k" * 201})
        assert answer.status_code == 400


class TestForm:
    def test_accepted_it_redirects_and_the_next_page_says_so_once(self, client: Client) -> None:
        answer = client.post("/tour", data={"reason": "seen", "count": "1,038"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/tour")
        page = client.get("/tour")
        assert "Noted 1038 pallets." in page.text
        client.cookies.delete(COOKIE)
        assert "Noted" not in client.get("/tour").text

    def test_refused_it_shows_again_with_values_and_errors_at_the_fields(self, client: Client) -> None:
        answer = client.post("/tour", data={"reason": "<b>why</b>", "count": "many", "choice": "move"})
        assert answer.status_code == 422
        assert "&lt;b&gt;why&lt;/b&gt;" in answer.text
        assert 'value="many"' in answer.text
        assert 'aria-describedby="f-count-error" aria-invalid="true"' in answer.text
        assert 'value="move" checked' in answer.text

    def test_refused_by_a_rule_it_says_which(self, client: Client) -> None:
        answer = client.post("/tour", data={"reason": "closed", "count": "1"})
        assert answer.status_code == 409
        assert "The tour is closed. Until: 08:00." in answer.text
        assert "Come back tomorrow." in answer.text

    def test_pressed_twice_it_is_done_once(self, client: Client) -> None:
        data = {"reason": "twice", "count": "1", "_key": "form-key-1"}
        assert client.post("/tour", data=data).status_code == 303
        assert client.post("/tour", data=data).status_code == 303
        entries = client.get("/api/v1/events?types=tour.noted&limit=1000").json()["entries"]
        assert sum(entry["body"]["reason"] == "twice" for entry in entries) == 1


class Line(msgspec.Struct):
    sku: str
    qty: int


class Everything(msgspec.Struct):
    name: str
    qty: int = 0
    share: float | None = None
    ready: bool = False
    note: str | None = None
    tags: list[str] = []
    lines: list[Line] = []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"name": ["Ana"]}, {"name": "Ana", "ready": False}),
        ({"name": ["Ana"], "qty": ["1,284"]}, {"name": "Ana", "qty": 1284, "ready": False}),
        ({"qty": ["−3"]}, {"qty": -3, "ready": False}),
        ({"qty": ["3.5"]}, {"qty": "3.5", "ready": False}),
        ({"qty": [""]}, {"ready": False}),
        ({"share": ["0.5"]}, {"share": 0.5, "ready": False}),
        ({"share": ["4,5"]}, {"share": 4.5, "ready": False}),
        ({"share": ["−1,8"]}, {"share": -1.8, "ready": False}),
        ({"share": ["1,284.5"]}, {"share": 1284.5, "ready": False}),
        ({"share": ["1 284"]}, {"share": 1284.0, "ready": False}),
        ({"share": ["1,284"]}, {"share": "1,284", "ready": False}),
        ({"share": ["−4"], "_f": ["share"]}, {"share": -20.0, "ready": False}),
        ({"share": ["40,5"], "_f": ["share"]}, {"share": 4.72, "ready": False}),
        ({"share": ["cold"], "_f": ["share"]}, {"share": "cold", "ready": False}),
        ({"share": ["18 5"]}, {"share": "18 5", "ready": False}),
        ({"qty": ["4,5"]}, {"qty": "4,5", "ready": False}),
        ({"qty": ["1 2"]}, {"qty": "1 2", "ready": False}),
        ({"qty": ["12 038"]}, {"qty": 12038, "ready": False}),
        ({"share": ["nan"]}, {"share": "nan", "ready": False}),
        ({"share": ["inf"]}, {"share": "inf", "ready": False}),
        ({"share": [""], "note": [" "]}, {"share": None, "note": None, "ready": False}),
        ({"ready": ["on"]}, {"ready": True}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"], "ready": False}),
        ({"tags": ["a\r\n\r\nb "]}, {"tags": ["a", "b"], "ready": False}),
        (
            {"lines[0].sku": ["X"], "lines[0].qty": ["2"], "lines[1].sku": ["Y"]},
            {"lines": [{"sku": "X", "qty": 2}, {"sku": "Y"}], "ready": False},
        ),
        ({"lines[9999].sku": ["X"]}, {"lines": [{"sku": "X"}], "ready": False}),
        ({"colour": ["red"]}, {"colour": "red", "ready": False}),
        ({"_csrf": ["t"], "_key": ["k"]}, {"ready": False}),
    ],
)
def test_texts_become_what_the_fields_type_says(
    values: dict[str, list[str]], expected: dict[str, Any]
) -> None:
    assert msgspec.json.decode(form_bytes(values, Everything)) == expected


def test_a_number_that_cannot_be_read_is_refused_in_words_for_whoever_typed_it() -> None:
    with pytest.raises(Invalid) as refused:
        decode_all(form_bytes({"name": ["x"], "qty": ["4,5"], "share": ["cold"]}, Everything), Everything)
    form = refused_form(refused.value, {}, 422)
    assert form.error("qty") == "Is no whole number. Write it like 12."
    assert form.error("share") == "Is no number. Write it like 18.5."


def test_fixed_values_win_over_the_form() -> None:
    raw = form_bytes({"name": ["mine"], "qty": ["7"]}, Everything, name="theirs")
    assert msgspec.json.decode(raw) == {"name": "theirs", "qty": 7, "ready": False}


@pytest.mark.parametrize("cookie", ["", "%%%", "AAAA", "eyJ0ZXh0IjozfQ", "e30"])
def test_a_notice_that_cannot_be_read_is_none(cookie: str) -> None:
    class Asked:
        cookies = {COOKIE: cookie}  # noqa: RUF012

    assert pending_notice(Asked()) is None  # type: ignore[arg-type]
