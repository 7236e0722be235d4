"""A night over Sparkplug: births, values, a link that breaks, history sent later, the excursion it shows."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from coldgrid.kernel.database import open_database
from tests.adapters.sparkplug_edge import EdgeNode, bare, real
from tests.adapters.test_sparkplug_host import forget
from tests.conftest import Kernel
from tests.network.master import put_in_force
from tests.patience import eventually
from tests.system.process import ADMIN, MACHINE, Tower, tower_process
from tests.system.served import seed
from tests.telemetry.broker import Proxy, broker
from tests.telemetry.cold_room import AIR, sensor

MINUTES = 90
BREAK_AT = 30


def stored(client: httpx.Client) -> list[dict[str, str]]:
    """The readings of the last two hours."""
    now = datetime.now(UTC)
    asked = {"from_at": (now - timedelta(hours=3)).isoformat(), "to_at": now.isoformat(), "form": "csv"}
    answer = client.get(f"/api/v1/sensors/{AIR}/readings", params=asked, headers=MACHINE)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(answer.text.splitlines()))


def air_c(minute: int) -> float:
    """Cold for half an hour, then warming for another, then warm."""
    if minute < BREAK_AT:
        return -21.5 + 0.01 * (minute % 2)
    return min(-5.0, -21.5 + 0.6 * (minute - BREAK_AT)) + 0.01 * (minute % 2)


def prepared(group: str, port: int) -> Callable[[Kernel], None]:
    """Put a gateway in force, and a sensor that is a point of it."""

    def prepare(kernel: Kernel) -> None:
        gateway = {
            "kind": "gateway",
            "gateway_id": "ATL1-GW1",
            "site_id": "ATL1",
            "driver": "sparkplug",
            "address": f"mqtt://127.0.0.1:{port}",
            "map": f"groups: [{group}]\nhost_id: {group}\n",
        }
        source = f"ATL1-GW1/{group}/rack-1/case-4/air"
        put_in_force(kernel, gateway, sensor(AIR, source=source), change_id="change-gw")

    return prepare


@pytest.mark.timeout(300)
def test_values_and_history_over_a_break_become_readings_once_and_an_excursion(tmp_path: Path) -> None:
    group, proxy = f"T{time.time_ns()}", Proxy()
    node = EdgeNode(broker(), group, "rack-1", "case-4", host_id=group, qos=1)
    try:
        with tower_process(tmp_path / "tower.db", tmp_path, prepared(group, proxy.port)) as client:
            play(node, client, proxy)
            check(client)
    finally:
        if node.connected.is_set():
            node.disconnect(clean=True)
        proxy.cut()
        forget(group)


@pytest.mark.timeout(300)
def test_a_tower_that_is_killed_loses_nothing_that_was_published_at_qos_1(tmp_path: Path) -> None:
    group = f"T{time.time_ns()}"
    seed_all(tmp_path / "tower.db", prepared(group, broker()[1]))
    node = EdgeNode(broker(), group, "rack-1", "case-4", qos=1)
    first_ms = node.now_ms = time.time_ns() // 1_000_000 - 150 * 10_000
    node.births = [real("air", -21.5, 1, unit="°C", at_ms=first_ms)]
    tower = Tower(tmp_path / "tower.db", tmp_path, {})
    try:
        client = tower.start()
        node.connect()
        until_s = time.monotonic() + 60
        while not stored(client):
            assert time.monotonic() < until_s, "its first birth never came"
            node.send_births()
            time.sleep(0.5)
        for number in range(1, 150):
            at_ms = first_ms + number * 10_000
            node.say([real("air", -21.5 + 0.01 * (number % 3), historical=True, at_ms=at_ms)], at_ms)
            if number in {40, 90}:
                tower.kill()
                tower.start()
        eventually(lambda: len(stored(client)) >= 150)
        rows = stored(client)
        assert len({row["at"] for row in rows}) == len(rows) == 150
    finally:
        tower.kill()
        tower.client.close()
        if node.connected.is_set():
            node.disconnect(clean=True)
        forget(group)


def seed_all(database: Path, prepare: Callable[[Kernel], None]) -> None:
    kernel = Kernel(open_database(str(database)))
    seed(kernel)
    prepare(kernel)
    kernel.close()


def play(node: EdgeNode, client: httpx.Client, proxy: Proxy) -> None:
    """A value a minute; after `BREAK_AT` of them the host is cut off from the broker for the rest."""
    first_ms = node.now_ms = time.time_ns() // 1_000_000 - MINUTES * 60_000
    node.births = [real("air", air_c(0), 1, unit="°C", at_ms=first_ms)]
    node.connect()
    eventually(lambda: node.host_online)
    node.send_births()
    for minute in range(1, BREAK_AT):
        at_ms = first_ms + minute * 60_000
        node.say([bare(1, air_c(minute), historical=True, at_ms=at_ms)], at_ms)
    eventually(lambda: len(stored(client)) == BREAK_AT)
    proxy.cut()
    eventually(lambda: not node.host_online)
    for minute in range(BREAK_AT, MINUTES):
        node.say([bare(1, air_c(minute))], first_ms + minute * 60_000)
    assert len(node.kept) == MINUTES - BREAK_AT
    proxy.mend()
    eventually(lambda: node.host_online)
    node.now_ms = time.time_ns() // 1_000_000
    node.send_births()
    assert node.flush() == MINUTES - BREAK_AT
    eventually(lambda: len(stored(client)) >= MINUTES)


def check(client: httpx.Client) -> None:
    """Every reading is there once, the zone alarms, its goods are in an excursion, the gateway is well."""
    rows = stored(client)
    assert len({row["at"] for row in rows}) == len(rows) == MINUTES
    (told,) = [one for one in get(client, "/api/v1/sites/ATL1/sensors") if one["sensor"]["sensor_id"] == AIR]
    assert set(told["counts"]) <= {"duplicate", "late"}, told["counts"]
    eventually(lambda: get(client, "/api/v1/sites/ATL1/alarms"))
    eventually(lambda: get(client, "/api/v1/quality/excursions"))
    health = client.get("/health", headers=ADMIN).text
    assert "ATL1-GW1" in health
    assert "1 edge nodes online" in health


def get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return answer.json()
