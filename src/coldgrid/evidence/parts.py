"""What rooms put into an evidence pack, and how they say so.

A room registers one function that answers for a subject: which entries concern it, and the files, series,
limits, tables and moments that explain them. This room knows none of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reader

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")

SubjectKind = Literal["incident", "unit", "lot"]
State = Literal["ok", "warn", "crit", "off", "info"]


class PackSubject(msgspec.Struct, frozen=True):
    """What a pack is about. `site_id` picks the time zone of its page; empty where several sites are."""

    kind: SubjectKind
    id: str
    site_id: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class PackFile(msgspec.Struct, frozen=True):
    """A file, as it is. `attested_by`: the entry whose body holds the file's SHA-256, in hex or base 64."""

    path: str
    body: bytes
    title: str = ""
    attested_by: str = ""


class PackStreams(msgspec.Struct, frozen=True):
    """Entries that concern the subject: whole streams, and single entries by their id."""

    streams: Sequence[str] = ()
    entry_ids: Sequence[str] = ()


class PackSeries(msgspec.Struct, frozen=True):
    """Values over time, for the chart and as CSV: epoch seconds, None where data is missing.

    `low` and `high` are the edges of what is uncertain, of the same length as `values`, or empty.
    """

    title: str
    unit: str
    role: Literal["air", "product", "probe", "other"]
    at_s: Sequence[float]
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    note: str = ""


class PackLimit(msgspec.Struct, frozen=True):
    """A limit that the goods were judged by, in °C and minutes, with the document it comes from."""

    title: str
    source: str
    low_c: float | None = None
    high_c: float | None = None
    minutes: float | None = None


class PackTable(msgspec.Struct, frozen=True):
    """A table for readers; every row has as many cells as there are columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


class PackMoment(msgspec.Struct, frozen=True):
    """Something that happened, for the timeline. `entry_id`: the entry that proves it, where there is one."""

    at: datetime
    title: str
    detail: str = ""
    state: State = "off"
    by: str = ""
    entry_id: str = ""


class PackGap(msgspec.Struct, frozen=True):
    """A stretch of time of which nobody knows what was measured, both ends included.

    `entry_id`: the entry that says so. The manifest names it, so that whoever checks the pack is told.
    """

    title: str
    from_at: datetime
    until_at: datetime
    detail: str = ""
    entry_id: str = ""

    def __str__(self) -> str:
        told = f"{self.title}, {self.from_at:%Y-%m-%d %H:%M} to {self.until_at:%Y-%m-%d %H:%M} UTC"
        return f"{told}: {self.detail}" if self.detail else told


Part = PackFile | PackStreams | PackSeries | PackLimit | PackTable | PackMoment | PackGap
Contributor = Callable[[Reader, PackSubject], Sequence[Part]]

Preparation = Callable[[Reader, PackSubject], Sequence[Command]]

_contributors: dict[str, Contributor] = {}
_preparations: dict[str, Preparation] = {}


def register_contributor(name: str, function: Contributor) -> None:
    """Register what a room adds to packs; its files land in a folder of this name."""
    assert name not in _contributors, f"{name} already contributes"
    assert is_path(name), f"{name} is no folder name"
    _contributors[name] = function


def register_preparation(name: str, function: Preparation) -> None:
    """Register the commands that a room wants carried out before a pack is made, such as sealing readings."""
    assert name not in _preparations, f"{name} already prepares"
    _preparations[name] = function


def preparations(db: Reader, subject: PackSubject) -> list[Command]:
    """Return what is to be done before a pack is made; whoever makes it does so as the system."""
    return [command for name in sorted(_preparations) for command in _preparations[name](db, subject)]


def contributions(db: Reader, subject: PackSubject) -> list[tuple[str, Part]]:
    """Return what every room adds for a subject, with the room's name, in order of the names."""
    return [(name, part) for name in sorted(_contributors) for part in _contributors[name](db, subject)]


def is_path(path: str) -> bool:
    """Tell whether a file may have this name in a pack: plain parts joined by slashes, none hidden."""
    return _PATH.fullmatch(path) is not None and len(path) <= 200
