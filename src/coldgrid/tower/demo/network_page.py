"""The page with the switches of the network demo: one row for each site, looked at every two seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.response import Redirect

from coldgrid.webkit.assets import asset, static_file
from coldgrid.webkit.headers import add_headers

if TYPE_CHECKING:
    from coldgrid.tower.demo.network import NetworkDemo

TEMPLATES = Path(__file__).parents[1] / "templates"
TOLD_MAX = 8
Req = Request[Any, Any, Any]


def switch_app(demo: NetworkDemo) -> Litestar:
    """Return the application of the page; it listens on loopback and asks for no password."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    jinja.globals["asset"] = asset
    told: list[str] = []

    @get("/", media_type=MediaType.HTML, sync_to_thread=True)
    def page() -> str:
        """Show every site with its switches."""
        return jinja.get_template("network.html").render(
            lines=demo.watch(), told=told[-TOLD_MAX:][::-1], tower=demo.tower_address
        )

    @post("/switch/{site_id:str}/{what:str}", sync_to_thread=True, status_code=303)
    def switch(
        request: Request[Any, Any, Any], site_id: FromPath[str], what: FromPath[str]
    ) -> Response[None]:
        """Turn one switch; only the page itself may, not one that a browser shows beside it."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return Response(None, status_code=403)
        try:
            told.append(demo.switch(site_id, what))
        except KeyError:
            return Response(None, status_code=404)
        return Redirect("/", status_code=303)

    @get("/healthz", sync_to_thread=False)
    def alive() -> dict[str, str]:
        """Say that the page serves."""
        return {"status": "ok"}

    return Litestar(
        [page, switch, alive, static_file],
        state=State({"hub": None}),
        before_send=[add_headers],
        logging_config=None,
    )
