"""Forks: a log that does not extend what was signed of it. It is reported, quarantined, and left to a person.

Invariants
    F1  A forked log gets no further checkpoint from this host: signing on would bless the edit.
    F2  The report is itself a fact, in this host's own log, with both hashes.
    F3  A person ends the quarantine, with a reason; the log is then held against its checkpoint again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

import msgspec
import sqlalchemy as sa
import structlog

from coldgrid.evidence.tiles import LogId
from coldgrid.kernel.audience import EVERY_SITE
from coldgrid.kernel.events import Command, Event
from coldgrid.kernel.ownership import NETWORK_ORIGIN, Owner
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.registry import handles, projects
from coldgrid.kernel.rejections import Conflict, NotFound
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import Instant, metadata
from coldgrid.kernel.tx import Tx

logger = structlog.get_logger("coldgrid.evidence")

# --- Vocabulary -------------------------------------------------------------------


class KeptFork(msgspec.Struct, frozen=True):
    """A fork as it was reported, and how it ended: `settled_by` is empty while the log is in quarantine."""

    origin: str
    epoch: int
    found_at: datetime
    size: int
    signed: str
    found: str
    why: str
    settled_at: datetime | None
    settled_by: str
    reason: str


# --- Events -----------------------------------------------------------------------


class ForkFound(Event, frozen=True, tag="evidence.fork_found"):
    """A log does not extend what was signed of it: a disk was rewound, a row edited, or two hosts wrote.

    `signed` is the root or leaf (hex) that was signed, `found` what is there now; `size`: of the signed tree.
    """

    log_origin: str
    log_epoch: int
    size: int
    signed: str
    found: str
    why: str


class ForkSettled(Event, frozen=True, tag="evidence.fork_settled"):
    """A person chose which copy is kept and put it in place: the quarantine of a log ended."""

    log_origin: str
    log_epoch: int
    reason: str


# --- Rejections -------------------------------------------------------------------


class LogForked(Conflict):
    """The log does not extend its checkpoint: an entry was changed or removed after it was signed."""

    todo = "Quarantine this copy; compare both hashes; let a person choose which log is kept."

    def report(self) -> ForkFound:
        """Return the fact to record."""
        return ForkFound(**cast("dict[str, Any]", self.facts))


class InQuarantine(Conflict):
    """Logs get no checkpoint until a person settled their fork."""

    todo = "Compare both hashes on the health page, put the right copy in place, then settle the fork."


class ForkNotFound(NotFound):
    """The log is not in quarantine."""


def forked(log_id: LogId, size: int, signed: bytes, found: bytes, why: str) -> LogForked:
    """Return the rejection that reports a fork, with both hashes."""
    return LogForked(
        log_origin=log_id.origin,
        log_epoch=log_id.epoch,
        size=size,
        signed=signed.hex(),
        found=found.hex(),
        why=why,
    )


# --- Table and projections --------------------------------------------------------

evidence_fork = sa.Table(
    "evidence_fork",
    metadata,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("found_at", Instant, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("signed", sa.Text, nullable=False),
    sa.Column("found", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("settled_at", Instant),
    sa.Column("settled_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    info={"origin": "network"},
)
_REPORT = Statement(
    upsert(
        evidence_fork,
        keys=["origin", "epoch"],
        set_=["found_at", "size", "signed", "found", "why", "settled_at", "settled_by", "reason"],
    )
)
_SETTLE = Statement(
    evidence_fork.update()
    .where(evidence_fork.c.origin == sa.bindparam("of_origin"))
    .where(evidence_fork.c.epoch == sa.bindparam("of_epoch"))
    .values(
        settled_at=sa.bindparam("at", type_=Instant),
        settled_by=sa.bindparam("by"),
        reason=sa.bindparam("why_so"),
    )
)
_ALL = Statement(
    sa.select(evidence_fork).order_by(evidence_fork.c.origin, evidence_fork.c.epoch), into=KeptFork
)


@projects(ForkFound)
def _report(tx: Tx, event: ForkFound) -> None:
    tx.write(
        _REPORT,
        origin=event.log_origin,
        epoch=event.log_epoch,
        found_at=tx.now,
        size=event.size,
        signed=event.signed,
        found=event.found,
        why=event.why,
        settled_at=None,
        settled_by="",
        reason="",
    )


@projects(ForkSettled)
def _settle(tx: Tx, event: ForkSettled) -> None:
    tx.write(
        _SETTLE,
        of_origin=event.log_origin,
        of_epoch=event.log_epoch,
        at=tx.now,
        by=tx.actor,
        why_so=event.reason,
    )


# --- Commands ---------------------------------------------------------------------


class SettleFork(Command, frozen=True, tag="evidence.settle_fork"):
    """Ask to end a log's quarantine after a person put the right copy in place. `origin`: this host's own."""

    log_origin: str
    log_epoch: int
    reason: str
    origin: str = NETWORK_ORIGIN


@handles(SettleFork, action="evidence.settle_fork", owner=Owner.ANY)
def settle_fork(tx: Tx, command: SettleFork) -> None:
    """End a quarantine; the next checkpoint holds the log against what was signed again (F3)."""
    log_id = LogId(command.log_origin, command.log_epoch)
    if log_id not in quarantined(tx):
        raise ForkNotFound(log=str(log_id))
    settled = ForkSettled(log_origin=command.log_origin, log_epoch=command.log_epoch, reason=command.reason)
    # Every site witnesses the network's log, and may remember the history that does not count.
    all_sites = command.log_origin == tx.origin == NETWORK_ORIGIN
    tx.record(f"origin/{command.log_origin}", settled, audience=(EVERY_SITE,) if all_sites else ())


def report(tx: Tx, found: Iterable[LogForked]) -> None:
    """Record forks in this host's own log, each once (F2), and say so loudly."""
    barred = quarantined(tx)
    for fork in found:
        event = fork.report()
        if LogId(event.log_origin, event.log_epoch) not in barred:
            tx.record(f"origin/{event.log_origin}", event)
            logger.error("log_forked", **fork.facts)


# --- Queries ----------------------------------------------------------------------


def forks(db: Reader) -> list[KeptFork]:
    """Return every fork that was ever reported here."""
    return db.all(_ALL)


def open_forks(db: Reader) -> list[KeptFork]:
    """Return the forks that no person has settled yet."""
    return [fork for fork in forks(db) if not fork.settled_by]


def quarantined(db: Reader) -> set[LogId]:
    """Return the logs that get no checkpoint until a person has settled their fork (F1)."""
    return {LogId(fork.origin, fork.epoch) for fork in open_forks(db)}
