"""Signed webhooks to a real HTTP server, and to places where they must never go."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldgrid.adapters.webhook import WebhookChannel, is_public, secret_bytes, signature
from coldgrid.kernel.outbox import Effect, Permanent, Retryable
from tests.adapters.servers import Request, http_server
from tests.conftest import T0
from tests.ports import free_port

SECRET = "whsec_" + b64encode(b"k" * 32).decode()


def hook(url: str, **payload: Any) -> Effect:
    return Effect(channel="webhook", key="page-1", payload={"to": url, "incident_id": "i1", **payload})


def channel(**options: Any) -> WebhookChannel:
    return WebhookChannel(SECRET, lambda: T0, timeout_s=2, **options)


def ok(request: Request) -> tuple[int, dict[str, str], bytes]:
    return 204, {}, b""


def test_the_signature_of_the_specifications_own_example() -> None:
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", "whsec_" + b64encode(b"short").decode(), "abc"])
def test_a_secret_has_the_form_of_one(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        secret_bytes(secret)


def test_a_receiver_can_check_what_it_got() -> None:
    with http_server(ok) as (port, requests):
        receipt = channel(allow_private=True).send(hook(f"http://127.0.0.1:{port}/in?a=1"), "page-1")
    [request] = requests
    assert receipt.reference == "HTTP 204"
    assert request.path == "/in?a=1"
    assert request.headers["webhook-id"] == "page-1"
    assert request.headers["webhook-timestamp"] == str(int(T0.timestamp()))
    version, _, told = request.headers["webhook-signature"].partition(",")
    signed = f"page-1.{int(T0.timestamp())}.".encode() + request.body
    assert (version, b64decode(told)) == ("v1", hmac(b"k" * 32, signed, sha256).digest())
    assert msgspec.json.decode(request.body) == {
        "type": "page",
        "timestamp": T0.isoformat(),
        "data": {"incident_id": "i1"},
    }


def test_the_documented_receiver_takes_what_we_sign_and_nothing_else() -> None:
    printed = (Path(__file__).parents[2] / "docs/notifications.md").read_text()
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(printed.split("```python\n")[1].split("```")[0], names)
    verified = names["verified"]
    with http_server(ok) as (port, requests):
        channel(allow_private=True).send(hook(f"http://127.0.0.1:{port}/in"), "page-1")
    [request] = requests
    secret, now_s = f"whsec_{b64encode(b'k' * 32).decode()}", T0.timestamp()
    assert verified(request.headers, request.body, secret, now_s)
    assert not verified(request.headers, request.body + b" ", secret, now_s)
    assert not verified({**request.headers, "webhook-id": "page-2"}, request.body, secret, now_s)
    assert not verified(request.headers, request.body, secret, now_s + 301)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (410, Permanent),
        (400, Permanent),
        (302, Permanent),
        (500, Retryable),
        (503, Retryable),
        (429, Retryable),
        (401, Retryable),
    ],
)
def test_what_a_receiver_may_answer(status: int, error: type[Exception]) -> None:
    answer = (status, {"location": "http://127.0.0.1/x"}, b"")
    with http_server(lambda request: answer) as (port, requests), pytest.raises(error, match=str(status)):
        channel(allow_private=True).send(hook(f"http://127.0.0.1:{port}/"), "page-1")
    assert len(requests) == 1  # no redirect is followed


def test_a_receiver_that_is_away_is_tried_again() -> None:
    with pytest.raises(Retryable):
        channel(allow_private=True).send(hook(f"http://127.0.0.1:{free_port()}/"), "page-1")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "2002:0a00:0001::",
    ],
)
def test_private_addresses_are_not_contacted(address: str) -> None:
    assert not is_public(address)
    sneaky = channel(resolve=lambda host, port: ["93.184.215.14", address])
    with pytest.raises(Permanent, match="private"):
        sneaky.send(hook("https://looks-harmless.example/"), "page-1")


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "ftp://example.com/", "https://", "https://user:pw@example.com/", "", "x"]
)
def test_only_https_without_a_user(url: str) -> None:
    with pytest.raises(Permanent):
        channel(resolve=lambda host, port: ["93.184.215.14"]).send(hook(url), "page-1")


def test_the_checked_address_is_the_one_that_is_contacted() -> None:
    """A name that answers differently the second time (DNS rebinding) changes nothing."""
    looked_up: list[str] = []

    def once(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    with http_server(ok) as (port, requests):
        channel(allow_private=True, resolve=once).send(hook(f"http://hooks.example:{port}/"), "page-1")
    assert looked_up == ["hooks.example"]
    assert requests[0].headers["host"] == f"hooks.example:{port}"


def test_a_name_without_an_address_is_tried_again() -> None:
    def nothing(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Retryable, match="no address"):
        channel(resolve=nothing).send(hook("https://nowhere.example/"), "page-1")
