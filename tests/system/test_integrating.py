"""What somebody who writes a client by the documents alone runs into first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stock.world import ICE
from tests.system.served import AIR, Sent, System, running
from tests.system.test_bad_input import check_refusal

LINES = "application/x-ndjson"
AT = '"at": "2026-03-01T08:00:00Z"'


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("integrating")) as made:
        yield made


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/stock/sites/ATL9/balances",
        "/api/v1/stock/sites/ATL9/holds",
        "/api/v1/sites/ATL9/sensors",
        "/api/v1/sites/ATL9/alarms",
        "/api/v1/sites/ATL9/quarantine",
        "/api/v1/stock/products/NO-SUCH-1/balances",
        "/api/v1/stock/lots/NO-SUCH-LOT/trace",
        "/api/v1/stock/transfers/no-such",
        "/api/v1/quality/units/000000000000000000",
    ],
)
def test_what_is_not_known_is_never_answered_as_nothing_there(system: System, path: str) -> None:
    answer = system.client.get(path)
    assert answer.status_code == 404, answer.text
    check_refusal(answer)


READING = f'{{"sensor_id": "{AIR}", {AT}, "value": -21.5}}'
TWICE = f'{{"sensor_id": "{AIR}", {AT}, "value": -21.5, "value": -3}}'
ORDER = (
    '{"channel": "web", "channel_order_id": "t-1", "ship_to": {"region": "GA", "lat": 33.7, "lon": -84.3}, '
)
ORDER += f'"lines": [{{"line_no": 1, "product_id": "{ICE}", "qty": 1, "qty": 100}}]}}'
COLUMNS = f'{{"site_id": "ATL1", "sensors": ["{AIR}"], "sensor": [0], "at": [1772352000000], '
COLUMNS += '"value": [1], "value": [2]}'


@pytest.mark.parametrize(
    ("path", "body", "media_type", "line"),
    [
        ("/api/v1/readings", TWICE, "application/json", None),
        ("/api/v1/readings", f"[{READING}, {TWICE}]", "application/json", None),
        ("/api/v1/readings", f"{READING}\n\n{TWICE}", LINES, 3),
        (
            "/api/v1/readings",
            READING.replace('"value"', '"unit": "C", "unit": "F", "value"'),
            "application/json",
            None,
        ),
        ("/api/v1/readings/columns", COLUMNS, "application/json", None),
        ("/api/v1/orders", ORDER, "application/json", None),
        ("/api/v1/orders", f"[{ORDER}]", "application/json", None),
    ],
)
def test_a_field_that_is_there_twice_is_refused_in_orders_and_readings_too(
    system: System, path: str, body: str, media_type: str, line: int | None
) -> None:
    before = system.last_position()
    [answer] = system.post_all([Sent(path, body.encode(), media_type)])
    assert answer.status_code == 422, answer.text
    problem = (answer.json()[0]["problem"] if isinstance(answer.json(), list) else answer.json())["problems"][
        0
    ]
    assert (problem["field"] in {"value", "unit", "qty"}, problem["message"]) == (True, "is there twice")
    assert line is None or problem["line"] == line
    assert system.last_position() == before


def test_readings_with_and_without_a_unit_and_with_odd_spellings_are_taken(system: System) -> None:
    with_unit = READING.replace('"value"', '"unit": "C", "value"')
    empty, escaped = READING.replace('"value"', '"unit": "", "value"'), READING.replace('"at"', '"\\u0061t"')
    for body in (with_unit, f"[{with_unit}, {READING}]", empty, escaped):
        answer = system.client.post(
            "/api/v1/readings", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, answer.text


def test_a_column_that_points_to_no_sensor_is_named_as_it_was_sent(system: System) -> None:
    body = {"site_id": "ATL1", "sensors": [AIR], "sensor": [7], "at": [1772352000000], "value": [-20]}
    (problem,) = check_refusal(system.client.post("/api/v1/readings/columns", json=body))["problems"]
    assert (problem["field"], problem["fix"]) == ("sensor", "count the names from 0")


def test_a_wrong_header_is_named(system: System) -> None:
    keyed = system.client.post("/api/v1/orders", json={}, headers={"idempotency-key": "k" * 201})
    assert keyed.status_code == 422  # the body is looked at first
    placed = system.client.post(
        "/api/v1/orders/web-1/cancel", json={"reason": "x"}, headers={"idempotency-key": ""}
    )
    resumed = system.client.get(
        "/api/v1/events", headers={"accept": "text/event-stream", "last-event-id": "x"}
    )
    for answer, name in ((placed, "Idempotency-Key"), (resumed, "Last-Event-ID")):
        (problem,) = check_refusal(answer)["problems"]
        assert problem["field"] == name
        assert problem["fix"]


@pytest.mark.parametrize(
    ("path", "name", "value", "word"),
    [
        ("/api/v1/orders?status=opened", "status", "opened", "open"),
        ("/api/v1/changes?status=done", "status", "done", "approved"),
        ("/api/v1/incidents?status=old", "status", "old", "closed"),
        ("/api/v1/approvals?role=boss", "role", "boss", "supervisor"),
        ("/api/v1/tasks?role=boss", "role", "boss", "operator"),
        ("/api/v1/events?types=stock.hold_placed,orders.place", "types", "orders.place", "orders.placed"),
        ("/api/v1/requests?site_id=ATL9", "site_id", "ATL9", "ATL1"),
        ("/api/v1/sites/ATL1/points?gateway_id=no-such", "gateway_id", "no-such", "one of"),
        (
            f"/api/v1/sensors/{AIR}/readings?from_at=2026-03-01T00:00:00Z&to_at=2026-03-02T00:00:00Z&form=xml",
            "form",
            "xml",
            "csv",
        ),
    ],
)
def test_a_word_that_a_parameter_does_not_know_is_refused_with_those_that_it_knows(
    system: System, path: str, name: str, value: str, word: str
) -> None:
    answer = system.client.get(path)
    assert answer.status_code == 400, answer.text
    (problem,) = check_refusal(answer)["problems"]
    assert (problem["field"], problem["message"]) == (name, f"may not be '{value}'")
    assert word in problem["fix"]


@pytest.mark.parametrize(
    ("method", "path", "fields", "fix"),
    [
        ("GET", "/api/v1/orders?state=open", ["state"], "did you mean status? one of: limit, status, un"),
        ("GET", "/api/v1/events?after=-1&type=orders.placed", ["type"], "did you mean types? one of: "),
        ("GET", "/api/v1/sites/ATL1/sensors?limit=1&x=2", ["limit", "x"], "this address takes none"),
        ("GET", "/api/v1/me?=1", ["(empty)"], "this address takes none"),
        ("GET", f"/api/v1/incidents?{'y' * 500}=1", ["y" * 60], "one of: limit, status"),
        ("POST", "/api/v1/orders?dry_run=true", ["dry_run"], "this address takes none"),
        ("POST", "/api/v1/commands/orders.place_order?key=k", ["key"], "this address takes none"),
    ],
)
def test_a_parameter_that_an_address_does_not_have_is_refused_with_those_that_it_has(
    system: System, method: str, path: str, fields: list[str], fix: str
) -> None:
    answer = system.client.request(method, path)
    assert answer.status_code == 400, answer.text
    problems = check_refusal(answer)["problems"]
    assert [one["field"] for one in problems] == fields
    assert {one["message"] for one in problems} == {"is no parameter of this address"}
    assert fix in problems[0]["fix"]


def test_a_page_passes_over_what_decorated_its_link(system: System) -> None:
    person = {"accept": "text/html"}
    assert system.client.get("/orders?utm_source=mail&fbclid=x", headers=person).status_code == 200


def test_a_stream_of_types_that_nobody_knows_is_refused_before_it_begins(system: System) -> None:
    answer = system.client.get("/api/v1/events?types=no.such", headers={"accept": "text/event-stream"})
    assert answer.status_code == 400
    assert "did you mean" not in check_refusal(answer)["problems"][0]["fix"]
