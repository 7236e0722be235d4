"""The driver `mqtt`: maps and messages by themselves, and the whole at a real broker."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import mqtt_packets as packets
from coldgrid.adapters.driving import PAYLOAD_BYTES_MAX, Haul
from coldgrid.adapters.mqtt_map import problems_of_map, read_map
from coldgrid.adapters.mqtt_payload import LEAVES_MAX, read_message
from coldgrid.telemetry.gateways import Gateway
from tests.adapters.conformance import Conformance
from tests.telemetry.broker import Proxy, Publisher, broker

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
HEARD = 1_772_352_000_000_000
MAP = """
topics:
  - topic: zigbee2mqtt/{device}
    time: last_seen
    kept: backlog
    points:
      - {path: temperature, unit: C}
      - {path: humidity, unit: "%"}
      - {path: contact, point: "{device}/door", unit: state, states: {"true": 0, "false": 1}}
      - {path: power.total, unit: W, scale: 0.1, offset: 5}
      - {path: "channels[1].value", point: "{device}/second"}
    health: {device: "{device}", battery: battery, signal: rssi}
  - topic: zigbee2mqtt/{device}/availability
    health: {device: "{device}", online: ""}
  - topic: plain/{room}/+/temp
    points:
      - {path: "", point: "{room}", unit: F}
  - topic: any/{device}
"""


def read(topic: str, payload: Any, *, retained: bool = False) -> Haul:
    map_, problems = read_map(MAP)
    assert problems == []
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return read_message(map_, topic, body, HEARD, retained=retained)


class TestMessages:
    def test_fields_become_points(self) -> None:
        haul = read(
            "zigbee2mqtt/rack1",
            {
                "temperature": -21.5,
                "humidity": "61.5",
                "contact": False,
                "power": {"total": 1234},
                "channels": [{"value": 1}, {"value": 7}],
                "battery": 71,
                "rssi": -88,
                "linkquality": 200,
            },
        )
        assert [(one.point, one.value, one.unit) for one in haul.readings] == [
            ("rack1/temperature", -21.5, "C"),
            ("rack1/humidity", 61.5, "%"),
            ("rack1/door", 1.0, "state"),
            ("rack1/power.total", pytest.approx(128.4), "W"),
            ("rack1/second", 7.0, ""),
        ]
        assert {one.device_at_us for one in haul.readings} == {None}
        [note] = haul.notes
        assert (note.device, note.battery_pct, note.signal_dbm, note.online) == ("rack1", 71.0, -88.0, None)
        assert haul.unreadable == []

    @pytest.mark.parametrize(
        "time",
        ["2026-03-01T08:00:00Z", "2026-03-01T09:00:00+01:00", 1_772_352_000, 1_772_352_000_000],
        ids=str,
    )
    def test_a_time_is_read_in_each_of_its_forms(self, time: Any) -> None:
        [one] = read("zigbee2mqtt/r", {"temperature": 1, "last_seen": time}).readings
        assert (one.device_at_us, one.historical) == (1_772_352_000_000_000, False)

    @pytest.mark.parametrize("time", ["yesterday", "2026-03-01T08:00:00", -5, 1e300, [1], True], ids=str)
    def test_a_time_that_is_none_refuses_the_message(self, time: Any) -> None:
        haul = read("zigbee2mqtt/r", {"temperature": 1, "last_seen": time})
        assert haul.readings == []
        assert "time" in haul.unreadable[0].why

    def test_what_a_device_kept_says_so(self) -> None:
        [one] = read(
            "zigbee2mqtt/r", {"temperature": 1, "last_seen": 1_772_352_000, "backlog": True}
        ).readings
        assert one.historical

    def test_a_retained_message_counts_only_with_a_time(self) -> None:
        haul = read("zigbee2mqtt/r", {"temperature": 1}, retained=True)
        assert (haul.readings, "retained" in haul.unreadable[0].why) == ([], True)
        [one] = read("zigbee2mqtt/r", {"temperature": 1, "last_seen": 1_772_352_000}, retained=True).readings
        assert one.historical

    @pytest.mark.parametrize(
        ("payload", "online"), [(b"online", True), (b'"offline"', False), (b"true", True), (b"perhaps", None)]
    )
    def test_availability_is_a_note(self, payload: bytes, online: bool | None) -> None:
        haul = read("zigbee2mqtt/rack1/availability", payload, retained=True)
        assert [note.online for note in haul.notes] == ([] if online is None else [online])
        assert (haul.readings, haul.unreadable) == ([], [])

    def test_true_is_no_number_of_degrees(self) -> None:
        haul = read("zigbee2mqtt/rack1", {"temperature": True, "battery": True, "contact": True})
        assert [(one.point, one.value) for one in haul.readings] == [("rack1/door", 0.0)]
        assert [one.why for one in haul.unreadable] == ["is no number that can be kept"]
        assert haul.notes == []

    def test_a_plain_number_is_a_payload_too(self) -> None:
        [one] = read("plain/freezer/x/temp", b" -6.7 ").readings
        assert (one.point, one.value, one.unit) == ("freezer", -6.7, "F")

    def test_without_points_every_number_is_one(self) -> None:
        haul = read("any/dev", {"a": 1, "b": {"c": 2.5, "d": "x"}, "e": True, "f": [1], "g": None})
        assert [(one.point, one.value, one.unit) for one in haul.readings] == [
            ("dev/a", 1.0, ""),
            ("dev/b.c", 2.5, ""),
            ("dev/e", 1.0, "state"),
        ]
        many = read("any/dev", {f"p{i}": i for i in range(1_000)})
        assert len(many.readings) == LEAVES_MAX

    @pytest.mark.parametrize(
        "payload",
        [
            b'{"temperature": NaN}',
            b'{"temperature": 1e400}',
            b"{",
            b"\xff\xfe",
            b"[" * 50_000,
            b"x" * (PAYLOAD_BYTES_MAX + 1),
            b'{"temperature": "warm"}',
            b'{"temperature": [1]}',
            b'{"temperature": 300000}',
            b'{"contact": "ajar"}',
        ],
        ids=lambda payload: repr(payload[:20]),
    )
    def test_what_is_no_reading_is_told(self, payload: bytes) -> None:
        haul = read("zigbee2mqtt/r", payload)
        assert haul.readings == []
        [one] = haul.unreadable
        assert one.why
        assert len(one.text) <= 200

    def test_one_bad_field_leaves_the_others(self) -> None:
        haul = read("zigbee2mqtt/r", {"temperature": -21.5, "humidity": "damp"})
        assert [one.point for one in haul.readings] == ["r/temperature"]
        assert [one.source for one in haul.unreadable] == ["zigbee2mqtt/r r/humidity"]

    @given(st.binary(max_size=300), st.sampled_from(["zigbee2mqtt/r", "any/r", "plain/a/b/temp", "other"]))
    def test_any_bytes_have_an_answer(self, payload: bytes, topic: str) -> None:
        haul = read(topic, payload)
        assert all(math.isfinite(one.value) for one in haul.readings)

    @given(JSON)
    def test_any_json_has_an_answer(self, value: Any) -> None:
        haul = read("any/r", json.dumps(value).encode())
        assert all(one.point.isprintable() and math.isfinite(one.value) for one in haul.readings)


class TestMaps:
    @pytest.mark.parametrize(
        ("text", "field"),
        [
            ("", ""),
            ("topics: []", "topics"),
            ("topics: [{}]", "topics[0]"),
            ("topics: [{topic: '#'}]", "topics[0].topic"),
            ("topics: [{topic: '{a}/{a}'}]", "topics[0].topic"),
            ("topics: [{topic: 'a/{B}'}]", "topics[0].topic"),
            ("topics: [{topic: '+/+'}]", "topics[0].topic"),
            ("topics: [{topic: 'a/b', points: [{path: 'a..b'}]}]", "topics[0].points[0].path"),
            ("topics: [{topic: 'a/b', points: [{path: a, unit: furlong}]}]", "topics[0].points[0].unit"),
            ("topics: [{topic: 'a/b', points: [{path: a, point: '{c}'}]}]", "topics[0].points[0].point"),
            ("topics: [{topic: 'a/b', points: [{path: a, scale: x}]}]", "topics[0].points[0].scale"),
            (
                "topics: [{topic: 'a/b', points: [{path: a, states: {on: x}}]}]",
                "topics[0].points[0].states.on",
            ),
            ("topics: [{topic: 'a/b', pionts: []}]", "topics[0].pionts"),
            ("topics: [{topic: 'a/b', time: 'x['}]", "topics[0].time"),
            ("client_id: 'a b'\ntopics: [{topic: a}]", "client_id"),
        ],
    )
    def test_a_wrong_map_names_its_place(self, text: str, field: str) -> None:
        assert field in [problem.field for problem in problems_of_map(text)]

    @given(st.text(max_size=200))
    def test_any_text_has_an_answer(self, text: str) -> None:
        read_map(text)


class BrokerPeer:
    """Mosquitto behind a line that can be cut, and a device that publishes to it."""

    secret: dict[str, str] | None = None
    point = "rack1/temperature"

    def __init__(self) -> None:
        self._proxy = Proxy()
        self._publisher = Publisher("conformance-device")
        self.gateway = Gateway(
            gateway_id="ATL1-GW7",
            site_id="ATL1",
            driver="mqtt",
            address=f"mqtt://127.0.0.1:{self._proxy.port}",
            map=MAP.replace("zigbee2mqtt/", "conformance/"),
        )

    def send(self, value: float) -> None:
        payload = json.dumps({"temperature": value}).encode()
        self._publisher.publish([("conformance/rack1", payload)])

    def send_garbage(self) -> int:
        bodies = [b"{", b"\xff", b'{"temperature": NaN}', b'{"temperature": "x"}', b"[" * PAYLOAD_BYTES_MAX]
        self._publisher.publish([("conformance/rack1", body) for body in bodies])
        return len(bodies)

    def break_off(self) -> None:
        self._proxy.cut()

    def come_back(self) -> None:
        self._proxy.mend()

    def close(self) -> None:
        self._publisher.close()
        if self._proxy.server is not None:
            self._proxy.cut()


class TestMqttGateway(Conformance):
    """The whole at the real broker."""

    @pytest.fixture
    def peer(self) -> Iterator[BrokerPeer]:
        peer = BrokerPeer()
        yield peer
        peer.close()
        forget_session("coldgrid-ATL1-GW7")


def forget_session(client_id: str) -> None:
    """Have the broker forget the session that the driver keeps there."""
    sock = socket.create_connection(broker(), 5)
    sock.sendall(packets.connect(client_id, keepalive_s=5, keep_session=False))
    sock.recv(4)
    sock.sendall(packets.DISCONNECT)
    sock.close()
