"""Home of a node: its site's page is the first one, and the search looks through what the site knows."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromQuery

from coldgrid.node.search import answer
from coldgrid.node.site_pages import VIEW
from coldgrid.webkit.commands import see_other
from coldgrid.webkit.shell import NavItem, register_nav
from coldgrid.webkit.visitors import Db

Req = Request[Any, Any, Any]


@get("/", opt=VIEW, include_in_schema=False, sync_to_thread=False)
def home_page(request: Req) -> Response[Any]:
    """Go to the site's page."""
    return see_other(f"/sites/{request.app.state.home}")


@get("/search", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def search(request: Req, db: Db, q: FromQuery[str] = "") -> Response[Any]:
    """Go to whatever is called so: a zone, a unit, a lot, an incident; or show what it may be."""
    return answer(request, db, q)


register_nav(NavItem(group="", label="This site", href="/", icon="site", order=0, phone=True))
handlers = [home_page, search]
