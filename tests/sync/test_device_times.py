"""Times of devices at the tower: what a node knows of a reading's clocks, the tower knows too."""

from __future__ import annotations

from coldgrid.telemetry.device_clocks import DEVICE_TIME, GATEWAY_TIME, clocks_of_site
from coldgrid.telemetry.heard import Device, NoteHeard, devices_of_site, points_of_site
from coldgrid.telemetry.reading_times import times_of
from coldgrid.telemetry.seal import SealBlocks
from tests.sync.pair import Node, Tower
from tests.sync.test_readings import pair as readings_pair
from tests.telemetry.cold_room import AIR, AIR_2, DOOR, at, micros
from tests.telemetry.test_device_clocks import MIN, H, hear
from tests.telemetry.test_heard import point

pair = readings_pair


def test_the_tower_knows_each_readings_times_fresh_and_sealed(pair: tuple[Tower, Node]) -> None:
    """A door that stays shut with a clock that was never set is the hardest to pack: nothing else differs."""
    tower, node = pair
    rows: list[tuple[str, float, int, int | None, int]] = [
        (AIR, -21.5 + i / 100, micros(i) + 137_000, micros(i) + H, DEVICE_TIME) for i in range(60)
    ]
    rows += [(AIR_2, -20.0, micros(i), None, GATEWAY_TIME) for i in range(60)]
    hear(node.kernel, rows)
    hear(node.kernel, [(DOOR, 0.0, micros(i), i * MIN, DEVICE_TIME) for i in range(60)])
    for sealed in (False, True):
        if sealed:
            node.kernel.do(SealBlocks(site_id="ATL1", cause_id="inc-1", sensor_ids=(AIR, AIR_2, DOOR)))
        node.talk()
        node.talk()
        for sensor_id in (AIR, AIR_2, DOOR):
            here, there = (
                times_of(kernel.reader(), sensor_id, at(-60), at(600))
                for kernel in (node.kernel, tower.kernel)
            )
            assert here == there
            assert len(there) == 60
            assert all(one.heard_us is not None for one in there)
        assert [one.device_us for one in there] == [i * MIN for i in range(60)]
    clocks = clocks_of_site(tower.kernel.reader(), "ATL1")
    assert {name: clock.standing.value for name, clock in clocks.items()} == {
        AIR: "corrected",
        DOOR: "distrusted",
    }
    tower.kernel.rebuild()


def test_the_tower_sees_what_a_nodes_gateways_hear(pair: tuple[Tower, Node]) -> None:
    tower, node = pair
    device = Device(gateway_id="ATL1-GW1", device="R1", battery_pct=15.0, told_at=at(0))
    node.kernel.do(NoteHeard(site_id="ATL1", points=(point(),), devices=(device,)))
    node.talk()
    assert [one.point for one in points_of_site(tower.kernel.reader(), "ATL1")] == ["R1/air"]
    assert devices_of_site(tower.kernel.reader(), "ATL1") == [device]
