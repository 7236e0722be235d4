"""Playbook runs on the log: their events, their tables, and what others may ask about them.

Invariants
    R1  A run is driven by the exact bytes of one playbook, which the log keeps with it.
    R2  Each event holds what happened, the facts that were looked at, the state after it and what was to be
        done: a backtest needs nothing else, and neither does a restart.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Event
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import projects
from coldgrid.kernel.rejections import NotFound
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, Json, metadata
from coldgrid.kernel.tx import Tx
from coldgrid.orchestration.decisions import Decision, keep_decision
from coldgrid.orchestration.playbook_model import Value
from coldgrid.orchestration.playbook_state import Act, Happening, RunState, Wake

# --- Vocabulary -----------------------------------------------------------------


class TaskOpened(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step asks a person of a role for something."""

    step: str
    use: int
    role: str
    title: str
    answers: list[str]
    values: list[Value] = []
    revisable: bool = False
    due_at: datetime | None = None


class TaskClosed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task was answered; without an answer it is no longer needed."""

    step: str
    use: int
    answer: str = ""
    title: str = ""
    values: dict[str, Any] = {}


class Run(msgspec.Struct, frozen=True):
    """A run as facts and actions see it."""

    run_id: str
    site_id: str
    zone_id: str
    incident_id: str
    playbook: str
    version: int
    hash: str
    policy: dict[str, Any]
    state: RunState
    acts: list[Act]
    started_at: datetime
    moved_at: datetime
    ended_at: datetime | None
    outcome: str


# --- Events ---------------------------------------------------------------------


class PlaybookKept(Event, frozen=True, tag="orchestration.playbook_kept"):
    """A playbook's bytes were put on record (R1). `current`: new runs of this name use it from now on."""

    hash: str
    name: str
    version: int
    source: str
    current: bool = False


class RunStarted(Event, frozen=True, tag="orchestration.run_started"):
    """A playbook began to drive an incident. `run`: what its texts may name as `run.…`."""

    run_id: str
    site_id: str
    zone_id: str
    incident_id: str
    playbook: str
    version: int
    hash: str
    policy: dict[str, Any]
    run: dict[str, str]


class RunAdvanced(Event, frozen=True, tag="orchestration.run_advanced"):
    """Something happened to a run: `state` is where it stands now, `acts` what is done about it (R2)."""

    run_id: str
    site_id: str
    zone_id: str
    incident_id: str
    happening: Happening
    state: RunState
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    acts: list[Act] = msgspec.field(default_factory=list)
    timers: list[Wake] = msgspec.field(default_factory=list)
    decisions: list[Decision] = msgspec.field(default_factory=list)
    opened: list[TaskOpened] = msgspec.field(default_factory=list)
    closed: list[TaskClosed] = msgspec.field(default_factory=list)


class RunMovedToVersion(Event, frozen=True, tag="orchestration.run_moved_to_version"):
    """A person let another version of the playbook go on with a run."""

    run_id: str
    site_id: str
    zone_id: str
    incident_id: str
    from_hash: str
    to_hash: str
    version: int
    policy: dict[str, Any]
    reason: str


class RunEnded(Event, frozen=True, tag="orchestration.run_ended"):
    """A run is over. `outcome`: as its playbook names it."""

    run_id: str
    site_id: str
    zone_id: str
    incident_id: str
    outcome: str


class RunNotFound(NotFound):
    """There is no such run."""


# --- Tables and projections -----------------------------------------------------

orchestration_playbook = sa.Table(
    "orchestration_playbook",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("current", sa.Boolean, nullable=False),
    info={"origin": "site"},
)
orchestration_run = sa.Table(
    "orchestration_run",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("site_id", sa.Text, nullable=False),
    sa.Column("zone_id", sa.Text, nullable=False),
    sa.Column("incident_id", sa.Text, nullable=False),
    sa.Column("playbook", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("policy", Json(dict[str, Any]), nullable=False),
    sa.Column("state", Json(RunState), nullable=False),
    sa.Column("acts", Json(list[Act]), nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("moved_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index("ix_orchestration_run_incident", "incident_id"),
    sa.Index("ix_orchestration_run_zone", "zone_id", "ended_at"),
    info={"origin": "site"},
)
_of_run = orchestration_run.c.run_id == sa.bindparam("which")
_KEEP_PLAYBOOK = Statement(upsert(orchestration_playbook, keys=["origin", "hash"], set_=["current"]))
_START = Statement(orchestration_run.insert())
_ADVANCE = Statement(
    orchestration_run.update()
    .where(_of_run)
    .values(
        state=sa.bindparam("to_state", type_=Json(RunState)),
        acts=sa.bindparam("to_acts", type_=Json(list[Act])),
        moved_at=sa.bindparam("at", type_=Instant),
    )
)
_MOVE = Statement(
    orchestration_run.update()
    .where(_of_run)
    .values(
        hash=sa.bindparam("to_hash"),
        version=sa.bindparam("to_version"),
        policy=sa.bindparam("to_policy", type_=Json(dict[str, Any])),
    )
)
_END = Statement(
    orchestration_run.update()
    .where(_of_run)
    .values(ended_at=sa.bindparam("at", type_=Instant), outcome=sa.bindparam("how"))
)


@projects(PlaybookKept)
def _keep_playbook(tx: Tx, event: PlaybookKept) -> None:
    tx.write(_KEEP_PLAYBOOK, origin=tx.entry.origin, **msgspec.structs.asdict(event))


@projects(RunStarted)
def _start_row(tx: Tx, event: RunStarted) -> None:
    fields = msgspec.structs.asdict(event)
    del fields["run"]
    tx.write(
        _START,
        **fields,
        state=RunState(run=event.run),
        acts=[],
        started_at=tx.now,
        moved_at=tx.now,
        ended_at=None,
        outcome="",
    )


@projects(RunAdvanced)
def _advance_row(tx: Tx, event: RunAdvanced) -> None:
    tx.write(_ADVANCE, which=event.run_id, to_state=event.state, to_acts=event.acts, at=tx.now)
    for decision in event.decisions:
        keep_decision(tx, decision, subject=f"incident/{event.incident_id}")


@projects(RunMovedToVersion)
def _move_row(tx: Tx, event: RunMovedToVersion) -> None:
    tx.write(
        _MOVE, which=event.run_id, to_hash=event.to_hash, to_version=event.version, to_policy=event.policy
    )


@projects(RunEnded)
def _end_row(tx: Tx, event: RunEnded) -> None:
    tx.write(_END, which=event.run_id, at=tx.now, how=event.outcome)


# --- Queries --------------------------------------------------------------------

_RUN = sa.select(*(orchestration_run.c[name] for name in Run.__struct_fields__))
_RUN_ORDER = (orchestration_run.c.started_at, orchestration_run.c.run_id)
_live = orchestration_run.c.ended_at.is_(None)
_GET = Statement(_RUN.where(_of_run), into=Run)
_OF_INCIDENT = Statement(
    _RUN.where(orchestration_run.c.incident_id == sa.bindparam("incident_id")).order_by(*_RUN_ORDER), into=Run
)
_LIVE_OF_ZONE = Statement(
    _RUN.where(_live, orchestration_run.c.zone_id == sa.bindparam("zone_id")).order_by(*_RUN_ORDER), into=Run
)
_SOURCE = Statement(
    sa.select(orchestration_playbook.c.source).where(orchestration_playbook.c.hash == sa.bindparam("hash"))
)
_CURRENT = Statement(
    sa.select(orchestration_playbook.c.hash, orchestration_playbook.c.version)
    .where(
        orchestration_playbook.c.origin == sa.bindparam("origin"),
        orchestration_playbook.c.name == sa.bindparam("name"),
        orchestration_playbook.c.current.is_(sa.true()),
    )
    .order_by(orchestration_playbook.c.version.desc())
)
_PUBLISHED = Statement(
    sa.select(orchestration_playbook.c.origin, orchestration_playbook.c.name, orchestration_playbook.c.hash)
    .where(orchestration_playbook.c.current.is_(sa.true()))
    .order_by(*(orchestration_playbook.c[name] for name in ("origin", "name", "version")))
)
_HAS = Statement(
    sa.select(orchestration_playbook.c.hash).where(
        orchestration_playbook.c.origin == sa.bindparam("origin"),
        orchestration_playbook.c.hash == sa.bindparam("hash"),
    )
)


def get_run(db: Reader, run_id: str) -> Run:
    """Return one run.

    Raises:
        RunNotFound: no such run.
    """
    found = db.one(_GET, which=run_id)
    if found is None:
        raise RunNotFound(run_id=run_id)
    return found


def runs_of(db: Reader, incident_id: str) -> list[Run]:
    """The runs of an incident, oldest first."""
    return db.all(_OF_INCIDENT, incident_id=incident_id)


def live_runs(db: Reader, *, incident_id: str = "", zone_id: str = "") -> list[Run]:
    """The runs of an incident, or else of a zone, that are not over."""
    if incident_id:
        return [run for run in runs_of(db, incident_id) if run.ended_at is None]
    return db.all(_LIVE_OF_ZONE, zone_id=zone_id)


def kept_source(db: Reader, hash_: str) -> str | None:
    """The bytes of a playbook on record, or None."""
    source: str | None = db.value(_SOURCE, hash=hash_)
    return source


def keeps(db: Reader, origin: str, hash_: str) -> bool:
    """Tell whether an origin's log holds the playbook."""
    return db.one(_HAS, origin=origin, hash=hash_) is not None


def published_hashes(db: Reader) -> list[tuple[str, str, str]]:
    """The highest version that each log has put in force, as (site, name, hash), by site and name."""
    highest = {(origin, name): hash_ for origin, name, hash_ in db.all(_PUBLISHED)}
    return [(origin, name, hash_) for (origin, name), hash_ in highest.items()]


def current_hash(db: Reader, origin: str, name: str) -> tuple[str, int] | None:
    """The hash and version of the newest playbook of a name that was published at an origin."""
    row = db.one(_CURRENT, origin=origin, name=name)
    return None if row is None else (row[0], row[1])
