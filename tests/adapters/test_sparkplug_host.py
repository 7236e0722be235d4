"""The Sparkplug host against a real broker and an edge node: births, deaths, breaks, what was kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.drivers import MODULES
from coldgrid.adapters.driving import Driver, Secret, make_driver
from coldgrid.telemetry.gateways import Gateway
from tests.adapters.driver_peers import Desk, HostClock
from tests.adapters.sparkplug_edge import EdgeNode, bare, bd, real
from tests.patience import eventually
from tests.telemetry.broker import Proxy, broker


def name() -> str:
    """A group and a session of its own for each test: the broker is shared and keeps sessions."""
    return f"T{time.time_ns()}"


@contextmanager
def hearing(
    desk: Desk,
    group: str,
    port: int | None = None,
    more: str = "",
    start: bool = True,
    forgotten: bool = True,
) -> Iterator[Driver]:
    host, own_port = broker()
    assert "sparkplug" in MODULES
    gateway = Gateway(
        gateway_id="ATL1-GW1",
        site_id="ATL1",
        driver="sparkplug",
        address=f"mqtt://{host}:{port or own_port}",
        map=f"groups: [{group}]\nhost_id: {group}\n{more}",
    )
    driver = make_driver(gateway, Secret({}), desk.deliver, HostClock())
    if start:
        driver.start()
    try:
        if start:
            eventually(lambda: driver.state()[0])
        yield driver
    finally:
        driver.stop()
        if forgotten:
            forget(group)


def forget(client_id: str) -> None:
    """Have the broker forget what it keeps for a test: its session and the state of its host."""
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)
    client.connect(*broker())
    client.loop_start()
    client.publish(f"spBv1.0/STATE/{client_id}", b"", qos=1, retain=True).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


class Watcher:
    """Sees what is said on the host's topic, retained included."""

    def __init__(self, group: str) -> None:
        self.said: list[tuple[bool, dict[str, object]]] = []
        self.client = Client(CallbackAPIVersion.VERSION2)
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _client, _data, message: self.said.append(
            (message.retain, json.loads(message.payload or b"{}"))
        )
        self.client.connect(*broker())
        self.client.loop_start()
        self.client.subscribe(f"spBv1.0/STATE/{group}", 1)
        assert ready.wait(30)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def edge(group: str, host_id: str = "", qos: int = 0) -> Iterator[EdgeNode]:
    node = EdgeNode(broker(), group, "rack-1", "case-4", host_id, qos)
    node.now_ms = time.time_ns() // 1_000_000
    node.births = [real("air", -20.0, 1, unit="°C"), real("coil", -28.0, 2, unit="°C")]
    node.connect()
    try:
        yield node
    finally:
        if node.connected.is_set():
            node.disconnect(clean=True)


def test_births_and_values_arrive_with_their_points_units_and_times() -> None:
    desk, group = Desk(), name()
    air = f"{group}/rack-1/case-4/air"
    with hearing(desk, group), edge(group) as node:
        eventually(lambda: desk.values(air) == [-20.0])
        node.say([bare(1, -18.5, at_ms=node.now_ms - 250)])
        eventually(lambda: desk.values(air) == [-20.0, -18.5])
        heard = desk.readings[-1]
        assert (heard.unit, heard.device_at_us) == ("C", (node.now_ms - 250) * 1_000)
        assert abs(heard.heard_at_us - time.time_ns() // 1_000) < 60_000_000
        assert not desk.unreadable


def test_our_state_is_retained_online_and_offline_when_we_stop() -> None:
    desk, group = Desk(), name()
    with hearing(desk, group) as driver:
        watcher = Watcher(group)
        eventually(lambda: watcher.said)
        retained, said = watcher.said[0]
        assert retained
        assert said["online"] is True
        driver.stop()
        eventually(lambda: len(watcher.said) > 1)
        assert watcher.said[-1][1] == {"online": False, "timestamp": said["timestamp"]}
        watcher.close()


def test_our_will_says_that_we_are_gone_and_we_say_that_we_are_back() -> None:
    desk, group, proxy = Desk(), name(), Proxy()
    with hearing(desk, group, proxy.port) as driver:
        watcher = Watcher(group)
        eventually(lambda: watcher.said)
        proxy.cut()
        eventually(lambda: watcher.said[-1][1]["online"] is False)
        eventually(lambda: not driver.state()[0])
        proxy.mend()
        eventually(lambda: watcher.said[-1][1]["online"] is True)
        eventually(lambda: driver.state()[0])
        watcher.close()
    proxy.cut()


def test_somebodys_late_word_that_we_are_offline_is_put_right() -> None:
    desk, group = Desk(), name()
    with hearing(desk, group):
        watcher = Watcher(group)
        watcher.client.publish(
            f"spBv1.0/STATE/{group}", b'{"online":false,"timestamp":1}', qos=1, retain=True
        )
        eventually(lambda: [said["online"] for _, said in watcher.said[-2:]] == [False, True])
        watcher.close()


def test_a_host_that_begins_in_the_middle_asks_for_births_once_and_then_reads() -> None:
    desk, group = Desk(), name()
    with edge(group) as node, hearing(desk, group) as driver:
        for number in range(5):
            node.say([bare(1, -10.0 - number)])
        eventually(lambda: desk.values(f"{group}/rack-1/case-4/air"))
        assert node.rebirths == 1
        node.say([bare(1, -9.0)])
        eventually(lambda: -9.0 in desk.values(f"{group}/rack-1/case-4/air"))
        assert "1 edge nodes online" in driver.state()[1]


def test_a_node_that_dies_makes_its_devices_silent_and_no_value() -> None:
    desk, group = Desk(), name()
    with hearing(desk, group), edge(group) as node:
        eventually(lambda: len(desk.readings) == 2)
        node.disconnect()
        eventually(lambda: any(note.online is False for note in desk.notes))
        offline = {note.device for note in desk.notes if note.online is False}
        assert offline == {f"{group}/rack-1", f"{group}/rack-1/case-4"}
        assert len(desk.readings) == 2
        node.connect()
        eventually(lambda: desk.notes[-1].online is True)


def test_a_late_death_of_the_last_session_is_passed_over() -> None:
    desk, group = Desk(), name()
    with hearing(desk, group), edge(group) as node:
        eventually(lambda: len(desk.readings) == 2)
        node.publish("NDEATH", sp.encode(node.now_ms, [bd(255)]), qos=1)
        node.say([bare(1, -1.0)])
        eventually(lambda: len(desk.readings) == 3)
        assert all(note.online for note in desk.notes)


def test_nothing_is_acknowledged_before_it_is_stored_and_everything_after_a_break_is_told_once() -> None:
    desk, group, proxy = Desk(), name(), Proxy()
    air = f"{group}/rack-1/case-4/air"
    with hearing(desk, group, proxy.port), edge(group, qos=1) as node:
        eventually(lambda: len(desk.readings) == 2)
        desk.answers = False
        for number in range(10):
            node.say([bare(1, float(number), at_ms=node.now_ms + number)])
        eventually(lambda: desk.waiting)
        proxy.cut()
        desk.settle(stored=False)
        desk.answers = True
        for number in range(10, 20):
            node.say([bare(1, float(number), at_ms=node.now_ms + number)])
        proxy.mend()
        eventually(lambda: len(set(desk.values(air))) == 21)
        time.sleep(1)
        assert desk.values(air) == [-20.0, *map(float, range(20))], "each of them once, in order"
        assert node.rebirths == 0
    proxy.cut()


def test_values_that_a_store_refuses_are_handed_over_until_it_takes_them() -> None:
    desk, group = Desk(), name()
    desk.accepts = False
    with hearing(desk, group), edge(group) as node:
        node.say([bare(1, -1.0)])
        eventually(lambda: len(desk.refused) > 2)
        desk.accepts = True
        eventually(lambda: len(desk.readings) == 3)


def test_an_edge_node_keeps_its_values_while_its_host_is_away_and_sends_them_later() -> None:
    desk, group = Desk(), name()
    air = f"{group}/rack-1/case-4/air"
    with edge(group, host_id=group) as node:
        with hearing(desk, group):
            eventually(lambda: node.host_online)
            node.send_births()
            node.say([bare(1, -19.0)])
            eventually(lambda: -19.0 in desk.values(air))
        eventually(lambda: not node.host_online)
        start_ms = node.now_ms
        for minute in range(30):
            node.now_ms = start_ms + minute * 1_000
            node.say([bare(1, -18.0 + minute)])
        assert len(node.kept) == 30
        with hearing(desk, group):
            eventually(lambda: node.host_online)
            node.send_births()
            assert node.flush() == 30
            eventually(lambda: len([one for one in desk.readings if one.historical]) == 30)
        kept = [one for one in desk.readings if one.historical]
        assert [one.device_at_us for one in kept] == [(start_ms + n * 1_000) * 1_000 for n in range(30)]


@pytest.mark.parametrize("broker_kind", ["plain", "aware"])
def test_a_host_that_was_killed_reads_what_the_broker_kept_as_far_as_it_is_certain(broker_kind: str) -> None:
    desk, group = Desk(), name()
    desk.answers = False  # the first host dies before it stored anything
    with edge(group, qos=1) as node:
        with hearing(desk, group, more=f"broker: {broker_kind}\n", forgotten=False):
            node.say([real("air", -19.0)])
            node.say([bare(1, -18.0)])
            eventually(lambda: desk.waiting)
        # What a Sparkplug Aware MQTT Server would keep.
        certificate = f"$sparkplug/certificates/{node.topic('DBIRTH')}"
        birth = sp.encode(node.now_ms, node.births, seq=1)
        node.publish_to(certificate, birth, retain=True)
        node.say([real("air", -17.0)])
        node.say([bare(1, -16.0)])
        after = Desk()
        with hearing(after, group, more=f"broker: {broker_kind}\n"):
            air = f"{group}/rack-1/case-4/air"
            eventually(lambda: {-19.0, -17.0} <= set(after.values(air)))
            by_alias = {-18.0, -16.0} & set(after.values(air))
            assert by_alias == ({-18.0, -16.0} if broker_kind == "aware" else set())
            told = [one for one in after.unreadable if "alias" in one.why]
            assert len(told) == (0 if broker_kind == "aware" else 2)
        node.publish_to(certificate, b"", retain=True)


@pytest.mark.parametrize(
    ("garbage", "why"),
    [
        (b"\xff\xff\xff\xff", "no Sparkplug payload"),
        (b"\x00" * 300_000, "bytes are more than"),
        (b"\x12\x00" * 6_000, "metrics are more than"),
    ],
)
def test_garbage_is_told_and_what_follows_is_read(garbage: bytes, why: str) -> None:
    desk, group = Desk(), name()
    with hearing(desk, group), edge(group, qos=1) as node:
        eventually(lambda: len(desk.readings) == 2)
        node.publish("DDATA", garbage)
        node.say([real("air", -3.0)])
        eventually(lambda: len(desk.readings) == 3)
        assert why in desk.unreadable[0].why


def test_it_starts_twice_as_once_and_again_after_a_stop_and_stops_in_time() -> None:
    desk, group = Desk(), name()
    with hearing(desk, group) as driver, edge(group) as node:
        driver.start()
        eventually(lambda: len(desk.readings) == 2)
        began = time.monotonic()
        driver.stop()
        assert time.monotonic() - began < 5
        driver.stop()
        driver.start()
        eventually(lambda: driver.state()[0])
        node.send_births()
        eventually(lambda: len(desk.readings) == 4)


def test_a_retained_birth_puts_nothing_in_force() -> None:
    desk, group = Desk(), name()
    topic = f"spBv1.0/{group}/NBIRTH/rack-1"
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect(*broker())
    client.loop_start()
    old = sp.encode(1_772_352_000_000, [bd(0), real("air", 30.0, 1)], seq=0)
    client.publish(topic, old, qos=1, retain=True).wait_for_publish(30)
    try:
        with hearing(desk, group):
            eventually(lambda: desk.unreadable)
            assert "retained" in desk.unreadable[0].why
            assert not desk.readings
            assert not desk.notes
    finally:
        client.publish(topic, b"", qos=1, retain=True).wait_for_publish(30)
        client.disconnect()
        client.loop_stop()


def test_a_broker_that_is_not_there_is_said_and_waited_for() -> None:
    desk, group, proxy = Desk(), name(), Proxy()
    proxy.cut()
    with hearing(desk, group, proxy.port, start=False) as driver:
        driver.start()
        time.sleep(0.5)
        ok, detail = driver.state()
        assert not ok
        assert "no connection to the broker at 127.0.0.1" in detail
        proxy.mend()
        eventually(lambda: driver.state()[0])
    proxy.cut()
