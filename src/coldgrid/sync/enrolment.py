"""Enrolment codes at the tower: issued to a site, used once, within the hour.

Invariants
    C1  Only the hash of a code's secret is kept.
    C2  A code enrols one key. The same key may ask again, for an answer that was lost, until the hour is
        over; any other key is refused.
    C3  A code is good from when it was issued, by the system clock, for `CODE_LIFE`.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Invalid, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network.sites import get_site
from coldgrid.sync import enrolled
from coldgrid.sync.admission import Node
from coldgrid.sync.node_words import (
    CodeExists,
    CodeExpired,
    CodeIssued,
    CodeNotFound,
    CodeTakenBack,
    CodeUnknown,
    CodeUsed,
    CodeWithdrawn,
    EnrolNode,
    IssueCode,
    NodeCutOff,
    NodeEnrolled,
    NodeOfOtherSite,
    WithdrawCode,
)

CODE_LIFE = timedelta(hours=1)
# Two processes of one tower may disagree a little about the time.
EARLY = timedelta(minutes=5)
LISTED_MAX = 200
YEARS = (2020, 2200)
_HASH = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Code(msgspec.Struct, frozen=True):
    """A code as readers see it: never the code itself. `used_key` is the hash of the key that used it."""

    code_id: str
    site_id: str
    node_id: str
    secret_hash: str
    issued_by: str
    issued_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_by: str
    used_key: str
    withdrawn_at: datetime | None

    @property
    def enrols(self) -> str:
        """The node that the code enrols."""
        return self.node_id or derive_id("node", self.code_id)

    def open(self, at: datetime) -> bool:
        """Tell whether somebody may still come with it at `at` (system clock)."""
        return self.used_at is None and self.withdrawn_at is None and at < self.expires_at


# --- Table and projections --------------------------------------------------------

sync_code = sa.Table(
    "sync_code",
    metadata,
    sa.Column("code_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("node_id", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.Text, nullable=False),
    sa.Column("issued_by", sa.Text, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Column("used_at", Instant),
    sa.Column("used_by", sa.Text, nullable=False),
    sa.Column("used_key", sa.Text, nullable=False),
    sa.Column("withdrawn_at", Instant),
    info={"origin": "network"},
)
sa.Index("ix_sync_code_secret", sync_code.c.secret_hash)
_THIS = sync_code.c.code_id == sa.bindparam("which")
_ISSUE = Statement(sync_code.insert())
_USE = Statement(
    sync_code.update()
    .where(_THIS)
    .values(
        used_at=sa.bindparam("at", type_=Instant),
        used_by=sa.bindparam("node"),
        used_key=sa.bindparam("key"),
    )
)
_WITHDRAW = Statement(sync_code.update().where(_THIS).values(withdrawn_at=sa.bindparam("at", type_=Instant)))


@projects(CodeIssued)
def _issue_row(tx: Tx, event: CodeIssued) -> None:
    tx.write(
        _ISSUE,
        code_id=event.code_id,
        site_id=event.site_id,
        node_id=event.node_id,
        secret_hash=event.secret_hash,
        issued_by=tx.actor,
        issued_at=event.issued_at,
        expires_at=event.expires_at,
        used_at=None,
        used_by="",
        used_key="",
        withdrawn_at=None,
    )


@projects(NodeEnrolled)
def _use_row(tx: Tx, event: NodeEnrolled) -> None:
    tx.write(_USE, which=event.code_id, at=event.enrolled_at, node=event.node_id, key=event.key_hash)


@projects(CodeWithdrawn)
def _withdraw_row(tx: Tx, event: CodeWithdrawn) -> None:
    tx.write(_WITHDRAW, which=event.code_id, at=tx.now)


# --- Pure decisions ---------------------------------------------------------------


def check_code(code: Code | None, key_hash: str, at: datetime) -> Code:
    """Return the code if a node with this key may enrol with it at `at` (C2, C3).

    Raises:
        CodeUnknown, CodeTakenBack, CodeUsed, CodeExpired: it may not.
    """
    if code is None:
        raise CodeUnknown()
    if code.withdrawn_at is not None:
        raise CodeTakenBack(code_id=code.code_id)
    if code.used_at is not None and code.used_key != key_hash:
        raise CodeUsed(code_id=code.code_id, used_at=code.used_at.isoformat())
    if not code.issued_at - EARLY <= at < code.expires_at:
        raise CodeExpired(code_id=code.code_id, expired_at=code.expires_at.isoformat())
    return code


def _check(command: IssueCode) -> None:
    """Reject what no code may be; all problems at once."""
    problems = []
    if not _ID.fullmatch(command.code_id):
        problems.append(Problem(field="code_id", message="needs 1 to 100 letters, digits, dots or dashes"))
    if not _HASH.fullmatch(command.secret_hash):
        problems.append(Problem(field="secret_hash", message="is no SHA-256 in hexadecimal"))
    if command.at.tzinfo is None:
        problems.append(Problem(field="at", message="has no offset from UTC"))
    elif not YEARS[0] <= command.at.year < YEARS[1]:
        problems.append(Problem(field="at", message="is no instant of a system clock"))
    if not _ID.fullmatch(command.site_id):
        problems.append(Problem(field="site_id", message="cannot stand in a certificate's name"))
    if problems:
        raise Invalid(problems)


def decide_issue(command: IssueCode, node: Node | None) -> CodeIssued:
    """Return what issuing records, or reject; `node` is the one to bring back, if any."""
    _check(command)
    if node is not None and node.revoked_at is not None:
        raise NodeCutOff(node_id=node.node_id, reason=node.reason)
    if node is not None and node.site_id != command.site_id:
        raise NodeOfOtherSite(node_id=node.node_id, site_id=node.site_id)
    return CodeIssued(
        code_id=command.code_id,
        site_id=command.site_id,
        node_id=command.node_id,
        secret_hash=command.secret_hash,
        issued_at=command.at,
        expires_at=command.at + CODE_LIFE,
    )


# --- Commands ---------------------------------------------------------------------


@handles(IssueCode, action="sync.issue_code", owner=Owner.NETWORK)
def issue_code(tx: Tx, command: IssueCode) -> dict[str, str]:
    """Keep a code's hash for a site that exists."""
    get_site(tx, command.site_id)
    node = enrolled.get_node(tx, command.node_id) if command.node_id else None
    event = decide_issue(command, node)
    if find_code(tx, command.secret_hash) is not None or tx.one(_BY_ID, which=command.code_id) is not None:
        raise CodeExists(code_id=command.code_id)
    tx.record(f"enrolment/{command.code_id}", event)
    return {"code_id": command.code_id, "expires_at": event.expires_at.isoformat()}


@handles(WithdrawCode, action="sync.withdraw_code", owner=Owner.NETWORK)
def withdraw_code(tx: Tx, command: WithdrawCode) -> None:
    """Take a code back; twice is harmless, a used one is past that."""
    code = tx.one(_BY_ID, which=command.code_id)
    if code is None:
        raise CodeNotFound(code_id=command.code_id)
    if code.used_at is not None:
        raise CodeUsed(code_id=code.code_id, used_at=code.used_at.isoformat())
    if code.withdrawn_at is None:
        event = CodeWithdrawn(code_id=code.code_id, reason=command.reason)
        tx.record(f"enrolment/{code.code_id}", event)


@handles(EnrolNode, action="sync.enrol_node", owner=Owner.NETWORK)
def enrol_node(tx: Tx, command: EnrolNode) -> dict[str, str]:
    """Enrol a node, and answer with the certificate that counts: a retry gets that of the first time (C2)."""
    code = check_code(find_code(tx, command.secret_hash), command.key_hash, command.at)
    if (code.enrols, code.site_id) != (command.node_id, command.site_id):
        raise CodeUnknown()
    node = enrolled.find_node(tx, code.enrols)
    if node is not None and node.revoked_at is not None:
        raise NodeCutOff(node_id=node.node_id, reason=node.reason)
    if code.used_at is not None:
        known = enrolled.find_by_key(tx, command.node_id, command.key_hash)
        if known is None:
            raise CodeUsed(code_id=code.code_id, used_at=code.used_at.isoformat())
        return {"serial": known.serial, "certificate": known.certificate}
    enrolled.check_serial(tx, command.serial)
    event = NodeEnrolled(
        node_id=command.node_id,
        site_id=command.site_id,
        code_id=code.code_id,
        serial=command.serial,
        key_hash=command.key_hash,
        certificate=command.certificate,
        enrolled_at=command.at,
        not_after=command.not_after,
        signing_keys=list(command.signing_keys),
    )
    tx.record(f"node/{command.node_id}", event)
    return {"serial": command.serial, "certificate": command.certificate}


# --- Queries ----------------------------------------------------------------------

_COLUMNS = sa.select(*(sync_code.c[name] for name in Code.__struct_fields__))
_BY_ID = Statement(_COLUMNS.where(_THIS), into=Code)
_BY_SECRET = Statement(_COLUMNS.where(sync_code.c.secret_hash == sa.bindparam("secret")), into=Code)
_LATEST = Statement(
    _COLUMNS.order_by(sync_code.c.issued_at.desc(), sync_code.c.code_id).limit(LISTED_MAX), into=Code
)


def find_code(db: Reader, secret_hash: str) -> Code | None:
    """Return the code whose secret has this hash, whatever became of it."""
    return db.one(_BY_SECRET, secret=secret_hash)


def latest_codes(db: Reader) -> list[Code]:
    """Return the codes issued last, newest first."""
    return db.all(_LATEST)
