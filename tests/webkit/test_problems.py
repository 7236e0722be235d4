"""Refusals: one table of status codes, a document for machines, a page for people, nothing of our insides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from coldgrid.kernel import rejections as r
from coldgrid.kernel import requests, validation
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.webkit.problems import BodyTooLarge, TooMany, document_of, status_of
from coldgrid.webkit.visitors import NotSignedIn
from tests.webkit.browser import serving
from tests.webkit.tour import CSRF, TourClosed, touring

Client = TestClient[Litestar]
NOTE = "/api/v1/commands/tour.note"
PAGE = {"accept": "text/html"}


@pytest.mark.parametrize(
    ("rejected", "status"),
    [
        (r.Conflict(), 409),
        (TourClosed(), 409),
        (r.KeyReused(key="k"), 409),
        (r.Forbidden(), 403),
        (r.NotFound(), 404),
        (Invalid([]), 422),
        (validation.TooLarge([]), 413),
        (BodyTooLarge(), 413),
        (NotSignedIn(), 401),
        (TooMany(), 429),
        (r.StorageFull(), 507),
        (r.StorageFailed(), 503),
        (r.OriginElsewhere(), 503),
        (requests.DecidedElsewhere(), 421),
        (requests.NotKeptForLater(), 421),
        (r.InternalFault(), 500),
        (Rejected(), 409),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_a_rejection_has_the_status_of_its_nearest_ancestor(rejected: Rejected, status: int) -> None:
    assert status_of(rejected) == status


def test_every_rejection_of_the_kernel_has_a_status() -> None:
    for class_ in vars(r).values():
        if isinstance(class_, type) and issubclass(class_, Rejected) and class_ is not Invalid:
            assert 400 <= status_of(class_()) < 600


def test_the_document_says_what_where_and_what_to_do() -> None:
    document = document_of(TourClosed(until="08:00", limit={"a"}), "/tour")
    assert document.type == "urn:coldgrid:problem:tour_closed"
    assert document.title == "The tour is closed."
    assert document.todo == "Come back tomorrow."
    assert document.facts == {"until": "08:00", "limit": ["a"]}
    assert document.instance == "/tour"


def test_the_document_lists_all_problems() -> None:
    problems = [Problem(field="a", message="is missing"), Problem(field="b", message="is odd", line=3)]
    assert document_of(Invalid(problems), "/x").problems == tuple(problems)


def test_a_refused_command_is_a_problem_document(client: Client) -> None:
    answer = client.post(NOTE, json={"reason": "closed", "count": 1})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:coldgrid:problem:tour_closed",
        "title": "The tour is closed.",
        "status": 409,
        "detail": "The tour is closed. (until=08:00)",
        "code": "tour_closed",
        "instance": NOTE,
        "todo": "Come back tomorrow.",
        "facts": {"until": "08:00"},
    }


def test_all_wrong_fields_are_named_at_once(client: Client) -> None:
    answer = client.post(NOTE, json={"reason": 3, "count": "two", "colour": "red"})
    assert answer.status_code == 422
    assert {problem["field"] for problem in answer.json()["problems"]} == {"reason", "count", "colour"}


BAD_BODIES: list[tuple[str, bytes, int]] = [
    ("empty", b"", 422),
    ("no JSON", b"{reason", 422),
    ("not UTF-8", b'{"reason": "\xff\xfe", "count": 1}', 422),
    ("NaN", b'{"reason": "x", "count": NaN}', 422),
    ("Infinity", b'{"reason": "x", "count": Infinity}', 422),
    ("huge number", b'{"reason": "x", "count": 1' + b"0" * 400 + b"}", 422),
    ("list", b"[1]", 422),
    ("deep", b'{"reason": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422),
    ("a field twice", b'{"reason": "x", "reason": "y", "count": 1}', 422),
    ("escape", b'{"reason": "\\u001b[31mred", "count": 1}', 422),
    ("turned text", b'{"reason": "\\u202egpj.exe", "count": 1}', 422),
    ("too large", b'{"reason": "' + b"x" * 1_100_000 + b'", "count": 1}', 413),
]


@pytest.mark.parametrize(("name", "body", "status"), BAD_BODIES, ids=[name for name, _, _ in BAD_BODIES])
def test_a_bad_body_is_refused_precisely_and_stores_nothing(
    client: Client, name: str, body: bytes, status: int
) -> None:
    before = client.get("/api/v1/events").json()["next"]
    answer = client.post(NOTE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/api/v1/events").json()["next"] == before


def test_a_body_that_is_too_large_is_told_the_limit(client: Client) -> None:
    answer = client.post(NOTE, content=b"x" * 1_100_000, headers={"content-type": "application/json"})
    assert answer.json()["facts"] == {"limit_bytes": 1_048_576}


def test_after_a_refusal_that_read_no_body_the_next_request_is_answered(tmp_path: Path) -> None:
    headers = {"content-type": "application/json", "x-csrf-token": CSRF}
    with (
        touring(tmp_path) as tour,
        serving(tour.app) as address,
        httpx.Client(base_url=address, headers=headers) as client,
    ):
        for _ in range(20):
            answer = client.post(NOTE, content=b"x" * 1_100_000)
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")
            assert client.post(NOTE, content=b'{"reason": "\xff"}').status_code == 422
        assert "connection" not in client.post(NOTE, content=b"[1]").headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "page_not_found"),
        ("DELETE", "/api/v1/events", 405, "method_not_allowed"),
        ("GET", "/api/v1/events?limit=many", 400, "malformed"),
        ("GET", "/api/v1/events?limit=0", 400, "malformed"),
        ("GET", "/api/v1/events?after=-9", 400, "malformed"),
        ("POST", "/api/v1/commands/no.such", 404, "unknown_command"),
    ],
)
def test_the_frameworks_refusals_take_the_same_form(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_wrong_parameter_of_the_address_is_named(client: Client) -> None:
    (problem,) = client.get("/api/v1/events?limit=many").json()["problems"]
    assert problem["field"] == "limit"
    assert "int" in problem["message"]


def test_another_media_type_is_refused(client: Client) -> None:
    answer = client.post(NOTE, content=b"<a/>", headers={"content-type": "application/xml"})
    assert (answer.status_code, answer.json()["facts"]) == (
        415,
        {"given": "application/xml", "takes": "application/json"},
    )


def test_a_browser_reads_a_page(client: Client) -> None:
    answer = client.get("/nowhere", headers=PAGE)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is nothing at this address." in answer.text


def test_a_fault_is_told_without_its_insides(client: Client) -> None:
    for headers in (PAGE, {"accept": "application/json"}):
        answer = client.get("/tour/broken", headers=headers)
        assert answer.status_code == 500
        assert "insides" not in answer.text
        assert "ZeroDivision" not in answer.text
        assert "Something failed on our side" in answer.text


def test_htmx_gets_a_notice_and_the_page_stays(client: Client) -> None:
    answer = client.get("/nowhere", headers={"hx-request": "true"})
    assert answer.status_code == 404
    assert answer.headers["hx-retarget"] == "#notices"
    assert "<html" not in answer.text


def test_what_is_refused_for_now_says_when_to_try_again(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("coldgrid.webkit.hub.STREAMS_MAX", 0)
    answer = client.get("/stream?topics=tour")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
