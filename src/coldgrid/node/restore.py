"""Restore: a backup is put back where no database is, and looked through before it has its name.

Invariants
    P1  Nothing living is overwritten: no database, no write-ahead log that was left behind, no key.
    P2  The database gets its name last. Whatever fails before leaves the place as it was.
    P3  What is put back was held against its manifest, every projection was made anew beside it and is
        equal, and all that was signed still verifies.
    P4  A tower that was put back does not serve before it began its next epochs (`check_begun_anew`): it
        would give names of lost facts to new ones. A node needs no such mark: its tower finds it out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from coldgrid.evidence.notes import VerifierKey
from coldgrid.kernel import log, rebuild
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.sqlite_copy import check_room
from coldgrid.node.backup import CopyIsUnsound, check_copy
from coldgrid.node.backup_form import (
    CHUNK_BYTES,
    DATABASE,
    KEYS,
    Manifest,
    Tell,
    check_files,
    read_manifest,
)
from coldgrid.node.host import LiveHost
from coldgrid.sync.identity_files import write_private

MARK, FRESH = ".restored", ".restoring"
# A host has its own of these: another one here belongs to another host.
IDENTIFYING = ("signing.key", "authority.pem")


class WouldOverwrite(Conflict):
    """Something living is at this place; nothing was put back."""

    todo = "Move it away first, and keep it: it may hold what the backup lacks."


class OfAnotherRole(Conflict):
    """This backup is of a host of another role."""

    todo = "A tower is put back as it is; a node with --data FOLDER."


class NotBegunAnew(Conflict):
    """This tower was put back from a copy and has not begun its next epochs."""

    todo = "Run `coldgrid tower recover` once, then serve."


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a backup goes: the role of the host, its database, and where each key of the backup belongs."""

    role: str
    database: Path
    keys: dict[str, Path]


class PutBack(msgspec.Struct, frozen=True, kw_only=True):
    """What was put back, and what was checked before."""

    database: str
    made_at: datetime
    entries: int
    tables_rebuilt: int
    checkpoints_verified: int
    entries_hashed: int
    kept_as_they_were: list[str]
    set_again: list[str]


def put_back(source: Path, place: Place, keys_of: Callable[[Path], list[VerifierKey]], tell: Tell) -> PutBack:
    """Check a backup and put it in its place. Rooms of the role must be loaded.

    `keys_of`: the keys that verify what the host signed, by the file of its signing key.

    Raises:
        NoBackup, Invalid, Spoiled: it is none, or not what was written.
        OfAnotherRole, WouldOverwrite: it does not belong here.
        NoRoom: the disk has not enough room.
        CopyIsUnsound: it does not rebuild, or does not verify.
    """
    manifest = read_manifest(source)
    if manifest.role != place.role:
        raise OfAnotherRole(backup=manifest.role, here=place.role)
    check_free(place)
    kept = _check_keys(source, manifest, place)
    check_files(source, manifest, tell)
    place.database.parent.mkdir(parents=True, exist_ok=True)
    with _copied(source, manifest, place.database, tell) as fresh:
        found = look_through(fresh, manifest, keys_of(source / KEYS / IDENTIFYING[0]), tell)
        for name, path in place.keys.items():
            held = source / KEYS / name
            if held.is_file() and not path.exists():
                write_private(path, held.read_bytes())
        if place.role == "tower":
            write_private(mark_of(place.database), manifest.made_at.isoformat().encode())
        fresh.rename(place.database)
    return msgspec.structs.replace(found, database=str(place.database), kept_as_they_were=kept)


def check_free(place: Place) -> None:
    """Demand that nothing living is where the database goes (P1).

    Raises:
        WouldOverwrite: there is.
    """
    for path in (place.database, *(Path(f"{place.database}{end}") for end in ("-wal", "-journal"))):
        if path.exists():
            raise WouldOverwrite(file=str(path))


def _check_keys(source: Path, manifest: Manifest, place: Place) -> list[str]:
    """Return the files that are here already and stay: certificates may have been renewed since."""
    kept = []
    for name, path in place.keys.items():
        held = source / KEYS / name
        if not (path.exists() and held.is_file()):
            continue
        if path.read_bytes() != held.read_bytes():
            if name in IDENTIFYING:
                raise WouldOverwrite(file=str(path), backup=manifest.made_at)
            kept.append(str(path))
    return kept


@contextmanager
def _copied(source: Path, manifest: Manifest, database: Path, tell: Tell) -> Iterator[Path]:
    """Copy the database beside its place; what is left of that goes in the end."""
    fresh = Path(f"{database}{FRESH}")
    whole = next(file.bytes for file in manifest.files if file.path == DATABASE)
    check_room(database.parent, whole)
    try:
        with (source / DATABASE).open("rb") as read, open(fresh, "wb", opener=_private) as write:
            while chunk := read.read(CHUNK_BYTES):
                write.write(chunk)
                tell("copied", write.tell(), whole)
            write.flush()
            os.fsync(write.fileno())
        yield fresh
    finally:
        for end in ("", "-wal", "-shm", ".lock"):
            Path(f"{fresh}{end}").unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def look_through(fresh: Path, manifest: Manifest, keys: list[VerifierKey], tell: Tell) -> PutBack:
    """Hold a copied database against its manifest, rebuild it beside itself, verify what was signed (P3).

    Raises:
        CopyIsUnsound: something is wrong.
    """
    past = check_copy(fresh, manifest.logs, keys, tell)
    decider = Decider(open_database(str(fresh)), LiveHost(AllowAll()))
    try:
        entries = sum(one.entries for one in manifest.logs)
        found = rebuild.differences(decider, lambda done: tell("rebuilt", done, max(done, entries)))
        position = log.last_position(Reads(decider.connection))
        decider.connection.command("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        decider.close()
    faults = [f"{one.table}: {one.only_live} rows not in the log" for one in found]
    if position != manifest.position:
        faults.append(f"the log ends at position {position}, the manifest says {manifest.position}")
    if past.checkpoints != manifest.checkpoints:
        faults.append(f"{past.checkpoints} checkpoints, the manifest says {manifest.checkpoints}")
    if faults:
        raise CopyIsUnsound(faults="; ".join(faults[:5]), count=len(faults))
    return PutBack(
        database=str(fresh),
        made_at=manifest.made_at,
        entries=entries,
        tables_rebuilt=len(rebuild.projection_tables()),
        checkpoints_verified=past.checkpoints,
        entries_hashed=past.entries,
        kept_as_they_were=[],
        set_again=manifest.set_again,
    )


# --- The mark of a tower that was put back (P4) ---------------------------------------


def mark_of(database: Path) -> Path:
    """Return the file that says that a tower's database was put back."""
    return Path(f"{database}{MARK}")


def check_begun_anew(database_url: str) -> None:
    """Demand that a tower which was put back has begun its next epochs.

    Raises:
        NotBegunAnew: it has not.
    """
    mark = mark_of(Path(database_url.removeprefix("sqlite:///")))
    if "://" not in str(mark) and mark.is_file():
        raise NotBegunAnew(made_at=mark.read_text())


def begun_anew(database_url: str) -> None:
    """Take the mark away: the tower has begun its next epochs."""
    mark_of(Path(database_url.removeprefix("sqlite:///"))).unlink(missing_ok=True)


def check_only(source: Path, folder: Path, keys: Callable[[Path], list[VerifierKey]], tell: Tell) -> PutBack:
    """Try a backup out in a folder that is thrown away: all checks, nothing put in place.

    Raises: as `put_back`.
    """
    manifest = read_manifest(source)
    check_files(source, manifest, tell)
    try:
        with _copied(source, manifest, folder / DATABASE, tell) as fresh:
            return look_through(fresh, manifest, keys(source / KEYS / IDENTIFYING[0]), tell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
