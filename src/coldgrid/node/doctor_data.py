"""What the doctor looks at in the host's own files: the database, the signing key, certificates."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from coldgrid.evidence import tiles
from coldgrid.evidence.notes import BadNote, VerifierKey, parse_note, verify_note
from coldgrid.evidence.signed_past import look_through
from coldgrid.kernel import rebuild, schema
from coldgrid.kernel.database import open_database
from coldgrid.kernel.driver import DriverError
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.sqlite_copy import quick_check, snapshot
from coldgrid.node.backup import signers_of
from coldgrid.node.doctor import Finding, Patient, database_of, fail, ok, warn
from coldgrid.node.restore import mark_of
from coldgrid.node.upgrade import look
from coldgrid.sync import authority as ca
from coldgrid.sync.identity_files import NotEnrolled, open_identity, read_private
from coldgrid.sync.node_port import CHAIN_SUFFIX
from coldgrid.telemetry.losses import losses

WAL_WARN_BYTES = 256 * 1024 * 1024
CHECKED_BYTES = 1024 * 1024 * 1024
EXPIRES_SOON = timedelta(days=9)  # a node renews when ten of its thirty days are left
DAMAGED = "Stop the host, keep the files as they are, and put the last copy back: docs/backup.md."


# --- Database -----------------------------------------------------------------------


def check_database(patient: Patient) -> Iterator[Finding]:
    """Look at the file, its release, who holds it, its write-ahead log, and whether it is whole."""
    path = patient.database
    if path is not None and not path.is_file():
        yield warn(
            "database",
            f"there is none at {path}",
            "This host was never started here, or its disk was lost.",
            "The first start makes one; after a loss put a copy back: docs/backup.md.",
        )
        return
    try:
        with database_of(patient):
            yield _release(patient)
    except (DriverError, OSError) as error:
        told = error if isinstance(error, DriverError) else DriverError(str(error))
        yield fail("database", str(told), told.means, told.todo or DAMAGED)
        if path is not None:
            yield from _whole(path, patient)
        return
    if path is not None:
        yield _holder(path, patient)
        yield _readers(path)
        yield _wal(path)
        yield from _whole(path, patient)
        if mark_of(path).is_file():
            yield fail(
                "database: put back",
                f"from the copy of {mark_of(path).read_text()}",
                "The tower does not serve: it would contradict its nodes.",
                "Run `coldgrid tower recover` once.",
            )
    if patient.deep:
        yield _rebuilt(patient)


def _release(patient: Patient) -> Finding:
    try:
        need = look(patient.settings.database)
    except schema.DatabaseIsNewer as newer:
        return fail("database: release", str(newer), newer.title, newer.todo)
    if need is None:
        return ok("database: release", f"made by {schema.RELEASE}, as this program makes it")
    told = f"made by {need.made_by or 'an unknown release'}; {len(need.changed)} tables are defined otherwise"
    means = "It is brought up at the next start, after a copy of it."
    return warn("database: release", told, means, "Or do it now: `coldgrid upgrade`.")


def _holder(path: Path, patient: Patient) -> Finding:
    held = _held_by(Path(f"{path}.lock"))
    if not patient.serving:
        return ok("database: lock", "nobody holds it")
    return ok("database: lock", f"held by {held or 'a process that cannot be seen from here'}")


def _held_by(lock: Path) -> str:
    """Return the process that holds a file's lock, as Linux tells; empty where it does not."""
    try:
        inode = str(lock.stat().st_ino)
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        number = next(one[4] for one in lines if one[1] == "FLOCK" and one[5].rpartition(":")[2] == inode)
        words = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (OSError, StopIteration, IndexError):
        return ""
    return f"process {number}: {words.strip()[:100]}"


def _readers(path: Path) -> Finding:
    """Whether others of this machine may read the database, which holds the keys of personal data."""
    parts = [one for end in ("", "-wal", "-shm") if (one := Path(f"{path}{end}")).is_file()]
    open_ones = [one for one in parts if stat.S_IMODE(one.stat().st_mode) & 0o077]
    if not open_ones:
        return ok("database: readers", "nobody else may read it")
    told = ", ".join(f"{one} has mode {stat.S_IMODE(one.stat().st_mode):o}" for one in open_ones)
    means = "Others on this machine can read people, customers, their keys, and the hashes of passwords."
    return warn("database: readers", told, means, f"chmod 600 {' '.join(str(one) for one in open_ones)}")


def _wal(path: Path) -> Finding:
    wal = Path(f"{path}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    told = f"{size / 1e6:,.1f} MB beside a database of {path.stat().st_size / 1e6:,.1f} MB"
    if size > WAL_WARN_BYTES:
        return warn(
            "database: write-ahead log",
            told,
            "Somebody reads one state of the database for long, or a copy was broken off.",
            "It shrinks when that ends; a restart of the host shrinks it at once.",
        )
    return ok("database: write-ahead log", told)


def _whole(path: Path, patient: Patient) -> Iterator[Finding]:
    if not patient.deep and path.stat().st_size > CHECKED_BYTES:
        yield ok("database: pages", "not looked at: it is large; `--deep` does")
        return
    faults = quick_check(path, living=True)
    if faults:
        yield fail("database: pages", "; ".join(faults[:3]), "The file is damaged.", DAMAGED)
    else:
        yield ok("database: pages", "whole")


def _rebuilt(patient: Patient) -> Finding:
    """Make every projection anew beside the live ones, as of one state; verify what was signed."""
    keys = signers_of(Path(patient.settings.signing_key))
    database = open_database(patient.settings.database)
    if patient.database is not None:
        with snapshot(patient.database) as state:
            found = rebuild.differences_of(database, state.reader)
            past = look_through(state.reader, keys)
    else:
        with database.reader() as connection:
            connection.command("BEGIN ISOLATION LEVEL REPEATABLE READ")
            try:
                found = rebuild.differences_of(database, Reads(connection))
                past = look_through(Reads(connection), keys)
            finally:
                connection.command("COMMIT")
    if past.faults:
        todo = "See docs/evidence.md, «Forks, and what to do»."
        return fail("database: proofs", "; ".join(past.faults[:3]), "The log is not what was signed.", todo)
    if found:
        told = ", ".join(f"{one.table}: {one.only_live} and {one.only_rebuilt} rows" for one in found[:5])
        return fail(
            "database: rebuild",
            told,
            "Tables differ from what the log says.",
            "Stop the host and run `coldgrid rebuild`, which puts them right; then look for the cause.",
        )
    told = f"every table equals the log; {past.entries:,} entries and {past.checkpoints:,} checkpoints verify"
    return ok("database: rebuild", told)


# --- Readings -----------------------------------------------------------------------


def check_readings(patient: Patient) -> Iterator[Finding]:
    """Look whether sealed readings of nodes are lost, or wait to come."""
    path = patient.database
    if patient.role == "node" or (path is not None and not path.is_file()):
        return
    try:
        with database_of(patient) as db:
            found = losses(db)
    except (DriverError, OSError):  # damaged, or of another release: the check of the database says so
        return
    if not found:
        yield ok("readings", "no sealed reading of a node is known to be lost")
        return
    sites = ", ".join(sorted({one.site_id for one in found}))
    yield warn(
        "readings",
        f"{sum(one.readings for one in found):,} in {len(found):,} sealed blocks of {sites} are lost",
        "Their nodes do not have them any more, and they never came here: that time counts as unseen.",
        "The site's page names them. Where another disk has them put it back: they are asked for again.",
    )


# --- Signing key --------------------------------------------------------------------


def check_signing_key(patient: Patient) -> Iterator[Finding]:
    """Look whether the key is there, private, and the one that the log was signed with last."""
    path = Path(patient.settings.signing_key)
    if not path.is_file():
        yield warn(
            "signing key",
            f"there is none at {path}",
            "The first start makes one. If there was one before, checkpoints go on under a new key.",
            "Put the old key back from the last copy.",
        )
        return
    private = _private(path)
    if private:
        yield fail(
            "signing key", private, "Whoever reads it can sign in this host's name.", f"chmod 600 {path}"
        )
        return
    try:
        keys = signers_of(path)
    except (BadNote, ValueError) as error:
        todo = "Put the key back from the last copy."
        yield fail("signing key", str(error), "Nothing can be signed.", todo)
        return
    yield _matches(patient, keys)


def _matches(patient: Patient, keys: Sequence[VerifierKey]) -> Finding:
    home = "" if patient.role == "tower" else _site_of(patient)
    if patient.database is not None and not patient.database.is_file():
        return ok("signing key", "there, and private")
    with database_of(patient) as db:
        heads = [one for one in tiles.heads(db) if not home or one.origin == home]
    if not heads:
        return ok("signing key", "there, and private; nothing was signed yet")
    newest = max(heads, key=lambda one: one.made_at)
    if verify_note(parse_note(newest.note.encode()), keys):
        return ok("signing key", f"made the last checkpoint, of {newest.made_at:%Y-%m-%d %H:%M} UTC")
    return fail(
        "signing key",
        f"did not make the last checkpoint, {newest.log_id} of {newest.made_at:%Y-%m-%d %H:%M} UTC",
        "It is another key than the one this log was signed with: packs from now on carry both.",
        "Put the right key back from the last copy; if the old one is lost, tell those who trust it.",
    )


def _site_of(patient: Patient) -> str:
    assert patient.folder is not None
    try:
        return open_identity(patient.folder).tower.site_id
    except (NotEnrolled, ca.BadCertificate, PermissionError):
        return ""


def _private(path: Path) -> str:
    """Return who else may read a file; empty where nobody may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return f"{path} has mode {mode:o}"
    return "" if os.access(path, os.R_OK) else f"{path} cannot be read by this user"


# --- Certificates -------------------------------------------------------------------


def check_certificates(patient: Patient) -> Iterator[Finding]:
    """Look at a tower's authority and certificate, or at a node's: private, in one chain, not expired."""
    if patient.role == "node":
        yield from _of_node(patient)
        return
    path = Path(patient.settings.authority_key)
    if not path.is_file():
        yield ok("certificates", "no authority yet: no node was ever enrolled here")
        return
    for one in (path, path.with_name(path.name + CHAIN_SUFFIX)):
        if one.is_file() and (private := _private(one)):
            means = "Whoever reads it can pose as this tower."
            yield fail("certificates", private, means, f"chmod 600 {one}")
            return
    authority = _certificate_in(path)
    yield _named(authority, patient)
    yield _expiry("certificate of the authority", authority, patient.now)
    chain = path.with_name(path.name + CHAIN_SUFFIX)
    if chain.is_file():
        own = _certificate_in(chain)
        if not ca.is_issued_by(own, authority):
            means = "Nodes refuse this tower."
            yield fail(
                "certificate of the tower", "is of another authority", means, f"Remove {chain}, start."
            )
        else:
            start = "Start the tower: it makes itself a new one at each start and while it serves."
            yield _expiry("certificate of the tower", own, patient.now, renew=start)


def _named(authority: x509.Certificate, patient: Patient) -> Finding:
    named = ca.uris_of(authority)
    if named != [f"spiffe://{patient.settings.network}"]:
        told = f"{', '.join(named)}, and COLDGRID_NETWORK is {patient.settings.network}"
        means = "The tower does not start its port for nodes."
        return fail("certificates", told, means, "Set COLDGRID_NETWORK to the name that it had, for ever.")
    return ok("certificates", f"the authority is {named[0]}")


def _of_node(patient: Patient) -> Iterator[Finding]:
    assert patient.folder is not None
    try:
        identity = open_identity(patient.folder)
    except NotEnrolled as error:
        yield fail("certificate of the node", str(error), "It cannot talk to a tower.", "Join with a code.")
        return
    except PermissionError as error:
        means = "Whoever reads it can pose as this node."
        yield fail("certificate of the node", str(error), means, str(error).partition("run: ")[2])
        return
    except ca.BadCertificate as error:
        means = "The tower refuses this node."
        todo = "Make a code for this node at the tower and join with it."
        yield fail("certificate of the node", str(error), means, todo)
        return
    renew = "Let the host reach its tower: it renews by itself, up to 90 days after."
    yield _expiry("certificate of the node", _certificate_in(identity.chain), patient.now, renew=renew)


def _certificate_in(path: Path) -> x509.Certificate:
    _, mark, rest = read_private(path).partition(b"-----BEGIN CERTIFICATE-----")
    return ca.load_certificate(mark + rest)


def _expiry(name: str, certificate: x509.Certificate, now: datetime, *, renew: str = "") -> Finding:
    until = certificate.not_valid_after_utc
    told = f"good until {until:%Y-%m-%d %H:%M} UTC"
    if until <= now:
        means = "It has expired."
        todo = renew or "Remove its file, start the tower; every node joins again: docs/nodes.md."
        return fail(name, told, means, todo)
    if until - now < EXPIRES_SOON:
        todo = renew or "Replace it: coldgrid tower rotate-ca."
        return warn(name, told, "It expires soon, and should have been renewed by now.", todo)
    return ok(name, told)
