"""The decider: the one writer of a database. It runs groups of commands, each group one durable commit.

Invariants
    D1  An answer is given after the commit that made it durable, never before.
    D2  A command does all or nothing; a command of the group that fails leaves the others alone.
    D3  Reactions that their origin owns run right after their cause, at most `CASCADE_MAX` deep; one that
        fails is parked with its stream, and never undoes its cause.
    D4  Hot state changes only by projections, and is as if a failed group had never been.

`Decider` itself is synchronous and has no clock of its own: tests and scenarios drive it directly,
`kernel/service.py` drives it from a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from coldgrid.kernel import cascade, command_log, hosting, log, origins, requests, schema, set_aside, timers
from coldgrid.kernel.authorize import SYSTEM, Authorizer, Principal, Resource
from coldgrid.kernel.batch import Batch
from coldgrid.kernel.command_log import Answer, answer_of
from coldgrid.kernel.database import Connection, Database, DriverError
from coldgrid.kernel.driver import ConnectionLost, end_of
from coldgrid.kernel.elsewhere import check_kept
from coldgrid.kernel.events import Command, Entry, tag_of
from coldgrid.kernel.gathering import GatheringBatch
from coldgrid.kernel.hosting import Hosting
from coldgrid.kernel.metrics import COMMANDS, GROUPS
from coldgrid.kernel.origins import ClockKind, OriginClosed
from coldgrid.kernel.ownership import NETWORK_ORIGIN, OF_HOST, OF_NETWORK
from coldgrid.kernel.personal import Keyring, known_subjects
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.registry import Handler, handlers, hot_states, origin_checks, timer_handlers
from coldgrid.kernel.rejections import InternalFault, Invalid, Problem, Rejected
from coldgrid.kernel.requests import OpenRequests, Pending
from coldgrid.kernel.statements import SQLITE
from coldgrid.kernel.tx import Shared, Tx

T = TypeVar("T")
GROUP_MAX = 100
# A commit that wrote to one of these may have changed which timer is due next.
DUE_TABLES = ("kernel_timer", "kernel_hosting")
logger = structlog.get_logger("coldgrid.decider")


class Host(Protocol):
    """What the entrypoint gives the decider: clock, randomness, authority."""

    authorizer: Authorizer
    clock: ClockKind

    def now(self) -> datetime:
        """The business clock."""

    def entropy(self, count: int) -> bytes:
        """Random bytes."""


class Call(msgspec.Struct, frozen=True):
    """A command to carry out: for whom, and under which idempotency key."""

    command: Command
    principal: Principal = SYSTEM
    key: str | None = None


Outcome = Answer | Rejected
CommitListener = Callable[[Sequence[tuple[Entry, Any]]], None]


class Decider:
    """One database's only writer."""

    def __init__(self, database: Database, host: Host) -> None:
        self.database = database
        self.host = host
        self.listeners: list[CommitListener] = []
        self.next_due_at: datetime | None = None
        self.connection: Connection = database.writer()
        try:
            schema.make(self.connection)
        except Rejected:
            self.close()
            raise
        self.reload()

    def reload(self) -> None:
        """Read heads, hot state, timers and cursors from the tables: at the start, and after a rebuild."""
        reads = Reads(self.connection)
        self.heads = log.heads(reads)
        self.position = max(log.last_position(reads), set_aside.last_position(reads)) + 1
        self.shared = Shared(
            self.database.dialect,
            {class_: class_.load(reads) for class_ in hot_states},
            Keyring(reads, known_subjects(reads)),
            self.host.entropy,
            self._run_nested,
        )
        self.hosting: Hosting = self.shared.hot[Hosting]
        for origin, (epoch, seq) in self.heads.items():
            last = log.find(reads, f"{origin}/{epoch}/{seq - 1}")
            if last is not None and last.type == tag_of(OriginClosed):
                self.hosting.told[origin] = False
        self.next_due_at = timers.next_due_at(reads, self.hosting.elsewhere)
        self.pump = cascade.Pump(reads, self.position - 1, self.hosting.here)

    # --- entry points ------------------------------------------------------------

    def do(self, command: Command, principal: Principal = SYSTEM, key: str | None = None) -> Answer:
        """Carry out one command and what follows from it, now, on the caller's thread.

        Raises:
            Rejected: it broke a rule.
        """
        outcome = self.execute([Call(command, principal, key)])[0]
        if isinstance(outcome, Rejected):
            raise outcome
        self.settle()
        return outcome

    def execute(self, calls: Sequence[Call]) -> list[Outcome]:
        """Carry out a group in one durable commit; one outcome for each call, in order."""
        try:
            return self._commit(lambda batch: self._run_calls(batch, calls))
        except DriverError as error:
            self._reconnect()
            if len(calls) == 1 or isinstance(error, ConnectionLost):  # which may have committed all of it
                logger.error("group_failed", command=tag_of(type(calls[0].command)), error=str(error))
                return [end_of(error, tag_of(type(call.command)), call.key) for call in calls]
        # One of them upset the database: find it by running each alone.
        return [self.execute([call])[0] for call in calls]

    def settle(self) -> None:
        """Run cursor reactions until none has anything left to read, and what is asked of origins here."""
        while self.pump.due() or self.answer_requests():
            if self.pump.due():
                self._commit(lambda batch: self.pump.run(batch, self.unit, cascade.CURSOR_CHUNK))

    def answer_requests(self, limit: int = GROUP_MAX) -> int:
        """Carry out what is asked of the origins hosted here, a commit for each; return how many."""
        waiting: OpenRequests = self.shared.hot[OpenRequests]
        due = waiting.due(self.hosting.here)[:limit]
        for request_id in due:
            self._commit(partial(self._answer_request, request_id))
        return len(due)

    def fire_due(self, limit: int = GROUP_MAX, waits: Callable[[], bool] = lambda: False) -> int:
        """Fire the timers that are due, in due order, in one commit; return how many fired.

        Once somebody `waits` for the decider the others stay due: at least one fires, however busy it is.
        """
        now = self.host.now()
        if self.next_due_at is None or self.next_due_at > now:
            return 0
        due = timers.due_timers(Reads(self.connection), now, limit, self.hosting.elsewhere)

        def work(batch: Batch) -> int:
            for fired, timer in enumerate(due, 1):
                self._fire(batch, timer)
                if waits():
                    return fired
            return len(due)

        return self._commit(work)

    def within(self, principal: Principal, origin: str, work: Callable[[Tx], T], cause: str) -> T:
        """Run a function as one unit of work and commit: for imports, which are no commands."""
        return self._commit(lambda batch: work(self.unit(batch, origin, principal, cause)))

    def take(
        self, origin: str, work: Callable[[Tx], T], cause: str, *, gathers: bool = False, rests: bool = False
    ) -> T:
        """Run a function that takes in another host's facts: no epoch of ours is opened for them.

        `gathers`: many, and no commands (`GatheringBatch`). `rests`: more is to come (`resting`).
        """
        return self._commit(
            lambda batch: work(Tx(batch, self.shared, origin, SYSTEM, self.host.now(), cause)),
            GatheringBatch if gathers else Batch,
            origin if rests else "",
        )

    def close(self) -> None:
        """Close the connection and give the database back."""
        self.connection.close()
        self.database.close()

    # --- one group ---------------------------------------------------------------

    def _commit(self, work: Callable[[Batch], T], kind: type[Batch] = Batch, resting: str = "") -> T:
        """Run work in one transaction, or nothing of it (D4). `resting`: whose backlog it takes."""
        batch = kind(self.connection, self.heads.copy(), self.position)
        self.connection.command("BEGIN IMMEDIATE" if self.database.dialect == SQLITE else "BEGIN")
        try:
            result = work(batch)
            if resting or self.pump.lanes.open:
                self.pump.lanes.take(batch, self.host.now(), resting)
            batch.flush()
            self.connection.command("COMMIT")
        except BaseException:
            batch.take_back_all()
            self._roll_back()
            raise
        self.heads, self.position = batch.heads, batch.position
        GROUPS.add(len(batch.recorded))
        if not batch.tables.isdisjoint(DUE_TABLES):
            self.next_due_at = timers.next_due_at(Reads(self.connection), self.hosting.elsewhere)
        if batch.recorded:
            self.pump.feed(batch.recorded)
            self._tell(batch.recorded)
        return result

    def _tell(self, recorded: Sequence[tuple[Entry, Any]]) -> None:
        """Tell the listeners what was committed; one that fails harms neither the commit nor the others."""
        for listener in self.listeners:
            try:
                listener(recorded)
            except Exception:
                logger.exception("listener_failed")

    def _roll_back(self) -> None:
        try:
            self.connection.command("ROLLBACK")
        except DriverError as error:  # SQLite rolls back by itself when the disk is full
            logger.warning("rollback_refused", error=str(error))

    def _reconnect(self) -> None:
        """Where the server was lost, take the lease again and read the state anew; else do nothing."""
        if self.connection.usable():
            return
        try:
            self.connection = self.database.writer()
            self.reload()
        except (DriverError, Rejected) as error:  # still gone: the next group tries again
            logger.warning("database_unreachable", error=str(error))

    def unit(self, batch: Batch, origin: str, principal: Principal, cause: str) -> Tx:
        """Return a unit of work; the origin's first one opens its epoch.

        Raises:
            Rejected: a room does not know the origin (`registry.checks_origins`).
        """
        tx = Tx(batch, self.shared, origin, principal, self.host.now(), cause)
        if origin not in batch.heads:
            if origin != NETWORK_ORIGIN:
                for check in origin_checks:
                    check(tx, origin)
            origins.open_epoch(Tx(batch, self.shared, origin, SYSTEM, tx.now, cause), self.host.clock)
        return tx

    def _run_calls(self, batch: Batch, calls: Sequence[Call]) -> list[Outcome]:
        keys = [call.key for call in calls if call.key is not None]
        known = command_log.find(Reads(self.connection), keys) if keys else {}
        return [self._run_call(batch, call, known) for call in calls]

    def _run_call(self, batch: Batch, call: Call, known: command_log.Known) -> Outcome:
        mark = batch.mark()
        caller = call.principal.actor_id
        try:
            hash_ = ""
            if call.key is not None:
                hash_ = command_log.body_hash(call.command)
                earlier = command_log.replay(known, caller, call.key, hash_)
                if earlier is not None:
                    batch.release(mark)
                    return earlier
            answer = self._carry_out(batch, call)
            if call.key is not None:
                known[caller, call.key] = command_log.keep(batch, caller, call.key, hash_, answer)
        except Rejected as rejected:
            batch.take_back(mark)
            COMMANDS.add(tag_of(type(call.command)), rejected.code)
            return rejected
        except DriverError:
            raise
        except Exception as error:
            batch.take_back(mark)
            logger.exception("command_failed", command=tag_of(type(call.command)))
            COMMANDS.add(tag_of(type(call.command)), "fault")
            return InternalFault(error=f"{type(error).__name__}: {error}")
        batch.release(mark)
        cascade.run_reactions(batch, self.unit, mark.queued)
        COMMANDS.add(tag_of(type(call.command)), "ok")
        return answer

    def _carry_out(self, batch: Batch, call: Call) -> Answer:
        handler, origin = self._resolve(call.command)
        # A command of the network's may still be about one site: the caller must have that site.
        site_id = getattr(call.command, "site_id", None) or (None if origin == NETWORK_ORIGIN else origin)
        resource = Resource(site_id, handler.action)
        self.host.authorizer.authorize(call.principal, handler.action, resource)
        if handler.owner is OF_HOST:  # no log of ours or another's is begun for it
            tx = Tx(batch, self.shared, origin, call.principal, self.host.now(), call.key or "")
        elif self.hosting.here(origin):
            tx = self.unit(batch, origin, call.principal, call.key or "")
        else:
            return self._ask(batch, call, handler, origin)
        return answer_of(handler.run(tx, call.command), tx.entry)

    def _ask(self, batch: Batch, call: Call, handler: Handler, origin: str) -> Answer:
        """Ask the origin's host to carry it out (`requests`)."""
        check_kept(Reads(self.connection), self, handler, origin, call.principal)
        tx = self.unit(batch, NETWORK_ORIGIN, call.principal, call.key or "")
        drawn = (batch.position, tx.stamp.micros)  # without a key every call is a request of its own
        request_id = requests.request_id_of(call.principal.actor_id, call.key, *drawn)
        pending = requests.ask(tx, request_id, call.command, origin, handler.lapses)
        return msgspec.structs.replace(answer_of(pending, tx.entry), pending=origin)

    def _answer_request(self, request_id: str, batch: Batch) -> None:
        """Carry out a request and answer it in the same commit (requests.Q2)."""
        request = requests.find_request(Reads(self.connection), request_id)
        assert request is not None, f"{request_id} is open and unknown"
        key, outcome = f"request/{request_id}", None
        if not request.expired(self.host.now()):
            try:
                call = Call(requests.command_of(request), requests.asker_of(request), key)
                outcome = self._run_calls(batch, [call])[0]
            except Rejected as rejected:
                outcome = rejected
        tx = self.unit(batch, request.site_id, cascade.system("requests"), key)
        tx.record(f"answer/{request_id}", requests.decide_answer(request, outcome))

    def _run_nested(self, tx: Tx, command: Command) -> Any:
        """Carry out a command that a handler or a reaction gave."""
        handler, origin = self._resolve(command)
        assert origin == tx.origin or tx.may_cross, (
            f"{tag_of(type(command))}: {tx.origin} may not act for {origin}"
        )
        if not self.hosting.here(origin):
            return self._ask_nested(tx, handler, command, origin)
        child = self.unit(tx.batch, origin, tx.principal, tx.cause)
        child.may_cross = tx.may_cross
        mark = tx.batch.mark()
        try:
            result = handler.run(child, command)
        except DriverError:
            raise
        except BaseException:
            tx.batch.take_back(mark)
            raise
        tx.batch.release(mark)
        if child.entry is not None:
            tx.entry = child.entry
        return result

    def _ask_nested(self, tx: Tx, handler: Handler, command: Command, origin: str) -> Pending:
        """Ask another host for what follows here from a fact; the same cause asks for the same once."""
        check_kept(Reads(self.connection), self, handler, origin, None)
        child = self.unit(tx.batch, NETWORK_ORIGIN, tx.principal, tx.cause)
        drawn = (tx.cause, command_log.body_hash(command))
        request_id = requests.request_id_of(tx.actor, None, *drawn)
        return requests.ask(child, request_id, command, origin, handler.lapses)

    def _resolve(self, command: Command) -> tuple[Handler, str]:
        handler = handlers.get(type(command))
        if handler is None:
            raise Invalid([Problem(field="type", message=f"{tag_of(type(command))} has no handler here")])
        origin = NETWORK_ORIGIN
        if handler.owner is not OF_NETWORK and handler.owner is not OF_HOST:
            origin = getattr(command, "site_id", None) or getattr(command, "origin", None) or NETWORK_ORIGIN
        return handler, origin

    def reopen(self, origin: str) -> Answer:
        """Begin the next epoch of a closed origin on this host (origins.G2)."""

        def work(batch: Batch) -> Answer:
            tx = Tx(batch, self.shared, origin, SYSTEM, self.host.now(), "reopen")
            origins.open_epoch(tx, self.host.clock)
            hosting.place(tx, origin, here=True, why="reopened")
            return answer_of(None, tx.entry)

        return self._commit(work)

    def _fire(self, batch: Batch, timer: timers.Timer) -> None:
        mark = batch.mark()
        tx = self.unit(batch, timer.origin, cascade.system(f"timer:{timer.kind}"), f"timer/{timer.timer_id}")
        timers.cancel_timer(tx, timer.timer_id)
        try:
            timer_handlers[timer.kind](tx, timer)
        except DriverError:
            raise
        except Exception as error:
            batch.take_back(mark)
            again = self.unit(batch, timer.origin, cascade.system("timer"), tx.cause)
            cascade.park_timer(again, timer, error)
            return
        batch.release(mark)
        cascade.run_reactions(batch, self.unit, mark.queued)
