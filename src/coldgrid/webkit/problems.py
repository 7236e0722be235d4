"""Refusals over HTTP: one table from rejections to status codes, a document for machines, a page for people.

The document is RFC 9457 `application/problem+json` with the members `code` (stable), `todo` (what to do),
`facts`, and `problems` where several fields are wrong. Nothing here depends on which room refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.routes import HTTPRoute

from coldgrid.kernel import rejections as r
from coldgrid.kernel import validation
from coldgrid.kernel.rejections import Problem, Rejected
from coldgrid.kernel.requests import DecidedElsewhere, NotKeptForLater
from coldgrid.webkit.choices import Malformed, unknown_word, words_of
from coldgrid.webkit.csrf import CsrfRefused
from coldgrid.webkit.notices import Notice, leave
from coldgrid.webkit.visitors import NotSignedIn, TokenRefused, came_from, login_address, visitor_of

PROBLEM_JSON = "application/problem+json"
HTML = "text/html"
# Looked up along the class's ancestors, nearest first: a room's rejection takes its kernel class's status.
STATUS: dict[type[Rejected], int] = {
    NotSignedIn: 401,
    r.Conflict: 409,
    r.Forbidden: 403,
    r.Invalid: 422,
    r.KeyReused: 409,
    r.NotFound: 404,
    r.StorageFull: 507,
    r.Unavailable: 503,
    r.InternalFault: 500,
    DecidedElsewhere: 421,
    NotKeptForLater: 421,
    Rejected: 409,
}
RETRY_AFTER_S = "5"
NOT_SENT = "You were signed out before this came: nothing of it was done. Sign in, then send it again."
ACCOUNT = "/account"
NO_ROLES = (
    "No other page opens yet: choose a password of your own first. Have you one, ask an admin for a role."
)
Req = Request[Any, Any, Any]
_log = structlog.get_logger(__name__)


class BodyTooLarge(Rejected):
    """The request's body is larger than this address takes."""

    todo = "Send less at once."


class WrongMediaType(Rejected):
    """This address does not take what the request says its body is."""

    todo = "Send what `takes` names, and say so in Content-Type."


class TooMany(Rejected):
    """Too many requests; wait before the next one."""


STATUS |= {BodyTooLarge: 413, validation.TooLarge: 413, Malformed: 400, WrongMediaType: 415, TooMany: 429}


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457) with this product's members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str
    todo: str = ""
    facts: dict[str, Any] = {}
    problems: tuple[Problem, ...] = ()


def status_of(rejected: Rejected) -> int:
    """Return the HTTP status of a rejection: that of its nearest ancestor in the table."""
    return next(STATUS[cls] for cls in type(rejected).__mro__ if cls in STATUS)


def document_of(rejected: Rejected, instance: str) -> Document:
    """Return the problem document of a rejection."""
    status = status_of(rejected)
    return Document(
        type=f"urn:coldgrid:problem:{rejected.code}",
        title=rejected.title,
        status=status,
        detail=str(rejected),
        code=rejected.code,
        instance=instance,
        todo=rejected.todo,
        facts={name: _plain(value) for name, value in rejected.facts.items()},
        problems=getattr(rejected, "problems", ()),
    )


def _plain(value: object) -> Any:
    """Facts are whatever the rule had at hand: what JSON cannot say is said as text."""
    return msgspec.to_builtins(value, enc_hook=str)


def wants_page(request: Req) -> bool:
    """Tell whether the answer is for a person: a page was asked for, and not of the API."""
    return not request.scope["path"].startswith("/api/") and "text/html" in request.headers.get("accept", "")


def refuse(request: Req, rejected: Rejected) -> Response[Any]:
    """Litestar exception handler: answer a rejection as a page or as a problem document."""
    document = document_of(rejected, request.scope["path"])
    headers = _headers(rejected, document)
    from_script = request.headers.get("hx-request") == "true"
    if isinstance(rejected, NotSignedIn) and (wants_page(request) or from_script):
        return _to_sign_in(request, from_script)
    if isinstance(rejected, CsrfRefused) and request.scope["path"] == "/login" and wants_page(request):
        return _to_a_fresh_login(request)
    if isinstance(rejected, r.Forbidden) and _without_roles(request):
        return leave(Response("", status_code=303, headers={"Location": ACCOUNT}), Notice(NO_ROLES, "warn"))
    if from_script:
        text = render(request, "webkit/_refusal.html", document=document)
        headers |= {"HX-Retarget": "#notices", "HX-Reswap": "innerHTML"}
        return Response(text, status_code=document.status, media_type=HTML, headers=headers)
    if wants_page(request):
        text = render(
            request,
            "webkit/problem.html",
            document=document,
            title=title_of(document.status),
            todo=todo_of(document.status),
            back="" if request.method == "GET" else came_from(request),
        )
        return Response(text, status_code=document.status, media_type=HTML, headers=headers)
    body = msgspec.json.encode(document)
    return Response(body, status_code=document.status, media_type=PROBLEM_JSON, headers=headers)


def _to_sign_in(request: Req, from_script: bool) -> Response[Any]:
    """Send a stranger to sign in and back; whoever sent something is told that it was not done."""
    name, code = ("HX-Redirect", 401) if from_script else ("Location", 303)
    headers = {name: login_address(request), "Cache-Control": "no-store"}
    response: Response[Any] = Response("", status_code=code, headers=headers, media_type=HTML)
    if request.method == "GET":
        return response
    if request.scope["path"] == "/logout":
        response.headers[name] = "/login"
        return leave(response, Notice("You are signed out."))
    return leave(response, Notice(NOT_SENT, "warn"))


def _without_roles(request: Req) -> bool:
    """Tell whether somebody opens a page who may open their own alone: with a first password, or new."""
    visitor = visitor_of(request)
    nothing = visitor.known and not visitor.roles and not visitor.by_token
    return nothing and request.method == "GET" and wants_page(request) and request.scope["path"] != ACCOUNT


def _to_a_fresh_login(request: Req) -> Response[Any]:
    """Show the form anew to whoever sent one that was open for longer than its visit; it has their way on."""
    before = came_from(request)
    where = before if before.partition("?")[0] == "/login" else "/login"
    headers = {"Location": where, "Cache-Control": "no-store"}
    response: Response[Any] = Response("", status_code=303, headers=headers, media_type=HTML)
    return leave(response, Notice("This page was open for too long. Sign in again.", "warn"))


def render(request: Req, template: str, **context: Any) -> str:
    """Render through the app's shell (set by the app factory, which avoids an import cycle)."""
    text: str = request.app.state.render(request, template, context)
    return text


def title_of(status: int) -> str:
    """Return what a status means, for a page's heading."""
    said = {
        403: "Not allowed",
        404: "Not found",
        409: "Not possible now",
        421: "Not decided here",
        422: "Please check the input",
    }
    return said.get(status) or HTTPStatus(status).phrase


def todo_of(status: int) -> str:
    """Return what a person does about a refusal whose rule does not say it better."""
    said = {
        400: "Go back to the page you came from and try again.",
        403: "Ask an admin of your network whether your role should allow it.",
        404: "Check the address, or search for the order, lot, label or site by its number.",
        405: "Go back to the page you came from and use its buttons.",
        409: "Go back, look at how it stands now, and decide again.",
        413: "Send less at once.",
        421: "Do this where it is decided: at the site's own node, or on the tower's pages.",
        422: "Go back and correct what is named here.",
        429: "Wait a minute, then try again.",
        503: "Wait a moment, then try again; nothing you sent was lost.",
        507: "Nothing was recorded. Tell whoever runs this server that its disk is full.",
    }
    return said.get(status, "Try again; if it happens again, tell whoever runs this server when it happened.")


def _headers(rejected: Rejected, document: Document) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if document.status in (429, 503, 507):
        headers["Retry-After"] = str(rejected.facts.get("retry_after_s", RETRY_AFTER_S))
    if document.status == 401:
        why = ', error="invalid_token"' if isinstance(rejected, TokenRefused) else ""  # RFC 6750, 3.1
        headers["WWW-Authenticate"] = f'Bearer realm="coldgrid"{why}'
    return headers


class PageNotFound(r.NotFound):
    """There is nothing at this address."""


class RequestFailed(r.InternalFault):
    """Something failed on our side; it was logged."""

    todo = "Try again; if it happens again, tell the operator of this service when it happened."


_MISSING = re.compile(r"Missing required \w+ parameter '([\w-]{1,64})'")


class MethodNotAllowed(Rejected):
    """This address does not take that method."""


STATUS[MethodNotAllowed] = 405


def refuse_http(request: Req, error: HTTPException) -> Response[Any]:
    """Litestar exception handler: its own refusals (routing, parameters, size) take the same forms."""
    rejected: Rejected
    if isinstance(error, RequestEntityTooLarge):
        rejected = BodyTooLarge(limit_bytes=request.route_handler.resolve_request_max_body_size())
    elif error.status_code == 404:
        rejected = PageNotFound(path=request.scope["path"])
    elif error.status_code == 405:
        if request.method == "GET" and wants_page(request) and (above := _page_above(request)):
            return Response("", status_code=303, headers={"Location": above, "Cache-Control": "no-store"})
        rejected = MethodNotAllowed(method=request.scope["method"])
    elif error.status_code >= 500:
        return refuse_fault(request, error)
    else:
        rejected = _malformed(request, error)
    return refuse(request, rejected)


def _page_above(request: Req) -> str:
    """Return the nearest page above an address that only forms go to; "" where there is none.

    A refused form is shown at such an address: whoever opens it anew, or signs in to go on there, looks for
    the page that the form is on.
    """
    parts = [part for part in request.scope["path"].split("/") if part]
    shown = [
        route.path_components
        for route in request.app.routes
        if isinstance(route, HTTPRoute) and "GET" in route.methods
    ]
    for count in range(len(parts) - 1, 0, -1):
        above = parts[:count]
        if any(_fits(components, above) for components in shown):
            return "/" + "/".join(quote(part, safe="") for part in above)
    return ""


def _fits(components: Sequence[object], parts: Sequence[str]) -> bool:
    pairs = zip(components, parts, strict=False)
    return len(components) == len(parts) and all(
        one == part or not isinstance(one, str) for one, part in pairs
    )


def _malformed(request: Req, error: HTTPException) -> Malformed:
    """Say which parameters of the address are wrong, in words of ours."""
    told = [one for one in error.extra if isinstance(one, dict)] if isinstance(error.extra, list) else []
    problems = [_of_parameter(request, str(one.get("key", "")), str(one.get("message", ""))) for one in told]
    if missing := _MISSING.search(error.detail):
        name = missing[1]
        problems = [Problem(field=name, message="is missing", fix=f"add {name}=… to the address")]
    if not problems:
        return Malformed(detail=error.detail)
    rejected = Malformed(parameters=", ".join(problem.field for problem in problems))
    rejected.problems = tuple(problems)
    return rejected


def _of_parameter(request: Req, name: str, message: str) -> Problem:
    parameter = request.route_handler.parsed_fn_signature.parameters.get(name)
    words = words_of(parameter.annotation) if parameter is not None else []
    value = request.query_params.get(name, "")
    if words and value not in words:
        return unknown_word(name, value, words)
    return Problem(field=name, message=message, fix="correct it in the address")


def refuse_fault(request: Req, error: Exception) -> Response[Any]:
    """Litestar exception handler: a fault of ours is logged in full and told without its insides.

    A number that no database holds is no fault of ours: an address may say one where a place is counted.
    """
    if isinstance(error, OverflowError):
        rejected = Malformed(detail="a number is beyond 64 bits")
        rejected.problems = (
            Problem(field="address", message="a number is beyond 64 bits", fix="send a smaller one"),
        )
        return refuse(request, rejected)
    _log.error("request failed", path=request.scope["path"], exc_info=error)
    return refuse(request, RequestFailed())
