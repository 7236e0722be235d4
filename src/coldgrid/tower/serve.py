"""Serving the tower on the wall clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.channels import channels_of
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import system_now
from coldgrid.node.serve import serve
from coldgrid.node.words import say
from coldgrid.tower.application import build_tower, create


def serve_live(environment: Mapping[str, str], *, nodes: bool = False, **overrides: Any) -> None:
    """Serve the tower on the wall clock; the first start prints the link that makes the first admin.

    `nodes`: listen for the sites' nodes too.
    """
    settings = load_settings(environment, **overrides)
    configure_logs(settings.log_level, json=settings.log_json)
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    address = f"http://{settings.host}:{settings.port}"
    say(f"Coldgrid tower on {address}")
    if tower.door.nobody_yet():
        say("Nobody can sign in yet. Make the first administrator at")
        say(f"{address}/setup?token={tower.door.set_up_token}")
    channels = channels_of(settings, system_now, f"{settings.public_url}/api/v1/replies")
    app = create(tower, channels, nodes=nodes and settings.sync_port > 0)
    if "nodes" in app.state:
        say(f"Nodes join at {app.state.nodes.port.url_for(settings.host)}")
    serve(app, settings)
