"""A session at a broker of its own: TLS, refusals, a broker that is killed, more than there is room for."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coldgrid.adapters import mqtt_session
from coldgrid.adapters.driving import Haul, Heard, Secret
from coldgrid.adapters.mqtt_broker import Mail, broker_of
from coldgrid.adapters.mqtt_session import Session
from coldgrid.telemetry.gateways import Gateway
from tests.adapters.driver_peers import Desk, HostClock
from tests.conftest import service_missing
from tests.patience import eventually
from tests.ports import free_port
from tests.telemetry import broker as publishing


class Broker:
    """A Mosquitto of this test's own."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true\n") -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        if not Path(program).exists():
            service_missing("mosquitto")
        self.port = free_port()
        self.file = folder / "mosquitto.conf"
        self.file.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\n{more}"
            f"persistence true\npersistence_location {folder}/\n"
            "autosave_interval 1\nautosave_on_changes true\nlog_dest none\n"
        )
        self.program = program
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self.program, "-c", str(self.file)], stderr=subprocess.DEVNULL)
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "mosquitto ended by itself"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 2).close()
            return True
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


@contextmanager
def own_broker(folder: Path, more: str = "allow_anonymous true\n") -> Iterator[Broker]:
    broker = Broker(folder, more)
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def session(
    desk: Desk,
    port: int,
    secret: dict[str, str] | None = None,
    scheme: str = "mqtt",
    filters: tuple[str, ...] = ("t/#",),
    client_id: str = "",
) -> Iterator[Session]:
    gateway = Gateway(
        gateway_id="ATL1-GW1", site_id="ATL1", driver="mqtt", address=f"{scheme}://127.0.0.1:{port}"
    )
    client_id = client_id or f"T{time.time_ns()}"
    broker = broker_of(gateway, Secret(secret or {}), client_id=client_id, clean=False)
    made = Session("ATL1-GW1", broker, filters, desk.deliver, HostClock())
    made.hear = hear
    made.start()
    try:
        yield made
    finally:
        made.stop()


def hear(mail: Mail) -> Haul:
    if mail.payload == b"break":
        raise ZeroDivisionError("a driver's fault")
    return Haul([Heard(mail.topic, float(mail.payload), "", None, 1)])


@contextmanager
def publisher(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[publishing.Publisher]:
    monkeypatch.setattr(publishing, "ADDRESS", f"mqtt://127.0.0.1:{port}")
    made = publishing.Publisher(f"P{time.time_ns()}")
    try:
        yield made
    finally:
        made.close()


def values(desk: Desk) -> list[float]:
    return [heard.value for heard in desk.readings]


def test_more_than_there_is_room_for_comes_again_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_session, "WAITING_MAX", 6)
    desk = Desk()
    desk.accepts = False
    with own_broker(tmp_path) as broker, session(desk, broker.port) as made:
        eventually(lambda: made.state()[0])
        with publisher(broker.port, monkeypatch) as device:
            device.publish([("t/x", str(number).encode()) for number in range(60)])
        eventually(lambda: "were not taken" in made.state()[1])
        desk.accepts = True
        eventually(lambda: len(set(values(desk))) == 60)
        assert sorted(set(values(desk))) == values(desk), "in order, and each once"
        eventually(lambda: made.state()[0])


def test_a_message_that_breaks_its_driver_is_told_and_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    with own_broker(tmp_path) as broker, session(desk, broker.port) as made:
        eventually(lambda: made.state()[0])
        with publisher(broker.port, monkeypatch) as device:
            device.publish([("t/x", b"break")] * 30 + [("t/x", b"1")])
        eventually(lambda: values(desk) == [1.0])
        assert len(desk.unreadable) == 30
        assert "ZeroDivisionError" in desk.unreadable[0].why


def test_what_an_earlier_map_subscribed_to_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = Desk(), Desk()
    with own_broker(tmp_path) as broker, publisher(broker.port, monkeypatch) as device:
        with session(before, broker.port, client_id="kept", filters=("t/a/+", "t/b/+")) as made:
            eventually(lambda: made.state()[0])
            device.publish([("t/a/x", b"1"), ("t/b/x", b"2")])
            eventually(lambda: values(before) == [1.0, 2.0])
        with session(after, broker.port, client_id="kept", filters=("t/b/+",)) as made:
            eventually(lambda: made.state()[0])
            device.publish([("t/a/x", b"3")] * 40 + [("t/b/x", b"4")])
            eventually(lambda: values(after))
            assert values(after) == [4.0]


def test_a_broker_that_is_killed_and_started_again_delivers_what_was_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    with own_broker(tmp_path) as broker, session(desk, broker.port) as made:
        eventually(lambda: made.state()[0])
        desk.answers = False
        with publisher(broker.port, monkeypatch) as device:
            device.publish([("t/x", str(number).encode()) for number in range(10)])
        eventually(lambda: desk.waiting)
        time.sleep(1.5)  # it saves its state once a second
        broker.kill()
        eventually(lambda: not made.state()[0])
        broker.start()
        desk.answers = True
        desk.settle(stored=False)
        eventually(lambda: made.state()[0])
        eventually(lambda: len(set(values(desk))) == 10)


def test_a_broker_that_refuses_us_is_said(tmp_path: Path) -> None:
    with own_broker(tmp_path, "allow_anonymous false\n") as broker, session(Desk(), broker.port) as made:
        eventually(lambda: "it refuses us" in made.state()[1])
        assert not made.state()[0]


def test_a_server_that_takes_connections_and_says_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_session, "GREETED_WITHIN_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, session(Desk(), server.getsockname()[1]) as made:
        eventually(lambda: "said nothing" in made.state()[1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves sockets behind
def test_tls_is_checked_against_the_certificates_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca_file = certified(tmp_path)
    more = f"allow_anonymous true\ncertfile {tmp_path}/own.pem\nkeyfile {tmp_path}/own.key\n"
    with own_broker(tmp_path, more) as broker:
        desk = Desk()
        with session(desk, broker.port, {"ca_file": ca_file}, "mqtts") as made:
            eventually(lambda: made.state()[0])
        with session(desk, broker.port, scheme="mqtts") as made:
            eventually(lambda: "certificate" in made.state()[1].lower())
            assert not made.state()[0]


def certified(folder: Path) -> str:
    """Write a broker's key and certificate; return the file of who signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "own.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "own.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "own.pem")


def test_it_counts_as_working_only_when_the_broker_granted_its_subscription() -> None:
    """Before that, what a device publishes passes it by."""
    with socket.create_server(("127.0.0.1", 0)) as silent, session(Desk(), silent.getsockname()[1]) as made:
        link, _ = silent.accept()
        with link:
            link.recv(1_000)
            link.sendall(b"\x20\x02\x00\x00")  # CONNACK, accepted; a SUBSCRIBE is never answered
            eventually(lambda: "has not let us subscribe yet" in made.state()[1])
            assert not made.state()[0]
