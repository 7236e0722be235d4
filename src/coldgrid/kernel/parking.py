"""Cursors and parking: where reactions stand in the log, and the events that poisoned one.

Invariants
    K1  A reaction sees the events of one stream in order: behind a parked event the stream waits.
    K2  A parked safety reaction blocks what its scope names until it was repaired (fails closed).
    K3  A cursor moves in the transaction of what the reaction did: exactly once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from coldgrid.kernel.events import Command, Entry, Event
from coldgrid.kernel.ownership import Owner
from coldgrid.kernel.registry import Reaction, hot_state, projects
from coldgrid.kernel.statements import Statement, upsert
from coldgrid.kernel.tables import metadata

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.tx import Tx

__all__ = ["Owner", "ParkedEvent", "ReactionParked", "ReactionResumed", "RetryParked"]


class ReactionParked(Event, frozen=True, tag="kernel.reaction_parked"):
    """A reaction failed on an event, which waits. `safety`: what `scope` names is blocked meanwhile (K2)."""

    reaction: str
    position: int
    entry_id: str
    stream: str
    scope: str
    safety: bool
    why: str


class ReactionResumed(Event, frozen=True, tag="kernel.reaction_resumed"):
    """A parked event was dealt with."""

    reaction: str
    position: int
    entry_id: str
    stream: str
    scope: str
    safety: bool


class RetryParked(Command, frozen=True, tag="kernel.retry_parked"):
    """Ask to run parked events again, oldest first; all of them where no reaction is named."""

    reaction: str = ""


class ParkedEvent(msgspec.Struct, frozen=True):
    """One parked event."""

    reaction: str
    position: int
    entry_id: str
    stream: str
    scope: str
    safety: bool
    why: str


kernel_parked = sa.Table(
    "kernel_parked",
    metadata,
    sa.Column("reaction", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("entry_id", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("safety", sa.Boolean, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
kernel_cursor = sa.Table(
    "kernel_cursor",
    metadata,
    sa.Column("reaction", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    info={"service": True},
)
_PARK = Statement(upsert(kernel_parked, keys=["reaction", "position"], set_=["why"]))
_UNPARK = Statement(
    kernel_parked.delete()
    .where(kernel_parked.c.reaction == sa.bindparam("which"))
    .where(kernel_parked.c.position == sa.bindparam("at"))
)
_ALL = Statement(
    sa.select(kernel_parked).order_by(kernel_parked.c.position, kernel_parked.c.reaction), into=ParkedEvent
)
_CURSORS = Statement(sa.select(kernel_cursor.c.reaction, kernel_cursor.c.position))
_MOVE = Statement(upsert(kernel_cursor, keys=["reaction"], set_=["position"]))


@hot_state
class ParkedStreams:
    """The streams that wait behind a parked event: (reaction, stream) → how many events wait."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[str, str], int] = {}

    @classmethod
    def load(cls, reader: Reader) -> ParkedStreams:
        """Count the parked events."""
        state = cls()
        for parked in parked_events(reader):
            state.add((parked.reaction, parked.stream), 1)
        return state

    def add(self, key: tuple[str, str], count: int) -> None:
        """Change how many events of a stream wait."""
        left = self.waiting.get(key, 0) + count
        if left:
            self.waiting[key] = left
        else:
            self.waiting.pop(key, None)

    def waits(self, reaction: Reaction, stream: str) -> bool:
        """Tell whether the stream waits for this reaction (K1)."""
        return bool(self.waiting) and (reaction.name, stream) in self.waiting


@projects(ReactionParked)
def _park(tx: Tx, event: ReactionParked) -> None:
    tx.write(_PARK, **{name: getattr(event, name) for name in ParkedEvent.__struct_fields__})
    state, key = tx.hot(ParkedStreams), (event.reaction, event.stream)
    state.add(key, 1)
    tx.undo(lambda: state.add(key, -1))


@projects(ReactionResumed)
def _resume(tx: Tx, event: ReactionResumed) -> None:
    tx.write(_UNPARK, which=event.reaction, at=event.position)
    state, key = tx.hot(ParkedStreams), (event.reaction, event.stream)
    state.add(key, -1)
    tx.undo(lambda: state.add(key, 1))


def park(tx: Tx, reaction: Reaction, entry: Entry, scope: str, why: str) -> None:
    """Park an event for a reaction."""
    event = ReactionParked(
        reaction=reaction.name,
        position=entry.position,
        entry_id=entry.id,
        stream=entry.stream,
        scope=scope,
        safety=reaction.safety,
        why=why[:2000],
    )
    tx.record(f"kernel/{tx.origin}", event)


def resume(tx: Tx, parked: ParkedEvent) -> None:
    """Record that a parked event was dealt with."""
    event = ReactionResumed(
        reaction=parked.reaction,
        position=parked.position,
        entry_id=parked.entry_id,
        stream=parked.stream,
        scope=parked.scope,
        safety=parked.safety,
    )
    tx.record(f"kernel/{tx.origin}", event)


def parked_events(db: Reader) -> list[ParkedEvent]:
    """Return every parked event, oldest first."""
    return db.all(_ALL)


def cursors(db: Reader) -> dict[str, int]:
    """Return how far each cursor reaction has read the log."""
    return {name: int(position) for name, position in db.all(_CURSORS)}


def move_cursor(tx: Tx, reaction: str, position: int) -> None:
    """Move a cursor (K3)."""
    tx.write(_MOVE, reaction=reaction, position=position)
