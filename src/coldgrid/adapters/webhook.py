"""Signed webhooks by the Standard Webhooks specification, sent to no address that is not meant.

Invariants
    W1  Every message carries `webhook-id` (the effect's key), `webhook-timestamp` and `webhook-signature`.
    W2  The connection goes to the very address that was checked: the name is resolved once, by us.
    W3  No address of a private, local or reserved network is contacted unless the setting allows it.
    W4  A redirect is not followed; it is a failure.

Specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import socket
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from hmac import new as hmac
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx
import msgspec

from coldgrid.kernel.outbox import Effect, Permanent, Receipt, Retryable

TIMEOUT_S = 15.0
REFUSED_FOR_GOOD = frozenset({400, 405, 410, 413, 415, 422})
Resolve = Callable[[str, int], list[str]]


def secret_bytes(secret: str) -> bytes:
    """The key in a `whsec_` secret.

    Raises:
        ValueError: it is not `whsec_` and base64 of 24 to 64 bytes.
    """
    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except NotBase64:
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ and base64 of 24 to 64 bytes")
    return key


def signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`: version 1, HMAC-SHA256 over id, timestamp and body."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return f"v1,{b64encode(hmac(key, signed, sha256).digest()).decode()}"


def resolve(host: str, port: int) -> list[str]:
    """Look a name up in the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Tell whether an address is one that strangers may have (W3)."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and (ip.ipv4_mapped or ip.sixtofour):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


class WebhookChannel:
    """Sends effects as signed JSON: payload `to` (the address) or `url`, `type`, `data`."""

    def __init__(
        self,
        secret: str,
        now: Callable[[], datetime],
        *,
        allow_private: bool = False,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = resolve,
    ) -> None:
        self._key = secret_bytes(secret)
        self._now = now
        self._allow_private = allow_private
        self._resolve = resolve
        # No proxy and no certificates from the environment: they would undo the check of the address.
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False, trust_env=False)

    def send(self, effect: Effect, key: str) -> Receipt:
        """Post a message.

        Raises:
            Permanent: the address may not be contacted, or the receiver refused this message for good.
            Retryable: the receiver is away or refused for now.
        """
        payload = effect.payload
        parts = self._checked(str(payload.get("url") or payload.get("to") or ""))
        now = self._now()
        about = {name: told for name, told in payload.items() if name not in {"to", "url", "type"}}
        told = {
            "type": payload.get("type", "page"),
            "timestamp": now.isoformat(),
            "data": payload.get("data", about),
        }
        body = msgspec.json.encode(told)
        timestamp_s = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "Coldgrid",
            "webhook-id": key,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(self._key, key, timestamp_s, body),
        }
        return _receipt(self._post(parts, headers, body))

    def _checked(self, url: str) -> SplitResult:
        parts = urlsplit(url)
        allowed = ("https", "http") if self._allow_private else ("https",)
        if parts.scheme not in allowed or not parts.hostname or parts.username or parts.password:
            raise Permanent("a webhook goes to an https address without a user in it")
        return parts

    def _post(self, parts: SplitResult, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Post to the address that the name has now, under the name (W2)."""
        host = parts.hostname or ""
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise Retryable(f"{host} has no address: {error}") from error
        except ValueError as error:
            raise Permanent(f"not an address: {error}") from error
        if not self._allow_private and not all(is_public(address) for address in addresses):
            raise Permanent(f"{host} is in a private network")
        address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        url = urlunsplit((parts.scheme, f"{address}:{port}", parts.path or "/", parts.query, ""))
        named = host if port in {80, 443} else f"{host}:{port}"
        try:
            request = self._client.build_request(
                "POST",
                url,
                content=body,
                headers={**headers, "host": named},
                extensions={"sni_hostname": host},
            )
            response = self._client.send(request, stream=True)
            response.close()  # what the receiver says is of no use to us, and might be endless
        except httpx.HTTPError as error:
            raise Retryable(f"{type(error).__name__}: {error}") from error
        return response

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _receipt(response: httpx.Response) -> Receipt:
    if response.is_success:
        return Receipt(f"HTTP {response.status_code}")
    if response.is_redirect or response.status_code in REFUSED_FOR_GOOD:
        raise Permanent(f"the receiver answered {response.status_code}")
    raise Retryable(f"the receiver answered {response.status_code}")
