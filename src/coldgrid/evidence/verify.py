"""Checking a pack offline: from its bytes alone, with no database and no network.

Invariants
    V1  Whatever byte of a pack was changed, whatever file was added or removed: it is found and named.
    V2  Without a trusted key a sound pack is only `self-signed`: it agrees with itself and nothing more.
    V3  With trusted keys the pack and every log in it must be signed by one of them.

From outside in: the archive, the manifest's signature, every file against the manifest, then each log:
the head's signature, every entry's hash and its proof, earlier heads, and files that entries attest.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

import msgspec

from coldgrid.evidence import archive
from coldgrid.evidence.archive import Finding
from coldgrid.evidence.merkle import verify_consistency, verify_inclusion
from coldgrid.evidence.notes import (
    BadNote,
    Checkpoint,
    Verified,
    VerifierKey,
    parse_checkpoint,
    parse_keys,
    parse_note,
    verify_note,
)
from coldgrid.evidence.pack_form import (
    KEYS,
    MANIFEST,
    MANIFEST_NOTE,
    HistoryLine,
    Manifest,
    PackedLog,
    ProofLine,
    manifest_text,
    parse_manifest,
)
from coldgrid.evidence.parts import PackGap
from coldgrid.kernel.events import Envelope, leaf_hash

SELF_SIGNED, TRUSTED, NONE = "self-signed", "trusted", "none"

# What reading bytes of any kind may raise: a forger's nesting, text that is none, another form.
UNREADABLE = (BadNote, msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


class CheckedLog(msgspec.Struct, frozen=True, kw_only=True):
    """One log of a pack: how many of its entries are proven, and who vouches for its head.

    `witnesses`: name and POSIX time of each cosignature that a known key verifies.
    """

    name: str
    size: int
    entries: int
    proven: int
    signed_by: list[str]
    witnesses: list[tuple[str, int]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `trust`: `trusted`, `self-signed` (V2) or `none` where nothing sound was signed.

    `gaps`: of what time nobody knows what was measured. A pack that says so is none the less sound.
    """

    ok: bool
    trust: str
    subject: str
    network: str
    made_at: datetime | None
    made_by: str
    signed_by: list[str]
    files: int
    entries: int
    logs: list[CheckedLog]
    findings: list[Finding]
    gaps: list[PackGap]


class _Pack:
    """A pack under examination: its files, the keys that count, and what was found so far."""

    def __init__(self, files: Mapping[str, bytes], trusted: Sequence[VerifierKey]) -> None:
        self.files = files
        self.findings: list[Finding] = []
        self.trusted = list(trusted)
        self.keys = self.trusted or self._own_keys()
        self.bodies: dict[str, bytes] = {}  # of each proven entry, by its id

    def _own_keys(self) -> list[VerifierKey]:
        return self.reading(KEYS, lambda data: parse_keys(data.decode())) or []

    def found(self, file: str, problem: str) -> None:
        self.findings.append(Finding(file, problem))

    def reading(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """Read a file; a missing one, or one that is not of its form, is a finding."""
        data = self.files.get(name)
        if data is None:
            self.found(name, "is missing")
            return None
        try:
            return read(data)
        except UNREADABLE as error:
            self.found(name, f"cannot be read: {error}")
            return None

    def signed(self, name: str, text: str, data: bytes) -> list[Verified]:
        """Return who of the known keys signed a note; nobody is a finding, and so is another text."""
        try:
            note = parse_note(data)
            verified = verify_note(note, self.keys)
        except BadNote as error:
            self.found(name, str(error))
            return []
        if note.text != text:
            self.found(name, "signs another text than the one of this pack")
            return []
        if not any(one.at_s is None for one in verified):
            whose = "a trusted key" if self.trusted else "a key of the pack"
            names = ", ".join(signature.name for signature in note.signatures)
            self.found(name, f"is not signed by {whose} (signed by {names})")
        return verified


def verify_pack(data: bytes, trusted: Sequence[VerifierKey] = ()) -> Report:
    """Check a pack; never raises, whatever the bytes are."""
    opened = archive.open_zip(data)
    pack = _Pack(opened.files, trusted)
    manifest = pack.reading(MANIFEST, parse_manifest)
    signed: list[Verified] = []
    logs: list[CheckedLog] = []
    if manifest is not None:
        signed = _check_signature(pack, manifest)
        _check_files(pack, manifest)
        logs = [_check_log(pack, manifest, log) for log in manifest.logs]
        _check_attested(pack, manifest)
    findings = _joined(opened.findings, pack.findings)
    return Report(
        ok=not findings,
        trust=_trust(pack, signed),
        subject=str(manifest.subject) if manifest else "",
        network=manifest.network if manifest else "",
        made_at=manifest.made_at if manifest else None,
        made_by=manifest.made_by if manifest else "",
        signed_by=[one.key.name for one in signed],
        files=len(opened.files),
        entries=sum(log.proven for log in logs),
        logs=logs,
        findings=findings,
        gaps=manifest.gaps if manifest else [],
    )


def _trust(pack: _Pack, signed: Sequence[Verified]) -> str:
    if not signed:
        return NONE
    return TRUSTED if pack.trusted else SELF_SIGNED


def _joined(of_archive: Sequence[Finding], of_files: Sequence[Finding]) -> list[Finding]:
    """Return all findings; what the archive says of a file that is found wrong anyway adds nothing."""
    wrong = {finding.file for finding in of_files}
    return [finding for finding in of_archive if finding.file not in wrong] + list(of_files)


def _check_signature(pack: _Pack, manifest: Manifest) -> list[Verified]:
    data = pack.files.get(MANIFEST_NOTE)
    if data is None:
        pack.found(MANIFEST_NOTE, "is missing")
        return []
    text = manifest_text(pack.files[MANIFEST], manifest.network, str(manifest.subject))
    verified = pack.signed(MANIFEST_NOTE, text, data)
    if not verified and _note_text(data) not in (text, None):
        pack.found(MANIFEST, "is not the manifest that was signed")
    return verified


def _note_text(data: bytes) -> str | None:
    try:
        return parse_note(data).text
    except BadNote:
        return None


def _check_files(pack: _Pack, manifest: Manifest) -> None:
    """Hold every file against the manifest, both ways (V1)."""
    listed = {file.path: file for file in manifest.files}
    for path, file in listed.items():
        body = pack.files.get(path)
        if body is None:
            pack.found(path, "is missing")
        elif sha256(body).hexdigest() != file.sha256:
            pack.found(path, f"was changed: {len(body)} bytes, not the {file.size} that were packed")
        elif len(body) != file.size:
            pack.found(MANIFEST, f"names another size for {path}")
    if len(listed) != len(manifest.files):
        pack.found(MANIFEST, "names a file twice")
    for path in sorted(set(pack.files) - set(listed) - {MANIFEST, MANIFEST_NOTE}):
        pack.found(path, "was added: the manifest does not name it")


# --- Logs -------------------------------------------------------------------------


def _check_log(pack: _Pack, manifest: Manifest, log: PackedLog) -> CheckedLog:
    name = f"checkpoints/{log.stem}.note"
    head = pack.reading(name, lambda data: parse_checkpoint(parse_note(data).text))
    verified: list[Verified] = []
    proven = 0
    if head is not None:
        verified = pack.signed(name, head.encode(), pack.files[name])
        if (head.log_name, head.size) != (log.name, log.size) or log.name != _name(manifest, log):
            pack.found(
                name, f"is the head of {head.log_name} at {head.size}, not of {log.name} at {log.size}"
            )
        proven = _check_entries(pack, log, head)
        _check_history(pack, log, head)
    return CheckedLog(
        name=log.name,
        size=log.size,
        entries=log.entries,
        proven=proven,
        signed_by=[one.key.name for one in verified if one.at_s is None],
        witnesses=[(one.key.name, one.at_s) for one in verified if one.at_s is not None],
    )


def _name(manifest: Manifest, log: PackedLog) -> str:
    return f"{manifest.network}/{log.origin}/{log.epoch}"


def _check_entries(pack: _Pack, log: PackedLog, head: Checkpoint) -> int:
    """Hash every entry and follow its proof to the signed root; return how many hold."""
    entries_name, proofs_name = f"entries/{log.stem}.jsonl", f"proofs/{log.stem}.jsonl"
    entries = pack.reading(entries_name, _lines)
    proofs = pack.reading(proofs_name, lambda data: [_proof.decode(line) for line in _lines(data)])
    if entries is None or proofs is None:
        return 0
    if not len(entries) == len(proofs) == log.entries:
        told = f"{len(entries)} entries, {len(proofs)} proofs, {log.entries} in the manifest"
        pack.found(entries_name, f"does not match its proofs: {told}")
    proven, seqs = 0, set()
    for line, proof in zip(entries, proofs, strict=False):
        problem = _problem_of(log, head, line, proof)
        if problem is not None:
            pack.found(entries_name, problem)
            continue
        if proof.seq in seqs:
            pack.found(entries_name, f"entry {_id(log, proof.seq)} stands here twice")
        seqs.add(proof.seq)
        pack.bodies[_id(log, proof.seq)] = line
        proven += 1
    return proven


def _problem_of(log: PackedLog, head: Checkpoint, line: bytes, proof: ProofLine) -> str | None:
    """Return what is wrong with an entry; None where its place in the signed log is proven."""
    here = _id(log, proof.seq)
    try:
        envelope = _envelope.decode(line)
    except UNREADABLE as error:
        return f"entry {here} cannot be read: {error}"
    claimed = f"{envelope.origin}/{envelope.epoch}/{envelope.seq}"
    if claimed != here:
        return f"entry {claimed} stands in the place of {here}"
    if not verify_inclusion(leaf_hash(line), proof.seq, head.size, proof.proof, head.root):
        return f"entry {here} is not what was signed, or its proof is not"
    return None


def _check_history(pack: _Pack, log: PackedLog, head: Checkpoint) -> None:
    name = f"checkpoints/{log.stem}.jsonl"
    if name not in pack.files:
        return
    lines = pack.reading(name, lambda data: [_history.decode(line) for line in _lines(data)])
    for line in lines or ():
        try:
            earlier = parse_checkpoint(parse_note(line.note.encode()).text)
        except BadNote as error:
            pack.found(name, f"holds what is no checkpoint: {error}")
            continue
        pack.signed(name, earlier.encode(), line.note.encode())
        extends = earlier.log_name == head.log_name and verify_consistency(
            earlier.size, head.size, earlier.root, head.root, line.proof
        )
        if not extends:
            pack.found(name, f"the head does not extend the one at {earlier.size}")


def _check_attested(pack: _Pack, manifest: Manifest) -> None:
    """Look for a file's hash in the entry that is said to attest it."""
    for file in manifest.files:
        if not file.attested_by or (body := pack.files.get(file.path)) is None:
            continue
        digest = sha256(body).digest()
        entry = pack.bodies.get(file.attested_by)
        if entry is None:
            pack.found(file.path, f"is attested by entry {file.attested_by}, which this pack does not prove")
        elif digest.hex().encode() not in entry and b64encode(digest) not in entry:
            pack.found(file.path, f"is not what entry {file.attested_by} attests")


_envelope = msgspec.json.Decoder(Envelope)
_proof = msgspec.json.Decoder(ProofLine)
_history = msgspec.json.Decoder(HistoryLine)


def _lines(data: bytes) -> list[bytes]:
    """Return the lines of a file; each ends in a newline, the last one too."""
    if data and not data.endswith(b"\n"):
        raise BadNote("the last line is cut off")
    return data.split(b"\n")[:-1]


def _id(log: PackedLog, seq: int) -> str:
    return f"{log.origin}/{log.epoch}/{seq}"
