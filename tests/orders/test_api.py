"""Orders over HTTP: what is taken, what is refused and how precisely, one by one and in batches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.orders.served import Client, Served
from tests.orders.world import ICE, OTHER, SITE

HUGE = 10**30


def body(number: int = 1, qty: Any = 10, **fields: Any) -> dict[str, Any]:
    raw = {
        "channel": "web",
        "channel_order_id": str(number),
        "customer": {"name": "Ann Example", "email": "ann@example.com"},
        "ship_to": {"region": "GA", "lat": 33.75, "lon": -84.39},
        "lines": [{"line_no": 1, "product_id": ICE, "qty": qty}],
    }
    return {**raw, **fields}


def test_an_order_is_placed_explained_and_cancelled(client: Client) -> None:
    placed = client.post("/api/v1/orders", json=body())
    assert placed.status_code == 200
    assert placed.json()["result"]["sites"] == {SITE: 1}
    assert placed.json()["seq"] >= 0
    found = client.get("/api/v1/orders/web-1", headers={"x-as": "cara"}).json()
    assert found["order"]["status"] == "open"
    assert "Ann" not in json.dumps(found)
    (decision,) = client.get("/api/v1/orders/web-1/sourcing", headers={"x-as": "cara"}).json()
    assert [(row["name"], row["why"]) for row in decision["decision"]["alternatives"]] == [
        (SITE, "chosen"),
        (OTHER, "could only score higher than the choice"),
    ]
    assert client.post("/api/v1/orders/web-1/cancel", json={"reason": "twice"}).status_code == 200
    ended = client.post("/api/v1/orders/web-1/cancel", json={"reason": "twice"})
    assert (ended.status_code, ended.json()["code"]) == (409, "order_ended")


def test_the_same_order_is_answered_the_same_and_another_is_refused(client: Client) -> None:
    first = client.post("/api/v1/orders", json=body()).json()
    again = client.post("/api/v1/orders", json=body()).json()
    assert again["result"] == first["result"]
    assert again["replayed"]
    keyed = client.post("/api/v1/orders", json=body(), headers={"idempotency-key": "another"}).json()
    assert keyed["result"] == first["result"]
    for headers in ({}, {"idempotency-key": "yet-another"}):
        other = client.post("/api/v1/orders", json=body(qty=11), headers=headers)
        assert other.status_code == 409
        assert other.json()["code"] in {"key_reused", "order_differs"}


@pytest.mark.parametrize(
    ("raw", "status", "field"),
    [
        (b"", 422, ""),
        (b"{", 422, ""),
        (b"\xff\xfe", 422, ""),
        (b'{"channel": "\xff"}', 422, ""),
        (b"nul", 422, ""),
        (b'"text"', 422, ""),
        (b"[" * 100_000, 422, ""),
        (b'{"a":' * 100_000, 422, ""),
        (b'{"channel": NaN}', 422, ""),
        (json.dumps(body(qty=float("nan"))).encode(), 422, ""),
        (json.dumps(body(qty=float("inf"))).encode(), 422, ""),
        (json.dumps(body(qty=-1)).encode(), 422, "lines[0].qty"),
        (json.dumps(body(qty=0)).encode(), 422, "lines[0].qty"),
        (json.dumps(body(qty=1.5)).encode(), 422, "lines[0].qty"),
        (json.dumps(body(qty="10")).encode(), 422, "lines[0].qty"),
        (json.dumps(body(qty="10 kg")).encode(), 422, "lines[0].qty"),
        (json.dumps(body(qty=HUGE)).encode(), 422, "lines[0].qty"),
        (json.dumps(body(lines=[])).encode(), 422, "lines"),
        (
            json.dumps(
                body(lines=[{"line_no": i + 1, "product_id": f"P{i}", "qty": 1} for i in range(201)])
            ).encode(),
            422,
            "lines",
        ),
        (
            json.dumps(body(lines=[{"line_no": 1, "product_id": "NO-SUCH-1", "qty": 1}])).encode(),
            422,
            "lines[0].product_id",
        ),
        (
            json.dumps(body(lines=[{"line_no": 1, "product_id": ICE, "qty": 1}] * 2)).encode(),
            422,
            "lines[1].line_no",
        ),
        (json.dumps(body(channel="Web Shop")).encode(), 422, "channel"),
        (json.dumps(body(channel="web\n")).encode(), 422, "channel"),
        (json.dumps(body(channel_order_id="")).encode(), 422, "channel_order_id"),
        (json.dumps(body(channel_order_id="x" * 65)).encode(), 422, "channel_order_id"),
        (json.dumps(body(ship_to={"region": "GA", "lat": 91, "lon": 0})).encode(), 422, "ship_to.lat"),
        (json.dumps(body(ship_to={"region": "GA", "lat": 1e400, "lon": 0})).encode(), 422, ""),
        (json.dumps(body(promise_by="2026-03-01T08:00:00")).encode(), 422, "promise_by"),
        (json.dumps(body(promise_by="tomorrow")).encode(), 422, "promise_by"),
        (json.dumps(body(customer={"email": "not an address"})).encode(), 422, "customer.email"),
        (json.dumps(body(customer={"name": "x" * 201})).encode(), 422, "customer.name"),
        (json.dumps(body(colour="blue")).encode(), 422, "colour"),
        (json.dumps(body(never_older=True)).encode(), 422, "customer_id"),
        (b" " * (4 * 1024 * 1024 + 1), 413, ""),
    ],
)
def test_bad_input_is_refused_precisely_and_nothing_is_stored(
    served: Served, client: Client, raw: bytes, status: int, field: str
) -> None:
    before = len(served.kernel.events())
    answer = client.post("/api/v1/orders", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["code"]
    if field:
        assert field in [one["field"] for one in problem["problems"]], problem
    assert len(served.kernel.events()) == before


def test_another_media_type_is_refused(client: Client) -> None:
    answer = client.post("/api/v1/orders", content=b"a=1", headers={"content-type": "text/csv"})
    assert answer.status_code == 415


class TestBatches:
    def test_an_array_answers_row_by_row(self, client: Client) -> None:
        answer = client.post("/api/v1/orders", json=[body(1), body(2), body(1)])
        assert answer.status_code == 200
        assert [(row["line"], row["ok"], row["order_id"]) for row in answer.json()] == [
            (1, True, "web-1"),
            (2, True, "web-2"),
            (3, True, "web-1"),
        ]

    def test_lines_with_errors_are_told_and_the_others_are_taken(
        self, served: Served, client: Client
    ) -> None:
        lines = [json.dumps(body(1)).encode(), b"{broken", json.dumps(body(3, qty=-1)).encode(), b""]
        lines += [json.dumps(body(1, qty=7)).encode(), json.dumps(body(6)).encode(), b"\xff"]
        answer = client.post(
            "/api/v1/orders", content=b"\n".join(lines), headers={"content-type": "application/x-ndjson"}
        )
        assert answer.status_code == 207
        rows = answer.json()
        assert [(row["line"], row["ok"]) for row in rows] == [
            (1, True),
            (2, False),
            (3, False),
            (5, False),
            (6, True),
            (7, False),
        ]
        assert rows[2]["problem"]["problems"][0]["field"] == "lines[0].qty"
        assert rows[3]["problem"]["code"] == "key_reused"
        placed = [
            event.order_id for _, event in served.kernel.events() if type(event).__name__ == "OrderPlaced"
        ]
        assert placed == ["web-1", "web-6"]

    def test_a_batch_of_which_nothing_was_taken_is_refused(self, client: Client) -> None:
        assert client.post("/api/v1/orders", json=[body(qty=0)]).status_code == 422
        assert client.post("/api/v1/orders", json=[]).status_code == 422
        assert client.post("/api/v1/orders", json=[{}] * 1001).status_code == 413


def test_orders_are_listed_by_what_is_wrong_with_them(client: Client) -> None:
    client.post("/api/v1/orders", json=[body(1), body(2, qty=500)])
    care = {"x-as": "cara"}
    listed = client.get("/api/v1/orders", headers=care).json()
    assert sorted(order["order_id"] for order in listed) == ["web-1", "web-2"]
    lost = client.get("/api/v1/orders?unsourced=true", headers=care).json()
    assert [(order["order_id"], order["unsourced"][0]["reason"]) for order in lost] == [("web-2", "s.few")]
    assert client.get("/api/v1/orders?status=canceled", headers=care).json() == []
    assert client.get("/api/v1/orders?limit=0", headers=care).status_code == 422
    assert client.get("/api/v1/orders/none", headers=care).status_code == 404


def test_who_may_not_place_or_read_orders_is_refused(client: Client) -> None:
    assert client.post("/api/v1/orders", json=body(), headers={"x-as": "otto"}).status_code == 403


def test_a_machine_reads_back_the_orders_of_its_channels_and_no_others(client: Client) -> None:
    # `_` is a letter of a channel's name, and in a pattern of the database it would be any letter.
    for channel in ("web", "we_", "web_b2b", "shop"):
        assert client.post("/api/v1/orders", json=body(1, 1, channel=channel)).status_code == 200
    own = {"x-as": "web_only"}
    assert [one["order_id"] for one in client.get("/api/v1/orders", headers=own).json()] == ["web-1"]
    assert client.get("/api/v1/orders/web-1", headers=own).json()["promises"]
    assert {one["order_id"] for one in client.get("/api/v1/orders").json()} == {
        f"{channel}-1" for channel in ("web", "we_", "web_b2b", "shop")
    }, "a token without channels may place for all, and reads all"
    for there_is_none in (
        client.get("/api/v1/orders/shop-1", headers=own),
        client.post("/api/v1/orders/shop-1/cancel", json={"reason": "mine"}, headers=own),
    ):
        assert (there_is_none.status_code, there_is_none.json()["code"]) == (404, "order_not_found")
    other = client.post("/api/v1/orders", json=body(2, 1, channel="shop"), headers=own)
    assert (other.status_code, other.json()["code"]) == (403, "other_channel")
    assert client.get("/api/v1/orders/web-1/sourcing", headers=own).status_code == 403
    assert client.get("/api/v1/events", headers=own).status_code == 403
    assert client.get("/orders", headers=own).status_code == 403
