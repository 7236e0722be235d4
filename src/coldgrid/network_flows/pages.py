"""What an order's page shows of this room: what its customer was, or will be, told."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from coldgrid.network_flows.notices import notices_of
from coldgrid.webkit.shell import PanelContext, register_panel


def _told(c: PanelContext) -> Markup | None:
    notices = notices_of(c.db, c.about["order"].order_id)
    return c.render("network_flows/_notices.html", notices=notices[::-1]) if notices else None


register_panel("order", "side", _told, order=20)

handlers: list[Any] = []
