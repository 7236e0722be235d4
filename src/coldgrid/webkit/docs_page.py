"""The API page: the OpenAPI document in a viewer served from here, with no request to anybody else."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.serialization import encode_json

from coldgrid.kernel.events import tag_of
from coldgrid.kernel.registry import handlers
from coldgrid.webkit.api_document import complete
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db

DESCRIPTION = (
    "Commands, queries and the event feed. Send an API token as `Authorization: Bearer …`; an admin makes "
    "one on the page *API tokens*. Every refusal is an RFC 9457 problem document: `code` is stable, "
    "`problems` names each wrong field with its fix. A parameter that an address does not have is refused "
    "(400) with those that it has. Instants are RFC 3339 with an offset, temperatures °C, money cents, "
    "quantities base units."
)


def openapi_config(version: str) -> OpenAPIConfig:
    """Return the configuration of the document, of /api/v1/openapi.json."""
    return OpenAPIConfig(
        title="Coldgrid API",
        version=version,
        description=DESCRIPTION,
        path="/api/openapi",  # not /api/v1: below its path Litestar answers every unknown address itself
        render_plugins=[JsonRenderPlugin(path="/framework.json")],
    )


@get("/api/v1/openapi.json", include_in_schema=False, sync_to_thread=True)
def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the OpenAPI document; it is made once."""
    state = request.app.state
    if "openapi_document" not in state:
        state["openapi_document"] = encode_json(
            complete(request.app.openapi_schema.to_schema(), request.app), serializer=str
        )
    return Response(state["openapi_document"], media_type="application/json")


@get("/api", include_in_schema=False, sync_to_thread=True)
def api_page(request: Request[Any, Any, Any], db: Db) -> Response[str]:
    """Show the API and the commands of this release."""
    commands = sorted(
        (tag_of(h.command), h.action, h.owner.value, (h.command.__doc__ or "").split("\n")[0])
        for h in handlers.values()
    )
    return page(request, "webkit/api.html", db, title="API", nav="/api", commands=commands)
