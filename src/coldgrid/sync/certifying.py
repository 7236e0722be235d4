"""Certifying: the tower's authority as its file has it, and how it is replaced while the tower serves.

Invariants
    Y1  The file holds the present authority's key and certificate and, while the one before still counts, the
        link and that one's certificate. It is replaced at once: who starts from it finds all of it or none.
    Y2  The key of the authority before is gone from the moment the new one is there: nothing needs it again.
    Y3  Facts follow the file, not the other way round: what a crash left unsaid is noted later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from coldgrid.kernel.events import Command
from coldgrid.kernel.reading import Reader
from coldgrid.sync import authority as ca
from coldgrid.sync import identity_files as files
from coldgrid.sync.authorities import find_replaced, name_of
from coldgrid.sync.authority import Authority, Entropy
from coldgrid.sync.node_words import (
    AuthorityAtItsEnd,
    AuthorityBeingReplaced,
    NoAuthorityToEnd,
    NoteAuthority,
    NoteAuthorityEnded,
)
from coldgrid.sync.succession import BadSuccession, Succession, key_id_of, read_succession, succeed


class Certifying:
    """Who certifies here. Threads may share it.

    Args:
        path: The authority's file; made when missing.
        network: The network's name.
        now: The system clock.
        entropy: The host's randomness.

    Raises:
        BadCertificate, PermissionError: the file cannot be used; see `identity_files`.
    """

    def __init__(self, path: Path, network: str, now: Callable[[], datetime], entropy: Entropy) -> None:
        self._path = path
        self._now = now
        self._entropy = entropy
        self._lock = threading.Lock()
        self.authority = files.open_authority(path, network, now(), entropy)
        self.succession = read_succession(files.read_private(path))

    # --- what the port asks -----------------------------------------------------------

    @property
    def link_pem(self) -> str:
        """The link to the authority before; empty where that counts no more."""
        return self.succession.link_pem if self.succession is not None else ""

    @property
    def before_pem(self) -> str:
        """The certificate of the authority before; empty where that counts no more."""
        return self.succession.before_pem if self.succession is not None else ""

    @property
    def trusted_pem(self) -> str:
        """The certificates of all authorities that count."""
        return self.authority.pem + self.before_pem

    def issuers(self) -> frozenset[str]:
        """Return the keys whose certificates count, as `succession.issuer_of` names them."""
        succession = self.succession
        ones = [self.authority.certificate, *([succession.before] if succession is not None else [])]
        return frozenset(map(key_id_of, ones))

    # --- replacing ----------------------------------------------------------------------

    def replace(self) -> None:
        """Put a new authority in the present one's place, which counts on until the overlap is over.

        Raises:
            AuthorityBeingReplaced: the one before still counts; AuthorityAtItsEnd: its time is over.
        """
        with self._lock:
            if self.succession is not None:
                raise AuthorityBeingReplaced(ends_at=self.succession.ends_at.isoformat())
            try:
                after, succession = succeed(self.authority, self._now(), self._entropy)
            except BadSuccession:
                ended_at = self.authority.certificate.not_valid_after_utc
                raise AuthorityAtItsEnd(ended_at=ended_at.isoformat()) from None
            self._keep(after, succession)

    def end(self) -> None:
        """Let the authority before count no more.

        Raises:
            NoAuthorityToEnd: there is none.
        """
        with self._lock:
            if self.succession is None:
                raise NoAuthorityToEnd()
            self._keep(self.authority, None)

    def end_when_due(self) -> bool:
        """Let the authority before count no more once the overlap is over; return whether it was."""
        with self._lock:
            due = self.succession is not None and self._now() >= self.succession.ends_at
            if due:
                self._keep(self.authority, None)
        return due

    def _keep(self, authority: Authority, succession: Succession | None) -> None:
        parts = [ca.key_pem(authority.key).decode(), authority.pem]
        if succession is not None:
            parts += [succession.link_pem, succession.before_pem]
        files.write_private(self._path, "".join(parts).encode())
        self.authority, self.succession = authority, succession

    def unsaid(self, db: Reader) -> Command | None:
        """Return what the facts do not say of the file yet (Y3)."""
        name = name_of(self.authority.certificate)
        known, succession = find_replaced(db, name), self.succession
        if succession is None:
            ended = known is None or known.ended_at is not None
            return None if ended else NoteAuthorityEnded(authority=name, at=self._now())
        if known is not None:
            return None
        before, since = name_of(succession.before), succession.link.not_valid_before_utc
        return NoteAuthority(authority=name, before=before, at=since, ends_at=succession.ends_at)
