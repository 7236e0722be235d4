"""Event outbox: the log once more, in the table that Debezium's outbox event router reads. PostgreSQL only.

Invariants
    O1  A row is written in the transaction that appends its entry, in the order of the log, by whichever way
        the entry comes: the database does it itself, by a trigger on each statement.
    O2  Rows are never changed. They are deleted after `KEEP_H`; what reads them follows the write-ahead log.

Columns are those that the router asks for, and what it may put into headers: `id` origin/epoch/seq,
`aggregatetype` the kind of stream, `aggregateid` the rest of its name, `type`, `payload` the entry as the
event feed gives it. Personal data is ciphertext, as in the log.
"""

from __future__ import annotations

from coldgrid.kernel.driver import Connection
from coldgrid.kernel.log import LOG_TABLE
from coldgrid.kernel.statements import POSTGRESQL

KEEP_H = 72
DELETED_AT_ONCE = 10_000

_INSTANT = "to_char(timestamp 'epoch' + {} * interval '1 microsecond', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_TABLE = """
CREATE TABLE IF NOT EXISTS event_outbox (
    position bigint PRIMARY KEY,
    id text NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    origin text NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    recorded_ms bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION event_outbox_fill() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO event_outbox
        (position, id, aggregatetype, aggregateid, type, payload, origin, epoch, seq, recorded_ms)
    SELECT position, origin || '/' || epoch || '/' || seq, split_part(stream, '/', 1),
           substr(stream, strpos(stream, '/') + 1), type,
           json_build_object(
               'position', position, 'origin', origin, 'epoch', epoch, 'seq', seq,
               'occurred_at', {_INSTANT.format("occurred_at")},
               'recorded_at', {_INSTANT.format("recorded_at")},
               'stream', stream, 'type', type, 'actor', actor, 'cause', cause,
               'body', convert_from(body, 'UTF8')::json, 'leaf', encode(leaf, 'hex'))::text,
           origin, epoch, seq, recorded_at / 1000
    FROM added ORDER BY position;
    RETURN NULL;
END $$
"""
# Looked for first: dropping one locks the log even where there is none, and a dump would hold up the start.
_THERE = (
    "EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'event_outbox_fill' "
    f"AND tgrelid = to_regclass('{LOG_TABLE}'))"
)
_TRIGGER = f"""
DO $$ BEGIN
    IF NOT {_THERE} THEN
        CREATE TRIGGER event_outbox_fill AFTER INSERT ON {LOG_TABLE} REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION event_outbox_fill();
    END IF;
END $$
"""
_NO_TRIGGER = f"""
DO $$ BEGIN
    IF {_THERE} THEN
        DROP TRIGGER event_outbox_fill ON {LOG_TABLE};
    END IF;
END $$
"""
_TRIM = f"""
DELETE FROM event_outbox WHERE position IN (
    SELECT position FROM event_outbox WHERE written_at < now() - interval '{KEEP_H} hours'
    ORDER BY position LIMIT {DELETED_AT_ONCE})
"""


class OutboxNeedsPostgres(ValueError):
    """COLDGRID_OUTBOX_TABLE needs PostgreSQL: nobody can follow the write-ahead log of a SQLite file."""


def settle(connection: Connection, *, on: bool) -> None:
    """Fill the table from now on, or no more; rows that are there stay. For the decider's connection.

    Raises:
        OutboxNeedsPostgres: see there.
    """
    if connection.dialect != POSTGRESQL:
        if on:
            raise OutboxNeedsPostgres(str(OutboxNeedsPostgres.__doc__))
        return
    connection.command("BEGIN")
    try:
        for text in (_TABLE, _FUNCTION, _TRIGGER) if on else (_NO_TRIGGER,):
            connection.command(text)
    except BaseException:
        connection.command("ROLLBACK")
        raise
    connection.command("COMMIT")


def trim(connection: Connection) -> None:
    """Delete rows that have been there for `KEEP_H`, some at a time (O2). For the decider's connection."""
    connection.command(_TRIM)
