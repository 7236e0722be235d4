"""From a bad reading to a page that shows it: MQTT in, incident and hold durable, out on an event stream.

One real tower (`_alarm_world`) serves on loopback; broker, load, tower and client are processes of their own.
While other sensors send at a steady rate, one room after another gets a single bad reading. That makes alarm,
pause, incident, excursion and hold in one commit; a trial is timed from the publish to the first `incident`
event behind that commit on an HTTP client's stream. The floor, in the same run, under the same load and in
this same process, is an echo through the broker plus one durable commit.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bench._alarm_world import STAGES
from bench.result import Result
from coldgrid.adapters import mqtt_packets as packets
from coldgrid.tower.demo.people import PASSWORD

ADDRESS = urlsplit(os.environ.get("COLDGRID_BENCH_MQTT", "mqtt://127.0.0.1:1883"))
HOST, PORT = ADDRESS.hostname or "127.0.0.1", ADDRESS.port or 1883
WEB_PORT = int(os.environ.get("COLDGRID_BENCH_WEB_PORT", "8377"))
RATES = (1_000, 5_000)
# With fewer the 99th percentile would be the worst one.
TRIALS = 200
# Between two trials: what follows from one (who is paged, what is advised) is over before the next.
APART_S = 0.6
WAIT_S = 2.0
START_S = 60.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Tower:
    """The tower's process, and what it says: first its rooms, at the end when each trial was where."""

    def __init__(self, folder: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench._alarm_world", folder, HOST, str(PORT), str(WEB_PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._line()
        self.rooms: list[dict[str, Any]] = told["rooms"]
        self.load: list[str] = told["load"]
        self.prefix: str = told["prefix"]
        self.links: int = told["links"]

    def end(self) -> dict[str, dict[str, float]]:
        """Stop it; return for each room when its trial passed which stage."""
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        marks: dict[str, dict[str, float]] = self._line()
        self.process.wait(10)
        self._forget_sessions()
        return marks

    def _forget_sessions(self) -> None:
        """Let the broker keep nothing for a tower that never comes back."""
        for number in range(self.links):
            with socket.create_connection((HOST, PORT), 10) as sock:
                sock.sendall(packets.connect(f"{self.prefix}-{number}", keepalive_s=10, keep_session=False))
                sock.recv(4)
                sock.sendall(packets.DISCONNECT)

    def _line(self) -> Any:
        assert self.process.stdout is not None, "it is a pipe"
        return json.loads(self.process.stdout.readline())


class Page:
    """A person's open page: signed in, listening, noting when it is told of an incident."""

    def __init__(self, port: int = WEB_PORT) -> None:
        self._port = port
        self.told_s: list[float] = []
        self.stream: http.client.HTTPResponse | None = None
        self.listening = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self.listening.wait(START_S), "the server never answered"

    def _listen(self) -> None:
        web = _connected(self._port)
        cookie, page = _got(web, "GET", "/login")
        fields = {name: re.search(rf'name="{name}" value="([^"]*)"', page) for name in ("_csrf", "_key")}
        form = {name: found[1] if found else "" for name, found in fields.items()}
        form |= {"login": "dana", "password": PASSWORD}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        cookie, _ = _got(web, "POST", "/login", urlencode(form), headers)
        listening = {"Cookie": cookie, "Accept": "text/event-stream"}
        web.request("GET", "/stream?topics=incidents", headers=listening)
        stream = web.getresponse()
        while line := stream.readline():
            now_s = time.perf_counter()
            self.listening.set()
            if line.startswith(b"event: incident"):
                self.told_s.append(now_s)

    def first_after(self, at_s: float) -> float | None:
        """When it was told of an incident first, from an instant on; None: not yet."""
        index = bisect_left(self.told_s, at_s)
        return self.told_s[index] if index < len(self.told_s) else None


def _connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + START_S
    while True:
        web = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        try:
            web.connect()
            return web
        except OSError:
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.05)


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


class Device:
    """A device's link to the broker, which also hears its own echo."""

    def __init__(self) -> None:
        self._back = threading.Event()
        self._topic = f"bench-echo/{os.getpid()}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda *told: self._back.set()
        self._client.connect(HOST, PORT)
        link: Any = self._client.socket()
        # A trial follows an echo at once: its packet must not wait until the broker confirmed the one before.
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.loop_start()
        self._client.subscribe(self._topic, qos=1)
        self.echo_s()

    def send(self, prefix: str, room: dict[str, Any]) -> float:
        """Send a room's bad reading at QoS 1; return when."""
        body = json.dumps({"at": datetime.now(UTC).isoformat(), "value": room["bad_c"]})
        at_s = time.perf_counter()
        self._client.publish(f"{prefix}/{room['site_id']}/{room['sensor_id']}", body, qos=1)
        return at_s

    def echo_s(self) -> float:
        """A message through the broker and back to its sender, QoS 1, seconds."""
        self._back.clear()
        began_s = time.perf_counter()
        self._client.publish(self._topic, b"x", qos=1)
        assert self._back.wait(WAIT_S), "the broker lost an echo"
        return time.perf_counter() - began_s


class Commits:
    """A database of our own for the floor: one durable commit of one row at a time."""

    def __init__(self, folder: str) -> None:
        self._driver = sqlite3.connect(f"{folder}/c.db", isolation_level=None)
        self._driver.execute("PRAGMA journal_mode=WAL")
        self._driver.execute("PRAGMA synchronous=FULL")
        self._driver.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        self.commit_s()

    def commit_s(self) -> float:
        """Commit a row; return how long it took, seconds."""
        began_s = time.perf_counter()
        self._driver.execute("INSERT INTO t (b) VALUES (?)", (b"x" * 200,))
        return time.perf_counter() - began_s


Trial = tuple[str, float]  # the room, when its bad reading was sent


def measure(
    rate: int, tower: Tower, device: Device, commits: Commits, first: int
) -> tuple[list[Trial], list[float]]:
    """Under a steady load, spoil one room after another; floors between them, seconds."""
    told = [HOST, str(PORT), tower.prefix, str(rate), *tower.load]
    load = subprocess.Popen([sys.executable, "-m", "bench._mqtt_steady", *told])
    trials, floors = [], []
    try:
        time.sleep(2.0)
        for room in tower.rooms[first : first + TRIALS]:
            floors.append(device.echo_s() + commits.commit_s())
            trials.append((room["zone_id"], device.send(tower.prefix, room)))
            time.sleep(APART_S)
        time.sleep(WAIT_S)
    finally:
        load.kill()
        load.wait()
    return trials, floors


def run() -> list[Result]:
    """Measure at both rates; the ratio compares the 99th percentiles of the same run."""
    try:
        socket.create_connection((HOST, PORT), 2).close()
    except OSError as error:
        name = f"alarm, skipped: no broker at {HOST}:{PORT} ({error})"
        return [Result(name, float("nan"), "", "≤ 4 ×", ok=True)]
    with tempfile.TemporaryDirectory() as folder:
        tower = Tower(folder)
        try:
            page, device, commits = Page(), Device(), Commits(folder)
            time.sleep(3.0)
            runs = {
                rate: measure(rate, tower, device, commits, index * TRIALS)
                for index, rate in enumerate(RATES)
            }
            marks = tower.end()
        finally:
            tower.process.kill()
    return [
        row for rate, (trials, floors) in runs.items() for row in _rows(rate, trials, floors, marks, page)
    ]


def _rows(
    rate: int, trials: list[Trial], floors: list[float], marks: dict[str, dict[str, float]], page: Page
) -> list[Result]:
    """The figures of one rate: total, floor, their ratio, and where the time went, stage by stage."""
    columns: dict[str, list[float]] = {name: [] for name in ("shown", "held", *STAGES, "client")}
    for zone_id, sent_s in trials:
        at = marks[zone_id]
        shown_s = page.first_after(at["committed"]) if "committed" in at else None
        if shown_s is None:
            continue
        columns["shown"].append(shown_s - sent_s)
        columns["held"].append(at["committed"] - sent_s)
        before_s = sent_s
        for stage in STAGES:
            reached_s = at.get(stage, before_s)
            columns[stage].append(reached_s - before_s)
            before_s = reached_s
        columns["client"].append(shown_s - before_s)
    missed = len(trials) - len(columns["shown"])
    if missed == len(trials):
        return [Result(f"alarm at {rate}/s: no trial was shown", 0.0, "", "≤ 4 ×", ok=False)]
    rows = [
        _row(f"alarm at {rate}/s, {name}", values) for name, values in (("floor", floors), *columns.items())
    ]
    ratio = percentile(columns["shown"], 0.99) / percentile(floors, 0.99)
    name = f"alarm at {rate}/s: shown p99 over floor p99, {missed} of {len(trials)} trials lost"
    return [*rows, Result(name, ratio, "×", "≤ 4 ×", ok=ratio <= 4 and not missed)]


def _row(name: str, values: list[float]) -> Result:
    told = " / ".join(f"{percentile(values, share) * 1e3:.2f}" for share in (0.5, 0.99, 1.0))
    full = f"{name}: p50/p99/max {told} ms, n={len(values)}"
    return Result(full, percentile(values, 0.99) * 1e3, "ms p99", "", ok=True)
