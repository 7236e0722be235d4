"""What people at a site see of its node's talk with the tower: a line in the shell, a banner, and a page."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import get_site
from coldgrid.node.standing import SHORT, standing_of
from coldgrid.webkit.shell import NavItem, PanelContext, fragment, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}


# --- Pages ------------------------------------------------------------------------


def _shown(request: Req, db: Reader) -> dict[str, Any]:
    state = request.app.state
    system_now = state.system_now()
    seen = standing_of(db, state.talk, state.home)
    away = seen.since is not None and system_now - seen.since >= SHORT
    told = {"standing": seen, "system_now": system_now, "away": away}
    # On every page by the site's own clock, whichever zone the rest of the page is in.
    return told | {"timezone": get_site(db, state.home).timezone}


@get("/node", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def node_page(request: Req, db: Db) -> Response[str]:
    """How this node stands with its tower, what waits here, and who decides what."""
    return page(request, "node/standing.html", db, title="This node", nav="/node", **_shown(request, db))


@get("/node/now", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def node_now(request: Req, db: Db) -> Response[str]:
    """The figures of that page alone, for a page that is live."""
    return fragment(request, "node/_standing.html", db, **_shown(request, db))


@get("/node/banner", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def node_banner(request: Req, db: Db) -> Response[str]:
    """The banner alone."""
    return fragment(request, "node/_banner.html", db, **_shown(request, db))


@get("/node/line", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def node_line(request: Req, db: Db) -> Response[str]:
    """The line in the shell alone."""
    return fragment(request, "node/_line.html", db, **_shown(request, db))


def _panel(place: str, template: str, context: PanelContext) -> Markup | None:
    """A live part of the shell, on a node only, for people who are signed in."""
    if not context.visitor.known or context.request.app.state.get("talk") is None:
        return None
    inner = context.render(template, **_shown(context.request, context.db))
    return context.render("node/_live_part.html", place=place, inner=inner)


def _banner(context: PanelContext) -> Markup | None:
    return _panel("banner", "node/_banner.html", context)


def _line(context: PanelContext) -> Markup | None:
    return _panel("line", "node/_line.html", context)


register_nav(NavItem(group="Set up", label="This node", href="/node", icon="plug", order=70))
register_panel("shell", "banner", _banner)
register_panel("shell", "rail", _line)
handlers = [node_page, node_now, node_banner, node_line]
