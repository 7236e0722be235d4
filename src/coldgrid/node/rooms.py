"""The rooms of a site. Importing a room registers what it projects, handles and reacts to."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

# From the ground up, so that a room finds what it builds on already registered.
SITE_ROOMS = (
    "access",
    "network",
    "evidence",
    "catalog",
    "orchestration",
    "stock",
    "telemetry",
    "quality",
    "warehouse",
    "site_flows",
)


def load_rooms(names: Sequence[str] = SITE_ROOMS) -> None:
    """Register the domain of some rooms, without their pages."""
    import_module("coldgrid.kernel.clock")  # its fact is told by no room
    for room in names:
        import_module(f"coldgrid.{room}")
    import_module("coldgrid.adapters.drivers")  # what they accept is checked when a gateway is drafted
