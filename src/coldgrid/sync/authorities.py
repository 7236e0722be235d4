"""Authorities: which one of a network was replaced by which, and when the one before ended.

Every node is told, and so is every page: the facts say when, the trust itself is settled between the tower's
file and each node's (`succession`, `certifying`).

Invariants
    A1  A replacement is noted once, and its end once; noting again changes nothing.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa
from cryptography import x509

from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.sync import authority as ca
from coldgrid.sync import enrolled
from coldgrid.sync.admission import Node
from coldgrid.sync.node_words import AuthorityEnded, AuthorityReplaced, NoteAuthority, NoteAuthorityEnded
from coldgrid.sync.succession import issuer_of, key_id_of


class Replaced(msgspec.Struct, frozen=True):
    """An authority that took another one's place. `ended_at`: when the one before ended; None: it counts."""

    authority: str
    before: str
    replaced_at: datetime
    ends_at: datetime
    ended_at: datetime | None


# --- Table and projections ------------------------------------------------------------

sync_authority = sa.Table(
    "sync_authority",
    metadata,
    sa.Column("authority", sa.Text, primary_key=True),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("replaced_at", Instant, nullable=False),
    sa.Column("ends_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    info={"origin": "network"},
)
_ADD = Statement(sync_authority.insert())
_END = Statement(
    sync_authority.update()
    .where(sync_authority.c.before == sa.bindparam("which"))
    .values(ended_at=sa.bindparam("at", type_=Instant))
)


@projects(AuthorityReplaced)
def _replace_row(tx: Tx, event: AuthorityReplaced) -> None:
    tx.write(
        _ADD,
        authority=event.authority,
        before=event.before,
        replaced_at=event.replaced_at,
        ends_at=event.ends_at,
        ended_at=None,
    )


@projects(AuthorityEnded)
def _end_row(tx: Tx, event: AuthorityEnded) -> None:
    tx.write(_END, which=event.authority, at=event.ended_at)


# --- Commands ---------------------------------------------------------------------------


@handles(NoteAuthority, action="sync.note_authority", owner=Owner.NETWORK)
def note_authority(tx: Tx, command: NoteAuthority) -> None:
    """Record that the authority was replaced (A1)."""
    if find_replaced(tx, command.authority) is None:
        event = AuthorityReplaced(
            authority=command.authority,
            before=command.before,
            replaced_at=command.at,
            ends_at=command.ends_at,
        )
        tx.record(f"authority/{command.authority}", event)


@handles(NoteAuthorityEnded, action="sync.note_authority_ended", owner=Owner.NETWORK)
def note_authority_ended(tx: Tx, command: NoteAuthorityEnded) -> None:
    """Record that the authority before this one counts no more (A1)."""
    known = find_replaced(tx, command.authority)
    if known is not None and known.ended_at is None:
        event = AuthorityEnded(authority=known.before, ended_at=command.at)
        tx.record(f"authority/{command.authority}", event)


# --- Queries ----------------------------------------------------------------------------

_COLUMNS = sa.select(*(sync_authority.c[name] for name in Replaced.__struct_fields__))
_BY_NAME = Statement(_COLUMNS.where(sync_authority.c.authority == sa.bindparam("which")), into=Replaced)
_BY_BEFORE = Statement(
    _COLUMNS.where(sync_authority.c.before == sa.bindparam("which"))
    .order_by(sync_authority.c.replaced_at.desc())  # a tower that was put back may replace it once more
    .limit(1),
    into=Replaced,
)


def name_of(authority: x509.Certificate) -> str:
    """Return what the facts call an authority."""
    return ca.fingerprint(authority).hex()


def find_replaced(db: Reader, authority: str) -> Replaced | None:
    """Return how this authority took another one's place; None: it did not."""
    return db.one(_BY_NAME, which=authority)


def what_follows(db: Reader, authority: str) -> Replaced | None:
    """Return which authority took this one's place; None: none did."""
    return db.one(_BY_BEFORE, which=authority)


def nodes_without(db: Reader, authority: x509.Certificate) -> list[Node]:
    """Return the nodes, of those not revoked, that do not use a certificate of this authority yet."""
    key_id = key_id_of(authority)
    return [
        node
        for node in enrolled.list_nodes(db)
        if node.revoked_at is None and not _has_one_of(db, node, key_id)
    ]


def _has_one_of(db: Reader, node: Node, key_id: str) -> bool:
    held = enrolled.find_certificate(db, node.serial)
    if held is None or held.taken_up_at is None:
        return False
    return issuer_of(ca.load_certificate(held.certificate.encode())) == key_id
