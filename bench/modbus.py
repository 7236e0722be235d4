"""Modbus: 2,000 registers a second polled over one connection, and what that takes of a core.

The server, pymodbus's, is a process of its own; counted is the polling process alone, user and system time
of all its threads (`getrusage`), from the first poll to the last. Twenty controllers of a hundred points are
polled every second, twice: with points side by side, and scattered so that each controller needs three
requests. What is read is counted and dropped: storing readings is measured by `readings`. The rate is that of
the median interval between polls, and the share of a core is that for a second's worth of points, so that a
machine that stands still for a while tells the same.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

from bench.result import Result
from coldgrid.adapters.driving import Answer, Haul
from coldgrid.adapters.modbus import make
from coldgrid.telemetry.gateways import Gateway

UNITS, POINTS = 20, 100
POLLS = 12
WAIT_S = 120.0
CORE_PCT_MAX = 15.0


class _Clock:
    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()


class _Tally:
    """Counts what came, and takes the time of the process at the first and the last poll."""

    def __init__(self) -> None:
        self.polls = self.readings = self.unreadable = 0
        self.began_s = self.used_s = self.last_s = 0.0
        self.apart_s: list[float] = []

    def deliver(self, haul: Haul, answer: Answer) -> None:
        """Take a haul; the first warms up and does not count."""
        now_s = time.monotonic()
        if self.polls == 0:
            self.began_s = _processor_s()
        elif self.polls <= POLLS:
            self.readings += len(haul.readings)
            self.unreadable += len(haul.unreadable)
            self.used_s = _processor_s() - self.began_s
            self.apart_s.append(now_s - self.last_s)
        self.last_s = now_s
        self.polls += 1
        answer(True)

    @property
    def per_s(self) -> float:
        """Registers read in a second of the wall, of the median interval between polls."""
        return self.readings / POLLS / statistics.median(self.apart_s)

    @property
    def core_pct(self) -> float:
        """The processor's share, in % of one core, where a second brings `UNITS` times `POINTS` registers."""
        return 100 * self.used_s * UNITS * POINTS / self.readings


def run() -> list[Result]:
    """Poll points side by side, then scattered ones."""
    results = []
    for told, stride, requests in (("side by side", 1, 1), ("scattered", 3, 3)):
        tally = _poll(stride)
        core_us = 1e6 * tally.used_s / tally.readings
        results += [
            Result(
                f"Modbus, {told}, {UNITS * requests} requests a poll: polled",
                tally.per_s,
                "registers/s",
                "≥ 1,960",
                tally.per_s >= 1_960,
            ),
            Result(
                f"Modbus, {told}: of one core",
                tally.core_pct,
                "%",
                f"< {CORE_PCT_MAX:g}",
                tally.core_pct < CORE_PCT_MAX,
            ),
            Result(f"Modbus, {told}: each register", core_us, "µs", "reported", ok=True),
            Result(f"Modbus, {told}: not read", tally.unreadable, "points", "0", tally.unreadable == 0),
        ]
    return results


def _poll(stride: int) -> _Tally:
    server = subprocess.Popen(
        [sys.executable, "-m", "bench._modbus_server", str(UNITS), str(POINTS * stride)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    port = int(server.stdout.readline())
    tally = _Tally()
    gateway = Gateway(
        gateway_id="ATL1-GW1",
        site_id="ATL1",
        driver="modbus",
        address=f"modbus://127.0.0.1:{port}",
        every_s=1.0,
        map=_map(stride),
    )
    driver = make(gateway, None, tally.deliver, _Clock())
    driver.start()
    until_s = time.monotonic() + WAIT_S
    while tally.polls <= POLLS and time.monotonic() < until_s:
        time.sleep(0.2)
    driver.stop()
    server.stdin.close()
    server.wait(timeout=30)
    server.stdout.close()
    return tally


def _map(stride: int) -> str:
    lines = ["devices:"]
    for unit in range(1, UNITS + 1):
        lines += [f"  - name: RACK{unit}", f"    unit_id: {unit}", "    registers:"]
        lines += [
            f"      - {{name: t{n}, kind: input, address: {n * stride}, type: int16, scale: 0.1, unit: C}}"
            for n in range(POINTS)
        ]
    return "\n".join(lines)


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
