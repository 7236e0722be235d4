"""Every route of the tower: the rooms' JSON APIs and pages, and the tower's own."""

from __future__ import annotations

from importlib import import_module

from litestar.types import ControllerRouterHandler

# Importing a room's pages also registers its navigation and its panels on other rooms' pages.
MODULES = (
    "access.pages",
    "network.api",
    "network.pages",
    "catalog.api",
    "catalog.pages",
    "evidence.api",
    "evidence.pages",
    "orchestration.pages",
    "stock.api",
    "stock.pages",
    "telemetry.api",
    "quality.api",
    "quality.pages",
    "orders.api",
    "orders.pages",
    "network_flows.pages",
    "tower.pages",
    "tower.health",
)


def route_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of every module above."""
    return [handler for name in MODULES for handler in import_module(f"coldgrid.{name}").handlers]
