"""Intake: a customer's order is checked, promised and sourced in one breath, once.

Invariants
    N1  The order and its promises are one commit: no goods are promised without an order, no order is taken
        whose lines are neither promised nor named as unsourceable.
    N2  All that is wrong with an order is told at once, and nothing of it is stored.
    N3  The same order again, from whoever, is answered with the order as it stands (O1).
"""

from __future__ import annotations

from datetime import datetime
from difflib import get_close_matches
from math import isfinite
from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import Meta

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.personal import Sealed
from coldgrid.kernel.registry import handles
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.tx import Tx
from coldgrid.orders import orders, promising
from coldgrid.orders.facts import Goods, SourcingFacts
from coldgrid.orders.orders import (
    LineUnsourceable,
    Offer,
    Order,
    OrderDiffers,
    OrderLine,
    OrderPlaced,
    OrderStatus,
    Request,
    ShipTo,
)
from coldgrid.orders.reach import CELLS_PER_DEGREE, cell_of
from coldgrid.orders.sourcing import Unsourceable
from coldgrid.orders.whose import check_channel

LINES_MAX = 200

Channel = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,19}\Z")]
ChannelOrderId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
CustomerId = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z")]
ProductId = Annotated[str, Meta(min_length=1, max_length=40)]
Text = Annotated[str, Meta(max_length=200)]


class Customer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who gets the goods: personal, sealed before it is stored."""

    name: Text = ""
    email: Annotated[str, Meta(pattern=r"^([^@\s]+@[^@\s]+)?\Z", max_length=254)] = ""
    phone: Annotated[str, Meta(pattern=r"^(\+?[0-9][0-9 ().-]{2,24})?\Z")] = ""
    address: Annotated[list[Text], Meta(max_length=8)] = []
    webhook: Annotated[str, Meta(pattern=r"^(https?://\S+)?\Z", max_length=500)] = ""
    language: Annotated[str, Meta(pattern=r"^[a-z]{2}(-[A-Z]{2})?\Z")] = "en"


class Destination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the goods go. Only the region and the quarter-degree cell are stored in the open."""

    region: Annotated[str, Meta(min_length=1, max_length=40)]
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class AskedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line as asked for. `life_min_days`: life on arrival, the policy's for the class when left out."""

    line_no: Annotated[int, Meta(ge=1, le=9_999)]
    product_id: ProductId
    qty: Annotated[int, Meta(ge=1, le=1_000_000)]
    life_min_days: Annotated[int, Meta(ge=0, le=3_650)] | None = None


class PlaceOrder(Command, frozen=True, kw_only=True, tag="orders.place"):
    """Take an order from a channel. `owner`: whose stock, the products' own when left out.

    `promise_by`: when the customer wants the goods; `never_older`: by agreement with `customer_id`, nothing
    may expire before what was last shipped to them.
    """

    channel: Channel
    channel_order_id: ChannelOrderId
    customer_id: CustomerId = ""
    customer: Customer | None = None
    ship_to: Destination
    owner: Annotated[str, Meta(max_length=40)] = ""
    lines: Annotated[list[AskedLine], Meta(min_length=1, max_length=LINES_MAX)]
    promise_by: datetime | None = None
    never_older: bool = False

    @property
    def order_id(self) -> str:
        """The order's name: the channel and its own id, which no two orders share (O1)."""
        return f"{self.channel}-{self.channel_order_id}"


class PlacedOrder(msgspec.Struct, frozen=True):
    """What the channel is told. `sites`: open lines by site; `unsourced`: lines nobody can serve now."""

    order_id: str
    status: OrderStatus
    sites: dict[str, int]
    arrives_at: datetime | None
    unsourced: list[Unsourceable]


# --- Decisions (pure) -----------------------------------------------------------

_LINE_NO, _PRODUCT = attrgetter("line_no"), attrgetter("product_id")


def problems_of(command: PlaceOrder, goods: dict[str, Goods]) -> list[Problem]:
    """All that is wrong with an order, beyond the form of its fields (N2)."""
    products_named = set(map(_PRODUCT, command.lines))
    distinct = len(set(map(_LINE_NO, command.lines))) == len(products_named) == len(command.lines)
    problems = [] if distinct and products_named <= goods.keys() else _line_problems(command, goods)
    if command.promise_by is not None and command.promise_by.tzinfo is None:
        problems.append(Problem(field="promise_by", message="has no UTC offset", fix="2026-01-31T16:00:00Z"))
    if command.never_older and not command.customer_id:
        message = "never_older needs the customer it was agreed with"
        problems.append(Problem(field="customer_id", message=message))
    if not (isfinite(command.ship_to.lat) and isfinite(command.ship_to.lon)):
        problems.append(Problem(field="ship_to", message="is no place on earth"))
    return problems


def _line_problems(command: PlaceOrder, goods: dict[str, Goods]) -> list[Problem]:
    problems = []
    numbers: dict[int, int] = {}
    products: dict[str, int] = {}
    for i, line in enumerate(command.lines):
        field = f"lines[{i}]"
        if (first := numbers.setdefault(line.line_no, i)) != i:
            message = f"line number {line.line_no} is used before, by lines[{first}]"
            problems.append(Problem(field=f"{field}.line_no", message=message, fix="number each line once"))
        if (first := products.setdefault(line.product_id, i)) != i:
            message = f"{line.product_id} is ordered before, by lines[{first}]"
            problems.append(
                Problem(field=f"{field}.product_id", message=message, fix="add the quantities up")
            )
        if line.product_id not in goods:
            close = get_close_matches(line.product_id, goods, n=1) if len(goods) < 10_000 else []
            fix = f"did you mean {close[0]}?" if close else ""
            message = f"there is no product {line.product_id!r}"
            problems.append(Problem(field=f"{field}.product_id", message=message, fix=fix))
    return problems


def request_of(command: PlaceOrder, customer: Sealed | None) -> Request:
    """The order as it is stored: personal data sealed, the place rounded to its cell (O4)."""
    cell = cell_of(command.ship_to.lat, command.ship_to.lon)
    return Request(
        channel=command.channel,
        channel_order_id=command.channel_order_id,
        customer_id=command.customer_id,
        customer=customer,
        ship_to=ShipTo(command.ship_to.region, cell[0] / CELLS_PER_DEGREE, cell[1] / CELLS_PER_DEGREE),
        owner=command.owner,
        lines=[
            OrderLine(line.line_no, line.product_id, line.qty, line.life_min_days) for line in command.lines
        ],
        promise_by=command.promise_by,
        never_older=command.never_older,
    )


def answer_of(order_id: str, status: OrderStatus, offer: Offer, unsourced: list[Unsourceable]) -> PlacedOrder:
    """What the channel is told of an order."""
    return PlacedOrder(order_id, status, offer.sites, offer.arrives_at, unsourced)


def decide_again(order: Order, request: Request) -> PlacedOrder:
    """Answer an order that is there already, or refuse another body under its id (O1, N3)."""
    if order.request != request:
        raise OrderDiffers(order_id=order.order_id)
    return answer_of(order.order_id, order.status, order.offer, order.unsourced or [])


# --- Command --------------------------------------------------------------------


@handles(PlaceOrder, action="orders.place", owner=Owner.NETWORK)
def place_order(tx: Tx, command: PlaceOrder) -> PlacedOrder:
    """Take, source and promise an order (N1)."""
    check_channel(tx.principal, command.channel)
    facts = tx.hot(SourcingFacts)
    order_id = command.order_id
    problems = problems_of(command, facts.goods)
    if problems:
        raise Invalid(problems)
    request = request_of(command, _sealed(tx, order_id, command))
    if facts.known.perhaps(order_id):
        order = orders.find_order(tx, order_id)
        if order is not None:
            return decide_again(order, request)
    sourced = promising.source_lines(tx, order_id, request, request.lines)
    offer = sourced.offer
    tx.record(f"order/{order_id}", OrderPlaced(order_id=order_id, request=request, offer=offer))
    lost = sourced.plan.unsourceable
    if sourced.plan.picks:
        promising.promise(tx, sourced)
    if lost:
        tx.record(
            f"order/{order_id}",
            LineUnsourceable(
                order_id=order_id,
                cause_id=tx.entry.id,
                lines=lost,
                provisional=offer.final_at is not None,
                before=offer,
                offer=offer,
                decision=None if sourced.plan.picks else sourced.decision(""),
            ),
        )
    promising.arm_release(tx, offer.final_at)
    return answer_of(order_id, OrderStatus.OPEN, offer, lost)


def subject_of(order_id: str, customer_id: str) -> str:
    """Whose key seals an order's personal data: the customer's, or for a guest the order's own."""
    return f"customer-{customer_id}" if customer_id else f"order-{order_id}"


def _sealed(tx: Tx, order_id: str, command: PlaceOrder) -> Sealed | None:
    if command.customer is None:
        return None
    text = msgspec.json.encode(command.customer).decode()
    return tx.seal(subject_of(order_id, command.customer_id), text)
