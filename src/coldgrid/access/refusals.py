"""Refused sign-ins: rows that outlive the process, so that a restart does not let a guesser begin anew.

Invariants
    F1  A row holds hashes and an instant of the system clock: no login, no address.
    F2  Rows older than the window are swept with the next refusal; a sign-in forgets those of its login.

They are no facts, as sessions are none: a rebuild leaves them alone.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import sqlalchemy as sa

from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

access_refused_sign_in = sa.Table(
    "access_refused_sign_in",
    metadata,
    sa.Column("refusal_id", sa.Text, primary_key=True),
    sa.Column("login_hash", sa.Text, nullable=False),
    sa.Column("address_hash", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    info={"service": True},
)
sa.Index("ix_access_refused_sign_in_at", access_refused_sign_in.c.at)
_KEEP = Statement(access_refused_sign_in.insert())
_SWEEP = Statement(
    access_refused_sign_in.delete().where(access_refused_sign_in.c.at < sa.bindparam("before", type_=Instant))
)
_FORGET = Statement(
    access_refused_sign_in.update()
    .where(access_refused_sign_in.c.login_hash == sa.bindparam("which"))
    .values(login_hash="")
)
_SINCE = Statement(
    sa.select(
        access_refused_sign_in.c.login_hash,
        access_refused_sign_in.c.address_hash,
        access_refused_sign_in.c.at,
    )
    .where(access_refused_sign_in.c.at >= sa.bindparam("since", type_=Instant))
    .order_by(access_refused_sign_in.c.at, access_refused_sign_in.c.refusal_id)
)


class KeepRefusal(Command, frozen=True, tag="access.keep_refusal"):
    """Note that a sign-in was refused, and sweep the notes from `before`."""

    refusal_id: str
    login_hash: str
    address_hash: str
    at: datetime
    before: datetime


class ForgetRefusals(Command, frozen=True, tag="access.forget_refusals"):
    """Forget a login's refusals: its person signed in."""

    login_hash: str


@handles(KeepRefusal, action="session.keep", owner=Owner.HOST)
def keep_refusal(tx: Tx, command: KeepRefusal) -> None:
    """Keep a refusal (F1, F2)."""
    tx.write(_SWEEP, before=command.before)
    tx.write(
        _KEEP,
        refusal_id=command.refusal_id,
        login_hash=command.login_hash,
        address_hash=command.address_hash,
        at=command.at,
    )


@handles(ForgetRefusals, action="session.keep", owner=Owner.HOST)
def forget_refusals(tx: Tx, command: ForgetRefusals) -> None:
    """Count a login's refusals no more; its address's still count."""
    tx.write(_FORGET, which=command.login_hash)


def address_key(address: str) -> str:
    """Return what an address is counted by."""
    return sha256(address.encode()).hexdigest()


def refusals_since(db: Reader, since: datetime) -> list[tuple[str, str, datetime]]:
    """Return (hash of the login or "", hash of the address, when) of every refusal, oldest first."""
    return [(login, address, at) for login, address, at in db.all(_SINCE, since=since)]
