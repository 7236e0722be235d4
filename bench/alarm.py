"""From a bad reading to a page that shows it: MQTT in, incident and hold durable, out on an event stream.

One real tower with the demo network serves on loopback. While other sensors send at a steady rate, one
sensor after another tells of a warm freezer. Each trial is timed from the publish to the `incident` event
on an HTTP client's stream, and to the commit of the hold. The floor, in the same run and under the same
load, is an echo through the broker plus one durable commit.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import queue
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import paho.mqtt.client as mqtt
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server.embed import Server
from paho.mqtt.enums import CallbackAPIVersion

from bench.result import Result
from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.dispatcher import Rehearsal
from coldgrid.kernel.settings import load_settings
from coldgrid.network.zones import Zone
from coldgrid.stock.hold_facts import HoldPlaced
from coldgrid.telemetry.sensors import Sensor
from coldgrid.tower.application import build_tower, create
from coldgrid.tower.demo.people import PASSWORD, add_people
from coldgrid.tower.demo.seeding import seed_master
from coldgrid.tower.host import LiveHost
from coldgrid.tower.world.places import read_places
from coldgrid.tower.world.plan import Plan
from coldgrid.tower.world.run import World

ADDRESS = urlsplit(os.environ.get("COLDGRID_BENCH_MQTT", "mqtt://127.0.0.1:1883"))
HOST, PORT = ADDRESS.hostname or "127.0.0.1", ADDRESS.port or 1883
WEB_PORT = 8377
RATES = (1_000, 5_000)
TRIALS = 10
WAIT_S = 2.0


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Served:
    """The tower with its network, a stream that listens, and a client that publishes."""

    def __init__(self, folder: Path) -> None:
        own: dict[str, Any] = {
            "database": str(folder / "t.db"),
            "signing_key": str(folder / "k"),
            "port": WEB_PORT,
        }
        settings = load_settings(
            {}, mqtt_url=f"mqtt://{HOST}:{PORT}", mqtt_client_id=f"bench-{os.getpid()}", **own
        )
        self.tower = build_tower(settings, LiveHost(CedarAuthorizer()))
        seed_master(self.tower.decider.do)
        add_people(self.tower.decider.do)
        plan = Plan(name="b", title="b", seed=1, starts_at=datetime.now(UTC), minutes=1, pallets_per_zone=4)
        with self.tower.reader() as db:
            self.places = read_places(db, [])
        World(plan, self.places, self.tower.decider.execute, self.tower.reader).fill()
        self.tower.decider.settle()
        self.holds: queue.Queue[float] = queue.Queue()
        self.tower.decider.listeners.append(self._note)
        channels = {name: Rehearsal() for name in ("email", "sms", "voice", "webhook", "siren")}
        app = create(self.tower, channels)
        self.server = Server(
            app, address="127.0.0.1", port=WEB_PORT, interface=Interfaces.ASGI, log_level=LogLevels.error
        )
        threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True).start()
        self.shown: queue.Queue[float] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.connect(HOST, PORT)
        self.client.loop_start()

    def _note(self, recorded: Any) -> None:
        if any(isinstance(event, HoldPlaced) for _, event in recorded):
            self.holds.put(time.perf_counter())

    def _listen(self) -> None:
        """Sign in as a person would, open the event stream, and time every incident on it."""
        web = self._connected()
        page = _got(web, "GET", "/login")
        fields = {name: re.search(rf'name="{name}" value="([^"]*)"', page[1]) for name in ("_csrf", "_key")}
        form = {name: found[1] if found else "" for name, found in fields.items()}
        form |= {"login": "dana", "password": PASSWORD}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": page[0]}
        cookie, _ = _got(web, "POST", "/login", urlencode(form), headers)
        listening = {"Cookie": cookie, "Accept": "text/event-stream"}
        web.request("GET", "/stream?topics=incidents", headers=listening)
        stream = web.getresponse()
        while line := stream.readline():
            if line.startswith(b"event: incident"):
                self.shown.put(time.perf_counter())

    def _connected(self) -> http.client.HTTPConnection:
        deadline = time.monotonic() + 30
        while True:
            web = http.client.HTTPConnection("127.0.0.1", WEB_PORT, timeout=600)
            try:
                web.connect()
                return web
            except OSError:
                assert time.monotonic() < deadline, "the server never answered"
                time.sleep(0.05)

    def publish(self, site_id: str, sensor_id: str, at: datetime, value: float) -> None:
        """Send one reading at QoS 1."""
        body = json.dumps({"at": at.isoformat(), "value": value})
        self.client.publish(f"coldgrid/{site_id}/{sensor_id}", body, qos=1)


def _got(
    web: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str = "",
    headers: dict[str, str] | None = None,
) -> tuple[str, str]:
    """One exchange: the cookies that were set, as a header, and the text."""
    web.request(method, path, body or None, headers or {"Accept": "text/html"})
    answer = web.getresponse()
    text = answer.read().decode()
    cookies = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    return "; ".join(cookies), text


def measure(served: Served, rate: int, first: int) -> tuple[list[float], list[float], list[float]]:
    """Under a steady load, time trials and floors; seconds: shown, held, floor."""
    zones = [zone for zone in served.places.zones if zone.temperature_class != "ambient"][
        first : first + TRIALS
    ]
    air = {s.zone_id: s for s in reversed(served.places.sensors) if s.role == "zone_air"}
    busy = [s for s in served.places.sensors if s.zone_id not in {z.zone_id for z in zones}]
    quiet_c = {zone.zone_id: zone.setpoint_c for zone in served.places.zones}
    topics = [f"{s.site_id}/{s.sensor_id}={quiet_c[s.zone_id]}" for s in busy if s.role == "zone_air"]
    load = subprocess.Popen([sys.executable, "-m", "bench._mqtt_steady", HOST, str(PORT), str(rate), *topics])
    shown, held, floor = [], [], []
    try:
        time.sleep(2.0)
        for zone in zones:
            floor.append(echo(served) + commit_s())
            sensor, now = air[zone.zone_id], datetime.now(UTC)
            warn(served, zone, sensor, now)
            began_s = time.perf_counter()
            # Warm for ten minutes and some seconds now: the excursion, its incident and its hold.
            served.publish(zone.site_id, sensor.sensor_id, now - timedelta(seconds=10), zone.high_c + 8)
            with suppress(queue.Empty):
                held.append(served.holds.get(timeout=WAIT_S) - began_s)
                shown.append(served.shown.get(timeout=WAIT_S) - began_s)
    finally:
        load.kill()
        load.wait()
    return shown, held, floor


def warn(served: Served, zone: Zone, sensor: Sensor, now: datetime) -> None:
    """Tell of a good past and of nearly ten warm minutes: the pre-alarm is over before the trial begins."""
    for minutes in range(30, 11, -1):
        at = now - timedelta(minutes=minutes)
        served.publish(zone.site_id, sensor.sensor_id, at, zone.setpoint_c + 0.01 * minutes)
    for minutes in range(10, 0, -1):
        at = now - timedelta(minutes=minutes, seconds=25)
        served.publish(zone.site_id, sensor.sensor_id, at, zone.high_c + 8 - 0.01 * minutes)
    time.sleep(1.0)
    for waiting in (served.shown, served.holds):
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()


def echo(served: Served) -> float:
    """A message through the broker and back to its sender, QoS 1, seconds."""
    back = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *told: back.set()
    client.connect(HOST, PORT)
    client.loop_start()
    topic = f"bench-echo/{os.getpid()}"
    client.subscribe(topic, qos=1)
    time.sleep(0.1)
    began_s = time.perf_counter()
    client.publish(topic, b"x", qos=1)
    back.wait(WAIT_S)
    took_s = time.perf_counter() - began_s
    client.loop_stop()
    client.disconnect()
    return took_s


def commit_s() -> float:
    """One durable commit of one row on this machine, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        driver = sqlite3.connect(f"{folder}/c.db", isolation_level=None)
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA synchronous=FULL")
        driver.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        driver.execute("INSERT INTO t (b) VALUES (?)", (b"x" * 200,))
        began_s = time.perf_counter()
        driver.execute("INSERT INTO t (b) VALUES (?)", (b"x" * 200,))
        took_s = time.perf_counter() - began_s
        driver.close()
    return took_s


def run() -> list[Result]:
    """Measure at both rates; the ratio compares the 99th percentiles of the same run."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder))
        time.sleep(3.0)
        for index, rate in enumerate(RATES):
            shown, held, floor = measure(served, rate, index * TRIALS)
            if not shown:
                results.append(Result(f"alarm at {rate}/s: no trial was shown", 0.0, "", "", ok=False))
                continue
            ratio = percentile(shown, 0.99) / percentile(floor, 0.99)
            for name, values in (("shown", shown), ("held", held), ("floor", floor)):
                told = " / ".join(f"{percentile(values, share) * 1e3:.1f}" for share in (0.5, 0.99, 1.0))
                results.append(
                    Result(
                        f"alarm at {rate}/s, {name}, p50/p99/max {told} ms, n={len(values)}",
                        percentile(values, 0.99) * 1e3,
                        "ms p99",
                        "",
                        ok=True,
                    )
                )
            name = f"alarm at {rate}/s: shown p99 over floor p99"
            results.append(Result(name, ratio, "×", "≤ 4 ×", ok=ratio <= 4))
    return results
