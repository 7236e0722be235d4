"""The files of a pack while it is made: each named once, hashed, and listed in the manifest."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from coldgrid.evidence import tiles
from coldgrid.evidence.checkpoints import Notary
from coldgrid.evidence.notes import parse_note, verify_note
from coldgrid.evidence.pack_form import (
    LIMITS,
    OWN_FOLDERS,
    OWN_NAMES,
    DisclosedText,
    HistoryLine,
    PackedFile,
    PackedLog,
    ProofLine,
    log_stem,
)
from coldgrid.evidence.parts import PackFile, PackLimit, PackSeries, PackTable, Part, is_path
from coldgrid.evidence.tiles import KeptHead, LogId
from coldgrid.kernel.events import Entry, encode, envelope_bytes
from coldgrid.kernel.personal import Sealed
from coldgrid.kernel.reading import Reader


class Files:
    """What goes into the zip, but for the manifest."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self._listed: list[PackedFile] = []

    def add(self, path: str, body: bytes, title: str = "", attested_by: str = "") -> None:
        """Add a file. The path is plain and not yet taken: anything else is a fault in the calling room."""
        assert is_path(path), f"{path} is no path for a pack"
        assert path not in self.bodies, f"{path} is in the pack already"
        self.bodies[path] = body
        self._listed.append(
            PackedFile(
                path=path,
                sha256=sha256(body).hexdigest(),
                size=len(body),
                title=title,
                attested_by=attested_by,
            )
        )

    def free(self, folder: str, title: str, ending: str) -> str:
        """Return a path in a folder, made of a title's letters, that is not yet taken."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-")[:80] or "untitled"
        path, number = f"{folder}/{stem}.{ending}", 1
        while path in self.bodies:
            number += 1
            path = f"{folder}/{stem}-{number}.{ending}"
        return path

    def listed(self) -> list[PackedFile]:
        """Return the manifest's list, by path."""
        return sorted(self._listed, key=lambda file: file.path)


# --- Logs -------------------------------------------------------------------------


def add_log(db: Reader, files: Files, notary: Notary, head: KeptHead, entries: Sequence[Entry]) -> PackedLog:
    """Add one log's entries with their proofs, its signed head, and earlier heads that it extends."""
    log_id = head.log_id
    note = parse_note(head.note.encode())
    if not verify_note(note, [notary.signer.key]):  # an epoch that ended under another key
        note = note.with_signature(notary.signer.sign(note.text).signatures[0])
    tree = tiles.tree_of(db, log_id)
    stem = log_stem(log_id.origin, log_id.epoch)
    proofs = [ProofLine(entry.seq, tree.inclusion(entry.seq, head.size)) for entry in entries]
    history = [
        HistoryLine(kept.made_at, kept.note, tree.consistency(kept.size, head.size))
        for kept in _earlier(db, log_id, [entry.seq for entry in entries], head.size)
        if verify_note(parse_note(kept.note.encode()), [notary.signer.key])
    ]
    files.add(f"entries/{stem}.jsonl", _lines(envelope_bytes(entry) for entry in entries), "Log entries")
    files.add(f"proofs/{stem}.jsonl", _lines(map(encode, proofs)), "Inclusion proofs")
    files.add(f"checkpoints/{stem}.note", note.encode().encode(), "Signed head")
    if history:
        files.add(f"checkpoints/{stem}.jsonl", _lines(map(encode, history)), "Earlier signed heads")
    return PackedLog(
        name=notary.log_name(log_id),
        origin=log_id.origin,
        epoch=log_id.epoch,
        size=head.size,
        entries=len(entries),
    )


def _earlier(db: Reader, log_id: LogId, seqs: Sequence[int], size: int) -> Iterator[tiles.KeptCheckpoint]:
    """Yield the heads that first covered the first and the last of these entries: by then they were there."""
    found = {
        kept.size: kept
        for seq in (seqs[0], seqs[-1])
        if (kept := tiles.first_covering(db, log_id, seq)) is not None and kept.size < size
    }
    yield from (found[one] for one in sorted(found))


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


# --- What rooms add -----------------------------------------------------------------


def add_parts(files: Files, parts: Sequence[tuple[str, Part]]) -> None:
    """Add the files, readings, tables and limits that rooms contributed, each in its room's folder."""
    limits = []
    for room, part in parts:
        assert room not in OWN_NAMES | OWN_FOLDERS, f"{room} is a name of the pack's own"
        if isinstance(part, PackFile):
            files.add(f"{room}/{part.path}", part.body, part.title, part.attested_by)
        elif isinstance(part, PackSeries):
            files.add(files.free(room, part.title, "csv"), _csv(part), part.title)
        elif isinstance(part, PackTable):
            files.add(files.free(room, part.title, "json"), encode(part), part.title)
        elif isinstance(part, PackLimit):
            limits.append(part)
    if limits:
        files.add(LIMITS, encode(limits), "Limits with their sources")


def _csv(series: PackSeries) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    banded = bool(series.low) and bool(series.high)
    writer.writerow(["at", series.unit, *(["low", "high"] if banded else [])])
    edges = zip(series.low, series.high, strict=True) if banded else ((),) * len(series.values)
    for at_s, value, edge in zip(series.at_s, series.values, edges, strict=True):
        at = datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
        writer.writerow([at, _cell(value), *map(_cell, edge)])
    return out.getvalue().encode()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


# --- Disclosure -------------------------------------------------------------------


def disclose(db: Reader, entries: Sequence[Entry], persons: Collection[str]) -> list[DisclosedText]:
    """Return the personal data of these persons in clear; what was erased stays unreadable."""
    found = []
    for entry in entries if persons else ():
        for field, sealed in sealed_in(msgspec.json.decode(entry.body)):
            if sealed.subject in persons and (text := db.open(sealed)) is not None:
                found.append(DisclosedText(entry.id, field, sealed.subject, text))
    return found


def sealed_in(value: Any, path: str = "") -> Iterator[tuple[str, Sealed]]:
    """Yield the personal data in a fact's body, with the path of its field."""
    if isinstance(value, dict):
        if set(value) == {"subject", "cipher"}:
            yield path, msgspec.convert(value, Sealed)
            return
        for name, part in value.items():
            yield from sealed_in(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from sealed_in(part, f"{path}[{index}]")
