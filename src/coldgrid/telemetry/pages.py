"""What telemetry shows on other rooms' pages: a zone's defrost plan."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler
from markupsafe import Markup

from coldgrid.telemetry.defrosts import plan_of_zone
from coldgrid.webkit.shell import PanelContext, register_panel


def _defrost(c: PanelContext) -> Markup:
    """Show when a zone defrosts."""
    return c.render("telemetry/_defrost.html", plan=plan_of_zone(c.db, c.about["zone"].zone_id))


register_panel("network_zone", "side", _defrost, order=40)
handlers: list[ControllerRouterHandler] = []
