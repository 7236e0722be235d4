"""What the tower has heard of urgent things at sites whose facts are on their way: a panel, and the API."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.sync import ahead
from coldgrid.sync.ahead import HeardOf
from coldgrid.webkit.shell import PanelContext, fragment, register_panel
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "network.view"}
READ = {"action": "sync.read"}
SHOWN_MAX = 20


def heard_for(request: Req, db: Reader) -> list[HeardOf]:
    """Return what a visitor may hear of, oldest first: that of their sites."""
    allowed = visitor_of(request).principal.sites
    return [one for one in ahead.heard_of(db) if allowed is None or one.site_id in allowed]


def _shown(request: Req, db: Reader) -> dict[str, Any]:
    found = heard_for(request, db)
    return {"heard_of": found[:SHOWN_MAX], "more": max(0, len(found) - SHOWN_MAX)}


@get("/nodes/ahead", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def ahead_list(request: Req, db: Db) -> Response[str]:
    """The list alone, for a page that is live."""
    return fragment(request, "sync/_ahead.html", db, **_shown(request, db))


@get("/api/v1/sync/ahead", opt=READ, tags=["nodes"], sync_to_thread=True)
def ahead_api(request: Req, db: Db) -> list[dict[str, Any]]:
    """List what is urgent at sites and not yet a fact here, oldest first; `leaf` is the hash of the entry."""
    return [
        {
            "site_id": one.site_id,
            "entry": f"{one.site_id}/{one.epoch}/{one.seq}",
            "leaf": one.leaf.hex(),
            "type": one.type,
            "told": one.told,
            "occurred_at": one.occurred_at,
            "heard_at": one.heard_at,
        }
        for one in heard_for(request, db)
    ]


def _panel(context: PanelContext) -> Markup:
    return context.render("sync/_ahead_part.html", **_shown(context.request, context.db))


register_panel("tower", "left", _panel, order=5)
handlers = [ahead_list, ahead_api]
