"""An edge node of Sparkplug B for tests: births, values, deaths and store and forward, over a real broker."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from coldgrid.adapters import sparkplug_payload as sp
from coldgrid.adapters.sparkplug_payload import Metric


def real(name: str, value: float, alias: int | None = None, **more: Any) -> Metric:
    """A floating-point metric."""
    return msgspec.structs.replace(
        Metric(name=name, alias=alias, datatype=sp.DOUBLE, kind="double_value", value=value),
        **more,
    )


def bare(alias: int, value: float, **more: Any) -> Metric:
    """A value by its alias alone, as later messages carry it."""
    return msgspec.structs.replace(
        Metric(alias=alias, kind="double_value", value=value),
        **more,
    )


def bd(number: int) -> Metric:
    """The number of a session."""
    return Metric(name=sp.BD_SEQ, datatype=sp.INT64, kind="long_value", value=number)


class EdgeNode:
    """One edge node with one device.

    It answers a rebirth, keeps its values while its primary host is offline, or the broker is away, and sends
    them later as historical ones. `qos` is that of its values: the specification says 0, many devices send 1.
    """

    def __init__(
        self, address: tuple[str, int], group: str, node: str, device: str, host_id: str = "", qos: int = 0
    ) -> None:
        self.address, self.group, self.node, self.device = address, group, node, device
        self.host_id, self.qos = host_id, qos
        self.seq, self.bd_seq = 0, 0
        self.now_ms = 1_772_352_000_000
        self.births: list[Metric] = []
        self.kept: list[tuple[int, list[Metric]]] = []
        self.rebirths = 0
        self.host_online = not host_id
        self.connected = threading.Event()
        self._client: Client | None = None

    # --- The wire ---------------------------------------------------------------------

    def topic(self, kind: str) -> str:
        """The topic of a message of this node or device."""
        own = f"spBv1.0/{self.group}/{kind}/{self.node}"
        return own if kind.startswith("N") else f"{own}/{self.device}"

    def next_seq(self) -> int:
        """The number of the next message."""
        self.seq = (self.seq + 1) % 256
        return self.seq

    def connect(self) -> None:
        """Connect with a death as the will, and send the births."""
        client = self._client = Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.will_set(self.topic("NDEATH"), sp.encode(self.now_ms, [bd(self.bd_seq)]), qos=1)
        ready = threading.Event()
        client.on_connect = lambda *_: ready.set()
        client.on_disconnect = lambda *_: self.connected.clear()
        client.on_message = lambda _client, _data, message: self._told(message)
        client.connect(*self.address)
        client.loop_start()
        assert ready.wait(30), "the broker lets no edge node in"
        client.subscribe([(self.topic("NCMD"), 1), (f"spBv1.0/STATE/{self.host_id or 'none'}", 1)])
        self.connected.set()
        self.send_births()

    def disconnect(self, *, clean: bool = False) -> None:
        """Break the link; the broker sends the death, unless it is said properly."""
        client = self._client
        assert client is not None, "it is connected"
        if clean:
            self.publish("NDEATH", sp.encode(self.now_ms, [bd(self.bd_seq)]), qos=1)
            client.disconnect()
        else:
            sock = client.socket()
            assert sock is not None, "it is connected"
            sock.close()
        client.loop_stop()
        self.connected.clear()
        self.bd_seq = (self.bd_seq + 1) % 256

    def publish(self, kind: str, data: bytes, qos: int | None = None) -> None:
        """Publish bytes; waits for the broker at QoS 1."""
        assert self._client is not None, "it is connected"
        qos = self.qos if qos is None else qos
        told = self._client.publish(self.topic(kind), data, qos=qos)
        told.wait_for_publish(30)

    def publish_to(self, topic: str, data: bytes, *, retain: bool = False) -> None:
        """Publish to any topic at QoS 1."""
        assert self._client is not None, "it is connected"
        self._client.publish(topic, data, qos=1, retain=retain).wait_for_publish(30)

    def _told(self, message: MQTTMessage) -> None:
        if message.topic.startswith("spBv1.0/STATE/"):
            if message.payload:
                self.host_online = bool(json.loads(message.payload)["online"])
            return
        names = [metric.name for metric in sp.decode(bytes(message.payload)).metrics]
        if sp.REBIRTH in names:
            self.rebirths += 1
            threading.Thread(target=self.send_births, daemon=True).start()

    # --- What it says -------------------------------------------------------------------

    def send_births(self) -> None:
        """Send the births of the node and its device."""
        self.now_ms += 1
        self.seq = 0
        control = Metric(name=sp.REBIRTH, datatype=sp.BOOLEAN, kind="boolean_value", value=False)
        self.publish("NBIRTH", sp.encode(self.now_ms, [bd(self.bd_seq), control], seq=0), qos=0)
        self.publish("DBIRTH", sp.encode(self.now_ms, self.births, seq=self.next_seq()), qos=0)

    def say(self, metrics: Sequence[Metric], at_ms: int | None = None) -> None:
        """Send values, or keep them while nobody listens."""
        at_ms = self.now_ms if at_ms is None else at_ms
        if self.connected.is_set() and self.host_online:
            self.publish("DDATA", sp.encode(at_ms, metrics, seq=self.next_seq()))
        else:
            self.kept.append((at_ms, list(metrics)))

    def flush(self) -> int:
        """Send what was kept, as historical values; return how many messages."""
        kept, self.kept = self.kept, []
        for at_ms, metrics in kept:
            old = [msgspec.structs.replace(metric, historical=True, at_ms=at_ms) for metric in metrics]
            self.publish("DDATA", sp.encode(self.now_ms, old, seq=self.next_seq()))
        return len(kept)
