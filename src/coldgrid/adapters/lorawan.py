"""The driver `lorawan`: uplinks of a network server, over MQTT, or by HTTP where the gateway has no address.

Over MQTT an uplink is acknowledged after its commit (`mqtt_session`); by HTTP the host answers after it. What
was not stored is sent again by the network server, or by the broker, and gives the same readings
(`lorawan_readings`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from prometheus_client import Counter

from coldgrid.adapters.driving import Clock, Deliver, Driver, Haul, Secret, register_driver
from coldgrid.adapters.lorawan_map import problems_of_map, read_map
from coldgrid.adapters.lorawan_readings import Uplinks
from coldgrid.adapters.mqtt_broker import Mail, broker_of
from coldgrid.adapters.mqtt_session import Session
from coldgrid.telemetry.gateways import DriverForm, Gateway

UPLINKS = Counter(
    "coldgrid_lorawan_total",
    "Messages of LoRaWAN network servers, by what became of them.",
    ["gateway", "outcome"],
)


class LorawanGateway:
    """One gateway's driver."""

    def __init__(self, gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> None:
        said, problems = read_map(gateway.map)
        assert not problems, "a map is checked when it is written"
        self._gateway_id = gateway.gateway_id
        self._clock = clock
        self._uplinks = Uplinks(said)
        self._guard = threading.Lock()
        self._heard_s: float | None = None
        self._last_refused = ""
        self._session: Session | None = None
        if gateway.address:
            client_id = said.client_id or f"coldgrid-{gateway.gateway_id}"
            broker = broker_of(gateway, secret, client_id=client_id, clean=False)
            self._session = Session(gateway.gateway_id, broker, said.filters(), deliver, clock)
            self._session.hear = self._hear

    def start(self) -> None:
        """Start; twice is once."""
        if self._session is not None:
            self._session.start()

    def stop(self) -> None:
        """Stop."""
        if self._session is not None:
            self._session.stop()

    def state(self) -> tuple[bool, str]:
        """Say whether uplinks come, and what was wrong with the last one that could not be read."""
        ok, detail = self._session.state() if self._session is not None else (True, "waits for HTTP")
        if self._heard_s is None:
            detail += "; no uplink yet"
        else:
            detail += f"; the last uplink {self._clock.monotonic() - self._heard_s:.0f} s ago"
        if self._last_refused:
            detail += f"; one was refused: {self._last_refused}"
        return ok, detail

    def receive(self, body: bytes, query: Mapping[str, str]) -> Haul:
        """Read what was posted; ChirpStack names the kind of its event in the query."""
        return self._read("HTTP", body, query.get("event", ""))

    def _hear(self, mail: Mail) -> Haul:
        levels = mail.topic.split("/")
        event = levels[-1] if levels[0] == "application" else ""
        return self._read(mail.topic, mail.payload, event)

    def _read(self, source: str, body: bytes, event: str) -> Haul:
        with self._guard:
            haul, word = self._uplinks.hear(source, body, event, self._clock.now_us())
            self._heard_s = self._clock.monotonic()
            self._last_refused = haul.unreadable[-1].why if haul.unreadable else ""
        UPLINKS.labels(self._gateway_id, word).inc()
        return haul


def make(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build the driver.

    Raises:
        CannotBuild: its address cannot be used.
    """
    return LorawanGateway(gateway, secret, deliver, clock)


register_driver(
    DriverForm(
        driver="lorawan",
        schemes=("mqtt", "mqtts"),
        polls=False,
        problems_of_map=problems_of_map,
        about="Devices on LoRaWAN, by The Things Stack or ChirpStack, over MQTT or HTTP",
        example={
            "address": "mqtts://eu1.cloud.thethings.network:8883",
            "credentials": "ttn.yaml",
            "map": "application: cold-rooms@ttn\n"
            "fields:\n"
            "  - {path: temperature, point: air, unit: C}\n"
            "  - {path: door_open, point: door, unit: state}\n",
        },
        pushed=True,
    ),
    make,
)
