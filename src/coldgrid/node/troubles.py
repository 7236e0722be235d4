"""Troubles: what keeps a host from doing its work, told on every page to whoever is signed in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec
from litestar import Request, Response, get
from markupsafe import Markup

from coldgrid.kernel.reading import Reader
from coldgrid.kernel.storage_watch import StorageWatch
from coldgrid.network.sites import get_site
from coldgrid.node.host import LiveHost
from coldgrid.webkit.shell import PanelContext, fragment, register_panel
from coldgrid.webkit.visitors import Db, may

Req = Request[Any, Any, Any]


class Kind(StrEnum):
    """What is the matter. Values are the status that `/readyz` tells."""

    FROZEN = "frozen"
    FULL = "full"
    UNWRITABLE = "unwritable"


class Trouble(msgspec.Struct, frozen=True):
    """What is the matter, and why or since when."""

    kind: Kind
    why: str = ""
    since: datetime | None = None


class Watched(Protocol):
    """A host as this module looks at it: a node, a tower, or one of its workers."""

    @property
    def host(self) -> LiveHost:
        """Its clocks."""

    @property
    def storage(self) -> StorageWatch:
        """Whether its storage takes what is written."""


def troubles_of(parts: Watched) -> list[Trouble]:
    """Return what keeps a host from its work, the worst first."""
    found = []
    storage = parts.storage
    if storage.since is not None:
        found.append(Trouble(Kind.FULL if storage.is_full else Kind.UNWRITABLE, since=storage.since))
    if parts.host.guard.frozen_why:
        found.append(Trouble(Kind.FROZEN, parts.host.guard.frozen_why))
    return found


def _shown(request: Req, db: Reader) -> dict[str, Any]:
    state = request.app.state
    troubles, home = troubles_of(state.parts), state.get("home")
    shown = {
        "troubles": troubles,
        "may_look": may(request, "kernel.view"),
        "live": state.get("talk") is not None,  # a tower's pages say it when they are opened
    }
    # At a node by the site's own clock, whichever zone the rest of the page is in.
    return shown | ({"timezone": get_site(db, home).timezone} if home and troubles else {})


@get("/node/troubles", opt={"action": "network.view"}, include_in_schema=False, sync_to_thread=True)
def banner(request: Req, db: Db) -> Response[str]:
    """The banner alone."""
    return fragment(request, "node/_troubles.html", db, **_shown(request, db))


def _banner(context: PanelContext) -> Markup | None:
    if not context.visitor.known or context.request.app.state.get("parts") is None:
        return None
    return context.render("node/_troubles.html", **_shown(context.request, context.db))


handlers = [banner]
register_panel("shell", "banner", _banner, order=10)
