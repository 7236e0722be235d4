"""Telemetry: what sensors say, how well they say it, and which of it is an alarm."""

from __future__ import annotations

from coldgrid.telemetry import (
    alarms,
    annunciate,
    archive,
    defrosts,
    device_clocks,
    flaws,
    gateways,
    health,
    history,
    ingest,
    late,
    pack,
    registering,
    retention,
    seal,
    sensors,
    signals,
    silence,
    store,
    watch,
)

__all__ = [
    "alarms",
    "annunciate",
    "archive",
    "defrosts",
    "device_clocks",
    "flaws",
    "gateways",
    "health",
    "history",
    "ingest",
    "late",
    "pack",
    "registering",
    "retention",
    "seal",
    "sensors",
    "signals",
    "silence",
    "store",
    "watch",
]
