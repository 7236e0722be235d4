"""The rooms of the tower: those of a site, and what only the network decides."""

from __future__ import annotations

from coldgrid.node import rooms

# Orders come before the flows of a site, as they always did: reactions run in the order of registration.
TOWER_ROOMS = (
    *(room for room in rooms.SITE_ROOMS if room != "site_flows"),
    "orders",
    "site_flows",
    "network_flows",
    "sync",
)


def load_rooms() -> None:
    """Register every room's part of the domain, without their pages."""
    rooms.load_rooms(TOWER_ROOMS)
