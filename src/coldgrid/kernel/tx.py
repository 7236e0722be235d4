"""One unit of work: what a handler, a projection or a reaction is given.

Code below the entrypoints never reads a clock, a random source or the current user; it takes them
from here, which is what makes replay and tests exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from coldgrid.kernel import log, outbox, personal, timers
from coldgrid.kernel.audience import audience_of
from coldgrid.kernel.authorize import Principal
from coldgrid.kernel.batch import Batch
from coldgrid.kernel.events import Command, Entry, Event
from coldgrid.kernel.log import Stamp
from coldgrid.kernel.personal import Keyring, Sealed
from coldgrid.kernel.registry import projections
from coldgrid.kernel.statements import Statement

if TYPE_CHECKING:
    from coldgrid.kernel.outbox import Effect

R = TypeVar("R")
H = TypeVar("H")


class Shared:
    """What all units of work of one decider's term share."""

    __slots__ = ("dialect", "entropy", "hot", "keyring", "run")

    def __init__(
        self,
        dialect: str,
        hot: dict[type[Any], Any],
        keyring: Keyring,
        entropy: Callable[[int], bytes],
        run: Callable[[Tx, Command], Any],
    ) -> None:
        self.dialect = dialect
        self.hot = hot
        self.keyring = keyring
        self.entropy = entropy
        self.run = run


class Tx:
    """One unit of work at one origin: one actor, one instant, one cause."""

    __slots__ = (
        "batch",
        "cause",
        "entry",
        "may_cross",
        "now",
        "origin",
        "principal",
        "rebuilding",
        "shared",
        "stamp",
    )

    def __init__(
        self, batch: Batch, shared: Shared, origin: str, principal: Principal, now: datetime, cause: str
    ) -> None:
        self.batch = batch
        self.shared = shared
        self.origin = origin
        self.principal = principal
        self.now = now
        self.cause = cause
        self.stamp = Stamp(origin, now, principal.actor_id, cause)
        self.rebuilding = False
        # Only what runs from a cursor may give commands to another origin.
        self.may_cross = False
        # The entry whose projection runs; in a handler, the last one it recorded.
        self.entry: Entry = cast(Entry, None)

    @property
    def actor(self) -> str:
        """Who acts: an opaque id; in a projection, who acted."""
        return self.stamp.actor

    @property
    def roles(self) -> frozenset[str]:
        """The actor's roles."""
        return self.principal.roles

    def as_of(self, entry: Entry) -> Tx:
        """Return a unit of work that projects an old entry: its actor, its instant, no reactions."""
        tx = Tx(self.batch, self.shared, entry.origin, Principal(entry.actor), entry.recorded_at, entry.cause)
        tx.rebuilding = True
        tx.entry = entry
        return tx

    # --- facts ------------------------------------------------------------------

    def record(
        self, stream: str, event: Event, *, occurred_at: datetime | None = None, audience: Sequence[str] = ()
    ) -> Entry:
        """Append an event to a stream, run its projections, and queue its reactions.

        `audience`: the sites that are told, where that is not what `kernel.audience` says of its type.
        """
        batch = self.batch
        told = ",".join(audience) if audience else audience_of(event)
        entry = log.append(batch, stream, event, self.stamp, occurred_at, told)
        self.entry = entry
        class_ = type(event)
        for projection in projections.get(class_, ()):
            projection(self, event)
        batch.recorded.append((entry, event))
        return entry

    def run(self, command: Command) -> Any:
        """Carry out another command in this transaction, in a savepoint of its own, with this actor.

        Raises:
            Rejected: it broke a rule; what it did is taken back, the caller goes on or not.
        """
        return self.shared.run(self, command)

    # --- reads ------------------------------------------------------------------

    def all(self, statement: Statement[R], /, **params: Any) -> list[R]:
        """Return every row."""
        return statement.rows(self.batch.query(statement, statement.bind(self.shared.dialect, params)))

    def one(self, statement: Statement[R], /, **params: Any) -> R | None:
        """Return the first row, or None."""
        raws = self.batch.query(statement, statement.bind(self.shared.dialect, params))
        return statement.row(raws[0]) if raws else None

    def value(self, statement: Statement[Any], /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self.one(statement, **params)
        return None if row is None else row[0]

    def open(self, sealed: Sealed | None) -> str | None:
        """Return the text of personal data; None where the person was erased."""
        return None if sealed is None else self.shared.keyring.open(sealed)

    def hot(self, class_: type[H]) -> H:
        """Return the one instance of a registered hot state."""
        found: H = self.shared.hot[class_]
        return found

    # --- writes: for projections, and for the kernel's own services ----------------

    def write(self, statement: Statement[Any], /, **params: Any) -> None:
        """Buffer a write."""
        self.batch.write_row(statement, statement.bind(self.shared.dialect, params))

    def write_row(self, statement: Statement[Any], row: tuple[Any, ...]) -> None:
        """Buffer a write whose values are encoded and in `statement.names` order: the hot path."""
        self.batch.write_row(statement, row)

    def undo(self, function: Callable[[], None]) -> None:
        """Remember how to take back a change of hot state."""
        self.batch.undo(function)

    # --- services ----------------------------------------------------------------

    def entropy(self, count: int) -> bytes:
        """Return random bytes from the host's source: keys and nonces only, never identifiers."""
        return self.shared.entropy(count)

    def seal(self, subject: str, text: str) -> Sealed:
        """Encrypt personal data under its subject's key."""
        return personal.seal(self, self.shared.keyring, subject, text)

    def take_key(self, subject: str, key: bytes) -> None:
        """Keep the key of a subject that another host sent."""
        personal.take_key(self, self.shared.keyring, subject, key)

    def drop_key(self, subject: str) -> None:
        """Forget a subject's key in memory; the projection drops the row."""
        self.shared.keyring.drop(subject)

    def set_timer(
        self,
        timer_id: str,
        kind: str,
        due_at: datetime,
        payload: Mapping[str, Any],
        on_outage: Literal["fire", "restart"] = "fire",
    ) -> None:
        """Set, or move, a durable timer of this origin, in business time."""
        timers.set_timer(
            self, timers.Timer(timer_id, self.origin, kind, due_at, dict(payload), on_outage, self.now)
        )

    def cancel_timer(self, timer_id: str) -> None:
        """Cancel a timer; one that is not set is no fault."""
        timers.cancel_timer(self, timer_id)

    def emit(self, effect: Effect) -> None:
        """Put an effect in the outbox; the same key is sent once."""
        outbox.put(self, effect)
