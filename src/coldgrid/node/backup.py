"""Backup: a host's database, keys and settings in one folder, made while it serves, and checked.

Invariants
    K1  A backup appears under its name only when it is whole and was checked; before that it is `NAME.part`.
    K2  It is one committed state: where the logs end was read in the transaction that was copied.
    K3  No command waits for it (sqlite_copy.C2); a serving host leaves its write-ahead log to us meanwhile.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from coldgrid.evidence.notes import VerifierKey, open_signer
from coldgrid.evidence.signed_past import SignedPast, look_through, tree_heads
from coldgrid.kernel import log
from coldgrid.kernel.database import open_database
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.rejections import Conflict, Unavailable
from coldgrid.kernel.settings import Settings, setting_docs
from coldgrid.kernel.sqlite import SqliteDatabase
from coldgrid.kernel.sqlite_copy import copy_back, quick_check, snapshot
from coldgrid.node import errands
from coldgrid.node.backup_form import (
    DATABASE,
    FORM,
    KEYS,
    MANIFEST,
    SETTINGS,
    LogEnd,
    Manifest,
    Tell,
    describe,
)
from coldgrid.node.host_errands import CHECKPOINTS
from coldgrid.node.parts import VERSION
from coldgrid.sync.identity_files import write_private

REMIND_EVERY_S = 15.0
PRIVATE_FOLDER = 0o700


class BackupExists(Conflict):
    """There is something at this place already; it was not touched."""

    todo = "Name a folder that does not exist yet, such as one with today's date."


class ServerDatabase(Conflict):
    """This host's database is on a PostgreSQL server, which is copied with the server's own tools."""

    todo = "See docs/backup.md, «PostgreSQL»."


class NothingToCopy(Conflict):
    """There is no database at this address."""

    todo = "Name it: --database FILE at a tower, --data FOLDER at a node."


class CopyIsUnsound(Unavailable):
    """The copy was made and does not hold what it should: it was thrown away."""

    todo = "Look at the faults; if the host itself is damaged, keep its files as they are and call for help."


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made: where, how large, how long it took, and what was checked in it."""

    folder: str
    bytes: int
    seconds: float
    position: int
    logs: int
    entries_hashed: int
    checkpoints_verified: int


BY_FOLDER = ("COLDGRID_DATABASE", "COLDGRID_SIGNING_KEY")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What is backed up: a host by its settings, and the files that it needs by their name in the copy."""

    role: str
    site_id: str
    settings: Settings
    keys: dict[str, Path]


def signers_of(signing_key: Path) -> list[VerifierKey]:
    """Return the keys that verify what a host signed, under each name that a host may sign with."""
    if not signing_key.is_file():
        return []
    public = open_signer(signing_key, "unnamed", b"").key.public.hex()[:12]
    made = [open_signer(signing_key, name, b"") for name in ("coldgrid", f"node.{public}", "node")]
    return [key for one in made for key in (one.key, one.witness_key)]


def back_up(host: Host, target: Path, now: datetime, tell: Tell) -> Made:
    """Make a backup of a host, which may be serving; `tell` hears how far it is.

    Raises:
        BackupExists, ServerDatabase, NothingToCopy: see there; nothing was done.
        NoRoom, CopyFailed, CopyIsUnsound: nothing was left behind.
    """
    database = open_database(host.settings.database)
    if not isinstance(database, SqliteDatabase):
        raise ServerDatabase(database="postgresql")
    if target.exists():
        raise BackupExists(folder=str(target))
    if not database.path.is_file():
        raise NothingToCopy(database=str(database.path))
    part = target.with_name(f"{target.name}.part")
    if part.exists():
        shutil.rmtree(part)  # of a backup that was killed
    part.mkdir(parents=True, mode=PRIVATE_FOLDER)
    try:
        made = _fill(host, database.path, part, now, tell)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _settle_on_disk(target.parent)
    return msgspec.structs.replace(made, folder=str(target))


def _fill(host: Host, database: Path, part: Path, now: datetime, tell: Tell) -> Made:
    began_s = time.monotonic()
    with _log_left_to_us(host, database) as remind, snapshot(database) as state:

        def copied(done: int, whole: int) -> None:
            remind()
            tell("database", done, whole)

        logs, position = log_ends(state.reader), log.last_position(state.reader)
        state.copy_to(part / DATABASE, copied)
    (part / DATABASE).chmod(0o600)
    for name, path in host.keys.items():
        write_private(part / KEYS / name, path.read_bytes())
    plain, set_again = _settings_of(host)
    write_private(part / SETTINGS, "".join(f"{k}={v}\n" for k, v in plain.items()).encode())
    keys = signers_of(Path(host.settings.signing_key))
    past = check_copy(part / DATABASE, logs, keys, tell)
    with _opened(part / DATABASE) as db:
        trees = tree_heads(db)
    names = [DATABASE, SETTINGS, *(f"{KEYS}/{name}" for name in host.keys)]
    manifest = Manifest(
        form=FORM,
        release=VERSION,
        role=host.role,
        network=host.settings.network,
        site_id=host.site_id,
        made_at=now,
        position=position,
        logs=logs,
        trees=trees,
        checkpoints=past.checkpoints,
        files=[describe(part, name, secret=name != SETTINGS) for name in names],
        settings=plain,
        set_again=set_again,
    )
    write_private(part / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return Made(
        folder=str(part),
        bytes=sum(file.bytes for file in manifest.files),
        seconds=round(time.monotonic() - began_s, 1),
        position=position,
        logs=len(logs),
        entries_hashed=past.entries,
        checkpoints_verified=past.checkpoints,
    )


@contextmanager
def _log_left_to_us(host: Host, database: Path) -> Iterator[Callable[[], None]]:
    """Have the serving host leave its write-ahead log alone, copy it back ourselves, and tell it so (K3)."""
    folder = errands.errands_folder(host.settings)
    last_s = [time.monotonic()]

    def ask(alone: str) -> bool:
        try:
            return errands.ask(folder, CHECKPOINTS, {"alone": alone}, within_s=10.0).ok
        except errands.NobodyThere:
            return False

    serving = SqliteDatabase(database).in_use() and ask("yes")

    def remind() -> None:
        if serving and time.monotonic() - last_s[0] > REMIND_EVERY_S:
            last_s[0] = time.monotonic()
            ask("yes")

    try:
        yield remind
    finally:
        if serving:
            with suppress(Exception):
                copy_back(database)
            ask("no")


def _settings_of(host: Host) -> tuple[dict[str, str], list[str]]:
    """Return the settings that were changed and are no secrets, and the names of the secret ones.

    What is copied here is a file, so its place is no secret; at a node it follows from the folder.
    """
    plain, secret = {}, []
    for name, _, default, told in setting_docs():
        value = getattr(host.settings, name.removeprefix("COLDGRID_").lower())
        if value == default or (host.role == "node" and name in BY_FOLDER):
            continue
        if told.secret and name != "COLDGRID_DATABASE":
            secret.append(name)
        else:
            plain[name] = str(value)
    return plain, secret


# --- Checking -----------------------------------------------------------------------


def log_ends(db: Reader) -> list[LogEnd]:
    """Return where each log of a database ends."""
    found = []
    for origin, epoch, entries in log.epochs(db):
        last = log.find(db, f"{origin}/{epoch}/{entries - 1}")
        found.append(LogEnd(origin, epoch, entries, last.leaf.hex() if last is not None else ""))
    return found


def check_copy(path: Path, logs: Sequence[LogEnd], keys: Sequence[VerifierKey], tell: Tell) -> SignedPast:
    """Look through a copied file: its pages, where its logs end, and all that was ever signed of them.

    Raises:
        CopyIsUnsound: something is wrong.
    """
    tell("pages", 0, 1)
    faults = quick_check(path)
    tell("pages", 1, 1)
    if not faults:
        with _opened(path) as db:
            found = log_ends(db)
            faults += [f"{one.origin}/{one.epoch} ends elsewhere" for one in logs if one not in found]
            past = look_through(db, keys, lambda done: tell("checkpoints", done, done))
            faults += past.faults
    if faults:
        raise CopyIsUnsound(faults="; ".join(faults[:5]), count=len(faults))
    return past


@contextmanager
def _opened(path: Path) -> Iterator[Reads]:
    database = SqliteDatabase(path)
    try:
        with database.reader() as connection:
            yield Reads(connection)
    finally:
        database.close()
        for end in ("-wal", "-shm"):  # what readers leave: nobody wrote
            Path(f"{path}{end}").unlink(missing_ok=True)


def _settle_on_disk(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
