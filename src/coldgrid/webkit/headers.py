"""Response headers that every answer carries: no inline script, no foreign address, no frame, no guessing.

Source: OWASP Secure Headers Project; W3C Content Security Policy Level 3.
"""

from __future__ import annotations

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
ALWAYS = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(self), geolocation=(), microphone=(), payment=(), usb=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")
# Refusals of what a body says: it was read to its end.
AFTER_THE_BODY = frozenset({409, 422})


async def add_headers(message: Message, scope: Scope) -> None:
    """Litestar `before_send` hook: set the headers, and HSTS where the request came over TLS.

    A refusal that may have come before the request's body was read says that the connection ends: the
    server does not read the rest, and a client that sent its next request there would get no answer.
    """
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in ALWAYS:
        headers[name] = value
    if scope.get("scheme") == "https":
        headers[TRANSPORT[0]] = TRANSPORT[1]
    if message["status"] >= 400 and message["status"] not in AFTER_THE_BODY and _has_body(scope):
        headers["Connection"] = "close"


def _has_body(scope: Scope) -> bool:
    sent = dict(scope["headers"])
    return b"transfer-encoding" in sent or sent.get(b"content-length", b"0") != b"0"
