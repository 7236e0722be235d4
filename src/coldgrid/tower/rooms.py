"""The rooms of the tower. Importing a room registers what it projects, handles and reacts to."""

from __future__ import annotations

from importlib import import_module

# From the ground up, so that a room finds what it builds on already registered.
ROOMS = (
    "access",
    "network",
    "evidence",
    "catalog",
    "orchestration",
    "stock",
    "telemetry",
    "quality",
    "orders",
    "site_flows",
    "network_flows",
)


def load_rooms() -> None:
    """Register every room's part of the domain, without their pages."""
    for room in ROOMS:
        import_module(f"coldgrid.{room}")
