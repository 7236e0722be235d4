"""What a reader chooses for this browser, in cookies, so that a page knows before any script runs.

A room may keep a choice for the person beside it, for what is not shown in a browser: `register_keeper`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie

from coldgrid.webkit.commands import form_values, see_other
from coldgrid.webkit.shell import fragment, page
from coldgrid.webkit.visitors import Db, came_from, visitor_of

CHOICES = {"theme": ("light", "dark", "system"), "unit": ("c", "f")}
YEAR_S = 31_536_000
Keeper = Callable[[Request[Any, Any, Any], str], Awaitable[None]]
_keepers: dict[str, Keeper] = {}


def register_keeper(name: str, keep: Keeper) -> None:
    """Register who keeps a choice for the person who made it, and raises nothing."""
    assert name in CHOICES, f"{name} is no choice"
    _keepers[name] = keep


@post("/preferences", opt={"public": True}, include_in_schema=False)
async def choose(request: Request[Any, Any, Any]) -> Response[Any]:
    """Keep a choice and go back to the page."""
    values = await form_values(request)
    response = see_other(came_from(request))
    for name, allowed in CHOICES.items():
        chosen = (values.get(name) or [""])[-1]
        if chosen in allowed:
            if name in _keepers and visitor_of(request).known:
                await _keepers[name](request, chosen)
            kept = "" if chosen == "system" else chosen
            response.cookies.append(
                Cookie(
                    key=f"coldgrid_{name}",
                    value=kept,
                    max_age=YEAR_S if kept else 0,
                    samesite="lax",
                    path="/",
                    httponly=True,
                )
            )
    return response


@get("/menu/badges", include_in_schema=False, sync_to_thread=True)
def badges(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    """Show the counts of the navigation again, for a page that hears of news."""
    return fragment(request, "webkit/badges.html", db)


@get("/menu", include_in_schema=False, sync_to_thread=True)
def menu(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    """Show the whole navigation as a page: what a phone's "More" opens."""
    return page(request, "webkit/menu.html", db, title="Menu", nav="/menu")
