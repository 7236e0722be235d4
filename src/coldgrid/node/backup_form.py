"""The form of a backup: a folder with a copy of the database, the host's keys, and a manifest.

    manifest.json     what is here, with hashes; written last: a folder without it is no backup
    database.db       one committed state of the database
    keys/…            the host's keys and certificates, mode 0600
    settings.env      the settings that are no secrets

Invariants
    B1  Every file is named in the manifest with its size and SHA-256.
    B2  The whole folder is as secret as the host: the keys of personal data lie in the database. Folder 0700,
        files 0600, nothing is encrypted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from coldgrid.evidence.signed_past import TreeHead
from coldgrid.kernel.rejections import Conflict, Invalid, Problem

FORM = 1
MANIFEST, DATABASE, KEYS, SETTINGS = "manifest.json", "database.db", "keys", "settings.env"
CHUNK_BYTES = 1024 * 1024
Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much


class NoBackup(Conflict):
    """This is no whole backup."""

    todo = "Choose another backup; one that was interrupted has no manifest.json."


class Spoiled(Conflict):
    """A file of the backup is not what was written; nothing was put back."""

    todo = "Choose another backup, and look at the disk that this one lies on."


class LogEnd(msgspec.Struct, frozen=True):
    """Where a log of the database ends: how many entries it has, and the leaf of the last one."""

    origin: str
    epoch: int
    entries: int
    last_leaf: str


class KeptFile(msgspec.Struct, frozen=True):
    """A file of a backup, by its path within it."""

    path: str
    bytes: int
    sha256: str
    secret: bool


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `role`: tower or node; `set_again`: settings that are secrets and were set."""

    form: int
    release: str
    role: str
    network: str
    site_id: str
    made_at: datetime
    position: int
    logs: list[LogEnd]
    trees: list[TreeHead]
    checkpoints: int
    files: list[KeptFile]
    settings: dict[str, str]
    set_again: list[str]
    secret: str = "This folder is as secret as the host: it holds its keys and those of personal data."


def sha256_of(path: Path, tell: Callable[[int], None] = lambda done: None) -> str:
    """Return a file's SHA-256; `tell` hears of the bytes read."""
    hashed, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hashed.update(chunk)
            done += len(chunk)
            tell(done)
    return hashed.hexdigest()


def describe(folder: Path, path: str, *, secret: bool) -> KeptFile:
    """Return what the manifest says of a file (B1)."""
    return KeptFile(path, (folder / path).stat().st_size, sha256_of(folder / path), secret)


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest.

    Raises:
        NoBackup: there is none, or it is of a form that this release does not know.
        Invalid: it cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise NoBackup(folder=str(folder), missing=MANIFEST)
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise Invalid([Problem(field=MANIFEST, message=str(error), file=str(path))]) from None
    if manifest.form != FORM:
        raise NoBackup(folder=str(folder), form=manifest.form, known=FORM, release=manifest.release)
    for file in manifest.files:
        if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
            raise Invalid([Problem(field="files", message=f"{file.path} leads out of the folder")])
    return manifest


def check_files(folder: Path, manifest: Manifest, tell: Tell) -> None:
    """Hold every file against the manifest (B1).

    Raises:
        Spoiled: one is missing or differs.
    """
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise Spoiled(file=file.path, why="missing")
        if path.stat().st_size != file.bytes:
            raise Spoiled(file=file.path, bytes=path.stat().st_size, written=file.bytes)
        found = sha256_of(path, lambda done, whole=file.bytes, name=file.path: tell(name, done, whole))  # type: ignore[misc]
        if found != file.sha256:
            raise Spoiled(file=file.path, sha256=found, written=file.sha256)
