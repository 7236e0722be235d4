"""Decision records: why an automated choice came out as it did, kept so that a person can check it later.

Invariants
    D1  A decision is written once, with its event; nothing edits it.
    D2  An override is a later fact beside the decision, with the person and the reason.
    D3  A decision is overridden at most once, and never to what it had chosen itself.

Every automated choice embeds a `Decision` in the event it causes, or records it alone with
`record_decision`. A room with a hot path embeds the alternatives as `Columns`, leaves the row out and
registers where its decisions are found (`register_home`): one copy is enough.

Vocabulary: an alternative without a score was ruled out, its `why` says by what; a guardrail is a rule that
no score can outweigh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, Invalid, NotFound, Problem
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, Named, metadata
from coldgrid.kernel.tx import Tx

# --- Vocabulary -----------------------------------------------------------------


# An int stays one on the wire, so that a rebuild writes the very bytes that the first run did.
Number = int | float


class Alternative(msgspec.Struct, frozen=True):
    """One thing that could have been chosen. `score` in the decision's `score_unit`, None when ruled out."""

    name: str
    score: Number | None = None
    facts: dict[str, Any] = {}
    why: str = ""


class Columns(msgspec.Struct, frozen=True, omit_defaults=True):
    """The alternatives of a hot path, one list per column, all of the same length.

    `why` holds short codes (registered with `register_reasons`) or the text itself; `facts` a list per
    fact. Twenty alternatives cost a few microseconds to build and encode, a tenth of the row form.
    """

    names: Sequence[str]
    scores: Sequence[Number | None] = ()
    why: Sequence[str] = ()
    facts: dict[str, Sequence[Number | str | None]] = {}


class Guardrail(msgspec.Struct, frozen=True):
    """A rule that the outcome had to keep, and whether it did."""

    name: str
    ok: bool
    why: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an automated choice rested on.

    `inputs`: entry ids of the events it answers. `facts`: what it read, by name. `policy`: name and version
    of the rules or model, `policy_hash` the hash of their bytes. `outcome`: the name of the chosen
    alternative. `score_unit`: what the scores measure, such as `cents` or `min`; the lowest wins.
    """

    decision_id: str
    kind: str
    inputs: list[str] = []
    facts: dict[str, Any] = {}
    policy: str
    policy_hash: str = ""
    alternatives: list[Alternative] | Columns = []
    score_unit: str = ""
    guardrails: list[Guardrail] = []
    outcome: str
    why: str


class DecisionStatus(StrEnum):
    """How far a decision got: made by the program, waiting for a person, agreed to, or overridden."""

    MADE = "made"
    WAITING = "waiting"
    AGREED = "agreed"
    OVERRIDDEN = "overridden"
    LAPSED = "lapsed"


# --- Events ---------------------------------------------------------------------


class DecisionRecorded(Event, frozen=True, tag="orchestration.decision_recorded"):
    """The program chose. `subject`: the stream it is about, `kind/id`."""

    decision: Decision
    subject: str = ""


class DecisionOverridden(Event, frozen=True, tag="orchestration.decision_overridden"):
    """A person chose otherwise, and said why."""

    decision_id: str
    outcome: str
    reason: str


# --- Rejections -----------------------------------------------------------------


class DecisionNotFound(NotFound):
    """There is no such decision on record."""


class DecisionAlreadyOverridden(Conflict):
    """The decision was overridden before; ask whoever did (D3)."""


class OverrideAgrees(Conflict):
    """An override chooses something else than the decision did (D3)."""


# --- Table and projections ------------------------------------------------------

orchestration_decision = sa.Table(
    "orchestration_decision",
    metadata,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("body", Json(Decision), nullable=False),
    sa.Column("status", Named(DecisionStatus), nullable=False),
    sa.Column("final_outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", Instant),
    sa.Index("ix_orchestration_decision_made", "made_at", "decision_id"),
    sa.Index("ix_orchestration_decision_subject", "subject"),
    info={"origin": "site"},
)

# The same decision again (recorded, then put to a person) changes only how far it got.
_KEEP = Statement(upsert(orchestration_decision, keys=["decision_id"], set_=["status"]))
_SETTLE = Statement(
    orchestration_decision.update()
    .where(orchestration_decision.c.decision_id == sa.bindparam("of"))
    .values(
        status=sa.bindparam("to"),
        final_outcome=sa.bindparam("chose"),
        reason=sa.bindparam("because"),
        decided_by=sa.bindparam("by"),
        decided_at=sa.bindparam("at"),
    )
)


def keep_decision(
    tx: Tx, decision: Decision, *, subject: str = "", status: DecisionStatus = DecisionStatus.MADE
) -> None:
    """Give a decision its row; call it from the projection of the event that embeds the decision."""
    tx.write(
        _KEEP,
        decision_id=decision.decision_id,
        kind=decision.kind,
        subject=subject,
        origin=tx.origin,
        made_at=tx.now,
        body=decision,
        status=status,
        final_outcome=decision.outcome,
        reason=None,
        decided_by=None,
        decided_at=None,
    )


def settle_decision(tx: Tx, decision_id: str, status: DecisionStatus, outcome: str, reason: str) -> None:
    """Write what a person made of a decision; from projections only (D2)."""
    tx.write(_SETTLE, of=decision_id, to=status, chose=outcome, because=reason, by=tx.actor, at=tx.now)


@projects(DecisionRecorded)
def _keep(tx: Tx, event: DecisionRecorded) -> None:
    keep_decision(tx, event.decision, subject=event.subject)


@projects(DecisionOverridden)
def _override(tx: Tx, event: DecisionOverridden) -> None:
    settle_decision(tx, event.decision_id, DecisionStatus.OVERRIDDEN, event.outcome, event.reason)


# --- Decisions (pure) -----------------------------------------------------------


class KeptDecision(msgspec.Struct, frozen=True):
    """A decision as readers see it, with what a person made of it."""

    decision_id: str
    subject: str
    origin: str
    made_at: datetime
    decision: Decision
    status: DecisionStatus
    final_outcome: str
    reason: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


class OverrideDecision(Command, frozen=True, tag="orchestration.override_decision"):
    """Ask to put a site's decision aside for `outcome`, with a reason."""

    site_id: str
    decision_id: str
    outcome: str
    reason: str


def decide_override(kept: KeptDecision, outcome: str, reason: str) -> DecisionOverridden:
    """Return the event that overrides a decision, or reject (D3)."""
    if not reason.strip():
        raise Invalid(problems=[Problem(field="reason", message="an override says why")])
    if kept.status is DecisionStatus.OVERRIDDEN:
        raise DecisionAlreadyOverridden(decision_id=kept.decision_id, decided_by=kept.decided_by)
    if outcome == kept.decision.outcome:
        raise OverrideAgrees(decision_id=kept.decision_id, outcome=outcome)
    return DecisionOverridden(decision_id=kept.decision_id, outcome=outcome, reason=reason.strip())


_reasons: dict[str, str] = {}


def register_reasons(texts: Mapping[str, str]) -> None:
    """Give the codes that `why` and `Columns.why` hold the text a person reads, once for all rooms.

    Raises:
        ValueError: a code is already registered with another text.
    """
    for code, text in texts.items():
        if _reasons.setdefault(code, text) != text:
            raise ValueError(f"reason {code!r} is registered with another text")


def reason_text(code: str) -> str:
    """What a person reads for a reason code; a text that is no code stays as it is."""
    return _reasons.get(code, code)


def alternatives_of(decision: Decision) -> list[Alternative]:
    """The alternatives one by one with readable reasons, best score first, those ruled out last.

    Columns shorter than `names` leave the rest without that value.
    """
    rows = decision.alternatives
    found = _from_columns(rows) if isinstance(rows, Columns) else rows
    readable = [msgspec.structs.replace(row, why=reason_text(row.why)) for row in found]
    return sorted(readable, key=lambda row: (row.score is None, row.score or 0.0))


def _from_columns(columns: Columns) -> list[Alternative]:
    return [
        Alternative(
            name=name,
            score=_cell(columns.scores, i),
            facts={fact: values[i] for fact, values in columns.facts.items() if i < len(values)},
            why=_cell(columns.why, i) or "",
        )
        for i, name in enumerate(columns.names)
    ]


def _cell(column: Sequence[Any], i: int) -> Any:
    return column[i] if i < len(column) else None


# --- Commands -------------------------------------------------------------------


def record_decision(tx: Tx, stream: str, decision: Decision) -> None:
    """Record a decision that no other event embeds, in the stream it is about."""
    tx.record(stream, DecisionRecorded(decision=decision, subject=stream))


@handles(OverrideDecision, action="orchestration.override_decision", owner=Owner.SITE)
def override_decision(tx: Tx, command: OverrideDecision) -> None:
    """Put a site's decision aside. Another room's decisions are overridden by that room's command."""
    kept = get_decision(tx, command.decision_id)
    event = decide_override(kept, command.outcome, command.reason)
    tx.record(f"decision/{command.decision_id}", event)


# --- Queries --------------------------------------------------------------------

Home = Callable[[Reader, str], KeptDecision | None]
_homes: dict[str, Home] = {}

_COLUMNS = (
    orchestration_decision.c.decision_id,
    orchestration_decision.c.subject,
    orchestration_decision.c.origin,
    orchestration_decision.c.made_at,
    orchestration_decision.c.body,
    orchestration_decision.c.status,
    orchestration_decision.c.final_outcome,
    orchestration_decision.c.reason,
    orchestration_decision.c.decided_by,
    orchestration_decision.c.decided_at,
)
_NEWEST = (orchestration_decision.c.made_at.desc(), orchestration_decision.c.decision_id)
_GET = Statement(
    sa.select(*_COLUMNS).where(orchestration_decision.c.decision_id == sa.bindparam("decision_id")),
    into=KeptDecision,
)
_OF_SUBJECT = Statement(
    sa.select(*_COLUMNS)
    .where(orchestration_decision.c.subject == sa.bindparam("subject"))
    .order_by(*_NEWEST),
    into=KeptDecision,
)
_LIST = Statement(
    sa.select(*_COLUMNS)
    .where(orchestration_decision.c.status.in_(sa.bindparam("statuses", expanding=True)))
    .order_by(*_NEWEST)
    .limit(sa.bindparam("most")),
    into=KeptDecision,
)


def register_home(name: str, find: Home) -> None:
    """Say where a room finds the decisions that it keeps only inside its own events."""
    _homes[name] = find


def get_decision(db: Reader, decision_id: str) -> KeptDecision:
    """Return one decision with its override, wherever it is kept.

    Raises:
        DecisionNotFound: no room knows it.
    """
    kept: KeptDecision | None = db.one(_GET, decision_id=decision_id)
    if kept is not None:
        return kept
    for find in _homes.values():
        found = find(db, decision_id)
        if found is not None:
            return found
    raise DecisionNotFound(decision_id=decision_id)


def list_decisions(db: Reader, *, waiting: bool | None = None, limit: int = 100) -> list[KeptDecision]:
    """The newest decisions; `waiting=True` only those a person must still agree to, False only the others."""
    pending = DecisionStatus.WAITING
    statuses = [status for status in DecisionStatus if waiting is None or (status is pending) is waiting]
    rows: list[KeptDecision] = db.all(_LIST, statuses=statuses, most=limit)
    return rows


def decisions_about(db: Reader, subject: str) -> list[KeptDecision]:
    """The decisions about one stream (`incident/…`, `order/…`), newest first."""
    rows: list[KeptDecision] = db.all(_OF_SUBJECT, subject=subject)
    return rows
