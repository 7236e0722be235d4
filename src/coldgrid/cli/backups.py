"""Commands about copies of a host: making one while it serves, and putting one back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from coldgrid.cli.output import Output, words
from coldgrid.cli.present import NoDatabase
from coldgrid.cli.roles import load_rooms_of
from coldgrid.kernel.database import SqliteDatabase, open_database
from coldgrid.kernel.settings import Settings, load_settings
from coldgrid.node.backup import Host, ServerDatabase, back_up, signers_of
from coldgrid.node.backup_form import Tell, read_manifest
from coldgrid.node.folder import SETTINGS, settings_in
from coldgrid.node.parts import system_now
from coldgrid.node.restore import Place, check_only, put_back
from coldgrid.sync.identity_files import CHAIN, NEXT_KEY, STARTS, TOWER, NotEnrolled, open_identity
from coldgrid.sync.node_port import CHAIN_SUFFIX

SIGNING, AUTHORITY = "signing.key", "authority.pem"
NODE_FILES = (SIGNING, CHAIN, NEXT_KEY, TOWER, STARTS, SETTINGS)


def make_backup(
    environment: Mapping[str, str], target: Path, *, data: Path | None, database: str | None, out: Output
) -> None:
    """Back a host up and say what was made."""
    host = _tower(environment, database) if data is None else _node(environment, data)
    with showing(out) as tell:
        made = back_up(host, target, system_now(), tell)
    out.report(made)
    if not out.json:
        out.say(f"[ok]●[/] {target} is whole, and as secret as the host itself: it holds its keys")


def restore_backup(
    environment: Mapping[str, str], source: Path, *, data: Path | None, database: str | None, out: Output
) -> None:
    """Put a backup back, and say what must happen before the host serves."""
    place = _place(environment, data, database)
    load_rooms_of(place.role)
    with showing(out) as tell:
        done = put_back(source, place, signers_of, tell)
    out.report(done)
    if out.json:
        return
    for name in done.set_again:
        out.say(f"[warn]▲[/] {name} was set and is a secret: set it again")
    if data is None:
        out.say("[accent]Run `coldgrid tower recover` once before the tower serves.[/]")
    else:
        out.say("[accent]Before it serves, join with a code that its tower makes for this very node:[/]")
        out.say("[accent]coldgrid tower code SITE --node NODE. What comes then: docs/backup.md, «A node».[/]")


def try_backup(source: Path, out: Output) -> None:
    """Check a backup whole: files, rebuild, proofs; nothing is put in place."""
    load_rooms_of(read_manifest(source).role)
    with showing(out) as tell:
        done = check_only(source, Path(tempfile.mkdtemp(prefix="coldgrid-restore-")), signers_of, tell)
    out.report(done)
    if not out.json:
        out.say(f"[ok]●[/] {source} would be put back whole; nothing was changed")


def _place(environment: Mapping[str, str], data: Path | None, database: str | None) -> Place:
    if data is not None:
        keys = {name: data / name for name in NODE_FILES}
        return Place(role="node", database=data / "node.db", keys=keys)
    settings = load_settings(environment, database=database)
    if not isinstance(open_database(settings.database), SqliteDatabase):
        raise ServerDatabase(database="postgresql")
    path = Path(settings.database.removeprefix("sqlite:///"))
    return Place(role="tower", database=path, keys=_tower_files(settings))


def _tower_files(settings: Settings) -> dict[str, Path]:
    authority = Path(settings.authority_key)
    return {
        SIGNING: Path(settings.signing_key),
        AUTHORITY: authority,
        AUTHORITY + CHAIN_SUFFIX: authority.with_name(authority.name + CHAIN_SUFFIX),
    }


def _tower(environment: Mapping[str, str], database: str | None) -> Host:
    settings = load_settings(environment, database=database)
    keys = {name: path for name, path in _tower_files(settings).items() if path.is_file()}
    return Host(role="tower", site_id="", settings=settings, keys=keys)


def _node(environment: Mapping[str, str], folder: Path) -> Host:
    try:
        identity = open_identity(folder)
    except NotEnrolled:
        raise NoDatabase(folder=str(folder)) from None
    keys = {name: folder / name for name in NODE_FILES if (folder / name).is_file()}
    settings = settings_in(folder, environment)
    return Host(role="node", site_id=identity.tower.site_id, settings=settings, keys=keys)


@contextmanager
def showing(out: Output) -> Iterator[Tell]:
    """Show progress on a terminal, one bar for each part of the work; nothing with `--json` or in a pipe."""
    bars = Progress(
        TextColumn("[dim]{task.description}[/]"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=words(),
        disable=out.json or not words().is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def tell(what: str, done: int, whole: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=whole)
        bars.update(tasks[what], completed=done, total=whole)

    with bars:
        yield tell
