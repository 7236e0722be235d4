"""Rebuild: replay the log into fresh tables beside the live ones, compare, swap.

Projections are disposable. A rebuild never touches service tables (the log, timers, keys, readings)
and never runs a reaction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import command_log, log, set_aside
from coldgrid.kernel.collector import resting_collector
from coldgrid.kernel.database import Connection, Database, SqliteConnection, schema_statements
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry, UnknownEvent, decoder_of
from coldgrid.kernel.folding import FoldingTx
from coldgrid.kernel.personal import Keyring
from coldgrid.kernel.reading import Reads
from coldgrid.kernel.registry import hot_states, projections
from coldgrid.kernel.replay import ReplayBatch
from coldgrid.kernel.statements import SQLITE, Statement
from coldgrid.kernel.tables import from_micros, is_projection, metadata
from coldgrid.kernel.tx import Shared, Tx

CAUSE = "kernel.set_aside"
CHUNK = 500  # what a processor's cache holds
# A crash may spoil the file: it is made anew.
SCRATCH_PRAGMAS = (
    "synchronous=OFF",
    "journal_mode=OFF",
    "locking_mode=EXCLUSIVE",
    "cache_size=-65536",
)

_RECORDED, _TYPE = 5, 7  # where a row of the log has them


class Plan(NamedTuple):
    """How entries of one type are projected; nobody projects a type that this release does not know."""

    decode: Callable[[bytes], Any]
    projections: tuple[Callable[[Any, Any], None], ...]
    watched: bool


class Difference(msgspec.Struct, frozen=True):
    """A table whose rebuilt rows are not the live ones: the rows that each side has alone, counted."""

    table: str
    only_live: int
    only_rebuilt: int
    example: str


def projection_tables() -> list[sa.Table]:
    """Return every table that a rebuild makes anew."""
    return [table for table in metadata.sorted_tables if is_projection(table)]


def replay(
    source: Reads,
    target: Connection,
    tell: Callable[[int], None] = lambda done: None,
    watch: Callable[[Tx, Any], None] | None = None,
) -> int:
    """Project the whole log of `source` into the empty tables of `target`; return the number of entries.

    `watch` is called behind each event, with hot state that is kept up as it was live: for audits.
    """
    reads = Reads(target)
    shared = Shared(
        target.dialect,
        {class_: class_.load(reads) for class_ in hot_states},
        Keyring(source),
        _no_entropy,
        _no_commands,
    )
    batch = ReplayBatch(target)
    tx = FoldingTx(batch, shared)
    tx.rebuilding = watch is None
    plans: dict[str, Plan] = {}
    done, after = 0, -1
    target.command("BEGIN")
    with resting_collector():
        while rows := log.read_rows(source.connection, after, CHUNK):
            for row in rows:
                plan = plans.get(row[_TYPE]) or plans.setdefault(row[_TYPE], _plan_of(row, watch is not None))
                if plan.projections or plan.watched:
                    entry = _entry(row)
                    event = plan.decode(entry.body)
                    tx.turn_to(entry, row[_RECORDED])
                    for projection in plan.projections:
                        projection(tx, event)
                    if watch is not None and plan.watched:
                        watch(tx, event)
            batch.flush_large()
            done += len(rows)
            after = rows[-1][0]
            tell(done)
        batch.flush()
    target.command("COMMIT")
    return done


def _entry(row: tuple[Any, ...]) -> Entry:
    position, origin, epoch, seq, occurred, recorded, stream, type_, actor, cause, audience, body = row
    at = _instant(recorded)
    return Entry(
        position,
        origin,
        epoch,
        seq,
        at if occurred == recorded else _instant(occurred),
        at,
        stream,
        type_,
        actor,
        cause,
        audience,
        body,
        b"",  # as when it was recorded: a projection does not see the leaf
    )


# Entries of one command, and of commands in one group, have their instant in common.
_instant = lru_cache(1024)(from_micros)


def _plan_of(row: tuple[Any, ...], watching: bool) -> Plan:
    """Return what a type's entries need, which is looked up once for each type."""
    type_, body = row[_TYPE], row[-1]
    decoder = decoder_of(type_)
    event = decoder(body)
    if isinstance(event, UnknownEvent):
        return Plan(decoder, (), watched=False)
    return Plan(decoder, tuple(projections.get(type(event), ())), watched=watching)


def _no_entropy(count: int) -> bytes:
    raise AssertionError("a projection may not draw randomness")


def _no_commands(tx: Tx, command: Any) -> Any:
    raise AssertionError("a projection may not give commands")


@contextmanager
def scratch(database: Database) -> Iterator[Connection]:
    """Yield a connection to fresh, empty tables: in a file of their own, or in a schema of their own."""
    if database.dialect == SQLITE:
        with tempfile.TemporaryDirectory() as folder:
            file = SqliteConnection(Path(folder) / "rebuild.db", read_only=False)
            for pragma in SCRATCH_PRAGMAS:
                file.command(f"PRAGMA {pragma}")
            yield _with_tables(file)
            file.close()
        return
    from coldgrid.kernel.postgres import PostgresConnection  # noqa: PLC0415 (an extra: only when used)

    connection = PostgresConnection(database.url)
    # One for each connection: several deciders may rebuild in schemas of one database.
    schema = f"coldgrid_rebuild_{connection.driver.info.backend_pid}"
    connection.command(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    connection.command(f"CREATE SCHEMA {schema}")
    connection.command(f"SET search_path = {schema}")
    try:
        yield _with_tables(connection)
    finally:
        connection.command(f"DROP SCHEMA {schema} CASCADE")
        connection.close()


def _with_tables(connection: Connection) -> Connection:
    for text in schema_statements(list(metadata.sorted_tables), connection.dialect):
        if "CREATE TABLE" in text:  # a replay adds indexes where it needs them
            connection.command(text)
    return connection


def _rows(connection: Connection, table: sa.Table) -> set[tuple[Any, ...]]:
    everything = Statement(sa.select(table))
    return {
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in connection.query(everything, ())
    }


def _compare(live: Connection, rebuilt: Connection) -> list[Difference]:
    found = []
    for table in projection_tables():
        live_rows, rebuilt_rows = _rows(live, table), _rows(rebuilt, table)
        if live_rows != rebuilt_rows:
            only_live, only_rebuilt = live_rows - rebuilt_rows, rebuilt_rows - live_rows
            example = f"live {next(iter(only_live), None)} rebuilt {next(iter(only_rebuilt), None)}"
            found.append(Difference(table.name, len(only_live), len(only_rebuilt), example))
    return found


def differences(decider: Decider, tell: Callable[[int], None] = lambda done: None) -> list[Difference]:
    """Rebuild beside the live tables and return where they differ; nothing is changed."""
    return differences_of(decider.database, Reads(decider.connection), tell)


def differences_of(
    database: Database, reads: Reads, tell: Callable[[int], None] = lambda done: None
) -> list[Difference]:
    """Rebuild beside the tables that a connection sees, in a transaction that stands, and compare."""
    with scratch(database) as target:
        replay(reads, target, tell)
        return _compare(reads.connection, target)


def rebuild(decider: Decider, tell: Callable[[int], None] = lambda done: None) -> list[Difference]:
    """Rebuild, compare, and put the rebuilt rows in place in one transaction; return what differed."""
    with scratch(decider.database) as target:
        replay(Reads(decider.connection), target, tell)
        decider.connection.command("BEGIN")
        found = put_in_place(decider.connection, target)
        decider.connection.command("COMMIT")
    decider.reload()
    return found


def put_in_place(live: Connection, rebuilt: Connection) -> list[Difference]:
    """Put rebuilt rows in place of those that differ, in the caller's transaction; return what differed."""
    found = _compare(live, rebuilt)
    changed = {difference.table for difference in found}
    for table in projection_tables():
        if table.name in changed:
            live.command(f'DELETE FROM "{table.name}"')
            rows = sorted(_rows(rebuilt, table), key=repr)
            if rows:
                live.run_many(Statement(table.insert()), rows)
    return found


def without(
    decider: Decider, origin: str, entries: Sequence[Entry], why: str, also: Callable[[Tx], None]
) -> None:
    """Set entries aside and make every projection anew without them, in one commit (set_aside.A1).

    `also` does what belongs to the same commit. The decider stands still meanwhile, and reads its state anew.
    Nothing of it is done where the log without these entries cannot be projected.
    """

    def work(tx: Tx) -> None:
        set_aside.keep(tx, entries, why)
        log.cut(tx.batch, [entry.position for entry in entries])
        gone = {entry.id for entry in entries}
        command_log.forget(tx, gone)
        tx.batch.heads = log.heads(tx)
        also(tx)
        tx.batch.flush()
        with scratch(decider.database) as target:
            replay(Reads(decider.connection), target)
            put_in_place(decider.connection, target)

    try:
        decider.take(origin, work, CAUSE)
    finally:
        decider.reload()
