"""Signed notes, checkpoints and cosignatures in their C2SP forms, with Ed25519.

Invariants
    N1  A note's text counts only when a key that is known verified it; a bad signature by a known key spoils
        the whole note, unknown keys are passed over.
    N2  One form of every note: what `parse_note` accepts, `SignedNote.encode` gives back byte for byte.
    N3  A witness signs another message than a log does (type 4, with its time): neither passes for the other.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature. One key signs all logs that its host keeps, so
the key's name is the host's, not the log's as tlog-checkpoint recommends: one key to trust for each host.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from coldgrid.evidence.merkle import HASH_BYTES

SIGNED_BY_LOG = 1
COSIGNED = 4
SEED_BYTES = 32
SIGNATURE_BYTES = 64
SIGNATURES_MAX = 64
NOTE_BYTES_MAX = 64 * 1024

_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE = re.compile(r"— (\S+) (\S+)")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class BadNote(ValueError):
    """The text is no note, no checkpoint or no key; the message says where it goes wrong."""


# --- Keys -------------------------------------------------------------------------


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key that is known by name. `kind`: SIGNED_BY_LOG or COSIGNED."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that lead its signatures."""
        return sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:4]

    def encode(self) -> str:
        """Return the key as one line: name+id+base64."""
        material = b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the key made this signature."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_key(line: str) -> VerifierKey:
    """Read a key from its one line.

    Raises:
        BadNote: it is none, or its id is not that of its bytes.
    """
    name, _, rest = line.strip().partition("+")
    id_, _, material = rest.partition("+")
    raw = _decode64(material, "key")
    if not _NAME.fullmatch(name) or len(raw) != 1 + SEED_BYTES or raw[0] not in (SIGNED_BY_LOG, COSIGNED):
        raise BadNote(f"not a verifier key (name+id+base64): {line.strip()[:80]!r}")
    key = VerifierKey(name, raw[0], raw[1:])
    if key.key_id.hex() != id_:
        raise BadNote(f"the key of {name} has id {key.key_id.hex()}, the line says {id_[:16]!r}")
    return key


def parse_keys(text: str) -> list[VerifierKey]:
    """Read a file of keys, one a line; blank lines and lines that begin with # are passed over.

    Raises:
        BadNote: a line is no key.
    """
    lines = [line.strip() for line in text.splitlines()]
    return [parse_key(line) for line in lines if line and not line.startswith("#")]


class Signer:
    """A host's private key: signs checkpoints and packs of its own, cosigns those of others."""

    def __init__(self, name: str, seed: bytes) -> None:
        if not _NAME.fullmatch(name):
            raise BadNote(f"a key's name has no spaces and no plus: {name!r}")
        self.name = name
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def key(self) -> VerifierKey:
        """What verifies its checkpoints and packs."""
        return VerifierKey(self.name, SIGNED_BY_LOG, self._public)

    @property
    def witness_key(self) -> VerifierKey:
        """What verifies its cosignatures."""
        return VerifierKey(self.name, COSIGNED, self._public)

    def sign(self, text: str) -> SignedNote:
        """Sign a note."""
        signature = self.key.key_id + self._private.sign(text.encode())
        return SignedNote(text, (Signature(self.name, signature),))

    def cosign(self, text: str, at_s: int) -> Signature:
        """Sign a checkpoint's text as its witness, at a POSIX time in seconds (N3)."""
        made = self._private.sign(_cosigned_message(text, at_s))
        return Signature(self.name, self.witness_key.key_id + at_s.to_bytes(8, "big") + made)


def open_signer(path: Path, name: str, fresh_seed: bytes) -> Signer:
    """Read a host's key from its file; when missing it is made, mode 0600, of `fresh_seed`: 32 random bytes.

    Raises:
        BadNote: the file holds no key.
        PermissionError: others than its owner may read it.
    """
    if not path.exists():
        _make_key(path, fresh_seed)
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} is readable by others than its owner; run: chmod 600 {path}")
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SEED_BYTES}}}", text):
        raise BadNote(f"{path} holds no key: expected {2 * SEED_BYTES} hexadecimal digits")
    return Signer(name, bytes.fromhex(text))


def _make_key(path: Path, seed: bytes) -> None:
    """Put a whole key at a path, or leave the one that another process put there meanwhile."""
    fresh = path.with_name(f".{path.name}.{sha256(seed).hexdigest()[:16]}")
    made = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(made, "w", encoding="ascii") as file:
        file.write(seed.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        path.hardlink_to(fresh)
    fresh.unlink()


# --- Notes ------------------------------------------------------------------------


class Signature(msgspec.Struct, frozen=True):
    """One signature line: the key's name, then its id and the signature proper."""

    name: str
    raw: bytes

    def line(self) -> str:
        """Return the line, newline included."""
        return f"— {self.name} {b64encode(self.raw).decode()}\n"


class SignedNote(msgspec.Struct, frozen=True):
    """A text and who signed it. The text ends in a newline, which is signed too."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        """Return the note."""
        return f"{self.text}\n" + "".join(signature.line() for signature in self.signatures)

    def with_signature(self, signature: Signature) -> SignedNote:
        """Return the note with one more signature; a witness's later one replaces its earlier one."""
        kept = [
            one for one in self.signatures if (one.name, one.raw[:4]) != (signature.name, signature.raw[:4])
        ]
        return SignedNote(self.text, (*kept, signature))


class Verified(msgspec.Struct, frozen=True):
    """A signature that holds. `at_s`: a witness's time, in POSIX seconds; None for a plain signature."""

    key: VerifierKey
    at_s: int | None


def parse_note(data: bytes) -> SignedNote:
    """Read a note (N2).

    Raises:
        BadNote: it is none, or not in the one form.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise BadNote(f"a note has at most {NOTE_BYTES_MAX} bytes, this one has {len(data)}")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise BadNote(f"not UTF-8 at byte {error.start}") from None
    if found := _CONTROL.search(whole):
        raise BadNote(f"control character at {found.start()}")
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise BadNote("no blank line followed by signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise BadNote(f"more than {SIGNATURES_MAX} signatures")
    note = SignedNote(f"{text}\n", tuple(_signature(line) for line in lines))
    if note.encode() != whole:
        raise BadNote("not in canonical form")
    return note


def _signature(line: str) -> Signature:
    match = _LINE.fullmatch(line)
    raw = _decode64(match[2], "signature") if match else b""
    if match is None or not _NAME.fullmatch(match[1]) or len(raw) <= 4:
        raise BadNote(f"not a signature line: {line[:80]!r}")
    return Signature(match[1], raw)


def _decode64(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise BadNote(f"{what} is not base 64: {text[:80]!r}") from None


def verify_note(note: SignedNote, keys: Iterable[VerifierKey]) -> list[Verified]:
    """Return the signatures that known keys made; none for a note that nobody known signed (N1).

    Raises:
        BadNote: a line claims to be of a known key and is not.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.raw[:4]))
        if key is None:
            continue
        if (verified := _verify(key, note.text, signature.raw[4:])) is None:
            raise BadNote(f"the signature of {signature.name} does not fit the text")
        found.append(verified)
    return found


def _verify(key: VerifierKey, text: str, signature: bytes) -> Verified | None:
    if key.kind == SIGNED_BY_LOG:
        return Verified(key, None) if key.verifies(text.encode(), signature) else None
    if len(signature) != 8 + SIGNATURE_BYTES:
        return None
    at_s = int.from_bytes(signature[:8], "big")
    return Verified(key, at_s) if key.verifies(_cosigned_message(text, at_s), signature[8:]) else None


def _cosigned_message(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


# --- Checkpoints ------------------------------------------------------------------


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of a log: its name, how many leaves, and their root. `log_name` is C2SP's origin line."""

    log_name: str
    size: int
    root: bytes

    def encode(self) -> str:
        """Return the text that is signed."""
        return f"{self.log_name}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text; extension lines, which nobody could audit, are refused.

    Raises:
        BadNote: it is none.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise BadNote("a checkpoint has three lines: the log's name, its size, its root")
    if not _SIZE.fullmatch(lines[1]):
        raise BadNote(f"not a tree size: {lines[1][:40]!r}")
    checkpoint = Checkpoint(lines[0], int(lines[1]), _decode64(lines[2], "root"))
    if len(checkpoint.root) != HASH_BYTES or checkpoint.encode() != text:
        raise BadNote("the root is not the base 64 of 32 bytes")
    return checkpoint


def encode_proof(proof: Sequence[bytes]) -> str:
    """Return a proof's hashes in base 64, one a line."""
    return "".join(f"{b64encode(part).decode()}\n" for part in proof)


def parse_proof(text: str) -> list[bytes]:
    """Read a proof's lines.

    Raises:
        BadNote: a line is no hash.
    """
    found = [_decode64(line, "hash") for line in text.splitlines()]
    if any(len(part) != HASH_BYTES for part in found) or encode_proof(found) != text:
        raise BadNote("a proof is lines of 32 bytes in base 64")
    return found
