"""SMS and calls through any HTTP gateway, described by templates in the settings.

A template is JSON, or a form (`To={to}&Body={text}`), with `{to}`, `{text}`, `{key}`, `{code}`, `{channel}`
and `{reply_url}` in it. Values are put in after the template was read: no text can break out of its place.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import msgspec

from coldgrid.kernel.outbox import Effect, Permanent, Receipt, Retryable

TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 65_536
PLACES = ("to", "text", "key", "code", "channel", "reply_url")
REFUSED_FOR_GOOD = frozenset({400, 404, 405, 413, 422})
_PLACE = re.compile(r"\{(\w+)\}")
_NUMBER = re.compile(r"\+[1-9]\d{7,14}")
# Under which names gateways give a message its number.
_REFERENCES = ("id", "sid", "message_id", "messageId", "uuid", "reference")


class Gateway(msgspec.Struct, frozen=True):
    """How a gateway is spoken to. `header`: `Name: value`; `reply_url`: where it posts what people answer."""

    url: str
    body: str
    header: str = ""
    reply_url: str = ""


class GatewayChannel:
    """Sends effects as text messages or calls: payload `to`, `text`, `code`.

    Raises:
        ValueError: a template is neither JSON nor a form, or names an unknown place.
    """

    def __init__(self, gateway: Gateway, timeout_s: float = TIMEOUT_S) -> None:
        self._gateway = gateway
        self._body = _template(gateway.body)
        self._is_json = gateway.body.lstrip().startswith("{")
        named = _PLACE.findall(gateway.url + msgspec.json.encode(self._body).decode())
        unknown = sorted(set(named) - set(PLACES))
        if unknown:
            raise ValueError(f"the gateway's template has unknown places: {', '.join(unknown)}")
        self._headers = _headers(gateway.header)
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False)

    def send(self, effect: Effect, key: str) -> Receipt:
        """Hand a message to the gateway, under the effect's key.

        Raises:
            Permanent: the number is none, or the gateway refused the message for good.
            Retryable: the gateway is away or refused for now.
        """
        values = {name: str(effect.payload.get(name, "")) for name in PLACES}
        values |= {"key": key, "channel": effect.channel, "reply_url": self._gateway.reply_url}
        if not _NUMBER.fullmatch(values["to"]):
            raise Permanent("the number is not in international form")
        url = _PLACE.sub(lambda match: quote(values[match[1]], safe=""), self._gateway.url)
        body = _filled(self._body, values)
        headers = {**self._headers, "idempotency-key": key}
        try:
            if self._is_json:
                response = self._client.post(url, json=body, headers=headers)
            else:
                response = self._client.post(url, data=body, headers=headers)
        except httpx.HTTPError as error:
            raise Retryable(f"{type(error).__name__}: {error}") from error
        if response.is_success:
            return Receipt(_reference(response))
        if response.status_code in REFUSED_FOR_GOOD:
            raise Permanent(f"the gateway answered {response.status_code}")
        raise Retryable(f"the gateway answered {response.status_code}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _template(body: str) -> Any:
    if body.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise ValueError(f"the gateway's template is not JSON: {error}") from error
    return dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))


def _headers(header: str) -> dict[str, str]:
    name, _, value = header.partition(":")
    if header and not (name.strip() and value.strip()):
        raise ValueError("the gateway's header is Name: value")
    return {name.strip(): value.strip()} if header else {}


def _filled(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, dict):
        return {name: _filled(inner, values) for name, inner in template.items()}
    if isinstance(template, list):
        return [_filled(inner, values) for inner in template]
    if isinstance(template, str):
        return _PLACE.sub(lambda match: values[match[1]], template)
    return template


def _reference(response: httpx.Response) -> str:
    """The gateway's own number of the message, where it gives one."""
    try:
        told = msgspec.json.decode(response.content[:ANSWER_BYTES_MAX])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"HTTP {response.status_code}"
    found = next((told[name] for name in _REFERENCES if isinstance(told, dict) and told.get(name)), "")
    return str(found)[:100] or f"HTTP {response.status_code}"
