"""A store with its own node sells while the line is down; the network finds out and makes it good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldgrid.catalog.lots import get_lot
from coldgrid.kernel import relocation, requests
from coldgrid.kernel.rejections import Rejected
from coldgrid.kernel.requests import Status
from coldgrid.stock.hold_book import open_holds
from coldgrid.stock.inventory import units_in_zone
from coldgrid.stock.ledger import balances_of_site
from coldgrid.stock.promises import promised_on
from coldgrid.stock.reserves import NoteStaleness
from coldgrid.stock.transfers import ReceiveTransfer, ShipTransfer
from tests.conftest import Kernel, sqlite_kernel
from tests.network import master
from tests.orders import world
from tests.orders.world import AWAY, FREEZER, LOT, OTHER, PALLET, SITE, order, promised, stocked, told
from tests.stock.world import FAR, dispatch, hold
from tests.sync.pair import Node, Tower, notary_of

ROLES = {"operator", "quality", "supervisor"}


class Shops(Tower):
    """A tower whose world is that of the orders' tests."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.notary = notary_of("coldgrid", "network", 1)
        self.keys = {}
        stocked(kernel)
        master.put_in_force(kernel, master.lane(SITE, OTHER), change_id="change-lane")
        self.open_post()


def moved_out(tower: Tower, kernel: Kernel, site_id: str) -> Node:
    """Move a site with its past to a node."""
    relocation.carry_in(kernel.decider, relocation.carry_out(tower.kernel.decider, site_id, "own node"))
    return Node(tower, kernel, site_id)


@contextmanager
def shops(*sites: str) -> Iterator[tuple[Tower, list[Node]]]:
    with ExitStack() as stack:
        tower = Shops(stack.enter_context(sqlite_kernel()))
        yield tower, [moved_out(tower, stack.enter_context(sqlite_kernel()), site_id) for site_id in sites]


def goods_at(kernel: Kernel, site_id: str) -> dict[str, Any]:
    """What a database says of a site's goods, to the unit."""
    db = kernel.reader()
    zone_id = FREEZER if site_id == SITE else FAR
    return {
        "balances": balances_of_site(db, site_id),
        "units": units_in_zone(db, zone_id),
        "holds": open_holds(db, site_id),
        "promises": sorted((one.order_id, one.open_qty) for one in promised_on(db, zone_id)),
    }


def agree(tower: Tower, nodes: list[Node]) -> None:
    for node in [*nodes, *nodes]:  # once for what they tell, once for what is answered
        node.talk()
    for node in nodes:
        assert goods_at(tower.kernel, node.site_id) == goods_at(node.kernel, node.site_id)
        node.kernel.rebuild()
    world.check_everything(tower.kernel)


def test_walk_in_sales_while_offline_become_shortfalls_and_the_orders_are_sourced_again() -> None:
    with shops(SITE) as (tower, [node]):
        for number in range(1, 10):
            tower.kernel.do(order(number))
        node.talk()
        own = node.kernel
        own.do(dispatch("walk-in-1", (PALLET, 40), order_id=""), roles=ROLES)
        with pytest.raises(Rejected):
            own.do(dispatch("walk-in-2", (PALLET, 61), order_id=""), roles=ROLES)
        assert {promised(tower.kernel, number)[0][1] for number in range(1, 10)} == {SITE}, "not known yet"
        agree(tower, [node])
        [shortfall] = told(tower.kernel, "Shortfall")
        assert shortfall.short == 30
        places = [promised(tower.kernel, number)[0][1] for number in range(1, 10)]
        assert places == [SITE] * 6 + [OTHER] * 3, "who was promised last is served from elsewhere"


def test_goods_sent_from_node_to_node_are_received_with_their_lots_and_holds() -> None:
    with shops(SITE, OTHER) as (tower, [atlanta, charlotte]):
        for node in (atlanta, charlotte):
            node.talk()
        atlanta.kernel.do(hold("h1", PALLET), roles=ROLES)
        ship = ShipTransfer(site_id=SITE, transfer_id="t1", to_site_id=OTHER, sscc=(PALLET,))
        atlanta.kernel.do(ship, roles=ROLES)
        atlanta.talk()
        charlotte.talk()
        take = ReceiveTransfer(site_id=OTHER, transfer_id="t1", location_id=AWAY)
        charlotte.kernel.do(take, roles=ROLES)
        assert get_lot(charlotte.kernel.reader(), LOT) == get_lot(tower.kernel.reader(), LOT)
        assert [one.hold_id for one in open_holds(charlotte.kernel.reader(), OTHER)] == ["h1"]
        agree(tower, [atlanta, charlotte])
        agree(tower, [atlanta, charlotte])


def test_a_hold_that_the_tower_asks_for_is_placed_when_the_store_is_back() -> None:
    with shops(SITE) as (tower, [node]):
        node.talk()
        tower.kernel.do(hold("h1", PALLET), roles=ROLES)
        tower.kernel.host.instant = node.kernel.host.instant = node.kernel.host.instant + requests.LIFE * 3
        agree(tower, [node])
        [request] = requests.list_requests(tower.kernel.reader())
        assert request.status is Status.DONE, "what keeps goods from people never expires"
        assert [one.hold_id for one in open_holds(tower.kernel.reader(), SITE)] == ["h1"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["order", "sell", "sell", "hold", "ask", "talk", "silent", "send", "take"]),
        st.integers(1, 30),
    ),
    max_size=16,
)


class Happenings:
    """What may happen to two stores and their network."""

    def __init__(self, tower: Tower, nodes: list[Node]) -> None:
        self.tower, self.nodes = tower.kernel, nodes
        self.near, self.far = (node.kernel for node in nodes)
        self.sent: list[str] = []

    def order(self, number: int, value: int) -> None:
        self.tower.do(order(number, value))

    def sell(self, number: int, value: int) -> None:
        self.near.do(dispatch(f"d{number}", (PALLET, value), order_id=""), roles=ROLES)

    def hold(self, number: int, value: int) -> None:
        self.near.do(hold(f"h{number}", PALLET), roles=ROLES)

    def ask(self, number: int, value: int) -> None:
        self.tower.do(hold(f"a{number}", PALLET), roles=ROLES)

    def silent(self, number: int, value: int) -> None:
        self.tower.do(NoteStaleness(site_id=SITE, stale_min=(0, 5, 60, 1440)[value % 4]))

    def talk(self, number: int, value: int) -> None:
        self.nodes[value % 2].talk()

    def send(self, number: int, value: int) -> None:
        ship = ShipTransfer(site_id=SITE, transfer_id=f"t{number}", to_site_id=OTHER, sscc=(PALLET,))
        self.near.do(ship, roles=ROLES)
        self.sent.append(ship.transfer_id)

    def take(self, number: int, value: int) -> None:
        for name in self.sent:
            self.far.do(ReceiveTransfer(site_id=OTHER, transfer_id=name, location_id=AWAY), roles=ROLES)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_after_any_history_all_agree_and_nothing_is_oversold_or_negative(steps: Any) -> None:
    with shops(SITE, OTHER) as (tower, nodes):
        happenings = Happenings(tower, nodes)
        for number, (what, value) in enumerate(steps):
            with suppress(Rejected):
                getattr(happenings, what)(number, value)
        agree(tower, nodes)
        agree(tower, nodes)
        for site_id in (SITE, OTHER):
            for bucket in world.index(tower.kernel).buckets_at(site_id):
                assert bucket.sellable >= 0
                assert not bucket.short, "what is short is sourced again, or said to be unsourceable"
