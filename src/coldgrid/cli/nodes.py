"""Commands about towers and nodes: what can go wrong is said in one line, with what to do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from coldgrid.cli.output import WORDS
from coldgrid.kernel.settings import load_settings
from coldgrid.node import errands
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


def ask_tower(environment: Mapping[str, str], errand: str, **asked: str) -> None:
    """Ask the tower that serves with these settings, and print its answer; exit 1 where it did not do it."""
    folder = errands.errands_folder(load_settings(environment))
    try:
        answer = errands.ask(folder, errand, asked)
    except errands.NobodyThere as nobody:
        _end(str(nobody))
    if not answer.ok:
        _end(answer.text)
    sys.stdout.write(answer.text + "\n")


def run_node(
    environment: Mapping[str, str], folder: Path, *, host: str | None, port: int | None, drills: bool
) -> None:
    """Serve the node in a folder."""
    try:
        serve_node(environment, folder, host=host, port=port, drills=drills)
    except TOLD as error:
        _end(str(error))


def join(
    environment: Mapping[str, str], folder: Path, invited: Invited, *, host: str | None, port: int | None
) -> None:
    """Join, and say how to go on."""
    try:
        site_id = join_tower(environment, folder, invited, host=host, port=port)
    except TOLD as error:
        _end(str(error))
    WORDS.print(f"[ok]●[/] {site_id} has moved here. Serve it with: coldgrid node --data {folder}")


def _end(why: str) -> NoReturn:
    WORDS.print(f"[crit]{why}[/]", soft_wrap=True)
    sys.exit(1)
