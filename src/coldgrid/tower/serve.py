"""Serving the tower on the wall clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldgrid.access.authorizer import CedarAuthorizer
from coldgrid.adapters.address import NodesAddressTaken, check_address
from coldgrid.adapters.channels import channels_of
from coldgrid.kernel.logs import configure_logs
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.settings import load_settings
from coldgrid.node.host import LiveHost
from coldgrid.node.parts import system_now
from coldgrid.node.restore import check_begun_anew
from coldgrid.node.serve import serve
from coldgrid.node.words import say
from coldgrid.tower.application import build_tower, create
from coldgrid.tower.first_run.link import set_up_link


class WorkersNeedPostgres(Conflict):
    """Several workers share one PostgreSQL database; a SQLite file has one process that does everything."""

    todo = "Leave --workers out, or set COLDGRID_DATABASE to a postgresql:// address."


def serve_live(
    environment: Mapping[str, str], *, nodes: bool = False, workers: int = 1, **overrides: Any
) -> None:
    """Serve the tower on the wall clock; the first start prints the link that makes the first admin.

    `nodes`: listen for the sites' nodes too. `workers`: how many processes serve here, on PostgreSQL; more
    may do so on other machines.

    Raises:
        WorkersNeedPostgres: several on another database.
        AddressTaken: something serves there already.
    """
    settings = load_settings(environment, **overrides)
    configure_logs(settings.log_level, json=settings.log_json)
    check_begun_anew(settings.database)
    if settings.database.startswith(("postgresql://", "postgres://")):
        from coldgrid.tower.workers.serve import serve_shared  # noqa: PLC0415 (psycopg is an extra)

        serve_shared(settings, nodes=nodes, count=workers)
        return
    if workers > 1:
        raise WorkersNeedPostgres(workers=workers)
    check_address(settings.host, settings.port)
    if nodes and settings.sync_port > 0:
        check_address(settings.sync_host, settings.sync_port, NodesAddressTaken)
    tower = build_tower(settings, LiveHost(CedarAuthorizer()))
    address = f"http://{settings.host}:{settings.port}"
    say(f"Coldgrid tower on {address}")
    if tower.door.nobody_yet():
        say("Nobody can sign in yet. Set your network up here, within the hour, and show it to nobody:")
        say(set_up_link(settings, tower.door))
    channels = channels_of(settings, system_now, f"{settings.public_url}/api/v1/replies")
    app = create(tower, channels, nodes=nodes and settings.sync_port > 0)
    if "nodes" in app.state:
        say(f"Nodes join at {app.state.nodes.port.url_for(settings.host)}")
    serve(app, settings)
