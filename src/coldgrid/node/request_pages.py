"""What was asked of sites that decide for themselves: pending, carried out, refused, expired. Page and API.

The tower and a node show the same; a node shows what was asked of its own site.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery
from markupsafe import Markup

from coldgrid.access import people
from coldgrid.kernel import requests
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import NotFound
from coldgrid.kernel.requests import Request as Asked
from coldgrid.kernel.requests import Status
from coldgrid.network.sites import site_labels
from coldgrid.webkit.choices import check_word
from coldgrid.webkit.shell import Badge, NavItem, PanelContext, page, register_nav, register_panel
from coldgrid.webkit.visitors import Db, Visitor, at_home, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "requests.view"}
READ = {"action": "requests.read"}
TAGS = ["requests"]
SHOWN_MAX = 100
VALUE_MAX = 60
# Of a request: its state's shape, and its word.
STATES = {
    Status.PENDING: ("warn", "Pending"),
    Status.DONE: ("ok", "Done"),
    Status.REFUSED: ("crit", "Refused"),
    Status.EXPIRED: ("off", "Expired"),
}


class RequestNotFound(NotFound):
    """There is no such request."""


class RequestShown(msgspec.Struct, frozen=True):
    """A request as the API lists it. `body` is the command; `entry_id` what the site recorded for it."""

    request_id: str
    site_id: str
    status: Status
    command: str
    body: msgspec.Raw
    actor: str
    asked_at: datetime
    expires_at: datetime | None
    code: str
    why: str
    entry_id: str
    answered_at: datetime | None


def shown(asked: Asked) -> RequestShown:
    """Return a request in the API's form."""
    return RequestShown(
        request_id=asked.request_id,
        site_id=asked.site_id,
        status=asked.status,
        command=asked.command,
        body=msgspec.Raw(asked.body.encode()),
        actor=asked.actor,
        asked_at=asked.asked_at,
        expires_at=asked.expires_at,
        code=asked.code or "",
        why=asked.why or "",
        entry_id=asked.entry_id or "",
        answered_at=asked.answered_at,
    )


def said(asked: Asked) -> tuple[str, str]:
    """Return what is asked for in words, and about what: ("Release hold", "hold-7, ATL1-FRZ1")."""
    verb = asked.command.partition(".")[2].replace("_", " ").capitalize()
    fields = msgspec.json.decode(asked.body)
    named = [str(value)[:VALUE_MAX] for name, value in fields.items() if _names_a_thing(name, value)]
    return verb, ", ".join(named)


def _names_a_thing(name: str, value: object) -> bool:
    return isinstance(value, str) and bool(value) and name not in ("type", "site_id")


# --- API --------------------------------------------------------------------------


@get("/api/v1/requests", opt=READ, tags=TAGS, sync_to_thread=True)
def list_all(request: Req, db: Db, site_id: FromQuery[str] = "") -> list[RequestShown]:
    """List what was asked of sites that decide for themselves, the latest first; of the caller's sites."""
    check_word("site_id", site_id, {one.site_id for one in site_labels(db)})
    return [shown(one) for one in _requests_for(visitor_of(request), db, site_id)]


def _requests_for(visitor: Visitor, db: Reader, site_id: str = "") -> list[Asked]:
    sites = visitor.principal.sites
    wanted = [site_id] if sites is None or site_id else sorted(sites)
    found = [one for each in wanted if at_home(visitor, [each]) for one in requests.list_requests(db, each)]
    return sorted(found, key=lambda one: one.asked_at, reverse=True)


@get("/api/v1/requests/{request_id:str}", opt=READ, tags=TAGS, sync_to_thread=True)
def detail(request: Req, db: Db, request_id: FromPath[str]) -> RequestShown:
    """Return one request with its answer, once there is one."""
    found = requests.find_request(db, request_id)
    if found is None or not at_home(visitor_of(request), [found.site_id]):
        raise RequestNotFound(request_id=request_id)
    return shown(found)


# --- Page and panel -----------------------------------------------------------------


@get("/requests", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def requests_page(request: Req, db: Db) -> Response[str]:
    """Show what was asked, and what came of it."""
    return page(
        request,
        "node/requests.html",
        db,
        title="Requests",
        nav="/requests",
        rows=[(one, *said(one)) for one in _requests_for(visitor_of(request), db)[:SHOWN_MAX]],
        states=STATES,
        names=people.names(db),
        sites={label.site_id: label.name for label in site_labels(db)},
    )


def _badge(db: Reader, visitor: Visitor) -> Badge | None:
    if visitor.principal.sites is None:
        count = requests.count_waiting(db)
    else:
        count = sum(one.status is Status.PENDING for one in _requests_for(visitor, db))
    return Badge(count) if count else None


def _site_panel(c: PanelContext) -> Markup | None:
    """What waits for a site, on its page."""
    site_id = c.about["site"].site_id
    rows = [one for one in requests.list_requests(c.db, site_id) if one.status is Status.PENDING]
    if not rows:
        return None
    told = [(one, *said(one)) for one in rows]
    return c.render("node/_requests.html", pending=told, names=people.names(c.db))


register_nav(
    NavItem(
        group="Run",
        label="Requests",
        href="/requests",
        icon="clock",
        badge=_badge,
        order=95,
        shown=requests.any_asked,
    )
)
register_panel("site", "top", _site_panel, order=50)
handlers = [list_all, detail, requests_page]
