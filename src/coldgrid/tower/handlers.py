"""Every route of the tower: those of every host, and what only the network shows."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from coldgrid.node.handlers import SITE_MODULES, handlers_of

TOWER_MODULES = (
    *SITE_MODULES,
    "orders.api",
    "orders.pages",
    "network_flows.pages",
    "sync.standing_pages",
    "sync.ahead_pages",
    "sync.node_pages",
    "sync.node_api",
    "tower.pages",
    "tower.first_run.pages",
)


def route_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of every module above."""
    return handlers_of(TOWER_MODULES)
