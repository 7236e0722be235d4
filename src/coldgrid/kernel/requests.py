"""Requests: commands about a site that another host decides. They wait in the log until it can.

Invariants
    Q1  The network's host authorises a request and records it; the site's host authorises it again by its
        own rules, with the asker's id and roles, at that site only.
    Q2  A request is carried out at most once and answered once: the answer is in the commit of what was done.
    Q3  What is not begun before it expires is answered as expired and does nothing. What an automatic act
        asks for, and what keeps goods from people, never expires.
    Q4  A node asks nothing of the network and of no other site: who stole one could ask in anybody's name.

A request waits by what the tables say, not by where a reader of the log stands: a site that moves to another
host takes what was asked of it along.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.events import Command, Event, encode, tag_of
from coldgrid.kernel.ids import derive_id
from coldgrid.kernel.registry import command_types, hot_state, projects
from coldgrid.kernel.rejections import Invalid, OriginElsewhere, Problem, Rejected
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.validation import decode_all

if TYPE_CHECKING:
    from coldgrid.kernel.command_log import Answer
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx

# A day: by then somebody at the site has decided it, or the world has moved on.
LIFE = timedelta(days=1)
LIST_MAX = 200
WHY_MAX = 1_000
MACHINE = "system"

# --- Vocabulary -------------------------------------------------------------------


class Status(StrEnum):
    """How a request stands. Values are wire names."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"


class Pending(msgspec.Struct, frozen=True):
    """What the asker gets: the request waits for `site_id`. `expires_at` None: as long as it takes."""

    request_id: str
    site_id: str
    expires_at: datetime | None = None
    status: Status = Status.PENDING


class Requested(Event, frozen=True, tag="kernel.requested"):
    """A command was asked of a site that lives elsewhere. `body` is the command as JSON."""

    request_id: str
    site_id: str
    command: str
    body: msgspec.Raw
    actor: str
    roles: list[str]
    expires_at: datetime | None


class Answered(Event, frozen=True, tag="kernel.answered"):
    """A site's host settled a request.

    `code` and `why` say what refused it; `entry_id` names the last entry it recorded, where it did.
    """

    request_id: str
    site_id: str
    outcome: Status
    code: str = ""
    why: str = ""
    entry_id: str = ""


class DecidedElsewhere(OriginElsewhere):
    """This is decided by another host, and a site's node asks for nothing in your name."""

    todo = "Do it on the tower's pages; while the line is down it has to wait."


class NotKeptForLater(OriginElsewhere):
    """The site has a node of its own, which takes this at once or not at all: it is not kept for later."""

    todo = "Send it to the site's node."


# --- Decisions (pure) -------------------------------------------------------------


def request_id_of(caller: str, key: str | None, *drawn: object) -> str:
    """Return the id of a request: a retry under the same key, or after the same cause, is the same one."""
    return derive_id("request", caller, *((key,) if key else drawn))


def decide_ask(
    request_id: str, command: Command, site_id: str, principal: Principal, lapses: bool, now: datetime
) -> Requested:
    """Return the request to record (Q3)."""
    waits_for_ever = MACHINE in principal.roles or not lapses
    return Requested(
        request_id=request_id,
        site_id=site_id,
        command=tag_of(type(command)),
        body=msgspec.Raw(encode(command)),
        actor=principal.actor_id,
        roles=sorted(principal.roles),
        expires_at=None if waits_for_ever else now + LIFE,
    )


def decide_answer(request: Request, outcome: Answer | Rejected | None) -> Answered:
    """Return the answer to record; without an outcome nothing was done, because it came too late (Q3)."""
    if outcome is None:
        return Answered(
            request_id=request.request_id,
            site_id=request.site_id,
            outcome=Status.EXPIRED,
            why="the site could not be reached in time",
        )
    if isinstance(outcome, Rejected):
        return Answered(
            request_id=request.request_id,
            site_id=request.site_id,
            outcome=Status.REFUSED,
            code=outcome.code,
            why=str(outcome)[:WHY_MAX],
        )
    entry_id = f"{outcome.origin}/{outcome.epoch}/{outcome.seq}" if outcome.seq >= 0 else ""
    return Answered(
        request_id=request.request_id, site_id=request.site_id, outcome=Status.DONE, entry_id=entry_id
    )


# --- Tables and projections ---------------------------------------------------------

# What was asked and what was answered are facts of two origins: each has its own table.
kernel_request = sa.Table(
    "kernel_request",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False, index=True),
    sa.Column("command", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("roles", Json(list[str]), nullable=False),
    sa.Column("asked_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    info={"origin": "network"},
)
kernel_answer = sa.Table(
    "kernel_answer",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("entry_id", sa.Text, nullable=False),
    sa.Column("answered_at", Instant, nullable=False),
    info={"origin": "site"},
)
_ASK = Statement(kernel_request.insert())
_IS_ANSWERED = Statement(
    sa.select(kernel_answer.c.request_id).where(kernel_answer.c.request_id == sa.bindparam("which"))
)
# A node that was put back may answer twice: the later word is the one of the log that was kept.
_ANSWER = Statement(
    upsert(kernel_answer, keys=["request_id"], set_=["outcome", "code", "why", "entry_id", "answered_at"])
)


@hot_state
class OpenRequests:
    """The requests that nobody has answered, by site, in the order in which they were asked."""

    def __init__(self) -> None:
        self.by_site: dict[str, dict[str, None]] = {}

    @classmethod
    def load(cls, reader: Reader) -> OpenRequests:
        """Read the open requests."""
        state = cls()
        for site_id, request_id in reader.all(_OPEN):
            state.add(site_id, request_id)
        return state

    def add(self, site_id: str, request_id: str) -> None:
        """A request waits."""
        self.by_site.setdefault(site_id, {})[request_id] = None

    def drop(self, site_id: str, request_id: str) -> bool:
        """A request waits no more; tell whether it did."""
        waiting = self.by_site.get(site_id, {})
        waited = request_id in waiting
        waiting.pop(request_id, None)
        if not waiting:
            self.by_site.pop(site_id, None)
        return waited

    def due(self, here: Callable[[str], bool]) -> list[str]:
        """Return what waits for the sites that are hosted here, in order."""
        return [name for site_id, waiting in self.by_site.items() if here(site_id) for name in waiting]


@projects(Requested)
def _asked(tx: Tx, event: Requested) -> None:
    tx.write(
        _ASK,
        request_id=event.request_id,
        site_id=event.site_id,
        command=event.command,
        body=bytes(event.body).decode(),
        actor=event.actor,
        roles=event.roles,
        asked_at=tx.now,
        expires_at=event.expires_at,
        epoch=tx.entry.epoch,
        seq=tx.entry.seq,
    )
    # A site's past may come before the feed that asked for it, as where it moves house.
    if not tx.rebuilding and tx.one(_IS_ANSWERED, which=event.request_id) is None:
        state = tx.hot(OpenRequests)
        state.add(event.site_id, event.request_id)
        tx.undo(lambda: _ignore(state.drop(event.site_id, event.request_id)))


@projects(Answered)
def _answered(tx: Tx, event: Answered) -> None:
    tx.write(
        _ANSWER,
        request_id=event.request_id,
        outcome=event.outcome,
        code=event.code,
        why=event.why,
        entry_id=event.entry_id,
        answered_at=tx.now,
    )
    if not tx.rebuilding:
        state = tx.hot(OpenRequests)
        if state.drop(event.site_id, event.request_id):
            tx.undo(lambda: state.add(event.site_id, event.request_id))


def _ignore(_: object) -> None:
    """An undo returns nothing."""


# --- Asking and carrying out ----------------------------------------------------------


def ask(tx: Tx, request_id: str, command: Command, site_id: str, lapses: bool) -> Pending:
    """Record a request in the network's log, for the site to be told; asked again it is the same one."""
    known = find_request(tx, request_id)
    if known is not None:
        return Pending(request_id, site_id, known.expires_at, known.status)
    event = decide_ask(request_id, command, site_id, tx.principal, lapses, tx.now)
    tx.record(f"request/{request_id}", event, audience=(site_id,))
    return Pending(request_id, site_id, event.expires_at)


def command_of(request: Request) -> Command:
    """Return the command that is asked for.

    Raises:
        Invalid: this release does not know it, or not in this form.
    """
    command_type = command_types().get(request.command)
    if command_type is None:
        raise Invalid([Problem(field="type", message=f"{request.command} has no handler here")])
    command: Command = decode_all(request.body.encode(), command_type)
    return command


def asker_of(request: Request) -> Principal:
    """Return who asks: as they were when they asked, at the site alone (Q1)."""
    return Principal(request.actor, frozenset(request.roles), frozenset({request.site_id}))


# --- Queries --------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True):
    """A request as readers see it. `answered_at` is None while it waits."""

    request_id: str
    site_id: str
    command: str
    body: str
    actor: str
    roles: list[str]
    asked_at: datetime
    expires_at: datetime | None
    outcome: str | None
    code: str | None
    why: str | None
    entry_id: str | None
    answered_at: datetime | None

    @property
    def status(self) -> Status:
        """How it stands, as far as it is known here."""
        return Status(self.outcome) if self.outcome else Status.PENDING

    def expired(self, now: datetime) -> bool:
        """Tell whether it may not be begun any more (Q3)."""
        return self.expires_at is not None and now >= self.expires_at


_R, _A = kernel_request.c, kernel_answer.c
_BOTH = kernel_request.outerjoin(kernel_answer, _A.request_id == _R.request_id)
_COLUMNS: list[Any] = [(_R if name in _R else _A)[name] for name in Request.__struct_fields__]
_ROWS = sa.select(*_COLUMNS).select_from(_BOTH)
_ONE = Statement(_ROWS.where(_R.request_id == sa.bindparam("which")), into=Request)
_LATEST = _ROWS.order_by(_R.epoch.desc(), _R.seq.desc()).limit(sa.bindparam("count", type_=sa.Integer))
_RECENT = Statement(_LATEST, into=Request)
_RECENT_AT = Statement(_LATEST.where(_R.site_id == sa.bindparam("site")), into=Request)
_OPEN = Statement(
    sa.select(_R.site_id, _R.request_id)
    .select_from(_BOTH)
    .where(_A.request_id.is_(None))
    .order_by(_R.epoch, _R.seq)
)
_ANY = Statement(sa.select(_R.request_id).limit(1))
_WAITING = Statement(sa.select(sa.func.count()).select_from(_BOTH).where(_A.request_id.is_(None)))


def find_request(db: Reader, request_id: str) -> Request | None:
    """Return a request, or None."""
    return db.one(_ONE, which=request_id)


def list_requests(db: Reader, site_id: str = "", limit: int = LIST_MAX) -> list[Request]:
    """Return what was asked, of one site or of all, the latest first."""
    if site_id:
        return db.all(_RECENT_AT, site=site_id, count=limit)
    return db.all(_RECENT, count=limit)


def any_asked(db: Reader) -> bool:
    """Tell whether anything was ever asked of a site that lives elsewhere."""
    return db.one(_ANY) is not None


def count_waiting(db: Reader) -> int:
    """Return how many requests nobody has answered."""
    return int(db.value(_WAITING) or 0)
