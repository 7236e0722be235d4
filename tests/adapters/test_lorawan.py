"""The LoRaWAN driver over a real broker, and by HTTP: uplinks arrive, once, and after breaks."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager

from coldgrid.adapters.drivers import MODULES
from coldgrid.adapters.driving import Driver, Receiver, Secret, make_driver
from coldgrid.telemetry.gateways import Gateway, gateway_problems
from tests.adapters.driver_peers import Desk, HostClock
from tests.adapters.lorawan_bodies import CHIRP, CHIRP_STATUS, STACK, changed
from tests.patience import eventually
from tests.telemetry.broker import Proxy, Publisher, broker, forget_sessions

SAID = "payload: cayenne\n"
AIR = "0101010101010101/temperature_3"


def name() -> str:
    """An application and a session of its own for each test: the broker is shared and keeps sessions."""
    return f"T{time.time_ns()}"


def lpp(value: float) -> str:
    return base64.b64encode(bytes([3, 0x67]) + round(value * 10).to_bytes(2, "big", signed=True)).decode()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"


def uplink(value: float, f_cnt: int, data: bytes = b"") -> bytes:
    raw = base64.b64encode(data).decode() or lpp(value)
    return changed(CHIRP, data=raw, fCnt=f_cnt, deduplicationId=f"id-{f_cnt}", time=now())


def gateway(application: str, address: str, said: str = SAID) -> Gateway:
    more = f"application: {application}\nclient_id: {application}\n" if address else ""
    return Gateway(gateway_id="ATL1-GW1", site_id="ATL1", driver="lorawan", address=address, map=more + said)


@contextmanager
def hearing(desk: Desk, application: str, port: int | None = None) -> Iterator[Driver]:
    host, own_port = broker()
    assert "lorawan" in MODULES
    made = gateway(application, f"mqtt://{host}:{port or own_port}")
    assert not gateway_problems(made)
    driver = make_driver(made, Secret({}), desk.deliver, HostClock())
    driver.start()
    try:
        eventually(lambda: driver.state()[0])
        time.sleep(0.3)  # the broker has its subscription
        yield driver
    finally:
        driver.stop()
        forget_sessions(application, 1)


@contextmanager
def publishing() -> Iterator[Publisher]:
    publisher = Publisher(name())
    try:
        yield publisher
    finally:
        publisher.close()


def test_uplinks_and_statuses_arrive_over_a_broker() -> None:
    desk, app = Desk(), name()
    with hearing(desk, app) as driver, publishing() as server:
        place = f"application/{app}/device/0101010101010101/event"
        server.publish([(f"{place}/up", uplink(-18.5, 1)), (f"{place}/status", changed(CHIRP_STATUS))])
        eventually(lambda: len(desk.notes) == 2)
        assert desk.values(AIR) == [-18.5]
        assert [note.battery_pct for note in desk.notes] == [None, 88.3]
        assert "the last uplink 0 s ago" in driver.state()[1]


def test_the_things_stacks_topics_are_heard() -> None:
    desk, app = Desk(), f"{name()}@ttn"
    with hearing(desk, app), publishing() as server:
        body = changed(STACK, uplink_message__frm_payload=lpp(4.0), uplink_message__received_at=now())
        server.publish([(f"v3/{app}/devices/dev1/up", body)])
        eventually(lambda: desk.values("0004A30B001C0530/temperature_3") == [4.0])


def test_nothing_is_lost_or_told_twice_over_breaks_while_the_store_is_away() -> None:
    desk, app, proxy = Desk(), name(), Proxy()
    with hearing(desk, app, proxy.port), publishing() as server:
        topic = f"application/{app}/device/0101010101010101/event/up"
        desk.answers = False
        server.publish([(topic, uplink(number / 10, number)) for number in range(10)])
        eventually(lambda: desk.waiting)
        proxy.cut()
        server.publish([(topic, uplink(number / 10, number)) for number in range(10, 30)])
        desk.settle(stored=False)
        desk.answers = True
        proxy.mend()
        eventually(lambda: len({one.device_at_us for one in desk.readings}) == 30)
        # What was not acknowledged comes again with the same time: the store knows it.
        assert len({(one.device_at_us, one.value) for one in desk.readings}) == 30
    proxy.cut()


def test_what_was_sent_while_this_host_was_stopped_comes_when_it_starts() -> None:
    desk, app = Desk(), name()
    with hearing(desk, app) as driver, publishing() as server:
        driver.stop()
        topic = f"application/{app}/device/0101010101010101/event/up"
        server.publish([(topic, uplink(-1.0, 7))])
        driver.start()
        eventually(lambda: desk.values(AIR) == [-1.0])


def test_garbage_is_told_and_what_follows_is_read() -> None:
    desk, app = Desk(), name()
    with hearing(desk, app) as driver, publishing() as server:
        topic = f"application/{app}/device/0101010101010101/event/up"
        server.publish([(topic, b"\x00\xff"), (topic, b"{" * 5_000), (topic, uplink(-2.0, 1))])
        eventually(lambda: desk.values(AIR) == [-2.0])
        assert len(desk.unreadable) == 2
        assert driver.state()[0]


def test_without_an_address_it_reads_what_is_posted() -> None:
    desk = Desk()
    made = gateway("", "")
    assert not gateway_problems(made)
    driver = make_driver(made, None, desk.deliver, HostClock())
    assert isinstance(driver, Receiver)
    driver.start()
    haul = driver.receive(uplink(-3.0, 1), {"event": "up"})
    assert [heard.value for heard in haul.readings] == [-3.0]
    assert driver.receive(changed(CHIRP_STATUS), {"event": "status"}).notes[0].battery_pct == 88.3
    assert driver.receive(b"", {}).unreadable[0].source == "HTTP"
    assert driver.state()[0]
    driver.stop()
    assert not desk.hauls, "it delivers nothing of itself"
