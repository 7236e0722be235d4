"""Who is asking: the visitor behind a request, as the access room identifies them.

Nothing here decides what a visitor may do: that is the kernel's `Authorizer`. Handlers say what they are with
`opt`: `public` needs no sign-in, `action` names what the authorizer is asked, `reads` names a kind of record
("personal", "quality") whose reading is logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler
from litestar.params import SkipValidation

from coldgrid.kernel.authorize import Principal, Resource
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Forbidden, Rejected

Connection = ASGIConnection[Any, Any, Any, Any]
# What a handler declares to be lent a reader: `db: Db`. Litestar cannot check a protocol, so it must not try.
Db = NamedDependency[SkipValidation[Reader]]
# What is asked of a form for another site: its command is authorised later, and a form refused before that
# is shown again with all that its page tells.
ELSEWHERE = "network.read"
# What a page's script says with a part that somebody pressed for; its cookie while it loads its page again.
BY_HAND, RELOADED = "x-by-hand", "coldgrid_reloaded"
NOBODY = Principal(actor_id="", roles=frozenset(), sites=frozenset())


class NotSignedIn(Rejected):
    """Sign in first."""

    todo = "Sign in, or send an API token as `Authorization: Bearer …`."


class TokenRefused(NotSignedIn):
    """This API token is unknown, expired or revoked."""

    todo = "Ask an admin of your network for a new one; they are under Tokens."


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever sent a request. `csrf` is the token that every form of this visitor must carry.

    `by_token` is True for a machine with an API token, which no browser sends by itself, so that no
    cross-site request can borrow it. `unit` is "c" or "f".
    """

    principal: Principal = NOBODY
    name: str = ""
    csrf: str = ""
    by_token: bool = False
    unit: str = "c"
    timezone: str = "UTC"
    session_id: str = ""

    @property
    def known(self) -> bool:
        """Whether somebody signed in."""
        return bool(self.principal.actor_id)

    @property
    def roles(self) -> frozenset[str]:
        """The roles of the visitor."""
        return self.principal.roles

    def has(self, *roles: str) -> bool:
        """Tell whether the visitor has one of the roles: to show or hide a control, never to protect it."""
        return not self.principal.roles.isdisjoint(roles)


class Door(Protocol):
    """What the access room does for the web: it recognises visitors and notes what they read."""

    def identify(self, connection: Connection) -> Visitor:
        """Return who sent the request; never fails, an unknown visitor is `Visitor()` with a form token."""

    def note_read(self, visitor: Visitor, kind: str, subject: str) -> None:
        """Log that the visitor read a personal or quality record."""

    def fresh_key(self) -> str:
        """Return a key for one form, so that pressing its button twice does its work once."""


def visitor_of(connection: Connection) -> Visitor:
    """Return who sent the request, identified once for each request."""
    state = connection.scope.setdefault("state", {})
    visitor: Visitor | None = state.get("visitor")
    if visitor is None:
        visitor = connection.app.state.door.identify(connection)
        state["visitor"] = visitor
    return visitor


def admit(connection: Connection, handler: BaseRouteHandler) -> None:
    """Litestar guard: refuse strangers and the unauthorised, and log reads that must be (`opt`).

    Raises:
        NotSignedIn: a page that is not public.
        Forbidden: the authorizer refuses the handler's `action`.
    """
    opt = handler.opt
    if opt.get("public"):
        return
    visitor = visitor_of(connection)
    if not visitor.known:
        raise TokenRefused() if connection.headers.get("authorization") else NotSignedIn()
    action, site_id = opt.get("action"), _site_of(connection.path_params)
    if not action and site_id is not None and not at_home(visitor, [site_id]):
        action = ELSEWHERE
    if action:
        resource = Resource(site_id=site_id, kind="page", id=connection.scope["path"])
        connection.app.state.authorizer.authorize(visitor.principal, action, resource)
    kind = opt.get("reads")
    if kind and connection.scope.get("method") == "GET":
        connection.app.state.door.note_read(visitor, kind, connection.scope["path"])


def _site_of(params: Mapping[str, Any]) -> str | None:
    site_id = params.get("site_id")
    return site_id if isinstance(site_id, str) else None


def at_home(visitor: Visitor, site_ids: Iterable[str]) -> bool:
    """Tell whether a visitor is responsible for one of the sites."""
    sites = visitor.principal.sites
    return sites is None or any(site_id in sites for site_id in site_ids)


def admit_at(connection: Connection, action: str, site_ids: Sequence[str]) -> None:
    """Refuse whoever is responsible for none of the sites of a thing whose address names none.

    Raises:
        Forbidden: the authorizer refuses the action at each of the sites.
    """
    principal = visitor_of(connection).principal
    own = [one for one in site_ids if principal.sites is None or one in principal.sites]
    resource = Resource(site_id=[*own, *site_ids, None][0], kind="page", id=connection.scope["path"])
    connection.app.state.authorizer.authorize(principal, action, resource)


def may(connection: Connection, action: str, site_id: str | None = None) -> bool:
    """Tell whether the visitor could do an action: to show or hide a control."""
    try:
        resource = Resource(site_id=site_id, kind="control", id="")
        connection.app.state.authorizer.authorize(visitor_of(connection).principal, action, resource)
    except Forbidden:
        return False
    return True


def by_itself(connection: Connection) -> bool:
    """Tell whether a page asked by itself, nobody having pressed: its stream, its parts, itself again.

    A part counts as pressed for only where the page says so. A browser that follows a link or sends a form
    says nothing, and is a person: so it is without JavaScript, too.
    """
    headers = connection.headers
    if headers.get("hx-request") == "true":
        return BY_HAND not in headers
    return "text/event-stream" in headers.get("accept", "") or bool(connection.cookies.get(RELOADED))


def came_from(connection: Connection) -> str:
    """Return the page of ours that sent a request, never another site's; "/" where none says so."""
    said = connection.headers.get("hx-current-url") or connection.headers.get("referer") or ""
    host = connection.headers.get("host", "")
    _, _, rest = said.partition(f"://{host}/")
    return f"/{rest.lstrip('/')}" if host and rest else "/"


def login_address(connection: Connection) -> str:
    """Return where to sign in, and come back: to a page, never to a part of one or to where a form goes."""
    scope = connection.scope
    query = scope.get("query_string", b"").decode("ascii", "ignore")
    where = scope["path"] + (f"?{query}" if query else "")
    if scope.get("method") != "GET" or connection.headers.get("hx-request") == "true":
        where = came_from(connection)
    return "/login?next=" + quote(where, safe="")
