"""MQTT: acknowledged after the commit, against a real broker, that goes away and comes back."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldgrid.adapters import mqtt_packets as packets
from coldgrid.adapters.mqtt import MqttIngest
from coldgrid.adapters.mqtt_links import MqttSettings
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import NotFound, OriginElsewhere, Rejected, Unavailable
from coldgrid.kernel.service import DeciderService
from coldgrid.telemetry import health, store
from coldgrid.telemetry.ingest import IngestReadings, read_columns
from tests.conftest import T0, sqlite_kernel
from tests.patience import eventually
from tests.telemetry.broker import Proxy, Publisher, broker, forget_sessions
from tests.telemetry.cold_room import AIR, AIR_2, at, cold_room

T0_MS = int(T0.timestamp() * 1_000)


class Desk:
    """Stands in for the decider: keeps commands until the test decides what becomes of them."""

    def __init__(self) -> None:
        self.got: list[tuple[IngestReadings, Future[Any]]] = []
        self.fail: Exception | None = None
        self.hold = False

    def submit(self, command: IngestReadings) -> Future[Any]:
        future: Future[Any] = Future()
        self.got.append((command, future))
        if self.fail is not None:
            future.set_exception(self.fail)
        elif not self.hold:
            future.set_result(None)
        return future

    @property
    def values(self) -> list[float]:
        return [value for command, _ in self.got for value in read_columns(command).value.tolist()]


def name() -> str:
    """A session of its own for each test: the broker keeps sessions."""
    return f"test-{time.time_ns()}"


@contextmanager
def consuming(
    submit: Any,
    port: int | None = None,
    connections: int = 3,
    prefix: str = "",
    site: str = "+",
    **more: Any,
) -> Iterator[MqttIngest]:
    host, own_port = broker()
    settings = MqttSettings(
        host=host,
        port=port or own_port,
        client_id=name(),
        group=name(),
        prefix=prefix,
        site=site,
        connections=connections,
        keepalive_s=2,
    )
    ingest = MqttIngest(settings, submit, time.monotonic, **more)
    ingest.start()
    try:
        eventually(lambda: ingest.connected == connections)
        yield ingest
    finally:
        ingest.stop()
        forget_sessions(settings.client_id, connections)


def payload(value: float, minute: float = 0) -> bytes:
    return f'{{"at":{T0_MS + round(minute * 60_000)},"value":{value}}}'.encode()


def publish(prefix: str, values: list[float], sensor_id: str = AIR, site_id: str = "ATL1") -> None:
    publisher = Publisher(name())
    publisher.publish([(f"{prefix}/{site_id}/{sensor_id}", payload(value)) for value in values])
    publisher.close()


def test_every_message_arrives_once() -> None:
    desk, prefix = Desk(), name()
    with consuming(desk.submit, prefix=prefix):
        publish(prefix, [float(value) for value in range(500)])
        eventually(lambda: len(desk.values) >= 500)
    assert sorted(desk.values) == [float(value) for value in range(500)]


def test_nothing_is_acknowledged_before_the_commit() -> None:
    """With 20 unacknowledged messages on its one link the broker sends no more."""
    desk, prefix = Desk(), name()
    desk.hold = True
    with consuming(desk.submit, prefix=prefix, connections=1):
        publish(prefix, [float(value) for value in range(60)])
        eventually(lambda: len(desk.values) >= 1)
        time.sleep(0.3)
        assert len(desk.values) <= 20
        desk.hold = False
        for _, future in list(desk.got):
            if not future.done():
                future.set_result(None)
        eventually(lambda: set(desk.values) == {float(value) for value in range(60)})
    assert len(desk.values) == 60


def test_what_could_not_be_stored_comes_again() -> None:
    desk, prefix = Desk(), name()
    desk.fail = Unavailable()
    with consuming(desk.submit, prefix=prefix):
        publish(prefix, [1.0, 2.0, 3.0])
        eventually(lambda: len(desk.values) >= 3)
        desk.fail = None
        desk.got.clear()
        eventually(lambda: set(desk.values) == {1.0, 2.0, 3.0})


@pytest.mark.parametrize("refusal", [NotFound(), OriginElsewhere(origin="ATL1")])
def test_what_is_refused_is_not_sent_for_ever(refusal: Rejected) -> None:
    desk, prefix = Desk(), name()
    desk.fail = refusal
    with consuming(desk.submit, prefix=prefix):
        publish(prefix, [1.0])
        eventually(lambda: desk.got)
        desk.fail = None
        publish(prefix, [2.0])
        eventually(lambda: 2.0 in desk.values)
    assert desk.values == [1.0, 2.0]


def test_a_node_hears_its_own_site_only() -> None:
    desk, prefix = Desk(), name()
    with consuming(desk.submit, prefix=prefix, site="ATL1"):
        publish(prefix, [1.0], "CLT1-FRZ1-T1", "CLT1")
        publish(prefix, [2.0])
        eventually(lambda: desk.values)
    assert desk.values == [2.0]


def test_the_broker_goes_and_comes_back() -> None:
    desk, prefix, proxy = Desk(), name(), Proxy()
    with consuming(desk.submit, port=proxy.port, prefix=prefix) as ingest:
        publish(prefix, [1.0])
        eventually(lambda: desk.values == [1.0])
        proxy.cut()
        eventually(lambda: ingest.connected == 0)
        publish(prefix, [2.0, 3.0])
        proxy.mend()
        eventually(lambda: set(desk.values) == {1.0, 2.0, 3.0}, within_s=20)
        eventually(lambda: ingest.connected == 3, within_s=20)
    proxy.cut()


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"at":1,"value":NaN}',
        b'{"value":1}',
        b'{"at":1,"value":1,"unit":"K"}',
        b"[" * 5_000,
    ],
    ids=lambda poison: poison[:16].decode(errors="replace") or "empty",
)
def test_a_poisoned_message_is_told_and_does_not_stop_the_others(poison: bytes) -> None:
    desk, prefix = Desk(), name()
    with consuming(desk.submit, prefix=prefix, connections=1):
        publisher = Publisher(name())
        publisher.publish([(f"{prefix}/ATL1/{AIR}", poison), (f"{prefix}/ATL1/{AIR}", payload(5.0))])
        publisher.close()
        eventually(lambda: 5.0 in desk.values and any(command.poisoned for command, _ in desk.got))
    poisoned = [one for command, _ in desk.got for one in command.poisoned]
    assert [one.source for one in poisoned] == [f"{prefix}/ATL1/{AIR}"]


def test_readings_become_durable_on_a_real_decider() -> None:
    prefix = name()
    with sqlite_kernel() as kernel:
        cold_room(kernel)
        kernel.host.instant = T0.replace(hour=9)
        service = DeciderService(kernel.decider, lambda due: 1.0, lambda: False)
        service.start()
        with consuming(service.submit, prefix=prefix, connections=4):
            publisher = Publisher(name())
            publisher.publish(
                [(f"{prefix}/ATL1/{AIR}", payload(-21.5 + i / 1_000, i / 10)) for i in range(400)]
                + [(f"{prefix}/ATL1/{AIR_2}", payload(-20.0, i / 10)) for i in range(400)]
                + [(f"{prefix}/ATL1/{AIR}", b"junk"), (f"{prefix}/XXX9/{AIR}", payload(1.0))]
            )
            publisher.close()

            def stored() -> int:
                found: tuple[int, int] = service.call(_count).result()
                return sum(found)

            eventually(lambda: stored() == 800)
        service.stop()
        reader = kernel.reader()
        assert len(store.series(reader, AIR, at(0), at(60))[0]) == 400
        assert [caught.reason for caught in health.quarantined(reader, "ATL1")] == ["unreadable"]


def _count(decider: Any) -> tuple[int, int]:
    reads, now = Reads(decider.connection), datetime(2027, 1, 1, tzinfo=UTC)
    return len(store.series(reads, AIR, T0, now)[0]), len(store.series(reads, AIR_2, T0, now)[0])


def test_a_reading_that_calls_for_haste_goes_at_once_whatever_is_under_way() -> None:
    desk, prefix = Desk(), name()
    desk.hold = True
    with consuming(desk.submit, prefix=prefix, urgent=lambda site, sensor, told: told.value > 0):
        publish(prefix, [-22.0])
        eventually(lambda: desk.values == [-22.0])
        publish(prefix, [-21.0], AIR_2)
        publish(prefix, [-20.0], site_id="DFW1")
        time.sleep(0.3)
        assert desk.values == [-22.0], "the others wait until what is under way is durable"
        publish(prefix, [5.0])
        eventually(lambda: desk.values == [-22.0, -21.0, 5.0])
        for _, future in list(desk.got):
            future.set_result(None)
        eventually(lambda: desk.values == [-22.0, -21.0, 5.0, -20.0])


def test_a_link_that_is_still_being_opened_is_not_taken_for_silent() -> None:
    ingest: Any = MqttIngest(MqttSettings(keepalive_s=2), Desk().submit, lambda: 1_000.0)
    inside = vars(ingest)
    ours, theirs = socket.socketpair()
    (link, *_) = inside["_links"]
    link.sock = ours
    for part in ("_keep_alive", "_take_over"):
        getattr(ingest, part)()
    assert link.sock is ours
    assert ingest.connected == 0
    for one in (ours, theirs, inside["_wake_in"], inside["_wake_out"], inside["_selector"]):
        one.close()


class TestPackets:
    @given(
        st.lists(st.tuples(st.text("abc/", min_size=1, max_size=300), st.binary(max_size=300)), max_size=8),
        st.lists(st.integers(1, 40), max_size=60),
    )
    def test_packets_are_found_whatever_pieces_they_come_in(
        self, drawn: list[tuple[str, bytes]], pieces: list[int]
    ) -> None:
        data = b"".join(packets.publish(topic, body, 7) for topic, body in drawn) + packets.PINGREQ
        parser, found, others = packets.Parser(), [], []
        for size in [*pieces, len(data)]:
            messages, rest = parser.feed(data[:size])
            found += messages
            others += rest
            data = data[size:]
        assert [(one.topic.decode(), one.packet_id, one.payload) for one in found] == [
            (topic, b"\0\7", body) for topic, body in drawn
        ]
        assert others == [(0xC0, b"")]

    @pytest.mark.parametrize(
        "data",
        [b"\x30\xff\xff\xff\xff\x01", b"\x30\xff\xff\xff\x7f", b"\x32\x03\x00\x09a"],
        ids=["5 bytes", "huge", "short"],
    )
    def test_what_is_no_mqtt_is_refused(self, data: bytes) -> None:
        with pytest.raises(packets.MalformedPacket):
            packets.Parser().feed(data)
