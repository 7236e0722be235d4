"""The driver `sparkplug`: its place among the others. What needs the extra is imported when it is built."""

from __future__ import annotations

from coldgrid.adapters.driving import Clock, Deliver, Driver, Secret, register_driver
from coldgrid.adapters.sparkplug_map import problems_of_map
from coldgrid.telemetry.gateways import DriverForm, Gateway


def make(gateway: Gateway, secret: Secret | None, deliver: Deliver, clock: Clock) -> Driver:
    """Build the driver.

    Raises:
        ImportError: protobuf is not installed.
        CannotBuild: its address cannot be used.
    """
    from coldgrid.adapters.sparkplug_host import SparkplugHost  # noqa: PLC0415 (an extra: only when used)

    return SparkplugHost(gateway, secret, deliver, clock)


register_driver(
    DriverForm(
        driver="sparkplug",
        schemes=("mqtt", "mqtts"),
        polls=False,
        problems_of_map=problems_of_map,
        about="Edge nodes that speak Sparkplug B to an MQTT broker",
        example={
            "address": "mqtts://broker.example:8883",
            "credentials": "sparkplug.yaml",
            "map": "groups: [Stores]\nhost_id: coldgrid-ATL1\n",
        },
    ),
    make,
)
