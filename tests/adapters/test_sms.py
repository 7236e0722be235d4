"""Text messages and calls through a templated gateway, against a real HTTP server."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from coldgrid.adapters.sms import Gateway, GatewayChannel
from coldgrid.kernel.outbox import Effect, Permanent, Retryable
from tests.adapters.servers import Request, http_server
from tests.ports import free_port

JSON_BODY = '{"to": "{to}", "message": {"text": "{text}"}, "kind": "{channel}", "callback": "{reply_url}"}'


def text(channel: str = "sms", **payload: Any) -> Effect:
    told = {"to": "+14045550101", "text": 'He said "come", \\ now', "code": "4KQ7R", **payload}
    return Effect(channel=channel, key="page-1", payload=told)


def gateway(port: int, body: str = JSON_BODY, path: str = "/send", header: str = "") -> GatewayChannel:
    url = f"http://127.0.0.1:{port}{path}"
    return GatewayChannel(Gateway(url, body, header, "https://cold.example/replies/t"), timeout_s=2)


def taken(request: Request) -> tuple[int, dict[str, str], bytes]:
    return 201, {}, b'{"sid": "SM42"}'


def test_a_json_gateway() -> None:
    with http_server(taken) as (port, requests):
        receipt = gateway(port, header="Authorization: Bearer s3cret").send(text("voice"), "page-1")
    assert receipt.reference == "SM42"
    assert msgspec.json.decode(requests[0].body) == {
        "to": "+14045550101",
        "message": {"text": 'He said "come", \\ now'},
        "kind": "voice",
        "callback": "https://cold.example/replies/t",
    }
    assert requests[0].headers["authorization"] == "Bearer s3cret"
    assert requests[0].headers["idempotency-key"] == "page-1"


def test_a_form_gateway_with_the_number_in_its_address() -> None:
    with http_server(lambda request: (200, {}, b"queued")) as (port, requests):
        channel = gateway(port, "To={to}&Body={text}&From=%2B14045559999", "/v1/{to}/messages")
        receipt = channel.send(text(text="Come & see = now"), "page-1")
    assert receipt.reference == "HTTP 200"
    assert requests[0].path == "/v1/%2B14045550101/messages"
    assert parse_qs(requests[0].body.decode()) == {
        "To": ["+14045550101"],
        "Body": ["Come & see = now"],
        "From": ["+14045559999"],
    }


def test_no_text_breaks_out_of_its_place() -> None:
    with http_server(taken) as (port, requests):
        gateway(port).send(text(text='", "to": "+19005550000'), "page-1")
        gateway(port, "To={to}&Body={text}").send(text(text="&To=+19005550000"), "page-1")
    assert msgspec.json.decode(requests[0].body)["to"] == "+14045550101"
    assert parse_qs(requests[1].body.decode())["To"] == ["+14045550101"]


@pytest.mark.parametrize("to", ["", "4045550101", "+1 404 555", "+14045550101;+1900", "javascript:"])
def test_what_is_no_number_is_not_sent(to: str) -> None:
    with http_server(taken) as (port, requests), pytest.raises(Permanent, match="number"):
        gateway(port).send(text(to=to), "page-1")
    assert requests == []


@pytest.mark.parametrize(
    ("status", "error"), [(400, Permanent), (422, Permanent), (401, Retryable), (503, Retryable)]
)
def test_what_a_gateway_may_answer(status: int, error: type[Exception]) -> None:
    with http_server(lambda request: (status, {}, b"")) as (port, _), pytest.raises(error, match=str(status)):
        gateway(port).send(text(), "page-1")


def test_a_gateway_that_is_away_is_tried_again() -> None:
    with pytest.raises(Retryable):
        gateway(free_port()).send(text(), "page-1")


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        ('{"to": ', "", "not JSON"),
        ('{"to": "{phone}"}', "", "unknown places: phone"),
        ("nothing", "", "bad query field"),
        (JSON_BODY, "no colon", "Name: value"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_the_start(body: str, header: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatewayChannel(Gateway("http://127.0.0.1/", body, header))
