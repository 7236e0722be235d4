"""What a caller of the API may ask about itself."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get

from coldgrid.webkit.visitors import visitor_of


class Caller(msgspec.Struct, frozen=True):
    """Who a session or token belongs to. `sites` or `channels` null: all of them."""

    id: str
    name: str
    roles: list[str]
    sites: list[str] | None
    by_token: bool
    channels: list[str] | None = None


@get("/api/v1/me", opt={"action": "access.use_account"}, tags=["access"], summary="Who is asking")
async def me(request: Request[Any, Any, Any]) -> Caller:
    """Return whom this session or token belongs to, with roles and sites."""
    visitor = visitor_of(request)
    principal = visitor.principal
    sites = None if principal.sites is None else sorted(principal.sites)
    channels = None if principal.channels is None else sorted(principal.channels)
    return Caller(
        principal.actor_id, visitor.name, sorted(principal.roles), sites, visitor.by_token, channels
    )
