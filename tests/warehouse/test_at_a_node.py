"""Work at a site's own node with the line down: it was told of its orders, and nothing more is needed."""

from __future__ import annotations

from datetime import date
from functools import partial

from coldgrid.catalog.lots import RegisterLot
from coldgrid.kernel import hosting, log
from coldgrid.kernel.origins import take_in
from coldgrid.orders.handling import ReleaseOrder
from coldgrid.stock.inventory import get_unit
from coldgrid.stock.promises import open_promises_of
from coldgrid.warehouse.picking import DispatchPicked, PickUnit
from coldgrid.warehouse.receiving import ReceiveGoods
from coldgrid.warehouse.work import floor_of, pick_list
from tests.conftest import Kernel, sqlite_kernel
from tests.orders.world import order, stocked
from tests.stock.world import BULK, EXPIRES, ICE, LOT, PALLET, SITE, THIRD, receive

ORDER = "web-1"


def told(tower: Kernel, node: Kernel) -> None:
    """Bring the node what the network's log has for it, and let it host its site."""
    entries = [
        entry
        for entry in log.read_all(tower.reader())
        if entry.origin == "network" and {"*", SITE} & set(entry.audience.split(","))
    ]
    node.decider.take(SITE, lambda tx: hosting.host_only(tx, SITE), "test")
    node.decider.take("network", partial(take_in, entries=entries, gapless=False), "test")


def test_an_order_is_picked_and_dispatched_and_a_delivery_taken_in_with_the_line_down(kernel: Kernel) -> None:
    stocked(kernel, near=40)
    kernel.do(order(qty=10))
    kernel.do(ReleaseOrder(order_id=ORDER))
    with sqlite_kernel() as node:
        told(kernel, node)
        lot = RegisterLot(
            site_id=SITE, lot_id=LOT, product_id=ICE, tlc=LOT, tlc_source="Dairy 7", expires_on=EXPIRES
        )
        node.do(lot)
        node.do(receive(PALLET, 40))
        waiting = floor_of(node.reader(), SITE).now
        assert [(one.order_id, one.left, one.classes) for one in waiting] == [(ORDER, 10, ["frozen"])]
        assert waiting[0].leaves_at is not None
        assert [one.sscc for one in pick_list(node.reader(), SITE, ORDER).stops] == [PALLET]
        node.do(PickUnit(site_id=SITE, order_id=ORDER, sscc=PALLET, qty=10))
        node.do(DispatchPicked(site_id=SITE, order_id=ORDER, dispatch_id="dsp-1"))
        assert get_unit(node.reader(), SITE, PALLET).qty == 30
        assert [one.open_qty for one in open_promises_of(node.reader(), ORDER)] == [10]
        assert floor_of(node.reader(), SITE).now == []
        goods = ReceiveGoods(
            site_id=SITE,
            sscc=THIRD,
            location_id=BULK,
            product_id=ICE,
            lot_id="L-NEW",
            qty=5,
            expires_on=date(2026, 11, 30),
            tlc_source="Dairy 7",
        )
        node.do(goods)
        assert get_unit(node.reader(), SITE, THIRD).sellable
        node.rebuild()
