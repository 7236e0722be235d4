"""Enrolled nodes and their certificates: who may sync, asked for every request.

Invariants
    T1  Every certificate given out is in the table, with the one it replaces and when it was first used.
    T2  A revoked node stays revoked. The rules of admission and renewal are in `admission.py` (N1-N4).
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync.admission import Certificate, Node, decide_renewal
from coldgrid.sync.node_words import (
    CertificateExists,
    CertificateRecognised,
    CertificateRenewed,
    CertificateSuperseded,
    CertificateTakenUp,
    CertificateUnknown,
    CloneSuspected,
    NodeCutOff,
    NodeEnrolled,
    NodeNotFound,
    NodeRevoked,
    NoteNodeSeen,
    RecogniseCertificate,
    RenewCertificate,
    ReportClone,
    RevokeNode,
    TakeUpCertificate,
)

REASON_MAX = 500


class Seen(msgspec.Struct, frozen=True):
    """When a node was last heard of, and the run that it was then; `code_id` says of which enrolment."""

    node_id: str
    code_id: str
    starts: int
    run: str
    seen_at: datetime


# --- Tables and projections -------------------------------------------------------

sync_node = sa.Table(
    "sync_node",
    metadata,
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("code_id", sa.Text, nullable=False),
    sa.Column("enrolled_at", Instant, nullable=False),
    sa.Column("serial", sa.Text, nullable=False),
    sa.Column("not_after", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    sa.Column("revoked_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("suspected_at", Instant),
    sa.Column("suspected_why", sa.Text, nullable=False),
    sa.Column("signing_keys", Json(list[str]), nullable=False),
    info={"origin": "network"},
)
sync_certificate = sa.Table(
    "sync_certificate",
    metadata,
    sa.Column("serial", sa.Text, primary_key=True),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False),
    sa.Column("certificate", sa.Text, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("not_after", Instant, nullable=False),
    sa.Column("replaces", sa.Text, nullable=False),
    sa.Column("taken_up_at", Instant),
    sa.Column("superseded_at", Instant),
    info={"origin": "network"},
)
sa.Index("ix_sync_certificate_node", sync_certificate.c.node_id)
# Working state: when somebody called is no fact worth keeping for ever.
sync_node_seen = sa.Table(
    "sync_node_seen",
    metadata,
    sa.Column("node_id", sa.Text, primary_key=True),
    sa.Column("code_id", sa.Text, nullable=False),
    sa.Column("starts", sa.BigInteger, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
    info={"service": True},
)
_ENROL = Statement(
    upsert(
        sync_node,
        keys=["node_id"],
        set_=[
            "code_id",
            "enrolled_at",
            "serial",
            "not_after",
            "suspected_at",
            "suspected_why",
            "signing_keys",
        ],
    )
)
_THIS = sync_node.c.node_id == sa.bindparam("which")
_RENEW = Statement(
    sync_node.update()
    .where(_THIS)
    .values(serial=sa.bindparam("new"), not_after=sa.bindparam("until", type_=Instant))
)
_REVOKE = Statement(
    sync_node.update()
    .where(_THIS)
    .values(
        revoked_at=sa.bindparam("at", type_=Instant),
        revoked_by=sa.bindparam("who"),
        reason=sa.bindparam("why"),
    )
)
_SUSPECT = Statement(
    sync_node.update()
    .where(_THIS)
    .values(suspected_at=sa.bindparam("at", type_=Instant), suspected_why=sa.bindparam("why"))
)
_CERTIFY = Statement(sync_certificate.insert())
_SUPERSEDE = Statement(
    sync_certificate.update()
    .where(
        sync_certificate.c.node_id == sa.bindparam("whose"),
        sync_certificate.c.serial != sa.bindparam("new"),
        sync_certificate.c.superseded_at.is_(None),
    )
    .values(superseded_at=sa.bindparam("at", type_=Instant))
)
_TAKE_UP = Statement(
    sync_certificate.update()
    .where(sync_certificate.c.serial == sa.bindparam("which"))
    .values(taken_up_at=sa.bindparam("at", type_=Instant))
)
_SEE = Statement(upsert(sync_node_seen, keys=["node_id"], set_=["code_id", "starts", "run", "seen_at"]))


def _certify(
    tx: Tx, event: NodeEnrolled | CertificateRenewed | CertificateRecognised, at: datetime, replaces: str
) -> None:
    tx.write(
        _CERTIFY,
        serial=event.serial,
        node_id=event.node_id,
        key_hash=event.key_hash,
        certificate=event.certificate,
        issued_at=at,
        not_after=event.not_after,
        replaces=replaces,
        taken_up_at=None,
        superseded_at=None,
    )


@projects(NodeEnrolled)
def _enrol_row(tx: Tx, event: NodeEnrolled) -> None:
    tx.write(
        _ENROL,
        node_id=event.node_id,
        site_id=event.site_id,
        code_id=event.code_id,
        enrolled_at=event.enrolled_at,
        serial=event.serial,
        not_after=event.not_after,
        revoked_at=None,
        revoked_by="",
        reason="",
        suspected_at=None,
        suspected_why="",
        signing_keys=event.signing_keys,
    )
    _certify(tx, event, event.enrolled_at, "")
    tx.write(_SUPERSEDE, whose=event.node_id, new=event.serial, at=event.enrolled_at)


@projects(CertificateRenewed)
def _renew_row(tx: Tx, event: CertificateRenewed) -> None:
    _certify(tx, event, event.renewed_at, event.replaces)
    tx.write(_RENEW, which=event.node_id, new=event.serial, until=event.not_after)


@projects(CertificateTakenUp)
def _take_up_row(tx: Tx, event: CertificateTakenUp) -> None:
    tx.write(_TAKE_UP, which=event.serial, at=event.taken_up_at)
    tx.write(_SUPERSEDE, whose=event.node_id, new=event.serial, at=event.taken_up_at)


@projects(CertificateRecognised)
def _recognise_row(tx: Tx, event: CertificateRecognised) -> None:
    _certify(tx, event, event.issued_at, "")
    tx.write(_RENEW, which=event.node_id, new=event.serial, until=event.not_after)


@projects(CloneSuspected)
def _suspect_row(tx: Tx, event: CloneSuspected) -> None:
    tx.write(_SUSPECT, which=event.node_id, at=event.suspected_at, why=event.why)


@projects(NodeRevoked)
def _revoke_row(tx: Tx, event: NodeRevoked) -> None:
    tx.write(_REVOKE, which=event.node_id, at=tx.now, who=tx.actor, why=event.reason)


# --- Commands ---------------------------------------------------------------------


@handles(RenewCertificate, action="sync.renew_certificate", owner=Owner.NETWORK)
def renew_certificate(tx: Tx, command: RenewCertificate) -> dict[str, str]:
    """Give out the next certificate. A suspicion is recorded and answered without one: the caller refuses."""
    node, held = get_node(tx, command.node_id), find_certificate(tx, command.replaces)
    if node.revoked_at is not None:
        raise NodeCutOff(node_id=node.node_id, reason=node.reason)
    if held is None or held.node_id != node.node_id:
        raise CertificateUnknown(serial=command.replaces)
    if held.superseded_at is not None:
        raise CertificateSuperseded(node_id=node.node_id, serial=held.serial, newest=node.serial)
    decided = decide_renewal(command, node, held, tx.one(_AFTER, before=held.serial))
    if isinstance(decided, Certificate):
        return {"serial": decided.serial, "certificate": decided.certificate}
    if isinstance(decided, CertificateRenewed):
        check_serial(tx, command.serial)
    tx.record(f"node/{node.node_id}", decided)
    if isinstance(decided, CloneSuspected):
        return {"clone": decided.why}
    return {"serial": decided.serial, "certificate": decided.certificate}


@handles(TakeUpCertificate, action="sync.take_up_certificate", owner=Owner.NETWORK)
def take_up_certificate(tx: Tx, command: TakeUpCertificate) -> None:
    """Note the first use of a certificate; twice is harmless."""
    held = find_certificate(tx, command.serial)
    if held is None:
        raise CertificateUnknown(serial=command.serial)
    if held.taken_up_at is None and held.superseded_at is None:
        event = CertificateTakenUp(node_id=held.node_id, serial=held.serial, taken_up_at=command.at)
        tx.record(f"node/{held.node_id}", event)


@handles(RecogniseCertificate, action="sync.recognise_certificate", owner=Owner.NETWORK)
def recognise_certificate(tx: Tx, command: RecogniseCertificate) -> None:
    """Write a certificate down that the gate has proved to be ours (`admission`, N5); twice is harmless."""
    if find_certificate(tx, command.serial) is None:
        told = {name: getattr(command, name) for name in CertificateRecognised.__struct_fields__}
        tx.record(f"node/{command.node_id}", CertificateRecognised(**told))


@handles(ReportClone, action="sync.report_clone", owner=Owner.NETWORK)
def report_clone(tx: Tx, command: ReportClone) -> None:
    """Record a suspicion, once for each reason."""
    node = get_node(tx, command.node_id)
    if node.suspected_why != command.why:
        event = CloneSuspected(
            node_id=node.node_id, serial=command.serial, why=command.why, suspected_at=command.at
        )
        tx.record(f"node/{node.node_id}", event)


@handles(RevokeNode, action="sync.revoke_node", owner=Owner.NETWORK)
def revoke_node(tx: Tx, command: RevokeNode) -> None:
    """Cut a node off; twice is harmless."""
    node = get_node(tx, command.node_id)
    if not 0 < len(command.reason.strip()) <= REASON_MAX:
        raise Invalid([Problem(field="reason", message=f"needs 1 to {REASON_MAX} characters")])
    if node.revoked_at is None:
        event = NodeRevoked(node_id=node.node_id, reason=command.reason.strip())
        tx.record(f"node/{node.node_id}", event)


@handles(NoteNodeSeen, action="sync.note_node_seen", owner=Owner.NETWORK)
def note_node_seen(tx: Tx, command: NoteNodeSeen) -> None:
    """Keep when a node was last heard of; no fact."""
    tx.write(
        _SEE,
        node_id=command.node_id,
        code_id=command.code_id,
        starts=command.starts,
        run=command.run,
        seen_at=command.at,
    )


# --- Queries ----------------------------------------------------------------------

_NODES = sa.select(*(sync_node.c[name] for name in Node.__struct_fields__))
_NODE = Statement(_NODES.where(_THIS), into=Node)
_ALL = Statement(_NODES.order_by(sync_node.c.site_id, sync_node.c.enrolled_at.desc()), into=Node)
_OF_SITE = Statement(
    _NODES.where(sync_node.c.site_id == sa.bindparam("whose"))
    .where(sync_node.c.revoked_at.is_(None))
    .order_by(sync_node.c.enrolled_at.desc()),
    into=Node,
)
_CERTIFICATES = sa.select(*(sync_certificate.c[name] for name in Certificate.__struct_fields__))
_CERTIFICATE = Statement(
    _CERTIFICATES.where(sync_certificate.c.serial == sa.bindparam("which")), into=Certificate
)
_AFTER = Statement(
    _CERTIFICATES.where(sync_certificate.c.replaces == sa.bindparam("before")), into=Certificate
)
_OF_NODE = Statement(
    _CERTIFICATES.where(sync_certificate.c.node_id == sa.bindparam("whose")).order_by(
        sync_certificate.c.issued_at.desc(), sync_certificate.c.serial
    ),
    into=Certificate,
)
_SEEN = Statement(sa.select(sync_node_seen), into=Seen)


def find_node(db: Reader, node_id: str) -> Node | None:
    """Return a node, or None."""
    return db.one(_NODE, which=node_id)


def get_node(db: Reader, node_id: str) -> Node:
    """Return a node.

    Raises:
        NodeNotFound: there is none with this id.
    """
    node = find_node(db, node_id)
    if node is None:
        raise NodeNotFound(node_id=node_id)
    return node


def list_nodes(db: Reader) -> list[Node]:
    """Return every node ever enrolled, by site, the newest of a site first."""
    return db.all(_ALL)


def nodes_of(db: Reader, site_id: str) -> list[Node]:
    """Return the nodes of a site that are not cut off, the newest first."""
    return db.all(_OF_SITE, whose=site_id)


def find_certificate(db: Reader, serial: str) -> Certificate | None:
    """Return a certificate that was given out."""
    return db.one(_CERTIFICATE, which=serial)


def certificates_of(db: Reader, node_id: str) -> list[Certificate]:
    """Return the certificates of a node, newest first."""
    return db.all(_OF_NODE, whose=node_id)


def find_by_key(db: Reader, node_id: str, key_hash: str) -> Certificate | None:
    """Return the newest certificate of a node for a key."""
    return next((held for held in certificates_of(db, node_id) if held.key_hash == key_hash), None)


def check_serial(db: Reader, serial: str) -> None:
    """Reject a serial number that was given out before."""
    if find_certificate(db, serial) is not None:
        raise CertificateExists(serial=serial)


def seen_nodes(db: Reader) -> dict[str, Seen]:
    """Return when each node was last heard of."""
    return {seen.node_id: seen for seen in db.all(_SEEN)}
