"""Where goods may be sent, at the tower and at a site's own node, which knows lanes and no sites."""

from __future__ import annotations

from coldgrid.catalog.lots import RegisterLot
from coldgrid.network.sites import TemperatureClass
from coldgrid.stock.destinations import destination, destinations
from coldgrid.stock.transfer_book import on_their_way
from coldgrid.stock.transfers import ShipTransfer
from tests.conftest import Kernel, sqlite_kernel
from tests.network import master
from tests.stock.world import EXPIRES, ICE, LOT, OTHER, PALLET, SITE, open_world, receive
from tests.warehouse.test_at_a_node import told

FROZEN, CHILLED = {TemperatureClass.FROZEN}, {TemperatureClass.CHILLED}


def test_the_nearest_site_that_suits_comes_first_and_its_quickest_lane_that_keeps_the_goods(
    kernel: Kernel,
) -> None:
    open_world(kernel)
    near = master.site("SAV1", city="Savannah", region="GA", lat=32.1, lon=-81.1, capacity={"chilled": 5})
    master.put_in_force(
        kernel,
        near,
        master.lane(transit_min=300),
        master.lane(lane_id=f"{SITE}-{OTHER}-2", transit_min=90, classes=["chilled"]),
        master.lane(to_site="SAV1", transit_min=60),
        change_id="more",
    )
    found = destinations(kernel.reader(), SITE, FROZEN)
    assert [(one.site_id, one.suits) for one in found] == [(OTHER, True), ("SAV1", False)]
    assert [problem.message for problem in found[1].misfits] == ["SAV1 has no place for frozen goods"]
    for classes, lane_id in ((FROZEN, f"{SITE}-{OTHER}"), (CHILLED, f"{SITE}-{OTHER}-2")):
        lane = destination(kernel.reader(), SITE, OTHER, classes).lane(classes)
        assert lane is not None
        assert lane.lane_id == lane_id


def test_a_node_sends_by_the_lanes_it_was_told_of_with_the_line_down(kernel: Kernel) -> None:
    open_world(kernel)
    master.put_in_force(kernel, master.lane(), change_id="lane")
    with sqlite_kernel() as node:
        told(kernel, node)
        lot = RegisterLot(
            site_id=SITE, lot_id=LOT, product_id=ICE, tlc=LOT, tlc_source="Dairy 7", expires_on=EXPIRES
        )
        node.do(lot)
        node.do(receive())
        found = destinations(node.reader(), SITE, FROZEN)
        assert [(one.site_id, one.site, one.suits) for one in found] == [(OTHER, None, True)]
        node.do(ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET,)))
        assert [one.sscc for one in on_their_way(node.reader(), OTHER)] == [PALLET]
        warm = destination(node.reader(), SITE, OTHER, CHILLED)
        assert "keeps chilled" in warm.misfits[0].message
