"""Whose orders these are: who is responsible for some sites sees the orders that these serve, or served.

An order is the network's, but it tells who gets what from where; a site needs to know that of its own work.
A machine that is bound to some channels places, reads and cancels the orders of these and no others.
"""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter
from typing import Any

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Forbidden
from coldgrid.kernel.tx import Tx
from coldgrid.orders import orders
from coldgrid.orders.orders import Order, OrderNotFound, Where
from coldgrid.stock.promises import promises_of


def concerns(db: Reader, sites: Collection[str] | None, order: Order) -> bool:
    """Tell whether one of the sites has, or had, goods promised to an order. None: all sites."""
    if sites is None or any(site_id in sites for site_id in order.sites):
        return True
    return any(one.site_id in sites for one in promises_of(db, order.order_id))


class OtherChannel(Forbidden):
    """This token is bound to other channels."""

    todo = "Send the order under a channel of yours, or ask an admin for a token of this channel."


def check_channel(principal: Principal, channel: str) -> None:
    """Refuse an order of a channel that its sender is not bound to.

    Raises:
        OtherChannel: with the channels that it may name.
    """
    if principal.channels is not None and channel not in principal.channels:
        raise OtherChannel(channel=channel, yours=sorted(principal.channels))


def check_own(tx: Tx, sites: Collection[str] | None, order: Order) -> None:
    """Refuse whoever acts on an order that other sites serve; one that nobody serves yet is anybody's.

    Raises:
        OrderNotFound: for them there is none.
    """
    channels = tx.principal.channels
    if channels is not None and order.request.channel not in channels:
        raise OrderNotFound(order_id=order.order_id)
    if order.sites and not concerns(tx, sites, order):
        raise OrderNotFound(order_id=order.order_id)


def order_for(
    db: Reader, sites: Collection[str] | None, order_id: str, channels: Collection[str] | None = None
) -> Order:
    """Return an order that somebody responsible for some sites, or bound to some channels, may see.

    Raises:
        OrderNotFound: there is none, or none for them.
    """
    order = orders.get_order(db, order_id)
    if not concerns(db, sites, order) or (channels is not None and order.request.channel not in channels):
        raise OrderNotFound(order_id=order_id)
    return order


def orders_for(db: Reader, sites: Collection[str] | None, *, limit: int, **wanted: Any) -> list[Order]:
    """Return what `orders.list_orders` does; of some sites, the orders that these serve, or served.

    `channels`: of these channels alone.
    """
    site_id, channels = wanted.pop("site_id", ""), wanted.pop("channels", None)
    found = [
        order
        for channel in ([""] if channels is None else sorted(channels))
        for order in orders.list_orders(db, where=Where(site_id, sites, channel), limit=limit, **wanted)
    ]
    return sorted(found, key=attrgetter("placed_no"), reverse=True)[:limit]
