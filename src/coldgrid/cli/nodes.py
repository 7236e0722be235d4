"""Joining and serving a node: what can go wrong is said in one line, with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coldgrid.cli.asking import end
from coldgrid.cli.output import words
from coldgrid.node.moving import BadHandover
from coldgrid.node.serve_node import AlreadyJoined, Invited, join_tower, serve_node
from coldgrid.sync.authority import BadCertificate
from coldgrid.sync.codes import BadCode
from coldgrid.sync.identity_files import NotEnrolled
from coldgrid.sync.tls_client import TowerRefused, TowerUnreachable
from coldgrid.sync.wire import Refusal

TOLD = (
    *(AlreadyJoined, BadCertificate, BadCode, BadHandover, NotEnrolled, PermissionError),
    *(Refusal, TowerRefused, TowerUnreachable, ValueError),
)


def run_node(
    environment: Mapping[str, str], folder: Path, *, host: str | None, port: int | None, drills: bool
) -> None:
    """Serve the node in a folder."""
    try:
        serve_node(environment, folder, host=host, port=port, drills=drills)
    except TOLD as error:
        end(str(error))


def join(
    environment: Mapping[str, str], folder: Path, invited: Invited, *, host: str | None, port: int | None
) -> None:
    """Join, and say how to go on."""
    try:
        site_id = join_tower(environment, folder, invited, host=host, port=port)
    except TOLD as error:
        end(str(error))
    words().print(f"[ok]●[/] {site_id} has moved here. Serve it with: coldgrid node --data {folder}")
