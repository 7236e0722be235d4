"""The driver `mqtt`: devices that publish JSON, each in a form of its own, to a broker, such as zigbee2mqtt.

What publishes `coldgrid/SITE/SENSOR` needs no gateway: that stream has a way of its own (`adapters/mqtt.py`).
"""

from __future__ import annotations

from coldgrid.adapters.driving import Clock, Deliver, Driver, Haul, Secret, register_driver
from coldgrid.adapters.mqtt_broker import Mail, broker_of
from coldgrid.adapters.mqtt_map import problems_of_map, read_map
from coldgrid.adapters.mqtt_payload import read_message
from coldgrid.adapters.mqtt_session import Session
from coldgrid.telemetry.gateways import DriverForm, Gateway


def make(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build a session that hears the topics of the gateway's map and acknowledges after the commit.

    Raises:
        CannotBuild: its address cannot be used.
    """
    map_, _ = read_map(gateway.map)
    client_id = map_.client_id or f"coldgrid-{gateway.gateway_id}"
    broker = broker_of(gateway, secret, client_id=client_id, clean=False)
    filters = sorted({topic.filter for topic in map_.topics})
    session = Session(gateway.gateway_id, broker, filters, deliver, clock)

    def hear(mail: Mail) -> Haul:
        return read_message(map_, mail.topic, mail.payload, clock.now_us(), retained=mail.retained)

    session.hear = hear
    return session


register_driver(
    DriverForm(
        driver="mqtt",
        schemes=("mqtt", "mqtts"),
        polls=False,
        problems_of_map=problems_of_map,
        about="Devices that publish JSON to an MQTT broker, by topics of their own",
        example={
            "address": "mqtts://broker.example:8883",
            "credentials": "broker.yaml",
            "map": "topics:\n"
            "  - topic: zigbee2mqtt/{device}\n"
            "    time: last_seen\n"
            "    points:\n"
            "      - {path: temperature, unit: C}\n"
            '    health: {device: "{device}", battery: battery, signal: rssi}\n',
        },
    ),
    make,
)
