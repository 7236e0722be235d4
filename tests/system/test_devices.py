"""Devices from nothing: a gateway is approved, its devices are heard, registered in one step, and measure."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.adapters.test_mqtt_gateway import forget_session
from tests.conftest import Kernel
from tests.network.master import put_in_force
from tests.patience import eventually
from tests.starting import run
from tests.system.process import ADMIN, MACHINE, SESSION, tower_process
from tests.telemetry.broker import Publisher, broker
from tests.webkit.browser import DESKTOP, Visit, chromium, looks, visiting

ZONE = "ATL1-FRZ1"


@dataclass
class Site:
    """A tower with one gateway, and the devices that publish to its broker."""

    client: httpx.Client
    folder: Path
    prefix: str
    publisher: Publisher

    def publish(self, device: str, **told: Any) -> None:
        self.publisher.publish([(f"{self.prefix}/{device}", json.dumps(told).encode())])

    def get(self, path: str) -> Any:
        answer = self.client.get(path, headers=MACHINE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def points(self) -> dict[str, Any]:
        return {one["point"]["point"]: one for one in self.get("/api/v1/sites/ATL1/points")}


def gateway_of(prefix: str, **fields: Any) -> dict[str, Any]:
    host, port = broker()
    map_ = f"""
topics:
  - topic: {prefix}/{{device}}
    time: last_seen
    points:
      - {{path: temperature, unit: C}}
      - {{path: humidity, unit: "%"}}
      - {{path: contact, point: "{{device}}/door", unit: state, states: {{"true": 0, "false": 1}}}}
    health: {{device: "{{device}}", battery: battery, signal: rssi}}
"""
    raw = {
        "kind": "gateway",
        "gateway_id": "ATL1-GW1",
        "site_id": "ATL1",
        "driver": "mqtt",
        "name": "Zigbee in the freezer",
        "address": f"mqtt://{host}:{port}",
        "map": map_,
    }
    return {**raw, **fields}


@contextmanager
def a_site(folder: Path) -> Iterator[Site]:
    prefix = f"devices-{time.time_ns()}"

    def prepare(kernel: Kernel) -> None:
        gateway = gateway_of(prefix)
        gateway["map"] += f"client_id: {prefix}\n"
        put_in_force(kernel, gateway, change_id="change-gateway")

    publisher = Publisher(f"device-{prefix}")
    try:
        with tower_process(folder / "tower.db", folder, prepare) as client:
            site = Site(client, folder, prefix, publisher)
            eventually(lambda: site.get("/api/v1/sites/ATL1/gateways")[0]["ok"])
            yield site
    finally:
        publisher.close()
        forget_session(prefix)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with a_site(tmp_path_factory.mktemp("devices")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def span() -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "from_at": (now - timedelta(hours=3)).isoformat(),
        "to_at": (now + timedelta(hours=1)).isoformat(),
    }


@contextmanager
def visit(browser: Browser, site: Site, **context: Any) -> Iterator[Visit]:
    address = str(site.client.base_url)
    with visiting(browser, address, **context) as seen:
        seen.context.add_cookies([{"name": "coldgrid_session", "value": SESSION, "url": address}])
        yield seen


def test_what_nobody_registered_is_listed_with_what_it_probably_is(site: Site) -> None:
    site.publish("rack1", temperature=-21.5, humidity=60, contact=True, battery=15, rssi=-88)
    eventually(lambda: len(site.points()) >= 3)
    points = site.points()
    assert points["rack1/temperature"]["suggestion"]["role"] == "zone_air"
    assert points["rack1/door"]["suggestion"]["role"] == "door"
    assert points["rack1/humidity"]["suggestion"]["quantity"] == "humidity"
    [device] = [one for one in site.get("/api/v1/sites/ATL1/devices") if one["device"] == "rack1"]
    assert (device["battery_pct"], device["signal_dbm"]) == (15.0, -88.0)


def test_a_form_makes_a_sensor_of_a_point_and_its_readings_have_their_times(
    site: Site, browser: Browser
) -> None:
    """Without JavaScript; the network has one admin, who therefore approves too."""
    site.publish("rack2", temperature=-20.5)
    eventually(lambda: "rack2/temperature" in site.points())
    with visit(browser, site, viewport=DESKTOP, java_script_enabled=False) as seen:
        page = seen.open("/sites/ATL1/devices")
        page.get_by_role("link", name="Register rack2/temperature").click()
        page.get_by_label("Zone", exact=False).first.select_option(ZONE)
        page.get_by_role("button", name="Make it a sensor").click()
        page.wait_for_load_state()
        told = page.inner_text("body")
    assert "ATL1-GW1/rack2/temperature is ATL1-FRZ1-T" in told, told
    eventually(lambda: "rack2/temperature" not in site.points())
    [sensor] = [
        one["sensor"]["sensor_id"]
        for one in site.get("/api/v1/sites/ATL1/sensors")
        if one["sensor"]["source"] == "ATL1-GW1/rack2/temperature"
    ]
    ahead = datetime.now(UTC) + timedelta(minutes=40)

    def send() -> list[Any]:
        site.publish("rack2", temperature=-20.25, last_seen=ahead.isoformat())
        found = site.client.get(f"/api/v1/sensors/{sensor}/times", params=span(), headers=MACHINE).json()
        return [one for one in found if one["device_us"] is not None]

    eventually(send)
    one = send()[0]
    assert one["device_us"] == round(ahead.timestamp() * 1e6)
    assert abs(one["at_us"] - one["heard_us"]) < 2_100_000
    assert -2_420_000_000 < one["offset_us"] < -2_280_000_000


def test_what_cannot_be_read_is_in_the_quarantine_and_on_the_page_and_counted(
    site: Site, browser: Browser
) -> None:
    site.publisher.publish(
        [(f"{site.prefix}/rack3", b'{"temperature": NaN}'), (f"{site.prefix}/rack3", b"\xff")]
    )
    eventually(
        lambda: [one for one in site.get("/api/v1/sites/ATL1/quarantine") if site.prefix in one["sensor_id"]]
    )
    with visit(browser, site, viewport=DESKTOP) as seen:
        told = seen.open("/sites/ATL1/devices").locator("#unused").inner_text()
    assert f"{site.prefix}/rack3" in told
    assert 'is no JSON: {"temperature": NaN}' in told
    metrics = site.client.get("/metrics").text
    assert 'coldgrid_device_readings_total{gateway="ATL1-GW1",outcome="unreadable"}' in metrics
    assert 'coldgrid_gateway_up{gateway="ATL1-GW1"} 1.0' in metrics


def ask(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line beside the serving tower."""
    return run(["sensors", *words], os.environ | {"COLDGRID_SIGNING_KEY": str(site.folder / "signing.key")})


def test_the_command_line_discovers_and_registers(site: Site) -> None:
    site.publish("rack4", temperature=-22.5)
    eventually(lambda: "rack4/temperature" in site.points())
    told = ask(site, "discover", "--gateway", "ATL1-GW1")
    assert told.returncode == 0, told.stderr
    assert "ATL1-GW1/rack4/temperature\t-22.5 C\tzone_air" in told.stdout
    found = json.loads(ask(site, "discover", "--json").stdout)
    assert "rack4/temperature" in [one["point"]["point"] for one in found]
    assert "ATL1-GW1\tmqtt\tworks" in ask(site, "gateways").stdout
    done = ask(site, "register", "ATL1-GW1/rack4/temperature", "--zone", ZONE, "--json")
    registered = json.loads(done.stdout)
    assert (registered["sensor_id"][:10], registered["approved"]) == ("ATL1-FRZ1-", False)
    assert site.client.get(f"/network/changes/{registered['change_id']}", headers=ADMIN).status_code == 200
    wrong = ask(site, "register", "ATL1-GW1/rack4/temperature", "--zone", ZONE, "--role", "thermo")
    assert (wrong.returncode, "zone_air" in wrong.stderr) == (1, True)
    assert ask(site, "discover", "--gateway", "ATL1-GW9").returncode == 1


def test_the_health_page_names_the_gateway(site: Site) -> None:
    assert "gateway ATL1-GW1" in site.client.get("/health", headers=ADMIN).text


@pytest.mark.parametrize(
    "path",
    [
        "/sites/ATL1/devices",
        "/sites/ATL1/devices?source=ATL1-GW1/rack1/door",
        "/sites/ATL1",
        "/network/edit/gateway/ATL1-GW1",
    ],
)
@looks()
def test_the_page_is_accessible_in_every_look(
    site: Site, browser: Browser, path: str, look: dict[str, Any]
) -> None:
    site.publish("rack1", temperature=-21.5, humidity=60, contact=True, battery=15, rssi=-88)
    eventually(lambda: "rack1/door" in site.points())
    with visit(browser, site, **look) as seen:
        page: Page = seen.open(path)
        assert seen.violations() == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.complaints == []
