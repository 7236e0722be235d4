"""Sessions: who is signed in. Rows of the runtime, not facts of the log (see their decision record).

Invariants
    S1  Only the hash of a session's token is stored; the token is with the browser alone.
    S2  A session ends some time after it was last used, and some time after it began (`Limits`).
    S3  Signing in makes a new token, whatever the browser brought: nobody can choose it beforehand.
    S4  A suspended or erased person, and one whose password changed, has no other session left.

Times here are the system clock's and come with the command: the business clock may run at another speed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from coldgrid.access.words import PasswordSet, PersonSuspended
from coldgrid.kernel.events import Command
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.personal import PersonErased
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

TOUCH_SHARE = 10  # a session is noted as used when a tenth of its idle time has passed, not at every request

access_session = sa.Table(
    "access_session",
    metadata,
    sa.Column("token_hash", sa.Text, primary_key=True),
    sa.Column("person_id", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("seen_at", Instant, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    info={"service": True},
)
sa.Index("ix_access_session_person", access_session.c.person_id)
_THIS = access_session.c.token_hash == sa.bindparam("which")
_OPEN = Statement(access_session.insert())
_TOUCH = Statement(access_session.update().where(_THIS).values(seen_at=sa.bindparam("now", type_=Instant)))
_CLOSE = Statement(access_session.delete().where(_THIS))
_CLOSE_ALL = Statement(access_session.delete().where(access_session.c.person_id == sa.bindparam("whose")))
_CLOSE_OTHERS = Statement(
    access_session.delete().where(
        access_session.c.person_id == sa.bindparam("whose"),
        access_session.c.token_hash != sa.bindparam("which"),
    )
)
_SWEEP = Statement(
    access_session.delete().where(
        sa.or_(
            access_session.c.seen_at < sa.bindparam("idle_since", type_=Instant),
            access_session.c.opened_at < sa.bindparam("opened_before", type_=Instant),
        )
    )
)


class Limits(msgspec.Struct, frozen=True):
    """How long sessions hold: since they were last used, and since they began."""

    idle: timedelta = timedelta(hours=1)
    longest: timedelta = timedelta(hours=12)

    @property
    def touch_after(self) -> timedelta:
        """How long a session is used before that is noted."""
        return self.idle / TOUCH_SHARE


class Session(msgspec.Struct, frozen=True):
    """Somebody signed in with one browser. `client` is what the browser called itself."""

    token_hash: str
    person_id: str
    opened_at: datetime
    seen_at: datetime
    client: str

    def alive(self, now: datetime, limits: Limits) -> bool:
        """Tell whether the session still holds (S2)."""
        return now - self.seen_at < limits.idle and now - self.opened_at < limits.longest


class OpenSession(Command, frozen=True, tag="access.open_session"):
    """Begin a session; `replaces` is the hash of the one the browser had, which ends (S3).

    Sessions not used since `idle_since`, and those begun before `opened_before`, are swept.
    """

    token_hash: str
    person_id: str
    at: datetime
    idle_since: datetime
    opened_before: datetime
    client: str = ""
    replaces: str = ""


class TouchSession(Command, frozen=True, tag="access.touch_session"):
    """Note that a session is in use."""

    token_hash: str
    at: datetime


class CloseSession(Command, frozen=True, tag="access.close_session"):
    """End a session."""

    token_hash: str


class CloseOtherSessions(Command, frozen=True, tag="access.close_other_sessions"):
    """End all sessions of a person but one."""

    person_id: str
    token_hash: str


@handles(OpenSession, action="session.keep", owner=Owner.HOST)
def open_session(tx: Tx, command: OpenSession) -> None:
    """Begin a session and drop what has expired."""
    tx.write(_SWEEP, idle_since=command.idle_since, opened_before=command.opened_before)
    if command.replaces:
        tx.write(_CLOSE, which=command.replaces)
    tx.write(
        _OPEN,
        token_hash=command.token_hash,
        person_id=command.person_id,
        opened_at=command.at,
        seen_at=command.at,
        client=command.client[:200],
    )


@handles(TouchSession, action="session.keep", owner=Owner.HOST)
def touch_session(tx: Tx, command: TouchSession) -> None:
    """Keep a session that is used."""
    tx.write(_TOUCH, which=command.token_hash, now=command.at)


@handles(CloseSession, action="session.keep", owner=Owner.HOST)
def close_session(tx: Tx, command: CloseSession) -> None:
    """End a session."""
    tx.write(_CLOSE, which=command.token_hash)


@handles(CloseOtherSessions, action="session.keep", owner=Owner.HOST)
def close_other_sessions(tx: Tx, command: CloseOtherSessions) -> None:
    """End the others."""
    tx.write(_CLOSE_OTHERS, whose=command.person_id, which=command.token_hash)


@projects(PersonSuspended)
def _end_of_suspended(tx: Tx, event: PersonSuspended) -> None:
    if not tx.rebuilding:
        tx.write(_CLOSE_ALL, whose=event.person_id)


@projects(PersonErased)
def _end_of_erased(tx: Tx, event: PersonErased) -> None:
    if not tx.rebuilding:
        tx.write(_CLOSE_ALL, whose=event.subject)


@projects(PasswordSet)
def _end_of_old_password(tx: Tx, event: PasswordSet) -> None:
    if not tx.rebuilding:
        tx.write(_CLOSE_ALL, whose=event.person_id)


_BY_HASH = Statement(sa.select(access_session).where(_THIS), into=Session)
_OF_PERSON = Statement(
    sa.select(access_session)
    .where(access_session.c.person_id == sa.bindparam("whose"))
    .order_by(access_session.c.seen_at.desc(), access_session.c.token_hash),
    into=Session,
)


def find_session(db: Reader, token_hash: str, now: datetime, limits: Limits) -> Session | None:
    """Return a session that still holds at `now` (system clock), or None."""
    session = db.one(_BY_HASH, which=token_hash)
    return session if session is not None and session.alive(now, limits) else None


def sessions_of(db: Reader, person_id: str, now: datetime, limits: Limits) -> list[Session]:
    """Return the sessions of a person that still hold, last used first."""
    return [session for session in db.all(_OF_PERSON, whose=person_id) if session.alive(now, limits)]
