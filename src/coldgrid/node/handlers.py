"""The routes that every host serves: the JSON APIs and pages of a site's rooms, a site's page, health."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from litestar.types import ControllerRouterHandler

# Importing a room's pages also registers its navigation and its panels on other rooms' pages.
SITE_MODULES = (
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
    "telemetry.pages",
    "quality.api",
    "quality.pages",
    "warehouse.pages",
    "warehouse.receiving_pages",
    "node.site_pages",
    "node.device_api",
    "node.device_pages",
    "node.history_pages",
    "node.request_pages",
    "node.retention_pages",
    "node.health",
    "node.troubles",
)


def handlers_of(modules: Sequence[str]) -> list[ControllerRouterHandler]:
    """Return the handlers of some modules."""
    return [handler for name in modules for handler in import_module(f"coldgrid.{name}").handlers]
