"""Personal data: ciphertext for each subject from the first event on; the keys stay outside the log.

Invariants
    P1  The log and the projections hold ciphertext only.
    P2  Erasing a subject drops its key; every proof over the ciphertext still verifies.
    P3  An erased subject's key is never made again.

AES-256 in SIV mode (RFC 5297) needs no nonce, so sealing reads no randomness: the same text sealed
for the same subject gives the same bytes, and a replay is exact.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.known import KnownIds
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx

KEY_BYTES = 64
_CIPHER = b'"cipher":'


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """Personal data as it is stored: whose it is, and the ciphertext (base 64 on the wire)."""

    subject: str
    cipher: bytes


Personal = Sealed


class PersonErased(Event, frozen=True, tag="personal.erased"):
    """A subject's key was dropped: what the log holds of the person can no longer be read."""

    subject: str
    reason: str


class SubjectErased(Conflict):
    """The person was erased; nothing more may be stored about them under this id."""


personal_key = sa.Table(
    "personal_key",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary),  # null once erased (P3)
    info={"service": True},
)
_KEY = Statement(sa.select(personal_key.c.key).where(personal_key.c.subject == sa.bindparam("subject")))
_SUBJECTS = Statement(sa.select(personal_key.c.subject))
_NEW_KEY = Statement(personal_key.insert())
_KEYS = Statement(
    sa.select(personal_key.c.subject, personal_key.c.key)
    .where(personal_key.c.subject.in_(sa.bindparam("subjects", expanding=True)))
    .where(personal_key.c.key.is_not(None))
    .order_by(personal_key.c.subject)
)
# Of a subject that had no key too: what is sent about them later must not be stored (P3).
_DROP_KEY = Statement(upsert(personal_key, keys=["subject"], set_=["key"]))


class _Rows(Protocol):
    def one(self, statement: Statement[Any], /, **params: Any) -> Any: ...


class Keyring:
    """The keys of subjects, read when first needed and kept for the decider's term.

    `known`: whoever has a key, or had one. With it a subject that never had one costs no read, which in the
    middle of a group would cost more than all else that is done for an order.
    """

    def __init__(self, rows: _Rows, known: KnownIds | None = None) -> None:
        self._rows = rows
        self._known = known
        self._ciphers: dict[str, AESSIV] = {}

    def perhaps(self, subject: str) -> bool:
        """Whether the subject may have, or have had, a key; False is certain."""
        return self._known is None or self._known.perhaps(subject)

    def note(self, subject: str) -> None:
        """Remember that the subject has a key, or had one. Never taken back: it costs one read at most."""
        if self._known is not None:
            self._known.add(subject)

    def at_hand(self, subject: str) -> AESSIV | None:
        """Return the subject's cipher if it was used before."""
        return self._ciphers.get(subject)

    def cipher(self, subject: str) -> AESSIV | None:
        """Return the subject's cipher, or None where it has no key (yet, or any more)."""
        cipher = self._ciphers.get(subject)
        return cipher if cipher is not None else self.look_up(subject, self._rows)[1]

    def look_up(self, subject: str, rows: _Rows) -> tuple[bool, AESSIV | None]:
        """Read the subject's key; return whether it ever had one, and its cipher while it has."""
        row = rows.one(_KEY, subject=subject)
        if row is None or row[0] is None:
            return row is not None, None
        cipher = self._ciphers[subject] = AESSIV(row[0])
        return True, cipher

    def open(self, sealed: Sealed) -> str | None:
        """Return the text, or None where the person was erased."""
        cipher = self.cipher(sealed.subject)
        return None if cipher is None else cipher.decrypt(sealed.cipher, [sealed.subject.encode()]).decode()

    def knows(self, subject: str) -> bool:
        """Tell whether the key is at hand."""
        return subject in self._ciphers

    def put(self, subject: str, key: bytes) -> AESSIV:
        """Keep a new subject's key."""
        cipher = self._ciphers[subject] = AESSIV(key)
        return cipher

    def drop(self, subject: str) -> None:
        """Forget a key; the subject had one, or is never to have one (P3)."""
        self._ciphers.pop(subject, None)
        self.note(subject)


def seal(tx: Tx, keyring: Keyring, subject: str, text: str) -> Sealed:
    """Encrypt a text under its subject's key, which is made on first use.

    Raises:
        SubjectErased: the person was erased before (P3).
    """
    cipher = keyring.at_hand(subject)
    if cipher is None and keyring.perhaps(subject):
        had_one, cipher = keyring.look_up(subject, tx)
        if had_one and cipher is None:
            raise SubjectErased(subject=subject)
    if cipher is None:
        key = tx.entropy(KEY_BYTES)
        cipher = keyring.put(subject, key)
        keyring.note(subject)
        tx.undo(lambda: keyring.drop(subject))
        tx.write_row(_NEW_KEY, (subject, key))
    return Sealed(subject, cipher.encrypt(text.encode(), [subject.encode()]))


def subjects_in(body: bytes) -> set[str]:
    """Return whose personal data an event's body holds."""
    found: set[str] = set()
    if _CIPHER in body:
        _collect(msgspec.json.decode(body), found)
    return found


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("subject"), str) and isinstance(value.get("cipher"), str):
            found.add(value["subject"])
        for inner in value.values():
            _collect(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, found)


def known_subjects(rows: Reader) -> KnownIds:
    """Return whoever has a key, or had one: one pass over them."""
    known = KnownIds()
    for (subject,) in rows.all(_SUBJECTS):
        known.add(subject)
    return known


def keys_of(db: Reader, subjects: Collection[str]) -> dict[str, bytes]:
    """Return the keys of some subjects, for another host that may read their data; not of those erased."""
    return {subject: bytes(key) for subject, key in db.all(_KEYS, subjects=list(subjects))}


def take_key(tx: Tx, keyring: Keyring, subject: str, key: bytes) -> None:
    """Keep a subject's key that another host sent. A key that is here already, or was erased, stays (P3)."""
    had_one, _ = keyring.look_up(subject, tx)
    if had_one or len(key) != KEY_BYTES:
        return
    tx.write_row(_NEW_KEY, (subject, key))
    keyring.put(subject, key)
    keyring.note(subject)
    tx.undo(lambda: keyring.drop(subject))


class EraseSubject(Command, frozen=True, tag="personal.erase"):
    """Ask to erase a person: their key is dropped, here and wherever their data was sent."""

    subject: str
    reason: str


@handles(EraseSubject, action="personal.erase", owner=Owner.NETWORK)
def erase_subject(tx: Tx, command: EraseSubject) -> None:
    """Drop a person's key. Erasing twice is harmless."""
    tx.record(f"subject/{command.subject}", PersonErased(subject=command.subject, reason=command.reason))


@projects(PersonErased)
def _drop_key(tx: Tx, event: PersonErased) -> None:
    if not tx.rebuilding:
        tx.drop_key(event.subject)
        tx.write(_DROP_KEY, subject=event.subject, key=None)
