"""Orders over HTTP: intake one by one or many at once, and what became of them.

Every command of this room also has its address at /api/v1/commands/{name}. An order is idempotent by its
channel's id for it; an `Idempotency-Key` is not needed, and a retry after a lost answer is simply sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery

from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.rejections import Invalid, Problem, Rejected
from coldgrid.kernel.validation import TooLarge, decode_all
from coldgrid.orchestration.decisions import KeptDecision, alternatives_of
from coldgrid.orders.explain import sourcing_decisions
from coldgrid.orders.handling import CancelOrder, ReleaseOrder
from coldgrid.orders.intake import PlaceOrder
from coldgrid.orders.orders import Order, OrderStatus
from coldgrid.orders.resourcing import SourceAgain
from coldgrid.orders.whose import order_for, orders_for
from coldgrid.stock.promise_book import Promise
from coldgrid.stock.promises import promises_of
from coldgrid.webkit.api_document import KEY, KEY_MEANS
from coldgrid.webkit.commands import check_names, check_numbers, key_of, run, submit
from coldgrid.webkit.problems import WrongMediaType, document_of
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "orders.view"}
# What an order is and what became of it; the machines that place orders read theirs back.
FOLLOW = {"action": "orders.follow"}
LIMIT_MAX = 1_000
BATCH_MAX = 1_000
BATCH_MAX_BYTES = 4 * 1024 * 1024
LINES = "application/x-ndjson"
_PATH = "/api/v1/orders"


class LineAnswer(msgspec.Struct, omit_defaults=True):
    """What became of one order of a batch. `line` counts from 1; `problem` is a problem document."""

    line: int
    ok: bool
    order_id: str = ""
    result: Any = None
    problem: Any = None


class OrderDetail(msgspec.Struct, frozen=True):
    """An order with its promises. Personal data stays sealed."""

    order: Order
    promises: list[Promise]


def _json(value: Any, status: int = 200) -> Response[bytes]:
    return Response(
        msgspec.json.encode(value, enc_hook=str), media_type="application/json", status_code=status
    )


# --- Intake ---------------------------------------------------------------------


@post(
    "/",
    opt={
        "takes": {"application/json": PlaceOrder | list[PlaceOrder], LINES: str},
        "answers": Answer | list[LineAnswer],
        "also": {
            207: ("Of many, some were taken: a row for each.", list[LineAnswer]),
            422: (
                "Of many, none was taken: a row for each. Of one: what is wrong with it.",
                list[LineAnswer],
            ),
        },
        "headers": {KEY: KEY_MEANS},
    },
    status_code=200,
    request_max_body_size=BATCH_MAX_BYTES,
    summary="Place an order, or many",
)
async def place(request: Req) -> Response[bytes]:
    """Take an order: a JSON object. Take many: a JSON array, or one object per line (application/x-ndjson).

    One order answers what the command returned. Many answer a list with a row for each, 200 when all were
    taken, 207 when some were, 422 when none was: each order is taken whole or not at all, and none waits for
    another.
    """
    body = await request.body()
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type == LINES:
        return await _place_many(request, list(_lines(body)))
    if media_type != "application/json":
        raise WrongMediaType(given=media_type, takes=f"application/json, {LINES}")
    if body[:1] == b"[" or body.lstrip()[:1] == b"[":
        return await _place_many(request, list(enumerate(_items(body), start=1)))
    command = decode_all(body, PlaceOrder)
    check_numbers(body)
    check_names(body)
    return _json(await run(request, command, key_of(request) or _key(command)))


def _key(command: PlaceOrder) -> str:
    """The command log's key: a retry is answered from there, before anything else is looked at."""
    return f"order/{command.order_id}"


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip())


def _items(body: bytes) -> list[msgspec.Raw]:
    return decode_all(body, list[msgspec.Raw], size_max_bytes=BATCH_MAX_BYTES)


async def _place_many(request: Req, parts: list[tuple[int, Any]]) -> Response[bytes]:
    if not parts:
        raise Invalid([Problem(field="body", message="holds no order", fix="send at least one")])
    if len(parts) > BATCH_MAX:
        message = f"{len(parts)} orders are more than {BATCH_MAX}"
        raise TooLarge([Problem(field="body", message=message, fix="send smaller batches")])
    answers = await asyncio.gather(*(_place_one(request, number, bytes(part)) for number, part in parts))
    taken = sum(answer.ok for answer in answers)
    return _json(answers, 200 if taken == len(answers) else 207 if taken else 422)


async def _place_one(request: Req, number: int, part: bytes) -> LineAnswer:
    answer = LineAnswer(line=number, ok=False)
    try:
        command = decode_all(part, PlaceOrder)
        answer.order_id = command.order_id
        check_numbers(part)
        check_names(part)
        answer.result = await run(request, command, _key(command))
        answer.ok = True
    except Rejected as rejected:
        answer.problem = document_of(rejected, f"{_PATH}#{number}")
    return answer


# --- Other commands -------------------------------------------------------------


@post("/{order_id:str}/cancel", opt={"takes": CancelOrder}, status_code=200, summary="Cancel an order")
async def cancel(request: Req, order_id: FromPath[str]) -> Response[bytes]:
    """Give an order up, and its promises back."""
    return await submit(request, CancelOrder, order_id=order_id)


@post(
    "/{order_id:str}/release",
    opt={"takes": ReleaseOrder},
    status_code=200,
    summary="Release an order to its sites",
)
async def release(request: Req, order_id: FromPath[str]) -> Response[bytes]:
    """Let the sites begin to pick."""
    return await submit(request, ReleaseOrder, order_id=order_id)


@post(
    "/{order_id:str}/source-again",
    opt={"takes": SourceAgain},
    status_code=200,
    summary="Source an order again",
)
async def source_again(request: Req, order_id: FromPath[str]) -> Response[bytes]:
    """Look elsewhere for what the order can no longer count on."""
    return await submit(request, SourceAgain, order_id=order_id)


# --- Reads ----------------------------------------------------------------------


@get("/", opt=FOLLOW, sync_to_thread=True, summary="Orders, newest first")
def list_orders(
    request: Req,
    db: Db,
    status: FromQuery[OrderStatus | None] = None,
    unsourced: FromQuery[bool] = False,
    limit: FromQuery[int] = 100,
) -> list[Order]:
    """Return the newest orders: all, those in a status, or those with unsourced lines; at most `limit`."""
    if not 1 <= limit <= LIMIT_MAX:
        raise Invalid(
            [Problem(field="limit", message=f"must be between 1 and {LIMIT_MAX}", fix="ask for fewer")]
        )
    who = visitor_of(request).principal
    return orders_for(db, who.sites, channels=who.channels, status=status, unsourced=unsourced, limit=limit)


@get("/{order_id:str}", opt=FOLLOW, sync_to_thread=True, summary="One order")
def one_order(request: Req, db: Db, order_id: FromPath[str]) -> OrderDetail:
    """Return an order with its promises. Personal data stays sealed."""
    who = visitor_of(request).principal
    order = order_for(db, who.sites, order_id, who.channels)
    return OrderDetail(order, promises_of(db, order_id))


@get("/{order_id:str}/sourcing", opt=VIEW, sync_to_thread=True, summary="Why an order is sourced as it is")
def explained(request: Req, db: Db, order_id: FromPath[str]) -> list[dict[str, Any]]:
    """Return every sourcing decision of an order, oldest first, with the alternatives spelled out."""
    order_for(db, visitor_of(request).principal.sites, order_id)
    return [_explained(kept) for kept in sourcing_decisions(db, order_id)]


def _explained(kept: KeptDecision) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(kept)
    told["decision"]["alternatives"] = alternatives_of(kept.decision)
    return told


router = Router(
    _PATH,
    route_handlers=[place, cancel, release, source_again, list_orders, one_order, explained],
    tags=["orders"],
)
handlers = [router]
