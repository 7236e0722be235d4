"""Who is admitted, and who gets the next certificate: pure decisions over what the tower wrote down.

Invariants
    N1  A request of a node counts only while its node is not revoked and its certificate is in the table,
        not superseded, not expired, and says what the table says.
    N2  A renewal is for a new key. The certificate before it counts until the new one was used once, so that
        a lost answer locks nobody out; from then on its holder is a copy.
    N3  An expired certificate still renews itself for `GRACE`: its key proves who asks. Later a code must.
    N4  Each start of a node counts up and draws a name. Two names under one count, or a count that goes back,
        are two hosts with one key: refused and reported, a person decides.
    N5  A tower that was put back from a copy takes up a certificate that it does not know, where its own
        authority gave it out between the copy and the recovery, to a node that it knows and has not revoked.
        TLS has shown who holds its key. Whoever was enrolled after the copy joins again.

Instants are the system clock's.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from coldgrid.sync.authority import BACKDATED, Peer, Shown
from coldgrid.sync.node_words import (
    CertificateExpired,
    CertificateLapsed,
    CertificateMisnamed,
    CertificateRenewed,
    CertificateSuperseded,
    CertificateUnknown,
    CloneSuspected,
    NodeCutOff,
    RenewCertificate,
    RenewedTooEarly,
)

GRACE = timedelta(days=90)
RENEWABLE_FROM = 0.5


class Node(msgspec.Struct, frozen=True):
    """A node as readers see it. `serial` and `not_after`: of its newest certificate.

    `signing_keys`: the lines of the keys that it signs its logs with.
    """

    node_id: str
    site_id: str
    code_id: str
    enrolled_at: datetime
    serial: str
    not_after: datetime
    revoked_at: datetime | None
    revoked_by: str
    reason: str
    suspected_at: datetime | None
    suspected_why: str
    signing_keys: list[str]


class Certificate(msgspec.Struct, frozen=True):
    """A certificate that was given out."""

    serial: str
    node_id: str
    key_hash: str
    certificate: str
    issued_at: datetime
    not_after: datetime
    replaces: str
    taken_up_at: datetime | None
    superseded_at: datetime | None


class Run(msgspec.Struct, frozen=True):
    """One start of a node's program: how many there were in its folder, and a name drawn for this one."""

    starts: int
    name: str


def decide_admission(
    shown: Shown, node: Node | None, held: Certificate | None, at: datetime, *, renewing: bool = False
) -> Peer:
    """Return who sends a request, or refuse it (N1, N3).

    Raises:
        Forbidden: one of `CertificateUnknown`, `NodeCutOff`, `CertificateMisnamed`, `CertificateSuperseded`,
            `CertificateExpired`, `CertificateLapsed`.
    """
    who = shown.identity
    if node is not None and node.revoked_at is not None:
        raise NodeCutOff(node_id=node.node_id, reason=node.reason)
    if node is None or held is None:
        raise CertificateUnknown(serial=shown.serial, name=who.uri)
    if (who.node_id, who.site_id, shown.key_hash) != (held.node_id, node.site_id, held.key_hash):
        raise CertificateMisnamed(serial=shown.serial, name=who.uri)
    if held.superseded_at is not None:
        raise CertificateSuperseded(node_id=node.node_id, serial=shown.serial, newest=node.serial)
    if at >= held.not_after + GRACE:
        raise CertificateLapsed(node_id=node.node_id, expired_at=held.not_after.isoformat())
    if at >= held.not_after and not renewing:
        raise CertificateExpired(node_id=node.node_id, expired_at=held.not_after.isoformat())
    return Peer(node.site_id, node.node_id, held.serial)


def may_recognise(shown: Shown, node: Node, newest: Certificate, recovered_at: datetime | None) -> bool:
    """Tell whether a certificate that is not in the table is one that a tower which was put back lost (N5).

    `newest`: the node's newest one here. `recovered_at`: when the tower began anew; None: it never did.
    """
    who, issued_at = shown.identity, shown.not_before + BACKDATED
    return (
        recovered_at is not None
        and node.revoked_at is None
        and (who.node_id, who.site_id) == (node.node_id, node.site_id)
        and newest.issued_at < issued_at <= recovered_at
    )


def clone_suspected(known: Run | None, given: Run) -> str:
    """Return why a run cannot be of the same host as the last one, or "" (N4)."""
    if known is None or given.starts > known.starts or given == known:
        return ""
    if given.starts == known.starts:
        return f"two hosts are both at start {known.starts} of this node"
    return f"start {given.starts} came after start {known.starts}"


def decide_renewal(
    command: RenewCertificate, node: Node, held: Certificate, next_: Certificate | None
) -> CertificateRenewed | Certificate | CloneSuspected:
    """Return what a renewal records; the certificate given out before, on a retry; or a suspicion (N2).

    `next_` is what was given out in place of `held` already.

    Raises:
        RenewedTooEarly: less than half of the present one's life is over, and it is not asked for early.
    """
    if next_ is not None:
        if next_.key_hash == command.key_hash:
            return next_
        why = "two keys asked for the certificate after the same one"
        return CloneSuspected(node_id=node.node_id, serial=held.serial, why=why, suspected_at=command.at)
    from_ = held.issued_at + (held.not_after - held.issued_at) * RENEWABLE_FROM
    if command.at < from_ and not command.early:
        raise RenewedTooEarly(node_id=node.node_id, renewable_from=from_.isoformat())
    return CertificateRenewed(
        node_id=node.node_id,
        serial=command.serial,
        replaces=held.serial,
        key_hash=command.key_hash,
        certificate=command.certificate,
        renewed_at=command.at,
        not_after=command.not_after,
    )
