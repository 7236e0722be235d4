"""API tokens: how a machine signs in. Facts of the log: who issued what to whom, and who took it back.

Invariants
    K1  Only a token's hash is stored; the token is shown once.
    K2  A token has roles, sites and channels of its own, never a role that signs for a person
        (`roles.PERSONAL`).
    K3  A revoked or expired token is refused from the next request on (at most `door.KNOWN_FOR` later).
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
import sqlalchemy as sa

from coldgrid.access.roles import PERSONAL, Role
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx

LABEL_MAX = 100
# As orders name theirs (`orders.intake.Channel`).
CHANNEL = re.compile(r"[a-z][a-z0-9_]{0,19}")
HASH_LENGTH = 64


class TokenIssued(Event, frozen=True, omit_defaults=True, tag="access.token_issued"):
    """A machine may sign in. `expires_at` is on the system clock; None: until revoked.

    `channels`: those whose orders it may place and read back; None: all.
    """

    token_id: str
    label: str
    token_hash: str
    roles: list[Role]
    sites: list[str] | None
    expires_at: datetime | None
    channels: list[str] | None = None


class TokenRevoked(Event, frozen=True, tag="access.token_revoked"):
    """A machine may not sign in any more."""

    token_id: str
    reason: str


class TokenNotFound(NotFound):
    """There is no such token."""


class TokenExists(Conflict):
    """There is already a token with this id."""


access_token = sa.Table(
    "access_token",
    metadata,
    sa.Column("token_id", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("token_hash", sa.Text, nullable=False),
    sa.Column("roles", Json(list[str]), nullable=False),
    sa.Column("sites", Json(list[str])),
    sa.Column("channels", Json(list[str])),
    sa.Column("expires_at", Instant),
    sa.Column("issued_by", sa.Text, nullable=False),
    sa.Column("issued_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
    info={"origin": "network"},
)
sa.Index("ix_access_token_hash", access_token.c.token_hash)
_ISSUE = Statement(access_token.insert())
_REVOKE = Statement(
    access_token.update()
    .where(access_token.c.token_id == sa.bindparam("which"))
    .values(revoked_at=sa.bindparam("now", type_=Instant))
)


@projects(TokenIssued)
def _issue_row(tx: Tx, event: TokenIssued) -> None:
    tx.write(
        _ISSUE,
        token_id=event.token_id,
        label=event.label,
        token_hash=event.token_hash,
        roles=event.roles,
        sites=event.sites,
        channels=event.channels,
        expires_at=event.expires_at,
        issued_by=tx.actor,
        issued_at=tx.now,
        revoked_at=None,
    )


@projects(TokenRevoked)
def _revoke_row(tx: Tx, event: TokenRevoked) -> None:
    tx.write(_REVOKE, which=event.token_id, now=tx.now)


class ApiToken(msgspec.Struct, frozen=True):
    """An API token as readers see it: never the token itself."""

    token_id: str
    label: str
    roles: list[str]
    sites: list[str] | None
    expires_at: datetime | None
    issued_by: str
    issued_at: datetime
    revoked_at: datetime | None
    channels: list[str] | None = None

    def alive(self, now: datetime) -> bool:
        """Tell whether it is accepted at `now` (system clock)."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class IssueToken(Command, frozen=True, tag="access.issue_token"):
    """Let a machine sign in. The caller drew the token and keeps it; only its SHA-256 comes here."""

    token_id: str
    label: str
    token_hash: str
    roles: list[Role]
    sites: list[str] | None = None
    expires_at: datetime | None = None
    channels: list[str] | None = None


class RevokeToken(Command, frozen=True, tag="access.revoke_token"):
    """Take a token back."""

    token_id: str
    reason: str = ""


def check_token(command: IssueToken) -> None:
    """Reject what no token may be; all problems at once (K2)."""
    problems = []
    if not 0 < len(command.label.strip()) <= LABEL_MAX:
        problems.append(Problem(field="label", message=f"needs 1 to {LABEL_MAX} characters"))
    if len(command.token_hash) != HASH_LENGTH:
        problems.append(Problem(field="token_hash", message="is no SHA-256 in hexadecimal"))
    if not command.roles:
        problems.append(Problem(field="roles", message="is empty", fix="Choose what the machine may do"))
    signing = [role for role in command.roles if role in PERSONAL]
    problems += [Problem(field="roles", message=f"{role} is given to people only") for role in signing]
    wrong = [name for name in command.channels or () if not CHANNEL.fullmatch(name)]
    fix = "Write it as orders do: small letters, digits and _, as web"
    problems += [Problem(field="channels", message=f"{name!r} names no channel", fix=fix) for name in wrong]
    if command.channels is not None and set(command.roles) != {Role.INTEGRATOR}:
        message = "bind an integrator alone: other roles see every channel's orders"
        problems.append(
            Problem(field="channels", message=message, fix="Choose integrator alone, or leave it empty")
        )
    if command.channels == []:
        problems.append(Problem(field="channels", message="names no channel", fix="Leave it out for all"))
    if command.expires_at is not None and command.expires_at.tzinfo is None:
        problems.append(Problem(field="expires_at", message="has no offset from UTC"))
    if problems:
        raise Invalid(problems)


@handles(IssueToken, action="access.issue_token", owner=Owner.NETWORK)
def issue_token(tx: Tx, command: IssueToken) -> dict[str, str]:
    """Keep a token's hash, roles and sites."""
    check_token(command)
    if tx.one(_BY_ID, which=command.token_id) is not None:
        raise TokenExists(token_id=command.token_id)
    event = TokenIssued(
        token_id=command.token_id,
        label=command.label.strip(),
        token_hash=command.token_hash,
        roles=sorted(set(command.roles)),
        sites=None if command.sites is None else sorted(set(command.sites)),
        expires_at=command.expires_at,
        channels=None if command.channels is None else sorted(set(command.channels)),
    )
    tx.record(f"token/{command.token_id}", event, audience=event.sites or ())
    return {"token_id": command.token_id}


@handles(RevokeToken, action="access.revoke_token", owner=Owner.NETWORK)
def revoke_token(tx: Tx, command: RevokeToken) -> None:
    """Take a token back; twice is harmless."""
    token = tx.one(_BY_ID, which=command.token_id)
    if token is None:
        raise TokenNotFound(token_id=command.token_id)
    if token.revoked_at is None:
        event = TokenRevoked(token_id=command.token_id, reason=command.reason)
        tx.record(f"token/{command.token_id}", event, audience=token.sites or ())


_COLUMNS = sa.select(*(access_token.c[name] for name in ApiToken.__struct_fields__))
_BY_ID = Statement(_COLUMNS.where(access_token.c.token_id == sa.bindparam("which")), into=ApiToken)
_BY_HASH = Statement(_COLUMNS.where(access_token.c.token_hash == sa.bindparam("key")), into=ApiToken)
_ALL = Statement(_COLUMNS.order_by(access_token.c.issued_at.desc(), access_token.c.token_id), into=ApiToken)


def find_token(db: Reader, token_hash: str, now: datetime) -> ApiToken | None:
    """Return the token with this hash if it is accepted at `now` (system clock), or None."""
    token = db.one(_BY_HASH, key=token_hash)
    return token if token is not None and token.alive(now) else None


def list_tokens(db: Reader) -> list[ApiToken]:
    """Return every token ever issued, the newest first."""
    return db.all(_ALL)
