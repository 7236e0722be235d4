"""Outbox: effects leave only through here, after the facts that caused them are durable.

Invariants
    O1  An effect's key is deterministic; the same key is put once and sent at least once.
    O2  A failed attempt is retried with backoff up to `ATTEMPTS_MAX`; then it is a dead letter for a person.
        Waiting is measured by the clock of who carries effects out, no business clock: a fresh effect is
        due at once whatever that clock says, a failed one that long after the attempt.
    O3  Personal data in a payload is sealed under its subject's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.personal import Sealed
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, Named, metadata

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx

ATTEMPTS_MAX = 12
BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_MAX = timedelta(minutes=10)
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class EffectStatus(StrEnum):
    """Where an effect stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do outside: `key` is its idempotency key, `subject` the person its payload is about.

    `about` names what the effect belongs to (an incident, an order), for timelines.
    """

    channel: str
    key: str
    payload: dict[str, Any]
    subject: str | None = None
    about: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """What the other side answered when it took the effect."""

    reference: str = ""


class Retryable(Exception):
    """The attempt failed; a later one may not."""


class Permanent(Exception):
    """No later attempt can succeed."""


class Channel(Protocol):
    """An adapter that carries effects out; called from a dispatcher's thread."""

    def send(self, effect: Effect, key: str) -> Receipt:
        """Carry the effect out; the same key twice has one effect where the other side allows it.

        Raises:
            Retryable: try again later.
            Permanent: do not.
        """


class EffectDelivered(Event, frozen=True, tag="kernel.effect_delivered"):
    """The other side took an effect. This is the evidence of who was told what and when."""

    key: str
    channel: str
    about: str
    reference: str
    attempts: int


class EffectDied(Event, frozen=True, tag="kernel.effect_died"):
    """An effect could not be delivered; a person must look."""

    key: str
    channel: str
    about: str
    why: str
    attempts: int


class EffectNotFound(NotFound):
    """There is no such effect."""


class EffectNotDead(Conflict):
    """Only a dead letter can be sent again."""


class PendingEffect(msgspec.Struct, frozen=True, kw_only=True):
    """An effect as the dispatcher and the health page see it."""

    key: str
    origin: str
    channel: str
    about: str
    payload: dict[str, Any] | None
    sealed: Sealed | None
    status: EffectStatus
    attempts: int
    next_at: datetime
    created_at: datetime
    why: str


kernel_outbox = sa.Table(
    "kernel_outbox",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("payload", Json(dict[str, Any])),
    sa.Column("sealed", Json(Sealed)),
    sa.Column("status", Named(EffectStatus), nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("next_at", Instant, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    info={"service": True, "carried_by": "origin", "waits": True},
)
kernel_outbox.info["still_waits"] = kernel_outbox.c.status == EffectStatus.PENDING
sa.Index("ix_kernel_outbox_next", kernel_outbox.c.status, kernel_outbox.c.next_at)

_PUT = Statement(upsert(kernel_outbox, keys=["key"]))


def _pending(*row: Any) -> PendingEffect:
    return PendingEffect(**dict(zip(PendingEffect.__struct_fields__, row, strict=True)))


_COLUMNS = [kernel_outbox.c[name] for name in PendingEffect.__struct_fields__]
_DUE = Statement(
    sa.select(*_COLUMNS)
    .where(kernel_outbox.c.status == EffectStatus.PENDING)
    .where(kernel_outbox.c.next_at <= sa.bindparam("now", type_=Instant))
    .order_by(kernel_outbox.c.created_at, kernel_outbox.c.key)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=_pending,
)
_DUE_OF = Statement(
    sa.select(*_COLUMNS)
    .where(kernel_outbox.c.status == EffectStatus.PENDING)
    .where(kernel_outbox.c.channel == sa.bindparam("channel"))
    .where(kernel_outbox.c.next_at <= sa.bindparam("now", type_=Instant))
    .order_by(kernel_outbox.c.created_at, kernel_outbox.c.key)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=_pending,
)
_ONE = Statement(sa.select(*_COLUMNS).where(kernel_outbox.c.key == sa.bindparam("which")), into=_pending)
_OF_STATUS = Statement(
    sa.select(*_COLUMNS)
    .where(kernel_outbox.c.status == sa.bindparam("status", type_=Named(EffectStatus)))
    .order_by(kernel_outbox.c.created_at, kernel_outbox.c.key),
    into=_pending,
)
_ABOUT = Statement(
    sa.select(*_COLUMNS)
    .where(kernel_outbox.c.about == sa.bindparam("about"))
    .order_by(kernel_outbox.c.created_at, kernel_outbox.c.key),
    into=_pending,
)
_MARK = Statement(
    kernel_outbox.update()
    .where(kernel_outbox.c.key == sa.bindparam("which"))
    .values(
        status=sa.bindparam("new_status", type_=Named(EffectStatus)),
        attempts=sa.bindparam("new_attempts"),
        next_at=sa.bindparam("new_next_at", type_=Instant),
        why=sa.bindparam("new_why"),
    )
)
_COUNTS = Statement(
    sa.select(kernel_outbox.c.channel, kernel_outbox.c.status, sa.func.count()).group_by(
        kernel_outbox.c.channel, kernel_outbox.c.status
    )
)


def put(tx: Tx, effect: Effect) -> None:
    """Write an effect's row; a key that was put before is left as it is (O1)."""
    sealed = None
    if effect.subject is not None:
        sealed = tx.seal(effect.subject, msgspec.json.encode(effect.payload).decode())
    tx.write(
        _PUT,
        key=effect.key,
        origin=tx.origin,
        channel=effect.channel,
        about=effect.about,
        payload=None if sealed else effect.payload,
        sealed=sealed,
        status=EffectStatus.PENDING,
        attempts=0,
        next_at=AT_ONCE,
        created_at=tx.now,
        why="",
    )


class ReportEffect(Command, frozen=True, tag="kernel.report_effect"):
    """What came of an attempt: delivered, or why not. `origin` is the one whose outbox holds the effect.

    `tried_at`: by the clock of who carries effects out; None where that is the business clock (scenarios).
    """

    origin: str
    key: str
    delivered: bool
    reference: str = ""
    why: str = ""
    permanent: bool = False
    tried_at: datetime | None = None


class ReviveEffect(Command, frozen=True, tag="kernel.revive_effect"):
    """Ask to send a dead letter of an origin again."""

    origin: str
    key: str
    reason: str


def backoff_after(attempts: int) -> timedelta:
    """Return how long to wait after so many failed attempts: doubling, at most ten minutes."""
    return min(BACKOFF_FIRST * float(2 ** min(attempts - 1, 20)), BACKOFF_MAX)


@handles(ReportEffect, action="kernel.report_effect", owner=Owner.ANY, direct=True)
def report_effect(tx: Tx, command: ReportEffect) -> None:
    """Record a delivery or a death; a failure that may pass only waits for its next attempt (O2)."""
    effect = get_effect(tx, command.key)
    if effect.status is not EffectStatus.PENDING:
        return  # a second report of the same attempt
    attempts = effect.attempts + 1
    if command.delivered:
        event: Event = EffectDelivered(
            key=effect.key,
            channel=effect.channel,
            about=effect.about,
            reference=command.reference,
            attempts=attempts,
        )
        tx.record(f"effect/{effect.key}", event)
        _mark(tx, effect.key, EffectStatus.DELIVERED, attempts, tx.now, "")
    elif command.permanent or attempts >= ATTEMPTS_MAX:
        event = EffectDied(
            key=effect.key, channel=effect.channel, about=effect.about, why=command.why, attempts=attempts
        )
        tx.record(f"effect/{effect.key}", event)
        _mark(tx, effect.key, EffectStatus.DEAD, attempts, tx.now, command.why)
    else:
        next_at = (command.tried_at or tx.now) + backoff_after(attempts)
        _mark(tx, effect.key, EffectStatus.PENDING, attempts, next_at, command.why)


class EffectRevived(Event, frozen=True, tag="kernel.effect_revived"):
    """A person asked for a dead letter to be sent again."""

    key: str
    reason: str


@handles(ReviveEffect, action="kernel.revive_effect", owner=Owner.ANY)
def revive_effect(tx: Tx, command: ReviveEffect) -> None:
    """Send a dead letter again."""
    if get_effect(tx, command.key).status is not EffectStatus.DEAD:
        raise EffectNotDead(key=command.key)
    tx.record(f"effect/{command.key}", EffectRevived(key=command.key, reason=command.reason))


@projects(EffectRevived)
def _revive(tx: Tx, event: EffectRevived) -> None:
    if not tx.rebuilding:
        _mark(tx, event.key, EffectStatus.PENDING, 0, AT_ONCE, "")


def _mark(tx: Tx, key: str, status: EffectStatus, attempts: int, next_at: datetime, why: str) -> None:
    tx.write(_MARK, which=key, new_status=status, new_attempts=attempts, new_next_at=next_at, new_why=why)


def get_effect(db: Reader, key: str) -> PendingEffect:
    """Return one effect.

    Raises:
        EffectNotFound: no such key.
    """
    found = db.one(_ONE, which=key)
    if found is None:
        raise EffectNotFound(key=key)
    return found


def due_effects(db: Reader, now: datetime, limit: int) -> list[PendingEffect]:
    """Return the effects to try now, the longest waiting first."""
    return db.all(_DUE, now=now, count=limit)


def due_effects_of(db: Reader, channel: str, now: datetime, limit: int) -> list[PendingEffect]:
    """Return the effects of one channel to try now: a channel that is slow or down hides no other's."""
    return db.all(_DUE_OF, channel=channel, now=now, count=limit)


_DONE_BEFORE = Statement(
    sa.select(kernel_outbox.c.key, sa.func.length(kernel_outbox.c.payload), kernel_outbox.c.created_at)
    .where(kernel_outbox.c.status == EffectStatus.DELIVERED)
    .where(kernel_outbox.c.created_at < sa.bindparam("before", type_=Instant))
    .order_by(kernel_outbox.c.created_at, kernel_outbox.c.key)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_DROP = Statement(kernel_outbox.delete().where(kernel_outbox.c.key == sa.bindparam("gone")))


def delivered_before(db: Reader, before: datetime, most: int) -> list[tuple[str, int, datetime]]:
    """Return (key, bytes, made at) of effects that were delivered, the oldest first."""
    return db.all(_DONE_BEFORE, before=before, most=most)


def drop_effects(tx: Tx, keys: Sequence[str]) -> None:
    """Forget effects that were delivered; the fact that they were stays in the log."""
    for key in keys:
        tx.write(_DROP, gone=key)


def effects_of_status(db: Reader, status: EffectStatus) -> list[PendingEffect]:
    """Return all effects of a status, oldest first."""
    return db.all(_OF_STATUS, status=status)


def effects_about(db: Reader, about: str) -> list[PendingEffect]:
    """Return all effects that belong to an incident or an order, oldest first."""
    return db.all(_ABOUT, about=about)


def payload_of(db: Reader, effect: PendingEffect) -> dict[str, Any] | None:
    """Return the payload in clear; None where its subject was erased."""
    if effect.sealed is None:
        return effect.payload
    text = db.open(effect.sealed)
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])


def effect_counts(db: Reader) -> dict[tuple[str, str], int]:
    """Return the number of effects by (channel, status)."""
    return {(channel, str(status)): int(count) for channel, status, count in db.all(_COUNTS)}
