"""What the pages of the drivers show can be written as master data as it stands."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldgrid.adapters import drivers
from coldgrid.network.yaml_files import read_yaml
from coldgrid.telemetry.gateways import Gateway, driver_forms, gateway_problems
from coldgrid.telemetry.heard import Point
from coldgrid.telemetry.registering import suggest
from coldgrid.telemetry.sensors import Sensor, sensor_problems

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(gateways:.*?)^```", re.MULTILINE | re.DOTALL)
assert drivers.MODULES


def items(page: str) -> list[dict[str, Any]]:
    blocks = BLOCK.findall((DOCS / page).read_text())
    assert blocks
    found: list[dict[str, Any]] = []
    for block in blocks:
        placed, problems = read_yaml(page, block)
        assert problems == []
        found += [one.raw for one in placed]
    return found


@pytest.mark.parametrize("page", ["modbus.md", "snmp.md"])
def test_a_pages_example_is_sound_master_data(page: str) -> None:
    gateways = set()
    for item in items(page):
        raw = {name: value for name, value in item.items() if name != "kind"}
        if item["kind"] == "gateway":
            gateway = msgspec.convert(raw, Gateway)
            assert gateway_problems(gateway) == []
            gateways.add(gateway.gateway_id)
        else:
            sensor = msgspec.convert(raw, Sensor)
            assert sensor_problems(sensor) == []
            assert sensor.source.partition("/")[0] in gateways


def test_the_drivers_of_these_pages_are_offered() -> None:
    assert {"modbus", "snmp"} <= driver_forms().keys()


@pytest.mark.parametrize(
    ("page", "name", "unit", "value", "role"),
    [
        ("modbus.md", "RACK1/return_air", "C", 21.5, "return_air"),
        ("modbus.md", "RACK1/door", "state", 1.0, "door"),
        ("snmp.md", "UPS1/mains", "state", 1.0, "ups_mains"),
        ("snmp.md", "UPS1/load_w", "W", 600.0, "ups_load_w"),
        ("snmp.md", "UPS1/charge_pct", "", 100.0, None),
        ("snmp.md", "ROUTER/wan_primary", "state", 1.0, "wan_primary"),
        ("snmp.md", "ROUTER/wan_backup", "state", 0.0, "wan_backup"),
    ],
)
def test_what_a_map_says_of_a_point_is_suggested_when_it_is_registered(
    page: str, name: str, unit: str, value: float, role: str | None
) -> None:
    gateways = [
        msgspec.convert({field: told for field, told in item.items() if field != "kind"}, Gateway)
        for item in items(page)
        if item["kind"] == "gateway"
    ]
    device = name.partition("/")[0]
    (gateway,) = [one for one in gateways if re.search(rf"(device|name): {device}$", one.map, re.MULTILINE)]
    at = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    point = Point(
        gateway_id=gateway.gateway_id, point=name, first_at=at, last_at=at, readings=9, value=value, unit=unit
    )
    suggested = suggest(point, gateway)
    assert suggested.role == role
    assert suggested.interval_s == 15.0


def test_a_wrong_map_says_no_roles() -> None:
    for form in driver_forms().values():
        assert form.roles_of_map("devices: 7") == {}


@pytest.mark.parametrize("driver", sorted(driver_forms()))
def test_what_the_form_shows_as_an_example_is_a_sound_gateway(driver: str) -> None:
    fields: dict[str, Any] = dict(driver_forms()[driver].example)
    assert {"address", "map"} <= fields.keys()
    fields["every_s"] = float(fields.get("every_s", 0))
    gateway = Gateway(gateway_id="ATL1-GW1", site_id="ATL1", driver=driver, **fields)
    assert gateway_problems(gateway) == []
