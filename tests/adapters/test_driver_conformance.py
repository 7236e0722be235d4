"""What every driver must do, by the drivers of Sparkplug and LoRaWAN with real brokers between."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.sparkplug_payload import Metric
from coldgrid.telemetry.gateways import Gateway
from tests.adapters.conformance import Conformance, Peer
from tests.adapters.lorawan_bodies import STACK, changed
from tests.adapters.sparkplug_edge import EdgeNode, bare, real
from tests.adapters.test_lorawan import AIR, lpp, now, uplink
from tests.adapters.test_sparkplug_host import forget
from tests.telemetry.broker import Proxy, Publisher, broker, forget_sessions


class SparkplugPeer:
    """An edge node at the broker; the host's way to it can be cut."""

    secret: dict[str, str] | None = None

    def __init__(self) -> None:
        group = f"T{time.time_ns()}"
        self.proxy = Proxy()
        self.gateway = Gateway(
            gateway_id="ATL1-GW1",
            site_id="ATL1",
            driver="sparkplug",
            address=f"mqtt://127.0.0.1:{self.proxy.port}",
            map=f"groups: [{group}]\nhost_id: {group}\n",
        )
        self.group = group
        self.point = f"{group}/rack-1/case-4/air"
        self.node = EdgeNode(broker(), group, "rack-1", "case-4", qos=1)
        self.node.now_ms = time.time_ns() // 1_000_000
        self.node.births = [real("air", -20.0, 1, unit="°C")]
        self.node.connect()

    def send(self, value: float) -> None:
        if not self.node.rebirths:
            self.node.send_births()
            self.node.rebirths = 1
        self.node.say([bare(1, value)], time.time_ns() // 1_000_000)

    def send_garbage(self) -> int:
        self.node.send_births()
        wrong = [
            bare(1, float("nan")),
            bare(1, float("inf")),
            Metric(alias=1, kind="boolean_value", value=True),
            Metric(alias=1, null=True),
            bare(9, 1.0),
        ]
        self.node.publish("DDATA", sp.encode(self.node.now_ms, wrong, seq=self.node.next_seq()))
        for data in (b"\xff" * 40, b"\x00" * 300_000, b"\x12\x00" * 6_000):
            self.node.publish("DDATA", data)
        self.node.send_births()
        return 8

    def break_off(self) -> None:
        self.proxy.cut()

    def come_back(self) -> None:
        self.proxy.mend()

    def close(self) -> None:
        self.node.disconnect(clean=True)
        if self.proxy.server is not None:
            self.proxy.cut()
        forget(self.group)


class LorawanPeer:
    """A network server that publishes uplinks; the host's way to its broker can be cut."""

    secret: dict[str, str] | None = None
    point = AIR

    def __init__(self) -> None:
        self.app = f"T{time.time_ns()}"
        self.proxy = Proxy()
        self.gateway = Gateway(
            gateway_id="ATL1-GW1",
            site_id="ATL1",
            driver="lorawan",
            address=f"mqtt://127.0.0.1:{self.proxy.port}",
            map=f"application: {self.app}\nclient_id: {self.app}\npayload: cayenne\n"
            "fields: [{path: analog_in_3, point: temperature_3, unit: C}]\n",
        )
        self.topic = f"application/{self.app}/device/0101010101010101/event/up"
        self.publisher = Publisher(f"{self.app}-server")
        self.frame = 0

    def send(self, value: float) -> None:
        self.frame += 1
        data = bytes([3, 2]) + round(value * 100).to_bytes(2, "big", signed=True)
        self.publisher.publish([(self.topic, uplink(value, self.frame, data))])

    def send_garbage(self) -> int:
        bodies = [
            b"\xff\xfe",
            b"[" * 50_000,
            b" " * 300_000,
            changed(STACK, simulated=True),
            changed(STACK, uplink_message__frm_payload="AZn/", uplink_message__received_at=now()),
            changed(STACK, uplink_message__frm_payload=lpp(1.0), uplink_message__received_at="soon"),
        ]
        self.publisher.publish([(self.topic, body) for body in bodies])
        return len(bodies)

    def break_off(self) -> None:
        self.proxy.cut()

    def come_back(self) -> None:
        self.proxy.mend()

    def close(self) -> None:
        self.publisher.close()
        if self.proxy.server is not None:
            self.proxy.cut()
        forget_sessions(self.app, 1)


class TestSparkplug(Conformance):
    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        peer = SparkplugPeer()
        yield peer
        peer.close()


class TestLorawan(Conformance):
    @pytest.fixture
    def peer(self) -> Iterator[Peer]:
        peer = LorawanPeer()
        yield peer
        peer.close()
