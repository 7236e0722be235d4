"""Whose orders these are: who is responsible for some sites sees the orders that these serve, or served.

An order is the network's, but it tells who gets what from where; a site needs to know that of its own work.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from coldgrid.kernel.reading import Reader
from coldgrid.orders import orders
from coldgrid.orders.orders import Order, OrderNotFound, Where
from coldgrid.stock.promises import promises_of


def concerns(db: Reader, sites: Collection[str] | None, order: Order) -> bool:
    """Tell whether one of the sites has, or had, goods promised to an order. None: all sites."""
    if sites is None or any(site_id in sites for site_id in order.sites):
        return True
    return any(one.site_id in sites for one in promises_of(db, order.order_id))


def check_own(db: Reader, sites: Collection[str] | None, order: Order) -> None:
    """Refuse whoever acts on an order that other sites serve; one that nobody serves yet is anybody's.

    Raises:
        OrderNotFound: for them there is none.
    """
    if order.sites and not concerns(db, sites, order):
        raise OrderNotFound(order_id=order.order_id)


def order_for(db: Reader, sites: Collection[str] | None, order_id: str) -> Order:
    """Return an order that somebody responsible for some sites may see.

    Raises:
        OrderNotFound: there is none, or none for them.
    """
    order = orders.get_order(db, order_id)
    if not concerns(db, sites, order):
        raise OrderNotFound(order_id=order_id)
    return order


def orders_for(db: Reader, sites: Collection[str] | None, *, limit: int, **wanted: Any) -> list[Order]:
    """Return what `orders.list_orders` does; of some sites, the orders that these serve, or served."""
    where = Where(wanted.pop("site_id", ""), sites)
    return orders.list_orders(db, where=where, limit=limit, **wanted)
