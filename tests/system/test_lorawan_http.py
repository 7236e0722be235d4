"""Uplinks by HTTP: from a network server's request to readings, by a token that is good for nothing else."""

from __future__ import annotations

import base64
import csv
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from coldgrid.access.api_tokens import IssueToken
from coldgrid.access.roles import Role
from tests.adapters.lorawan_bodies import CHIRP, CHIRP_STATUS, STACK, changed
from tests.conftest import Kernel
from tests.network.master import put_in_force, site
from tests.patience import eventually
from tests.system.process import ADMIN, MACHINE, tower_process
from tests.telemetry.cold_room import AIR, sensor

TOKEN = "a-network-servers-token"
SERVER = {"authorization": f"Bearer {TOKEN}"}
UPLINKS = "/api/v1/gateways/ATL1-GW3/uplinks"


def prepare(kernel: Kernel) -> None:
    gateway = {
        "kind": "gateway",
        "gateway_id": "ATL1-GW3",
        "site_id": "ATL1",
        "driver": "lorawan",
        "map": "payload: cayenne\nbattery: {path: voltage_2, empty: 2.4, full: 3.6}\n",
    }
    source = "ATL1-GW3/0101010101010101/temperature_3"
    elsewhere = gateway | {"gateway_id": "CLT9-GW1", "site_id": "CLT9"}
    put_in_force(kernel, site("CLT9", escalation_group="GRP-ATL1"), change_id="change-clt")
    put_in_force(kernel, gateway, elsewhere, sensor(AIR, source=source), change_id="change-gw")
    token_hash = sha256(TOKEN.encode()).hexdigest()
    kernel.do(
        IssueToken(
            token_id="ttn", label="LoRaWAN", token_hash=token_hash, roles=[Role.GATEWAY], sites=["ATL1"]
        )
    )


def uplink(value_c: float, frame: int, **more: Any) -> bytes:
    raw = round(value_c * 10).to_bytes(2, "big", signed=True)
    data = base64.b64encode(bytes([3, 0x67]) + raw + bytes.fromhex("0274012C")).decode()
    at = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
    told = {"time": at, "data": data, "fCnt": frame, "deduplicationId": f"id-{frame}", **more}
    return changed(CHIRP, **told)


def values(client: httpx.Client) -> list[float]:
    now = datetime.now(UTC)
    asked = {"from_at": (now - timedelta(hours=1)).isoformat(), "to_at": now.isoformat(), "form": "csv"}
    answer = client.get(f"/api/v1/sensors/{AIR}/readings", params=asked, headers=MACHINE)
    return [float(row["value"]) for row in csv.DictReader(answer.text.splitlines())]


@pytest.mark.timeout(240)
def test_uplinks_become_readings_and_the_token_is_good_for_nothing_else(tmp_path: Path) -> None:
    with tower_process(tmp_path / "tower.db", tmp_path, prepare) as client:
        eventually(lambda: client.post(UPLINKS, content=uplink(-21.5, 1), headers=SERVER).status_code == 200)
        becomes_readings_once(client)
        tells_what_is_wrong(client)
        may_do_nothing_else(client)


def becomes_readings_once(client: httpx.Client) -> None:
    body = uplink(-20.5, 2)
    for _ in range(3):
        answer = client.post(UPLINKS, params={"event": "up"}, content=body, headers=SERVER)
        assert (answer.status_code, answer.json()) == (200, {"readings": 1, "unreadable": []})
    assert sorted(values(client)) == [-21.5, -20.5], "stored when it was answered, and once"
    answer = client.post(UPLINKS, params={"event": "status"}, content=changed(CHIRP_STATUS), headers=SERVER)
    assert answer.status_code == 200
    device = "/api/v1/sites/ATL1/devices"
    eventually(lambda: [one["battery_pct"] for one in client.get(device, headers=MACHINE).json()] == [88.3])


def tells_what_is_wrong(client: httpx.Client) -> None:
    for body in (b"", b"\xff", changed(STACK, simulated=True), uplink(1.0, 2, deduplicationId="another")):
        answer = client.post(UPLINKS, content=body, headers=SERVER)
        assert answer.status_code == 200, answer.text
        assert answer.json()["readings"] == 0
        assert len(answer.json()["unreadable"]) == 1
    quarantined = client.get("/api/v1/sites/ATL1/quarantine", headers=MACHINE).json()
    assert len(quarantined) == 4
    answer = client.post(UPLINKS, content=b" " * 300_000, headers=SERVER)
    assert answer.status_code == 413
    assert client.post("/api/v1/gateways/ATL1-GW9/uplinks", content=b"", headers=MACHINE).status_code == 404


def may_do_nothing_else(client: httpx.Client) -> None:
    reading = {"sensor_id": AIR, "at": datetime.now(UTC).isoformat(), "value": -1.0}
    for method, path, body in (
        ("GET", "/api/v1/sites/ATL1/sensors", None),
        ("GET", "/api/v1/sites/ATL1/devices", None),
        ("GET", "/api/v1/events", None),
        ("GET", "/health", None),
        ("POST", "/api/v1/readings", reading),
        ("POST", "/api/v1/commands/orders.place_order", {}),
        ("POST", "/api/v1/gateways/CLT9-GW1/uplinks", {}),
    ):
        answer = client.request(method, path, json=body, headers=SERVER)
        assert answer.status_code in {403, 404, 422}, f"{path}: {answer.status_code}"
        if path != "/api/v1/commands/orders.place_order":
            assert answer.status_code == 403, f"{path}: {answer.status_code} {answer.text}"
    stranger = client.post(UPLINKS, content=uplink(-1.0, 9), headers={"authorization": "Bearer guessed"})
    assert stranger.status_code == 401
    assert "ATL1-GW3" in client.get("/health", headers=ADMIN).text
