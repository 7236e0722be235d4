"""Gateways that are polled, from master data to facts: a Modbus controller, and a UPS by SNMP."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from coldgrid.adapters.snmp_answers import OUTPUT_SOURCE, SECONDS_ON_BATTERY
from tests.adapters.modbus_peer import Controllers
from tests.adapters.snmp_peer import agent
from tests.conftest import Kernel
from tests.network.master import put_in_force
from tests.patience import eventually
from tests.system.process import MACHINE, tower_process
from tests.telemetry.cold_room import AIR, sensor

RACK = """
timeout_s: 1
devices:
  - name: RACK1
    unit_id: 1
    registers:
      - {name: return_air, kind: input, address: 30, type: int16, scale: 0.1, unit: C, unavailable: [0x7FFF]}
"""
UPS = "device: UPS1\nups: {battery_wh: 1000}\ntimeout_s: 2\n"
MAINS, LOAD, ENERGY = (f"ATL1-FRZ1-W{number}" for number in (1, 2, 3))
# Silent for six seconds is silent: a test has no five minutes.
SOON = {"gap_min": 0.1}


def gateway(number: int, driver: str, port: int, text: str, **more: str) -> dict[str, Any]:
    return {
        "kind": "gateway",
        "gateway_id": f"ATL1-GW{number}",
        "site_id": "ATL1",
        "driver": driver,
        "address": f"{driver}://127.0.0.1:{port}",
        "every_s": 1,
        "map": text,
        **more,
    }


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path, headers=MACHINE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored(client: httpx.Client, sensor_id: str) -> list[tuple[str, float]]:
    now = datetime.now(UTC)
    span = {"from_at": (now - timedelta(hours=1)).isoformat(), "to_at": now.isoformat(), "form": "csv"}
    answer = client.get(f"/api/v1/sensors/{sensor_id}/readings", params=span, headers=MACHINE)
    assert answer.status_code == 200, answer.text
    rows = csv.DictReader(answer.text.splitlines())
    return [(row["at"], float(row["value"])) for row in rows]


def is_silent(client: httpx.Client) -> bool:
    """Whether the sensor's silence stands: its alarm was raised and has not returned."""
    found = get(client, "/api/v1/sites/ATL1/alarms")
    ours = [one for one in found if (one["sensor_id"], one["rule"]) == (AIR, "gap")]
    return any(one["returned_at"] is None for one in ours)


@pytest.mark.timeout(300)
def test_a_controller_that_goes_away_leaves_its_sensor_unknown_and_comes_back(tmp_path: Path) -> None:
    rack = Controllers({1: {"input": {30: 65_536 - 215}}})
    rack.start()

    def prepare(kernel: Kernel) -> None:
        air = sensor(AIR, source="ATL1-GW1/RACK1/return_air", interval_s=1, rules=SOON)
        put_in_force(kernel, gateway(1, "modbus", rack.port, RACK), air, change_id="change-gw")

    try:
        with tower_process(tmp_path / "tower.db", tmp_path, prepare) as client:
            eventually(lambda: len(stored(client, AIR)) >= 5)
            assert {value for _, value in stored(client, AIR)} == {-21.5}
            rack.stop()
            eventually(lambda: is_silent(client))
            silent = stored(client, AIR)
            # What it says first is that there is no value: that ends no silence.
            rack.units[1]["input"][30] = 0x7FFF
            rack.start()
            eventually(lambda: "not available" in str(get(client, "/api/v1/sites/ATL1/quarantine")))
            assert stored(client, AIR) == silent
            assert is_silent(client)
            rack.put(1, "input", 30, 65_536 - 198)
            eventually(lambda: stored(client, AIR)[-1][1] == -19.8)
            eventually(lambda: not is_silent(client))
            assert {value for _, value in stored(client, AIR)} == {-21.5, -19.8}
    finally:
        rack.stop()


@pytest.mark.timeout(300)
def test_mains_that_a_ups_tells_lost_by_snmp_open_the_incident_of_the_mains(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "ups.yaml").write_text("community: ups\n")
    (credentials / "ups.yaml").chmod(0o600)
    with agent() as peer:

        def prepare(kernel: Kernel) -> None:
            made = gateway(2, "snmp", peer.port, UPS, credentials="ups.yaml")
            state = {"quantity": "state", "unit": "state"}
            put_in_force(
                kernel,
                made,
                fed(MAINS, "mains", "ups_mains", **state),
                fed(LOAD, "load_w", "ups_load_w", quantity="power", unit="W", valid_high=5_000),
                fed(ENERGY, "energy_wh", "ups_energy_wh", quantity="energy", unit="Wh", valid_high=9_000),
                change_id="change-ups",
            )

        with tower_process(tmp_path / "tower.db", tmp_path, prepare) as client:
            eventually(lambda: stored(client, MAINS))
            assert stored(client, MAINS)[-1][1] == 1.0
            assert stored(client, LOAD)[-1][1] == 600.0
            assert stored(client, ENERGY)[-1][1] == 900.0
            assert titles(client) == []
            peer.put(SECONDS_ON_BATTERY, 1)
            peer.put(OUTPUT_SOURCE, 5)
            eventually(lambda: titles(client))
            assert stored(client, MAINS)[-1][1] == 0.0
            peer.put(SECONDS_ON_BATTERY, 0)
            peer.put(OUTPUT_SOURCE, 3)
            eventually(lambda: stored(client, MAINS)[-1][1] == 1.0)


def fed(sensor_id: str, point: str, role: str, **fields: Any) -> dict[str, Any]:
    source = f"ATL1-GW2/UPS1/{point}"
    return sensor(sensor_id, role=role, circuit="OFFICE/1", interval_s=1, source=source, **fields)


def titles(client: httpx.Client) -> list[str]:
    """The titles of the incidents of the mains."""
    found = [one["title"] for one in get(client, "/api/v1/incidents")]
    return [title for title in found if "battery" in title or "Mains" in title]
