"""Cross-site request forgery: every unsafe request of a browser proves that it came from one of our pages.

Invariants
    F1  A request that changes something carries its session's token, in the form (`_csrf`) or in
        `X-CSRF-Token`.
    F2  A browser that says the request comes from another site is refused, whatever it carries.
    F3  Only a request by API token is exempt: no browser attaches one by itself.
"""

from __future__ import annotations

import hmac
from typing import Any

from litestar import Request
from litestar.handlers.base import BaseRouteHandler

from coldgrid.kernel.rejections import Forbidden
from coldgrid.webkit.visitors import Connection, visitor_of

HEADER = "x-csrf-token"
FIELD = "_csrf"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class CsrfRefused(Forbidden):
    """The form is too old or did not come from this site; nothing was changed."""

    todo = "Go back to the page, look at what is filled in, and send it again."


async def check_csrf(connection: Connection, handler: BaseRouteHandler) -> None:
    """Litestar guard (F1-F3).

    Raises:
        CsrfRefused: the request cannot show that one of our pages sent it.
    """
    if not isinstance(connection, Request) or connection.method in SAFE:
        return
    visitor = visitor_of(connection)
    if visitor.by_token or handler.opt.get("by_machine"):
        return
    if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise CsrfRefused()
    given = connection.headers.get(HEADER) or await _field(connection)
    if not visitor.csrf or not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
        raise CsrfRefused()


async def _field(request: Request[Any, Any, Any]) -> str:
    if not request.headers.get("content-type", "").startswith(FORMS):
        return ""
    value = (await request.form()).get(FIELD, "")
    return value if isinstance(value, str) else ""
