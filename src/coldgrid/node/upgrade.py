"""Upgrade: a database that an older release made is brought up to this one, after a copy of it was made.

Invariants
    U1  A SQLite file is copied beside itself before anything in it is changed; a server's database only where
        somebody says that it was copied.
    U2  Broken off anywhere it is done again at the next start: the stamp comes last.
    U3  The log and its proofs stay as they are: only projections are made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from coldgrid.kernel import rebuild, schema
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import Database, open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.schema import Needed
from coldgrid.kernel.sqlite import SqliteDatabase
from coldgrid.kernel.sqlite_copy import snapshot
from coldgrid.node.host import LiveHost

COPY = ".before-"
TELL_EVERY = 50_000
NAMED_MAX = 6
Say = Callable[[str], None]


class CopyItFirst(Conflict):
    """This server's database is not as this release makes it, and nobody said that it was copied."""

    todo = "Copy it (docs/backup.md, «PostgreSQL»), then run `coldgrid upgrade --copied`, then serve."


class Upgraded(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: from which release to which, the copy made before, and what was made anew or added."""

    made_by: str
    now: str
    copy: str
    entries: int
    tables_changed: int
    tables_made_anew: list[str]


def look(database_url: str) -> Needed | None:
    """Return what a database needs; None where it is new, missing, or as this release makes it.

    Raises:
        DatabaseIsNewer: a newer release made it.
    """
    database = open_database(database_url)
    if isinstance(database, SqliteDatabase) and not database.path.is_file():
        return None
    try:
        with database.reader() as connection:
            return schema.needed(connection)
    finally:
        database.close()


def bring_up(database_url: str, now: datetime, say: Say, *, copied: bool = False) -> Upgraded | None:
    """Bring a database up to this release where it needs it. Rooms must be loaded; nobody may be serving.

    `copied`: a server's database was copied by whoever asks.

    Raises:
        DatabaseIsNewer, NotUpgradable, CopyItFirst, NoRoom, DatabaseInUse: nothing was changed.
    """
    need = look(database_url)
    if need is None:
        return None
    say(f"The database is of {_what_is_done(need)}")
    database = open_database(database_url)
    try:
        writer = database.writer()
        try:
            copy = _copy(database, need, now, say, copied=copied)
            schema.prepare(writer, need)
        finally:
            writer.close()
    finally:
        database.close()
    entries, found = _make_anew(database_url, say)
    return Upgraded(
        made_by=need.made_by,
        now=schema.RELEASE,
        copy=copy,
        entries=entries,
        tables_changed=len(need.changed),
        tables_made_anew=sorted(found),
    )


def _what_is_done(need: Needed) -> str:
    if need.made_by != schema.RELEASE:
        return f"{_release(need)}; it is brought up to {schema.RELEASE}"
    names = sorted({*need.changed, *(gap.table for gap in need.gaps)})
    tables = f"{len(names)} table{'s' * (len(names) != 1)}"
    named = ", ".join(names[:NAMED_MAX]) + (" …" if len(names) > NAMED_MAX else "")
    return (
        f"another build of {_release(need)}, which made {tables} otherwise ({named});"
        " it is made as this one makes it"
    )


def _release(need: Needed) -> str:
    return f"release {need.made_by}" if need.made_by else "a release before databases said which"


def _copy(database: Database, need: Needed, now: datetime, say: Say, *, copied: bool) -> str:
    if not isinstance(database, SqliteDatabase):
        if not copied:
            raise CopyItFirst(made_by=_release(need), this=schema.RELEASE)
        return ""
    target = Path(f"{database.path}{COPY}{schema.RELEASE}-{now:%Y%m%dT%H%M%S}")
    fresh = target.with_name(f".{target.name}.part")
    fresh.unlink(missing_ok=True)
    with snapshot(database.path) as state:
        state.copy_to(fresh, lambda done, whole: None, lambda seconds: None)
    fresh.chmod(database.path.stat().st_mode & 0o777)
    fresh.rename(target)
    say(f"A copy of it as it was lies at {target}")
    return str(target)


def _make_anew(database_url: str, say: Say) -> tuple[int, set[str]]:
    """Make every projection anew from the log, and stamp the database (U2)."""
    told = [0]

    def tell(done: int) -> None:
        told[0] = done
        if done % TELL_EVERY == 0:
            say(f"{done:,} entries projected anew")

    decider = Decider(open_database(database_url), LiveHost(AllowAll()))
    try:
        found = rebuild.rebuild(decider, tell)
        schema.put_stamp(decider.connection)
    finally:
        decider.close()
    return told[0], {one.table for one in found}
