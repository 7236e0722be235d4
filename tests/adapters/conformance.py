"""What every driver must do, whatever its protocol: a driver's test subclasses it with a real peer.

A peer is the real thing at the far end: a broker with a publisher, a Modbus server, an SNMP agent, HTTP. The
driver under test is built by the registry from a gateway's master data, as a host builds it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Protocol

import pytest

from coldgrid.adapters import drivers
from coldgrid.adapters.driving import (
    HAUL_READINGS_MAX,
    POINT_CHARS_MAX,
    STOP_WITHIN_S,
    TOLD_CHARS_MAX,
    Driver,
    Receiver,
    Secret,
    make_driver,
)
from coldgrid.telemetry.gateways import Gateway, driver_forms, gateway_problems
from coldgrid.telemetry.ingest import VALUE_MAX
from tests.adapters.driver_peers import Desk, HostClock
from tests.patience import eventually

assert drivers.MODULES


class Peer(Protocol):
    """The far end of a gateway."""

    # The gateway's master data, and the names and values of its file of credentials (None: it has none).
    gateway: Gateway
    secret: dict[str, str] | None
    # A point that `send` sends a value of, as the driver names it.
    point: str

    def send(self, value: float) -> None:
        """Have the device measure a value: publish it, or let the next poll find it."""

    def send_garbage(self) -> int:
        """Have the device send what is no reading (NaN where the protocol has it, broken bytes, too much of
        them); return how many things at least must be told as unreadable."""

    def break_off(self) -> None:
        """Go away: cut connections, refuse new ones."""

    def come_back(self) -> None:
        """Be there again as before."""

    def close(self) -> None:
        """Go for good."""


class Conformance:
    """Subclass it as `TestX` and provide the fixture `peer`."""

    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        raise NotImplementedError

    @pytest.fixture
    def desk(self) -> Desk:
        return Desk()

    @pytest.fixture
    def driver(self, peer: Peer, desk: Desk) -> Iterator[Driver]:
        secret = None if peer.secret is None else Secret(peer.secret)
        driver = make_driver(peer.gateway, secret, desk.deliver, HostClock())
        driver.start()
        yield driver
        driver.stop()

    # --- Its master data ------------------------------------------------------------

    def test_its_gateway_can_be_written_as_master_data(self, peer: Peer) -> None:
        assert gateway_problems(peer.gateway) == []

    @pytest.mark.parametrize(
        "text",
        ["{", "[1, 2", "a: &a [*a]", "- 1", "points: 7", "\x00", "x: !!python/object:os.system 1", "ÿ" * 9],
    )
    def test_a_broken_map_is_told_and_never_raised(self, peer: Peer, text: str) -> None:
        form = driver_forms()[peer.gateway.driver]
        problems = form.problems_of_map(text)
        assert problems
        assert all(problem.message for problem in problems)

    # --- What it delivers -----------------------------------------------------------

    def test_what_a_device_measures_is_delivered_in_the_one_form(
        self, peer: Peer, driver: Driver, desk: Desk
    ) -> None:
        eventually(lambda: driver.state()[0])
        peer.send(-21.5)
        eventually(lambda: -21.5 in desk.values(peer.point))
        for heard in desk.readings:
            assert isinstance(heard.value, float)
            assert math.isfinite(heard.value)
            assert abs(heard.value) < VALUE_MAX
            assert 0 < len(heard.point) <= POINT_CHARS_MAX
            assert abs(heard.heard_at_us - HostClock().now_us()) < 120_000_000
            assert heard.device_at_us is None or isinstance(heard.device_at_us, int)

    def test_garbage_is_told_as_unreadable_and_readings_go_on(
        self, peer: Peer, driver: Driver, desk: Desk
    ) -> None:
        eventually(lambda: driver.state()[0])
        least = peer.send_garbage()
        eventually(lambda: len(desk.unreadable) >= least)
        for one in desk.unreadable:
            assert one.why
            assert max(len(one.source), len(one.text), len(one.why)) <= TOLD_CHARS_MAX
            assert (one.source + one.text + one.why).isprintable()
        assert all(math.isfinite(heard.value) for heard in desk.readings)
        peer.send(-19.25)
        eventually(lambda: -19.25 in desk.values(peer.point))

    def test_a_haul_is_bounded(self, peer: Peer, driver: Driver, desk: Desk) -> None:
        eventually(lambda: driver.state()[0])
        for i in range(50):
            peer.send(float(i))
        eventually(lambda: desk.readings)
        assert max(len(haul.readings) for haul in list(desk.hauls)) <= HAUL_READINGS_MAX

    # --- Durability -----------------------------------------------------------------

    def test_what_was_not_stored_is_handed_over_again(self, peer: Peer, driver: Driver, desk: Desk) -> None:
        eventually(lambda: driver.state()[0])
        desk.accepts = False
        peer.send(-18.75)
        eventually(lambda: desk.refused)
        desk.accepts = True
        eventually(lambda: -18.75 in desk.values(peer.point))

    def test_nothing_is_answered_before_it_is_stored(self, peer: Peer, driver: Driver, desk: Desk) -> None:
        """Stopped before the commit, it leaves its device with what it sent, or polls it again."""
        eventually(lambda: driver.state()[0])
        desk.answers = False
        sender = threading.Thread(target=peer.send, args=(-17.5,), daemon=True)
        sender.start()
        eventually(lambda: desk.waiting)
        driver.stop()
        desk.answers = True
        desk.settle(stored=False)
        driver.start()
        eventually(lambda: -17.5 in desk.values(peer.point))
        sender.join(timeout=60)
        assert not sender.is_alive()

    # --- Standing up again ------------------------------------------------------------

    def test_it_outlives_its_peer(self, peer: Peer, driver: Driver, desk: Desk) -> None:
        eventually(lambda: driver.state()[0])
        peer.break_off()
        if not isinstance(driver, Receiver):
            eventually(lambda: not driver.state()[0])
            assert len(driver.state()[1]) > 10
        peer.come_back()
        eventually(lambda: driver.state()[0])
        peer.send(-16.5)
        eventually(lambda: -16.5 in desk.values(peer.point))

    def test_it_stops_in_time_even_with_its_peer_gone_and_nothing_stored(
        self, peer: Peer, driver: Driver, desk: Desk
    ) -> None:
        eventually(lambda: driver.state()[0])
        desk.accepts = False
        peer.send(1.0)
        peer.break_off()
        clock = HostClock()
        since_s = clock.monotonic()
        driver.stop()
        assert clock.monotonic() - since_s < STOP_WITHIN_S + 1.0

    def test_starting_twice_is_once_and_stopping_twice_too(
        self, peer: Peer, driver: Driver, desk: Desk
    ) -> None:
        eventually(lambda: driver.state()[0])
        threads = threading.active_count()
        driver.start()
        assert threading.active_count() <= threads
        driver.stop()
        driver.stop()
        driver.start()
        eventually(lambda: driver.state()[0])
        peer.send(-15.5)
        eventually(lambda: -15.5 in desk.values(peer.point))
