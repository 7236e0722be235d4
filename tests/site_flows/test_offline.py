"""A site's own node knows the lanes that lead away, and nothing of the sites at their ends."""

from __future__ import annotations

from functools import partial

from coldgrid.kernel import hosting, log
from coldgrid.kernel.origins import take_in
from coldgrid.network.zones import get_zone
from coldgrid.site_flows.rescue import POLICY, _candidates, _places
from tests.conftest import Kernel, sqlite_kernel
from tests.network import master


def test_a_rescue_is_weighed_at_a_node_with_the_cold_space_of_its_own_site(kernel: Kernel) -> None:
    master.put_in_force(
        kernel,
        master.group(),
        master.site(),
        master.site("CLT1", city="Charlotte", region="NC", lat=35.2, lon=-80.8),
        *(master.zone(zone_id) for zone_id in ("ATL1-FRZ1", "ATL1-FRZ2", "CLT1-FRZ1")),
        master.lane(),
    )
    with sqlite_kernel() as node:
        told = [
            entry for entry in log.read_all(kernel.reader()) if entry.audience in ("*", "ATL1", "ATL1,CLT1")
        ]
        node.decider.take("ATL1", lambda tx: hosting.host_only(tx, "ATL1"), "test")
        node.decider.take("network", partial(take_in, entries=told, gapless=False), "test")
        for one, expected in (
            (kernel, {"move to ATL1-FRZ2", "transfer to CLT1-FRZ1"}),
            (node, {"move to ATL1-FRZ2"}),
        ):
            db = one.reader()
            candidates = _candidates(db, get_zone(db, "ATL1-FRZ1"))
            places = _places(db, candidates, one.host.now(), 1.0, POLICY)
            assert set(places) == expected
