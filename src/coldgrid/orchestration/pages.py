"""Everything of this room that speaks HTTP: its pages and its part of the API."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from coldgrid.orchestration import api, decision_pages, incident_pages, playbook_pages

handlers: list[ControllerRouterHandler] = [
    *incident_pages.handlers,
    *decision_pages.handlers,
    *playbook_pages.handlers,
    api.router,
]
