"""Which entries concern a subject: its streams, what caused them, and what followed.

Invariants
    C1  Only entries that a checkpoint covers are collected: each of them can be proven.
    C2  Causes are followed to their beginning, effects to their end, across origins.
    C3  A cause stands before its effect in the local order, so one pass forward finds every effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from coldgrid.evidence.parts import PackStreams, PackSubject
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import log
from coldgrid.kernel.events import Entry
from coldgrid.kernel.reading import Reader

# A night at a big site. Effects beyond are found by the streams that rooms name.
SCANNED_MAX = 200_000
CHUNK = 2000


class _About(msgspec.Struct):
    """What an effect's fact tells of what it belongs to."""

    about: str = ""


_about = msgspec.json.Decoder(_About)


def collect(
    db: Reader, subject: PackSubject, named: Iterable[PackStreams], covered: Mapping[LogId, int]
) -> list[Entry]:
    """Return the entries that concern a subject, in local order. `covered`: each log's signed size (C1)."""
    streams = {f"{subject.kind}/{subject.id}"}
    found: dict[str, Entry] = {}
    for part in named:
        streams.update(part.streams)
        _keep(found, [entry for one in part.entry_ids if (entry := log.find(db, one)) is not None])
    for stream in sorted(streams):
        _keep(found, log.read_stream(db, stream))
    _follow_causes(db, found)
    if subject.kind == "incident":
        ids = {stream.partition("/")[2] for stream in streams}
        _follow_effects(db, found, ids)
    return sorted(
        (entry for entry in found.values() if entry.seq < covered.get(_log_of(entry), 0)),
        key=lambda entry: entry.position,
    )


def by_log(entries: Sequence[Entry]) -> Mapping[LogId, list[Entry]]:
    """Return the entries of each log, in order of origin, epoch and seq."""
    found: dict[LogId, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.origin, entry.epoch, entry.seq)):
        found.setdefault(_log_of(entry), []).append(entry)
    return found


def _log_of(entry: Entry) -> LogId:
    return LogId(entry.origin, entry.epoch)


def _keep(found: dict[str, Entry], entries: Iterable[Entry]) -> None:
    for entry in entries:
        found[entry.id] = entry


def _follow_causes(db: Reader, found: dict[str, Entry]) -> None:
    waiting = [entry.cause for entry in found.values()]
    while waiting:
        cause = waiting.pop()
        if cause in found or (entry := log.find(db, cause)) is None:
            continue
        found[cause] = entry
        waiting.append(entry.cause)


def _follow_effects(db: Reader, found: dict[str, Entry], ids: set[str]) -> None:
    """Add what was caused by a collected entry, and what was told to people about one of these ids (C3)."""
    if not found:
        return
    after = min(entry.position for entry in found.values()) - 1
    for _ in range(SCANNED_MAX // CHUNK):
        entries = log.read(db, after, CHUNK)
        _keep(found, (entry for entry in entries if _follows(entry, found, ids)))
        if len(entries) < CHUNK:
            return
        after = entries[-1].position


def _follows(entry: Entry, found: Mapping[str, Entry], ids: set[str]) -> bool:
    if entry.cause in found:
        return True
    return entry.type.startswith("kernel.effect_") and _about.decode(entry.body).about in ids
