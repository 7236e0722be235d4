"""Notices: customers are told when what they were promised changes.

Invariants
    W1  A customer is told once of each change that concerns them; the effect's key is the notice's id.
    W2  A delay, and good news, go out at once. That promised goods do not come is said only after customer
        care has agreed for the cause: one approval for all of its customers.
    W3  What was not yet said and is true no more is not said: a loss that was made good is dropped.
    W4  `orders.customer_notified` is recorded when the other side took the message, not before.

A channel that ordered what nobody has was told in the answer; there is no notice for it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.network_flows.wording import NoticeKind, NoticeLine

# --- Vocabulary -----------------------------------------------------------------


class NoticeStatus(StrEnum):
    """Where a notice stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    FAILED = "failed"


class Notice(msgspec.Struct, frozen=True):
    """A notice as readers see it. `approval_id` is empty where nobody had to agree."""

    notice_id: str
    order_id: str
    kind: NoticeKind
    arrives_at: datetime | None
    lines: list[NoticeLine]
    approval_id: str
    status: NoticeStatus
    why: str
    drafted_at: datetime
    settled_at: datetime | None


# --- Events ---------------------------------------------------------------------


class NoticeDrafted(Event, frozen=True, tag="network_flows.notice_drafted"):
    """There is something to tell a customer."""

    notice_id: str
    order_id: str
    kind: NoticeKind
    arrives_at: datetime | None
    lines: list[NoticeLine]
    approval_id: str = ""


class NoticeQueued(Event, frozen=True, tag="network_flows.notice_queued"):
    """The message is in the outbox."""

    notice_id: str
    order_id: str
    channel: str


class NoticeDropped(Event, frozen=True, tag="network_flows.notice_dropped"):
    """The customer is not told: it is true no more, customer care decided so, or nobody can be reached."""

    notice_id: str
    order_id: str
    why: str


class NoticeFailed(Event, frozen=True, tag="network_flows.notice_failed"):
    """The message could not be delivered; a person must look at the dead letter."""

    notice_id: str
    order_id: str
    why: str


class CustomerNotified(Event, frozen=True, tag="orders.customer_notified"):
    """The other side took the message for the customer."""

    notice_id: str
    order_id: str
    kind: NoticeKind
    channel: str
    reference: str = ""


# --- Table and projections ------------------------------------------------------

network_flows_notice = sa.Table(
    "network_flows_notice",
    metadata,
    sa.Column("notice_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("kind", Named(NoticeKind), nullable=False),
    sa.Column("arrives_at", Instant),
    sa.Column("lines", Json(list[NoticeLine]), nullable=False),
    sa.Column("approval_id", sa.Text, nullable=False),
    sa.Column("status", Named(NoticeStatus), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("drafted_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
    sa.Index("ix_network_flows_notice_order", "order_id"),
    sa.Index("ix_network_flows_notice_approval", "approval_id", "status"),
    info={"origin": "network"},
)
_DRAFT = Statement(network_flows_notice.insert())
_SETTLE = Statement(
    network_flows_notice.update()
    .where(network_flows_notice.c.notice_id == sa.bindparam("which"))
    .values(
        status=sa.bindparam("to_status", type_=Named(NoticeStatus)),
        why=sa.bindparam("to_why"),
        settled_at=sa.bindparam("at", type_=Instant),
    )
)


@projects(NoticeDrafted)
def _draft_row(tx: Tx, event: NoticeDrafted) -> None:
    fields = msgspec.structs.asdict(event)
    tx.write(_DRAFT, **fields, status=NoticeStatus.WAITING, why="", drafted_at=tx.now, settled_at=None)


@projects(NoticeQueued)
def _queue_row(tx: Tx, event: NoticeQueued) -> None:
    _settle_row(tx, event.notice_id, NoticeStatus.QUEUED, "")


@projects(NoticeDropped)
def _drop_row(tx: Tx, event: NoticeDropped) -> None:
    _settle_row(tx, event.notice_id, NoticeStatus.DROPPED, event.why)


@projects(NoticeFailed)
def _fail_row(tx: Tx, event: NoticeFailed) -> None:
    _settle_row(tx, event.notice_id, NoticeStatus.FAILED, event.why)


@projects(CustomerNotified)
def _deliver_row(tx: Tx, event: CustomerNotified) -> None:
    _settle_row(tx, event.notice_id, NoticeStatus.DELIVERED, "")


def _settle_row(tx: Tx, notice_id: str, status: NoticeStatus, why: str) -> None:
    tx.write(_SETTLE, which=notice_id, to_status=status, to_why=why, at=tx.now)


# --- Queries --------------------------------------------------------------------

_COLUMNS = sa.select(*(network_flows_notice.c[name] for name in Notice.__struct_fields__))
_BY_AGE = (network_flows_notice.c.drafted_at, network_flows_notice.c.notice_id)
_GET = Statement(_COLUMNS.where(network_flows_notice.c.notice_id == sa.bindparam("notice_id")), into=Notice)
_OF_ORDER = Statement(
    _COLUMNS.where(network_flows_notice.c.order_id == sa.bindparam("order_id")).order_by(*_BY_AGE),
    into=Notice,
)
_WAITING = Statement(
    _COLUMNS.where(
        network_flows_notice.c.approval_id == sa.bindparam("approval_id"),
        network_flows_notice.c.status == sa.literal_column("'waiting'"),
    )
    .order_by(*_BY_AGE)
    .limit(sa.bindparam("most", type_=sa.Integer)),
    into=Notice,
)

_FOR_APPROVAL = Statement(
    _COLUMNS.where(network_flows_notice.c.approval_id == sa.bindparam("approval_id")).order_by(*_BY_AGE),
    into=Notice,
)


def find_notice(db: Reader, notice_id: str) -> Notice | None:
    """Return one notice, or None."""
    return db.one(_GET, notice_id=notice_id)


def notices_of(db: Reader, order_id: str) -> list[Notice]:
    """Return what an order's customer was, or will be, told; oldest first."""
    return db.all(_OF_ORDER, order_id=order_id)


def notices_for_approval(db: Reader, approval_id: str) -> list[Notice]:
    """Return the notices that an approval is, or was, about; oldest first."""
    return db.all(_FOR_APPROVAL, approval_id=approval_id)


def waiting_notices(db: Reader, approval_id: str, limit: int = 1_000) -> list[Notice]:
    """Return the notices that wait for an approval, oldest first."""
    return db.all(_WAITING, approval_id=approval_id, most=limit)
