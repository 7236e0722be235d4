"""Finding: orders by the beginning or the end of their number, for the search, among the newest."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from coldgrid.kernel.reading import Reader
from coldgrid.orders.orders import find_orders
from coldgrid.orders.whose import concerns
from coldgrid.webkit.hits import Hit, register_finder


def find(db: Reader, sites: Collection[str] | None, text: str, most: int) -> list[Hit]:
    """Return orders that some sites serve or served (None: any), the newest first."""
    found = find_orders(db, text, most if sites is None else most * 5)
    return [
        Hit(
            "Order",
            one.order_id,
            f"{one.request.ship_to.region} · {one.status.value}",
            f"/orders/{quote(one.order_id, safe='')}",
        )
        for one in found
        if concerns(db, sites, one)
    ][:most]


register_finder("orders.orders", find, order=10)
