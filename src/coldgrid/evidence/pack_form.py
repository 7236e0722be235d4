"""The form of a pack on disk: file names, the manifest and the lines of its proof files. Frozen: version 1.

A pack is a zip (archive.py) of
    manifest.json            every other file with its SHA-256, what the pack is about, which logs it shows
    manifest.note            a signed note over the manifest's hash
    keys.txt                 the public keys of who signed, one a line: to be compared with keys had otherwise
    entries/ORIGIN-EPOCH.jsonl       log entries, one a line, byte for byte as their leaf was hashed
    proofs/ORIGIN-EPOCH.jsonl        for each of these lines its place in the log and its inclusion proof
    checkpoints/ORIGIN-EPOCH.note    the log's signed head, which the proofs lead to
    checkpoints/ORIGIN-EPOCH.jsonl   earlier signed heads, with the proof that the head extends them
    report.html, report.pdf  for readers; readings, limits, tables and what else rooms add, in their folders
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import datetime
from hashlib import sha256

import msgspec

from coldgrid.evidence.notes import BadNote
from coldgrid.evidence.parts import PackGap, PackSubject

FORMAT = "coldgrid-pack/1"
MANIFEST, MANIFEST_NOTE, KEYS = "manifest.json", "manifest.note", "keys.txt"
REPORT_HTML, REPORT_PDF, DISCLOSED, LIMITS = "report.html", "report.pdf", "disclosed.json", "limits.json"
OWN_NAMES = frozenset({MANIFEST, MANIFEST_NOTE, KEYS, REPORT_HTML, REPORT_PDF, DISCLOSED, LIMITS})
OWN_FOLDERS = frozenset({"entries", "proofs", "checkpoints"})


class PackedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a pack. `attested_by`: the entry whose body holds the same hash."""

    path: str
    sha256: str
    size: int
    title: str = ""
    attested_by: str = ""


class PackedLog(msgspec.Struct, frozen=True, kw_only=True):
    """One log that a pack shows entries of: its name and how many leaves its head covers."""

    name: str
    origin: str
    epoch: int
    size: int
    entries: int

    @property
    def stem(self) -> str:
        """How its files are called."""
        return log_stem(self.origin, self.epoch)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a pack holds. `disclosed`: the persons whose data it shows in clear; `gaps`: what is unknown."""

    format: str
    subject: PackSubject
    network: str
    made_at: datetime
    made_by: str
    disclosed: list[str]
    logs: list[PackedLog]
    files: list[PackedFile]
    gaps: list[PackGap] = []


class ProofLine(msgspec.Struct, frozen=True):
    """An entry's place in its log and its proof, hashes in base 64 from the leaf's sibling up."""

    seq: int
    proof: list[bytes]


class HistoryLine(msgspec.Struct, frozen=True):
    """An earlier signed head, when it was made, and the proof that the pack's head extends it."""

    made_at: datetime
    note: str
    proof: list[bytes]


class DisclosedText(msgspec.Struct, frozen=True):
    """Personal data shown in clear: whose, and where in which entry its ciphertext stands."""

    entry: str
    field: str
    subject: str
    text: str


def log_stem(origin: str, epoch: int) -> str:
    """Return how a log's files are called: letters that no file system minds."""
    return f"{re.sub(r'[^A-Za-z0-9._]', '_', origin).lstrip('._')}-{epoch}"


def manifest_text(manifest: bytes, network: str, subject: str) -> str:
    """Return the text that the pack's signature covers: what it is about, and the manifest's hash."""
    return f"{FORMAT}\n{network}\n{subject}\n{b64encode(sha256(manifest).digest()).decode()}\n"


_manifest = msgspec.json.Decoder(Manifest)


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        BadNote: it is none, or of another version.
    """
    try:
        manifest = _manifest.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadNote(f"cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise BadNote(f"is of form {manifest.format!r}; this program reads {FORMAT!r}")
    return manifest
