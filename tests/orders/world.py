"""A small world for the tests of orders: two sites with the same ice cream, and a customer near one."""

from __future__ import annotations

from typing import Any

import coldgrid.network_flows  # noqa: F401 (what follows from a pause or a hold is part of the world)
from coldgrid.orders.facts import SourcingFacts
from coldgrid.orders.handling import CancelOrder, ReleaseOrder
from coldgrid.orders.intake import AskedLine, Customer, Destination, PlaceOrder
from coldgrid.orders.resourcing import SourceAgain, Why
from coldgrid.stock.index import PromisableIndex
from coldgrid.stock.promises import Promise, open_promises_of
from tests.conftest import Kernel
from tests.stock.world import (
    AWAY,
    BULK,
    EXPIRES,
    FREEZER,
    ICE,
    LATER,
    LOT,
    MILK,
    OTHER,
    PALLET,
    SECOND,
    SITE,
    index,
    open_world,
    receive,
)

__all__ = [
    "AWAY",
    "BULK",
    "EXPIRES",
    "FREEZER",
    "ICE",
    "LATER",
    "LOT",
    "MILK",
    "OTHER",
    "PALLET",
    "SECOND",
    "SITE",
    "Customer",
    "index",
]

ATLANTA = Destination(region="GA", lat=33.75, lon=-84.39)
ANN = Customer(name="Ann Example", email="ann@example.com", address=["1 Peachtree St", "Atlanta"])


def line(qty: int = 10, product_id: str = ICE, line_no: int = 1, **fields: Any) -> AskedLine:
    return AskedLine(line_no=line_no, product_id=product_id, qty=qty, **fields)


def order(number: int = 1, qty: int = 10, **fields: Any) -> PlaceOrder:
    raw: dict[str, Any] = {"channel": "web", "ship_to": ATLANTA, "customer": ANN, "lines": [line(qty)]}
    return PlaceOrder(channel_order_id=str(number), **{**raw, **fields})


def again(number: int = 1, reason: Why = Why.MANUAL, cause_id: str = "ATL1/1/1") -> SourceAgain:
    return SourceAgain(order_id=f"web-{number}", cause_id=cause_id, reason=reason)


def release(number: int = 1) -> ReleaseOrder:
    return ReleaseOrder(order_id=f"web-{number}")


def cancel(number: int = 1) -> CancelOrder:
    return CancelOrder(order_id=f"web-{number}", reason="changed their mind")


def stocked(kernel: Kernel, near: int = 100, far: int = 100) -> None:
    """Open the world with ice cream near the customer and far from them."""
    open_world(kernel)
    if near:
        kernel.do(receive(PALLET, near))
    if far:
        kernel.do(receive(SECOND, far, site_id=OTHER, location_id=AWAY))


def promised(kernel: Kernel, number: int = 1) -> list[tuple[int, str, int]]:
    """What is promised to an order: (line, site, quantity)."""
    found: list[Promise] = open_promises_of(kernel.reader(), f"web-{number}")
    return [(promise.line_no, promise.site_id, promise.open_qty) for promise in found]


def facts(kernel: Kernel) -> SourcingFacts:
    found: SourcingFacts = kernel.decider.shared.hot[SourcingFacts]
    return found


def told(kernel: Kernel, kind: str) -> list[Any]:
    """Every event of a class by name."""
    return [event for _, event in kernel.events() if type(event).__name__ == kind]


def check_everything(kernel: Kernel) -> None:
    """What holds after any history: nothing oversold, rebuild equals live, memory equals the tables."""
    for bucket in index(kernel)._by_key.values():  # noqa: SLF001 (looks at every bucket there is)
        assert bucket.promised >= 0
    kernel.rebuild()
    reader = kernel.reader()
    assert index(kernel).snapshot() == PromisableIndex.load(reader).snapshot()
    live, fresh = facts(kernel), SourcingFacts.load(reader)
    assert _counts(live) == _counts(fresh)
    assert live.goods == fresh.goods
    assert live.sites.by_id == fresh.sites.by_id
    assert live.last_shipped == fresh.last_shipped


def _counts(kept: SourcingFacts) -> dict[str, int]:
    return {site_id: lines for site_id, lines in kept.load_of.open_lines.items() if lines}
