"""Why the tower was not reached, in words for who runs a node: what a library says of it helps nobody."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

REPLACED = (
    "has no certificate of the authority that this node knows. If that was replaced while this node was "
    "away, make a code on the node's page at the tower and join again."
)


def why_unreached(address: str, error: Exception) -> str:
    """Say why nobody answered; where another authority certifies there, what to do about it."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{address} {REPLACED}"
    causes = list(_causes(error))
    if any(isinstance(one, ConnectionRefusedError) for one in causes):
        return f"nobody listens at {address}"
    if any(isinstance(one, socket.gaierror) for one in causes):
        return f"the name in {address} is not known here"
    if any(isinstance(one, httpx.TimeoutException) for one in causes):
        return f"{address} did not answer in time"
    if any(isinstance(one, _BROKEN) for one in causes):
        return f"the line to {address} broke off before an answer came"
    return f"{address}: {error or type(error).__name__}"


_BROKEN = (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError, httpx.RemoteProtocolError)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
