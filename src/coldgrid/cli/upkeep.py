"""Commands for the years that a host runs: copies, upgrades, what is wrong with it, what may go.

Like the others they import what they run when they run it.
"""

# ruff: noqa: PLC0415 (imports inside commands, see above)

from __future__ import annotations

import os
import sys
from pathlib import Path

from coldgrid.cli.options import Json, NodeFolder, Where
from coldgrid.cli.output import Output


def backup(target: Path, *, data: NodeFolder = None, database: Where = None, json: Json = False) -> None:
    """Copy this host's database, keys and settings into a new folder, checked; it may be serving.

    Args:
        target: A folder that does not exist yet. It is as secret as the host.
        data: The node's folder; without it, the tower is copied.
        database: Which database of a tower.
        json: Print what was made as JSON.
    """
    from coldgrid.cli.backups import make_backup

    make_backup(os.environ, target, data=data, database=database, out=Output(json=json))


def restore(
    source: Path,
    *,
    check: bool = False,
    data: NodeFolder = None,
    database: Where = None,
    json: Json = False,
) -> None:
    """Put a backup back where no database is, after checking it: files, every projection, every proof.

    Args:
        source: The backup's folder.
        check: Only check it, and put nothing back.
        data: The node's folder; without it, a tower is put back.
        database: Where a tower's database goes.
        json: Print what was done as JSON.
    """
    from coldgrid.cli.backups import restore_backup, try_backup

    if check:
        try_backup(source, Output(json=json))
    else:
        restore_backup(os.environ, source, data=data, database=database, out=Output(json=json))


def upgrade(
    *,
    check: bool = False,
    copied: bool = False,
    data: NodeFolder = None,
    database: Where = None,
    json: Json = False,
) -> None:
    """Bring the database up to this release, after a copy of it. Serving does the same at its start.

    Args:
        check: Only say what it needs; exit 1 where it needs something.
        copied: A PostgreSQL database was copied by you: bring it up.
        data: The node's folder; without it, a tower's database.
        database: Which database of a tower.
        json: Print what was done as JSON.
    """
    from coldgrid.cli.upgrades import upgrade_database

    asked = {"check": check, "copied": copied}
    sys.exit(upgrade_database(os.environ, data=data, database=database, out=Output(json=json), **asked))


def doctor(
    *, deep: bool = False, data: NodeFolder = None, database: Where = None, json: Json = False
) -> None:
    """Look at this host from its own machine, whether it serves or not; exit 1 where something fails.

    Args:
        deep: Also make every projection anew beside the live ones and compare, and check every page.
        data: The node's folder; without it, a tower is looked at.
        database: Which database of a tower.
        json: Print the findings as JSON.
    """
    from coldgrid.cli.doctor import see_doctor

    sys.exit(see_doctor(os.environ, deep=deep, data=data, database=database, out=Output(json=json)))


def retention(
    *,
    dry_run: bool = False,
    now: bool = False,
    data: NodeFolder = None,
    database: Where = None,
    json: Json = False,
) -> None:
    """Say what went after its time, and what proves it; or what would go, or let it go now.

    Args:
        dry_run: Say what would go now under the settings, and what is spared; nothing is changed.
        now: Ask the running host to let go now what may go, instead of within ten minutes.
        data: The node's folder; without it, a tower.
        database: Which database of a tower.
        json: Print it as JSON.
    """
    from coldgrid.cli.retained import let_go_now, show_what_went, show_what_would_go

    work = show_what_would_go if dry_run else let_go_now if now else show_what_went
    work(os.environ, data=data, database=database, out=Output(json=json))


UPKEEP = (backup, restore, upgrade, doctor, retention)
