"""The words of orders: what a customer asks for, what happens to an order, and what is refused.

The invariants are those of `orders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum

import msgspec

from coldgrid.kernel.events import Event
from coldgrid.kernel.personal import Sealed
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.orchestration.decisions import Decision
from coldgrid.orders.sourcing import Unsourceable
from coldgrid.warehouse.released import ShipTo

# --- Vocabulary -----------------------------------------------------------------


class OrderStatus(StrEnum):
    """How far an order got. What is wrong with an open one is told by its unsourced lines."""

    OPEN = "open"
    RELEASED = "released"
    DISPATCHED = "dispatched"
    CANCELED = "canceled"


class OrderLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. `qty` in base units; `life_min_days`: life on arrival, None for the policy's."""

    line_no: int
    product_id: str
    qty: int
    life_min_days: int | None = None


class Request(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the customer asked for, as it is stored. `customer`: name and addresses, sealed."""

    channel: str
    channel_order_id: str
    customer_id: str = ""
    customer: Sealed | None = None
    ship_to: ShipTo
    owner: str = ""
    lines: list[OrderLine]
    promise_by: datetime | None = None
    never_older: bool = False


class Offer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was promised: lines per site, arrival of the last parcel, and when sourcing becomes final."""

    sites: dict[str, int]
    arrives_at: datetime | None
    final_at: datetime | None
    score_cents: int | None = None


# --- Events ---------------------------------------------------------------------


class OrderPlaced(Event, frozen=True, tag="orders.placed"):
    """A customer's order was taken, with what it was promised. The goods are named by `stock.promised`."""

    order_id: str
    request: Request
    offer: Offer


class LineUnsourceable(Event, frozen=True, tag="orders.line_unsourceable"):
    """Lines cannot be served. `provisional`: they will be tried again until the order's sourcing is final.

    `lines`: every line that is unsourced now. `decision` is only there when no promise was made or moved in
    the same breath, whose event would hold it.
    """

    order_id: str
    cause_id: str
    lines: list[Unsourceable]
    provisional: bool
    before: Offer
    offer: Offer
    decision: Decision | None = None


class OrderResourced(Event, frozen=True, tag="orders.resourced"):
    """Lines were sourced from elsewhere. The goods are named by `stock.promise_moved`.

    `unsourced`: what is unsourced now.
    """

    order_id: str
    cause_id: str
    reason: str
    lines: list[int]
    provisional: bool
    before: Offer
    offer: Offer
    unsourced: Sequence[Unsourceable] = ()


class DispatchedGoods(msgspec.Struct, frozen=True):
    """Goods of one product and expiry that left for the customer."""

    product_id: str
    expires_on: date
    qty: int


class OrderDispatched(Event, frozen=True, tag="orders.dispatched"):
    """Goods left a site for the customer. `dispatches`: all that left so far; `complete`: nothing more will.

    `never_older_for`: the customer who may get nothing older from now on, empty where that was not agreed.
    """

    order_id: str
    site_id: str
    dispatch_id: str
    goods: list[DispatchedGoods]
    dispatches: dict[str, list[DispatchedGoods]]
    before: Offer
    offer: Offer
    complete: bool
    never_older_for: str = ""


class OrderCanceled(Event, frozen=True, tag="orders.canceled"):
    """The order will not be served, and its promises were given back."""

    order_id: str
    reason: str
    before: Offer


# --- Rejections -----------------------------------------------------------------


class OrderNotFound(NotFound):
    """There is no such order."""


class OrderDiffers(Conflict):
    """The channel sent another order under this id before (O1)."""

    todo = "Use a new channel_order_id for a new order; cancel the first one to replace it."


class OrderEnded(Conflict):
    """The order was dispatched or cancelled before."""


class OrderPartlyGone(Conflict):
    """Part of the order has left a site; it can be returned, not cancelled (O3)."""
