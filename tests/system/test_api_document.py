"""The OpenAPI document is what the API is: what it takes, every status it answers, and in which form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response

from coldgrid.kernel.registry import command_types
from tests.stock.world import FREEZER, ICE, LOT, PALLET
from tests.system import bodies
from tests.system.json_schema import faults, resolved
from tests.system.served import AIR, Sent, System, running
from tests.system.test_bad_input import ENDINGS

JSON, PROBLEM = "application/json", "application/problem+json"
SPAN = "from_at=2026-03-01T00:00:00Z&to_at=2026-03-01T06:00:00Z"
KNOWN = {
    "site_id": "ATL1",
    "zone_id": FREEZER,
    "sscc": PALLET,
    "lot_id": LOT,
    "product_id": ICE,
    "sensor_id": AIR,
    "order_id": "web-1",
    "change_id": "change-sensors",
    "incident_id": "i1",
    "decision_id": "decision-advice",
    "hold_id": "h1",
    "gtin": "09521234500012",
    "origin": "network",
    "epoch": "1",
    "seq": "0",
    "level": "0",
    "place": "000",
    "kind": "incident",
    "subject_id": "i1",
}
PUBLIC = {("/api/v1/replies/{token}", "post"), ("/api/v1/evidence/add-checkpoint", "post")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("document")) as made:
        yield made


@pytest.fixture(scope="module")
def document(system: System) -> dict[str, Any]:
    told: dict[str, Any] = system.client.get("/api/v1/openapi.json").json()
    return told


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def own_of(operation: dict[str, Any], query: str) -> str:
    """Return what of a query the address has parameters for: any other is refused by its name."""
    names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    return "&".join(part for part in query.split("&") if part.partition("=")[0] in names)


def filled(path: str, known: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], "x"), path)


def unlike(document: dict[str, Any], operation: dict[str, Any], response: Response) -> list[str]:
    """Return what of an answer the document does not say."""
    where = f"{response.request.method} {response.request.url}: {response.status_code}"
    if str(response.status_code) not in operation["responses"]:
        return [f"{where} is not listed"]
    said = operation["responses"][str(response.status_code)]
    said = resolved(document, said["$ref"]) if "$ref" in said else said
    media = response.headers["content-type"].partition(";")[0]
    if media not in said["content"]:
        return [f"{where} is {media}, not {list(said['content'])}"]
    if media not in (JSON, PROBLEM):
        return []
    found = faults(document, said["content"][media]["schema"], response.json())
    return [f"{where} {fault}" for fault in found]


def test_every_name_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def refs(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from refs(one)

    named = set(refs(document))
    assert len(named) > 100
    for ref in named:
        assert resolved(document, ref), ref
    used = {ref.rpartition("/")[2] for ref in named}
    assert set(document["components"]["schemas"]) <= used


def test_no_schema_of_a_body_or_an_answer_is_left_open(document: dict[str, Any]) -> None:
    """An empty schema tells an integrator nothing; only what a network server sends is not ours to say."""
    open_ = []
    for path, method, operation in operations(document):
        said = [operation.get("requestBody", {}), *operation["responses"].values()]
        for one in said:
            for media, content in one.get("content", {}).items():
                if content["schema"] in ({}, {"type": "string"}) and media == JSON:
                    open_.append(f"{method} {path}")
    assert open_ == ["post /api/v1/gateways/{gateway_id}/uplinks"]


def test_every_address_that_takes_a_body_says_which(document: dict[str, Any]) -> None:
    assert [
        path for path, method, one in operations(document) if method == "post" and "requestBody" not in one
    ] == []


def test_every_command_has_its_own_address_with_its_fields(document: dict[str, Any]) -> None:
    for name, command in command_types().items():
        if name.startswith("toy."):
            continue
        told = document["paths"][f"/api/v1/commands/{name}"]["post"]["requestBody"]
        schema = told["content"][JSON]["schema"]
        body = bodies.fitting(command)
        if name == "orders.place":  # of a customer's text more is asked than its type
            del body["customer"]
        assert list(faults(document, schema, body)) == [], name
        assert list(faults(document, schema, {"surplus": 1})), name


def test_what_the_address_gives_the_body_need_not_say(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/orders/{order_id}/cancel"]["post"]
    schema = operation["requestBody"]["content"][JSON]["schema"]
    assert list(faults(document, schema, {"reason": "a double"})) == []


def test_whoever_asks_needs_a_token_but_where_the_address_or_a_signature_says_who_it_is(
    system: System, document: dict[str, Any]
) -> None:
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, method, operation in operations(document):
        public = (path, method) in PUBLIC
        assert operation["security"] == ([] if public else [{"token": []}]), path
        answer = system.client.request(method, filled(path, KNOWN), headers={"authorization": ""})
        assert (answer.status_code != 401) is public, path
        assert unlike(document, operation, answer) == []


@pytest.mark.parametrize("known", [KNOWN, {}, dict.fromkeys(KNOWN, "%00")], ids=["known", "unknown", "odd"])
@pytest.mark.parametrize(
    "query", ["", SPAN, "limit=-1&after=x&days=0&status=odd&day=31&at=now&form=x", "tlc=x"]
)
def test_every_read_answers_what_the_document_says(
    system: System, document: dict[str, Any], known: dict[str, str], query: str
) -> None:
    found, right = [], 0
    for path, method, operation in operations(document):
        if method != "get":
            continue
        address = filled(path, known)
        answer = system.client.get(f"{address}?{own_of(operation, query)}")
        found += unlike(document, operation, answer)
        found += unlike(document, operation, system.client.get(f"{address}?{query}"))
        right += answer.status_code == 200
    assert found == []
    assert right > 30 or not (known is KNOWN and query == SPAN)


def test_every_post_answers_what_the_document_says(system: System, document: dict[str, Any]) -> None:
    sent, of = [], []
    for path, method, operation in operations(document):
        if method != "post":
            continue
        name = path.rpartition("/")[2]
        command = command_types().get(name)
        right = [bodies.written(bodies.fitting(command))] if command and name not in ENDINGS else []
        for body in [b"", b"{}", b"[1]", b'{"a": NaN}', b"[" * 200, *right]:
            for media in (JSON, "text/x-odd"):
                sent.append(Sent(filled(path, KNOWN), body, media))
                of.append(operation)
    answers = system.post_all(sent)
    found = [
        fault
        for operation, answer in zip(of, answers, strict=True)
        for fault in unlike(document, operation, answer)
    ]
    assert found == []
    assert sum(answer.status_code == 200 for answer in answers) > 10


def test_readings_and_orders_in_each_of_their_forms_are_answered_as_the_document_says(
    system: System, document: dict[str, Any]
) -> None:
    reading = {"sensor_id": AIR, "at": bodies.INSTANT, "value": -21.5}
    order = {
        "channel": "web",
        "channel_order_id": "document-1",
        "ship_to": {"region": "GA", "lat": 33.75, "lon": -84.39},
        "lines": [{"line_no": 1, "product_id": ICE, "qty": 1}],
    }
    for path, body, status in (
        ("/api/v1/readings", reading, 200),
        ("/api/v1/readings", [reading], 200),
        ("/api/v1/orders", order, 200),
        ("/api/v1/orders", [order, {}], 207),
        ("/api/v1/orders", [{}], 422),
        ("/api/v1/orders", {}, 422),
    ):
        operation = document["paths"][path]["post"]
        answer = system.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert unlike(document, operation, answer) == []
        if status == 200:
            taken = operation["requestBody"]["content"][JSON]["schema"]
            assert list(faults(document, taken, body)) == []
