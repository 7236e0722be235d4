"""Home of a node: its site's page is the first one, and the search looks through what the site knows."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromQuery

from coldgrid.node.site_pages import VIEW, NothingFound, overview_of, place_of
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
    """Go to whatever has this id: a zone, a unit, a lot."""
    place = place_of(overview_of(request).picture(), db, q.strip())
    if place is None:
        raise NothingFound(searched=q.strip()[:80])
    return see_other(place)


register_nav(NavItem(group="", label="This site", href="/", icon="site", order=0, phone=True))
handlers = [home_page, search]
