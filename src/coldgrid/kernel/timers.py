"""Timers: rows in business time, fired in due order, each declaring what an outage means for it.

Invariants
    T1  A timer fires once, in the transaction that records what it caused.
    T2  Overdue timers fire in due order, after an outage too. To a `restart` one no time counts in which
        nobody ran: its handler knows since when the process does, and gives what it watches its whole time.
    T3  Timers of an origin that lives elsewhere stand still: they wait to move house with it.

Timers are not derived from the log: what set them can set them again from its own state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, metadata

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx


class Timer(msgspec.Struct, frozen=True):
    """One timer. `payload` is for its handler; `set_at` says how long it was meant to run."""

    timer_id: str
    origin: str
    kind: str
    due_at: datetime
    payload: dict[str, Any]
    on_outage: Literal["fire", "restart"]
    set_at: datetime


kernel_timer = sa.Table(
    "kernel_timer",
    metadata,
    sa.Column("timer_id", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("payload", Json(dict[str, Any]), nullable=False),
    sa.Column("on_outage", sa.Text, nullable=False),
    sa.Column("set_at", Instant, nullable=False),
    info={"service": True, "carried_by": "origin", "waits": True},
)
sa.Index("ix_kernel_timer_due", kernel_timer.c.due_at)

_SET = Statement(
    upsert(
        kernel_timer, keys=["timer_id"], set_=["origin", "kind", "due_at", "payload", "on_outage", "set_at"]
    )
)
_CANCEL = Statement(kernel_timer.delete().where(kernel_timer.c.timer_id == sa.bindparam("which")))
_RUNS_HERE = kernel_timer.c.origin.not_in(sa.bindparam("elsewhere", expanding=True))
_DUE = Statement(
    sa.select(kernel_timer)
    .where(kernel_timer.c.due_at <= sa.bindparam("now", type_=Instant))
    .where(_RUNS_HERE)
    .order_by(kernel_timer.c.due_at, kernel_timer.c.timer_id)
    .limit(sa.bindparam("count", type_=sa.Integer)),
    into=Timer,
)
_NEXT = Statement(sa.select(sa.func.min(kernel_timer.c.due_at)).where(_RUNS_HERE))
_ALL = Statement(sa.select(kernel_timer).order_by(kernel_timer.c.due_at, kernel_timer.c.timer_id), into=Timer)


def set_timer(tx: Tx, timer: Timer) -> None:
    """Write a timer's row."""
    tx.write(_SET, **msgspec.structs.asdict(timer))


def cancel_timer(tx: Tx, timer_id: str) -> None:
    """Delete a timer's row."""
    tx.write(_CANCEL, which=timer_id)


def due_timers(db: Reader, now: datetime, limit: int, elsewhere: Sequence[str] = ()) -> list[Timer]:
    """Return the timers that are due, in due order (T2), but for those of origins `elsewhere` (T3)."""
    return db.all(_DUE, now=now, count=limit, elsewhere=["", *elsewhere])


def next_due_at(db: Reader, elsewhere: Sequence[str] = ()) -> datetime | None:
    """Return when the next timer is due, or None; but for those of origins `elsewhere` (T3)."""
    found = db.value(_NEXT, elsewhere=["", *elsewhere])
    return found if found is None or isinstance(found, datetime) else None


def all_timers(db: Reader) -> list[Timer]:
    """Return every timer, the next one first."""
    return db.all(_ALL)
