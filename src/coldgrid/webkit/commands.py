"""From HTTP to the decider: `submit` for JSON, `submit_form` for pages, and one address for every command.

Invariants
    C1  Both roads decode with the same function, so the API and a form refuse the same input for
        the same reason.
    C2  An answer is sent after the durable commit, and names it: origin, epoch, seq and position.
    C3  A form works without JavaScript: refused, it shows again with its values; accepted, it
        redirects (303).
    C4  What a site's own node must decide is answered 202 with the request's id, and a page says «pending at
        SITE»: nothing is done yet.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, Router, post
from litestar.params import FromPath

from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.events import Command
from coldgrid.kernel.registry import command_types
from coldgrid.kernel.rejections import Forbidden, Invalid, NotFound, Problem, Rejected
from coldgrid.kernel.validation import decode_all, decode_raw
from coldgrid.webkit.api_document import KEY, KEY_MEANS, PENDING
from coldgrid.webkit.choices import malformed
from coldgrid.webkit.forms import Form, form_bytes, refused_form
from coldgrid.webkit.notices import Notice, leave
from coldgrid.webkit.problems import HTML, WrongMediaType, status_of
from coldgrid.webkit.values import check_values
from coldgrid.webkit.visitors import came_from, visitor_of

Req = Request[Any, Any, Any]
C = TypeVar("C", bound=Command)
KEY_LENGTH_MAX = 200
# A larger body takes some milliseconds to look through, in which other requests go on.
LARGE_BYTES = 65_536
INTEGER_MAX = 2**63 - 1
_LONG_NUMBER = re.compile(rb"[:\[,]\s*-?\d{19}")


class UnknownCommand(NotFound):
    """There is no such command."""

    todo = "The API page lists the commands of this release."


async def submit(request: Req, command_type: type[C], **fixed: Any) -> Response[bytes]:
    """Carry out a command sent as JSON, and answer with what it returned and where it was recorded.

    `Idempotency-Key` makes a retry safe. `fixed` values (from the path) must agree with the body or
    complete it.

    Raises:
        Rejected: what the command refuses; the app turns it into a problem document.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongMediaType(given=media_type, takes="application/json")
    body = await request.body()
    command = decode_all(_completed(body, fixed) if fixed else body, command_type)
    check_numbers(body)
    await asyncio.to_thread(check_names, body) if len(body) > LARGE_BYTES else check_names(body)
    return told(await run(request, command, key_of(request)))


def told(outcome: Any) -> Response[bytes]:
    """Return an outcome as JSON; 202 where it waits for another host (C4)."""
    return Response(
        msgspec.json.encode(outcome, enc_hook=str),
        media_type="application/json",
        status_code=202 if outcome.pending else 200,
    )


def check_numbers(body: bytes) -> None:
    """Refuse whole numbers that do not fit 64 bits: JSON and Python know them, no database does.

    Raises:
        Invalid: each such number with its place.
    """
    if _LONG_NUMBER.search(body):  # rarely: a long number, or text that looks like one
        problems = list(_too_long(decode_raw(body), ""))
        if problems:
            raise Invalid(problems)


def check_names(body: bytes) -> None:
    """Refuse an object that says a field twice: which of the two was meant nobody knows.

    Raises:
        Invalid: the first such field.
    """
    try:
        json.loads(body or b"{}", object_pairs_hook=_each_once)
    except _Twice as twice:
        problem = Problem(field=str(twice)[:128], message="is there twice", fix="keep one of them")
        raise Invalid([problem]) from None


class _Twice(Exception):
    """A name that an object has twice."""


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise _Twice(next(name for name in names if names.count(name) > 1))


def _too_long(raw: Any, path: str) -> Iterator[Problem]:
    if isinstance(raw, dict):
        for name, value in raw.items():
            yield from _too_long(value, f"{path}.{name}" if path else str(name))
    elif isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from _too_long(value, f"{path}[{index}]")
    elif isinstance(raw, int) and not -INTEGER_MAX - 1 <= raw <= INTEGER_MAX:
        yield Problem(field=path, message="is beyond 64 bits", fix="send a smaller number")


def _completed(body: bytes, fixed: dict[str, Any]) -> bytes:
    try:
        given = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body
    return msgspec.json.encode(given | fixed) if isinstance(given, dict) else body


def key_of(request: Req) -> str | None:
    """Return the `Idempotency-Key` header.

    Raises:
        Malformed: it is longer than `KEY_LENGTH_MAX`.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY_LENGTH_MAX:
        raise malformed(KEY, f"must have 1 to {KEY_LENGTH_MAX} characters", "send a UUID, or leave it out")
    return key


async def run(request: Req, command: Command, key: str | None = None) -> Any:
    """Submit a command as the visitor and wait for its durable commit (C2).

    Raises:
        Rejected: the command was refused.
    """
    check_values(command)
    principal = visitor_of(request).principal
    return await request.app.state.decider.ask(command, principal, key)


async def form_values(request: Req) -> dict[str, list[str]]:
    """Return a form's texts by name, in the order sent; uploads are left out."""
    values: dict[str, list[str]] = {}
    for name, value in (await request.form()).multi_items():
        if isinstance(value, str):
            values.setdefault(name, []).append(value)
    return values


async def submit_form(
    request: Req,
    command_type: type[C],
    *,
    then: str | Callable[[Any], str],
    said: str | Callable[[Any], str],
    again: Callable[[Form], Response[Any]] | None = None,
    **fixed: Any,
) -> Response[Any]:
    """Carry out a command sent as a form (C3).

    `then` is where to go and `said` what to tell, each also as a function of the outcome. `again` answers the
    page with the refused form; without it the refusal is told as a notice where the form came from.
    """
    values = await form_values(request)
    key = (values.get("_key") or [""])[-1][:KEY_LENGTH_MAX] or None
    try:
        body = form_bytes(values, command_type, **fixed)
        command = decode_all(body, command_type)
        check_numbers(body)
        outcome = await run(request, command, key)
    except Rejected as rejected:
        return _refused(request, rejected, values, again)
    if outcome.pending:
        return see_other(came_from(request), pending_text(outcome.pending), "warn")
    where = then(outcome) if callable(then) else then
    sentence = said(outcome) if callable(said) else said
    return see_other(where, sentence)


def pending_text(site_id: str) -> str:
    """Return what a page says of a command that waits for a site's own node (C4)."""
    return f"Pending at {site_id}: its node does this when it hears of it. See Requests for the answer."


def _refused(
    request: Req,
    rejected: Rejected,
    values: dict[str, list[str]],
    again: Callable[[Form], Response[Any]] | None,
) -> Response[Any]:
    form = refused_form(rejected, values, status_of(rejected))
    if again is not None:
        response = again(form)
        response.status_code = form.status
        return response
    if isinstance(rejected, Forbidden | NotFound):
        raise rejected
    sentence = form.title + "".join(f" {p.field}: {p.message}." for p in form.problems)
    return see_other(came_from(request), f"{sentence} {form.todo}".strip(), "crit")


def see_other(where: str, told: str = "", kind: str = "ok") -> Response[Any]:
    """Redirect after a form, with a notice for the next page."""
    response: Response[Any] = Response("", status_code=303, headers={"Location": where}, media_type=HTML)
    return leave(response, Notice(told, kind)) if told else response


@post(
    "/{name:str}",
    opt={
        "takes": dict[str, Any],
        "answers": Answer,
        "also": {202: (PENDING, Answer)},
        "headers": {KEY: KEY_MEANS},
    },
    status_code=200,
    summary="Carry out a command",
    operation_id="command",
)
async def any_command(request: Req, name: FromPath[str]) -> Response[bytes]:
    """Carry out the command with this wire name, such as `stock.place_hold`. Its fields are the JSON body."""
    command_type = command_types().get(name)
    if command_type is None:
        raise UnknownCommand(name=name)
    return await submit(request, command_type)


commands_router = Router("/api/v1/commands", route_handlers=[any_command], tags=["commands"])
