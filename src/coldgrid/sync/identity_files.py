"""Keys and certificates on disk, at the tower and at a node: private, whole, and never half replaced.

Invariants
    F1  A file with a private key has mode 0600; one that others may read is refused, not repaired.
    F2  Key and certificate lie in one file that is replaced by a rename: who opens it finds a pair that fits.
    F3  A node keeps the key of an enrolment or renewal under way, so that asking again asks for the same.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from coldgrid.sync import authority as ca
from coldgrid.sync.admission import Run
from coldgrid.sync.authority import Authority, BadCertificate, Entropy, Key, Shown

CHAIN, NEXT_KEY, TOWER, STARTS = "node.pem", "next-key.pem", "tower.json", "starts"
RUN_NAME_BYTES = 8
FILE_BYTES_MAX = 64 * 1024


class NotEnrolled(Exception):
    """The folder holds no enrolled node."""


class KnownTower(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of its tower: where it is, what it signs with, and how it names the node.

    `joined_with`: the hash of the secret of the code that it joined with last. `before`: the authority before
    this one, which counts until the tower says that it does not.
    """

    url: str
    network: str
    authority: str
    site_id: str
    node_id: str
    signing_keys: list[str] = []
    joined_with: str = ""
    before: str = ""

    @property
    def trusted_pem(self) -> str:
        """The certificates of all authorities that count."""
        return self.authority + self.before


class NodeIdentity(msgspec.Struct, frozen=True):
    """An enrolled node: its tower, and the file with its key and certificate."""

    tower: KnownTower
    chain: Path
    shown: Shown


# --- Files ------------------------------------------------------------------------


def write_private(path: Path, data: bytes) -> None:
    """Replace a file with mode 0600, durably and at once (F1, F2)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    made = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(made, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        PermissionError: others may read it (F1).
        FileNotFoundError: there is none.
    """
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} is readable by others than its owner; run: chmod 600 {path}")
    with open(path, "rb") as file:
        return file.read(FILE_BYTES_MAX)


def _split(data: bytes) -> tuple[Key, x509.Certificate]:
    """Return the key and the certificate of one file.

    Raises:
        BadCertificate: one of them is missing, or they do not belong together.
    """
    key_part, mark, rest = data.partition(b"-----BEGIN CERTIFICATE-----")
    key, certificate = ca.load_key(key_part), ca.load_certificate(mark + rest)
    if ca.key_hash_of(certificate) != ca.hash_of_key(key.public_key()):
        raise BadCertificate("the certificate is not that of the key beside it")
    return key, certificate


def _joined(key: Key, certificate: x509.Certificate) -> bytes:
    return ca.key_pem(key) + ca.pem_of(certificate).encode()


# --- The tower's ------------------------------------------------------------------


def open_authority(path: Path, network: str, now: datetime, entropy: Entropy) -> Authority:
    """Read the network's authority from its file; where there is none yet, make one.

    Raises:
        BadCertificate: the file holds none, or that of another network.
        PermissionError: others than its owner may read it.
    """
    try:
        key, certificate = _split(read_private(path))
    except FileNotFoundError:
        made = ca.make_authority(network, now, entropy)
        write_private(path, _joined(made.key, made.certificate))
        return made
    if ca.uris_of(certificate) != [f"spiffe://{network}"]:
        raise BadCertificate(f"{path} is the authority of {ca.uris_of(certificate)}, not of {network!r}")
    return Authority(network, key, certificate)


def tower_chain(
    path: Path, authority: Authority, hosts: Sequence[str], now: datetime, entropy: Entropy, link: str = ""
) -> bool:
    """See to it that the file holds the tower's key and a good certificate; return whether it was made anew.

    It is made anew when there is none, when two thirds of its life are over, and when `hosts`, the authority
    or `link` changed: the link (PEM) leads who trusts the authority before to the present one.
    """
    try:
        held = read_private(path)
        key, certificate = _split(held)
        due = ca.renew_from(certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        fits = ca.is_issued_by(certificate, authority.certificate) and ca.hosts_in(names) == set(hosts)
        fits = fits and held == _joined(key, certificate) + link.encode()
        if fits and certificate.not_valid_before_utc <= now < due:
            return False
    except (FileNotFoundError, BadCertificate, x509.ExtensionNotFound):
        pass
    key = ca.make_key(entropy)
    certificate = authority.sign_tower(key.public_key(), hosts, now, entropy)
    write_private(path, _joined(key, certificate) + link.encode())
    return True


# --- A node's ---------------------------------------------------------------------


def next_key(folder: Path, entropy: Entropy) -> Key:
    """Return the key to ask a certificate for: that of an attempt not finished, or a new one (F3)."""
    path = folder / NEXT_KEY
    try:
        key = ca.load_key(read_private(path))
        if ca.hash_of_key(key.public_key()) != _present_key(folder):
            return key
    except (FileNotFoundError, BadCertificate):
        pass
    key = ca.make_key(entropy)
    write_private(path, ca.key_pem(key))
    return key


def _present_key(folder: Path) -> str:
    """The hash of the key in use: a crash may have left it lying as the next one."""
    try:
        return ca.hash_of_key(_split(read_private(folder / CHAIN))[0].public_key())
    except (FileNotFoundError, BadCertificate):
        return ""


def keep_certificate(folder: Path, key: Key, pem: str, tower: KnownTower) -> NodeIdentity:
    """Check the certificate that was given for a key, and put both in place (F2).

    Raises:
        BadCertificate: it is not for this key, not by this authority, or names another node.
    """
    certificate = ca.load_certificate(pem.encode())
    _check(certificate, tower)
    if ca.key_hash_of(certificate) != ca.hash_of_key(key.public_key()):
        raise BadCertificate("the certificate is not for the key that asked for it")
    write_private(folder / TOWER, msgspec.json.format(msgspec.json.encode(tower)) + b"\n")
    write_private(folder / CHAIN, _joined(key, certificate))
    (folder / NEXT_KEY).unlink(missing_ok=True)
    return NodeIdentity(tower, folder / CHAIN, ca.read_shown(certificate))


def keep_tower(folder: Path, tower: KnownTower) -> NodeIdentity:
    """Keep what a node knows of its tower, beside the certificate that it has.

    Raises:
        BadCertificate: that one is not by an authority of this tower.
    """
    _, certificate = _split(read_private(folder / CHAIN))
    _check(certificate, tower)
    write_private(folder / TOWER, msgspec.json.format(msgspec.json.encode(tower)) + b"\n")
    return NodeIdentity(tower, folder / CHAIN, ca.read_shown(certificate))


def open_identity(folder: Path) -> NodeIdentity:
    """Read who the node in a folder is.

    Raises:
        NotEnrolled: nobody joined here yet.
        BadCertificate: the files do not belong together.
        PermissionError: others than their owner may read them.
    """
    try:
        tower = msgspec.json.decode(read_private(folder / TOWER), type=KnownTower)
        _, certificate = _split(read_private(folder / CHAIN))
    except FileNotFoundError:
        raise NotEnrolled(
            f"{folder} holds no enrolled node; run: coldgrid node join TOWER --code …"
        ) from None
    except msgspec.MsgspecError as error:
        raise BadCertificate(f"{folder / TOWER}: {error}") from None
    _check(certificate, tower)
    return NodeIdentity(tower, folder / CHAIN, ca.read_shown(certificate))


def _check(certificate: x509.Certificate, tower: KnownTower) -> None:
    authorities = [pem for pem in (tower.authority, tower.before) if pem]
    if not any(ca.is_issued_by(certificate, ca.load_certificate(pem.encode())) for pem in authorities):
        raise BadCertificate("the certificate is not by the tower's authority")
    if ca.read_shown(certificate).identity != ca.Identity(tower.network, tower.site_id, tower.node_id):
        raise BadCertificate(f"the certificate names {ca.uris_of(certificate)}, not this node")


def begin_run(folder: Path, entropy: Entropy) -> Run:
    """Count one more start of the node in this folder, durably, and name it: call once for each process."""
    path = folder / STARTS
    try:
        starts = int(read_private(path)) + 1
    except FileNotFoundError:
        starts = 1
        write_private(path, _starts_line(starts))
    else:
        with open(path, "r+b") as file:  # in place: on a full disk too
            file.write(_starts_line(starts))
            file.flush()
            os.fsync(file.fileno())
    return Run(starts, entropy(RUN_NAME_BYTES).hex())


def _starts_line(starts: int) -> bytes:
    return f"{starts:020d}\n".encode()
