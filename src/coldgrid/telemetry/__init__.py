"""Telemetry: what sensors say, how well they say it, and which of it is an alarm."""

from __future__ import annotations

from coldgrid.telemetry import (
    alarms,
    annunciate,
    archive,
    health,
    ingest,
    late,
    pack,
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
    "health",
    "ingest",
    "late",
    "pack",
    "seal",
    "sensors",
    "signals",
    "silence",
    "store",
    "watch",
]
