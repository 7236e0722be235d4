"""A reading goes from a sensor's message at the broker, through the running tower, to its site's page."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.system.process import ADMIN, MACHINE, tower_process
from tests.telemetry.broker import Publisher, broker, forget_sessions
from tests.telemetry.cold_room import AIR

WITHIN_S = 30.0
VALUE_C = -21.37


def stored(client: httpx.Client) -> str:
    """The readings of the last hour, as their table."""
    now = datetime.now(UTC)
    asked = {"from_at": (now - timedelta(hours=1)).isoformat(), "to_at": now.isoformat(), "form": "csv"}
    answer = client.get(f"/api/v1/sensors/{AIR}/readings", params=asked, headers=MACHINE)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.timeout(180)
def test_a_published_reading_is_stored_and_shown(tmp_path: Path) -> None:
    host, port = broker()
    name = f"coldgrid-system-{os.getpid()}"
    settings = {"mqtt_url": f"mqtt://{host}:{port}", "mqtt_client_id": name, "mqtt_connections": "2"}
    try:
        with tower_process(tmp_path / "tower.db", tmp_path, **settings) as client:
            until_s = time.monotonic() + WITHIN_S
            while "2 of 2 connections up" not in (told := client.get("/health", headers=ADMIN).text):
                assert time.monotonic() < until_s, told
                time.sleep(0.1)
            publisher = Publisher(f"{name}-sensor")
            at = datetime.now(UTC).isoformat()
            message = msgspec.json.encode({"at": at, "value": VALUE_C, "unit": "C"})
            publisher.publish([(f"coldgrid/ATL1/{AIR}", message)])
            publisher.close()
            while str(VALUE_C) not in stored(client):
                assert time.monotonic() < until_s, "the reading never came"
                time.sleep(0.1)
            while "−21.4" not in (page := client.get("/sites/ATL1", headers=ADMIN).text):
                assert time.monotonic() < until_s, page
                time.sleep(0.2)
            assert "ATL1-FRZ1" in page
    finally:
        forget_sessions(name, 2)
