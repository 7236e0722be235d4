"""Bringing a database up to this release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from coldgrid.cli.output import Output
from coldgrid.cli.present import present
from coldgrid.cli.roles import load_rooms_of
from coldgrid.kernel.schema import RELEASE, Needed
from coldgrid.kernel.settings import load_settings
from coldgrid.node.folder import settings_in
from coldgrid.node.parts import system_now
from coldgrid.node.upgrade import bring_up, look


class Looked(msgspec.Struct, frozen=True):
    """Whether a database is of this release, and what it needs if not."""

    release: str
    current: bool
    needed: Needed | None


def upgrade_database(
    environment: Mapping[str, str],
    *,
    data: Path | None,
    database: str | None,
    out: Output,
    check: bool,
    copied: bool,
) -> int:
    """Say what a database needs, or bring it up; return the exit code."""
    if data is None:
        settings = load_settings(environment, database=database)
        load_rooms_of("tower")
    else:
        settings = settings_in(data, environment)
        load_rooms_of("node")
    present(settings)
    if check:
        need = look(settings.database)
        out.report(Looked(RELEASE, need is None, need))
        return 0 if need is None else 1
    done = bring_up(settings.database, system_now(), out.progress, copied=copied)
    if done is not None:
        out.report(done)
    elif out.json:
        out.report(Looked(RELEASE, True, None))
    else:
        out.say(f"[ok]●[/] the database is as release {RELEASE} makes it; nothing was changed")
    return 0
