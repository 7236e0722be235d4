"""What rooms register with the kernel: projections, command handlers, reactions, timers, hot state.

Registration happens when a room is imported; a composition root imports the rooms it wants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from coldgrid.kernel.events import Command, Event, tag_of
from coldgrid.kernel.ownership import Owner

if TYPE_CHECKING:
    from coldgrid.kernel.reading import Reader
    from coldgrid.kernel.timers import Timer
    from coldgrid.kernel.tx import Tx

E = TypeVar("E", bound=Event)
C = TypeVar("C", bound=Command)
H = TypeVar("H")


class HotState(Protocol):
    """In-memory state of the decider: loaded once, changed only by projections, with undo."""

    @classmethod
    def load(cls, reader: Reader) -> HotState:
        """Build the state from the tables."""


class Handler(msgspec.Struct, frozen=True):
    """How one command is carried out: the function, the action to authorise, and who owns it.

    `direct`: it is never asked of another host, but refused. `lapses`: asked of one, it may come too late.
    """

    command: type[Command]
    run: Callable[[Any, Any], Any]
    action: str
    owner: Owner
    direct: bool = False
    lapses: bool = True


class Reaction(msgspec.Struct, frozen=True):
    """A function that answers an event with commands.

    `safety`: when it fails, what `scope` names is blocked until it was repaired (fails closed).
    `cursor`: runs from a durable cursor after the commit, because another origin owns its output.
    `later`: runs so as well, at its own origin: what explains must not hold up what is safe.
    """

    name: str
    event: type[Event]
    run: Callable[[Any, Any], None]
    safety: bool
    cursor: bool
    scope: Callable[[Any], str]
    later: bool = False

    @property
    def queued(self) -> bool:
        """Whether it runs from a durable cursor."""
        return self.cursor or self.later


projections: dict[type[Event], list[Callable[[Any, Any], None]]] = {}
handlers: dict[type[Command], Handler] = {}
reactions: dict[type[Event], list[Reaction]] = {}
reactions_by_name: dict[str, Reaction] = {}
timer_handlers: dict[str, Callable[[Any, Any], None]] = {}
hot_states: list[type[Any]] = []
origin_checks: list[Callable[[Any, str], None]] = []


def projects(event_type: type[E]) -> Callable[[Callable[[Tx, E], None]], Callable[[Tx, E], None]]:
    """Register a function that keeps a table, or hot state, in step with one kind of event."""

    def register(function: Callable[[Tx, E], None]) -> Callable[[Tx, E], None]:
        projections.setdefault(event_type, []).append(function)
        return function

    return register


def handles(
    command_type: type[C], *, action: str, owner: Owner, direct: bool = False, lapses: bool = True
) -> Callable[[Callable[[Tx, C], Any]], Callable[[Tx, C], Any]]:
    """Register the handler of a command. `action` is what the authorizer is asked for; see `Handler`."""

    def register(function: Callable[[Tx, C], Any]) -> Callable[[Tx, C], Any]:
        assert command_type not in handlers, f"{tag_of(command_type)} already has a handler"
        handlers[command_type] = Handler(command_type, function, action, owner, direct, lapses)
        return function

    return register


def reacts(
    event_type: type[E],
    *,
    name: str,
    safety: bool = False,
    cursor: bool = False,
    later: bool = False,
    scope: Callable[[E], str] = lambda event: str(
        getattr(event, "zone_id", "") or getattr(event, "site_id", "")
    ),
) -> Callable[[Callable[[Tx, E], None]], Callable[[Tx, E], None]]:
    """Register a reaction. `name` is durable: cursors and parked events are kept under it."""

    def register(function: Callable[[Tx, E], None]) -> Callable[[Tx, E], None]:
        assert name not in reactions_by_name, f"{name} is already registered"
        reaction = Reaction(name, event_type, function, safety, cursor, scope, later)
        reactions.setdefault(event_type, []).append(reaction)
        reactions_by_name[name] = reaction
        return function

    return register


def on_timer(kind: str) -> Callable[[Callable[[Tx, Timer], None]], Callable[[Tx, Timer], None]]:
    """Register what happens when a timer of this kind is due."""

    def register(function: Callable[[Tx, Timer], None]) -> Callable[[Tx, Timer], None]:
        assert kind not in timer_handlers, f"{kind} already has a handler"
        timer_handlers[kind] = function
        return function

    return register


def hot_state(class_: type[H]) -> type[H]:
    """Register a class of hot state; `Tx.hot` hands out its one instance."""
    hot_states.append(class_)
    return class_


def checks_origins(function: Callable[[Tx, str], None]) -> Callable[[Tx, str], None]:
    """Register a function that is asked before an origin other than the network's begins its log here.

    It rejects one that is not known: a mistyped site must not get a log of its own. It is asked for every
    first command of an origin, from the caller's unit of work, so it reads hot state and no table.
    """
    origin_checks.append(function)
    return function


def command_types() -> dict[str, type[Command]]:
    """Return every command that has a handler, by wire name."""
    return {tag_of(command): command for command in handlers}
