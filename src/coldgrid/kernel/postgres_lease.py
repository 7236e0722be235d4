"""The lease on PostgreSQL: which process decides, by which term, and when it was last heard.

Invariants
    L1  The term is raised only by the session that holds the advisory lock of this schema, and that session
        is the connection that commits. Whoever raised it decides until another raises it again.
    L2  Each transaction of a decider holds the lease's row for its own term, in the round trip that begins
        it. So one that was replaced commits nothing, and nobody is replaced in the midst of a commit.
    L3  A holder that beats and then falls silent for `lease_s` of the database's clock loses its session:
        the server ends it, with what it had not committed. One that never beats, such as a rebuild, is left
        alone.

The holder's process may be stopped, cut off or slow: none of the three needs its help, and no machine's clock
is compared with another's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

_LEASE_KEY = 0x636F6C64  # "cold"
_OURS = "hashtext(current_database() || current_schema())"
_TRY = f"SELECT pg_try_advisory_lock({_LEASE_KEY}, {_OURS})"
# Two that make the same table at once would break each other: one at a time, and outside of the lease.
_MAKING = f"SELECT pg_advisory_xact_lock({_LEASE_KEY} + 1, {_OURS})"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS kernel_lease (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        term bigint NOT NULL,
        holder text NOT NULL,
        backend integer NOT NULL,
        backend_start timestamptz,
        secret text NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS kernel_worker (
        worker text PRIMARY KEY,
        address text NOT NULL,
        certificate text NOT NULL,
        told text NOT NULL,
        began_at timestamptz NOT NULL,
        heard_at timestamptz NOT NULL)""",
    # 244 bits of the server's own strong randomness; whoever can read this row can read everything else too.
    """INSERT INTO kernel_lease (term, holder, backend, secret)
        VALUES (0, '', 0, replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''))
        ON CONFLICT DO NOTHING""",
)
_RAISE = """UPDATE kernel_lease SET term = term + 1, holder = %s, backend = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
    RETURNING term"""
# One row or an error: the transaction goes on for the term's holder alone (L2).
_FENCE = """PREPARE coldgrid_fence AS
    SELECT 1 / count(*) FROM (SELECT 1 FROM kernel_lease WHERE term = {term} FOR SHARE) AS mine"""
BEGIN_FENCED = b"BEGIN; EXECUTE coldgrid_fence"
FENCE_FORGOTTEN = b"26000"  # psycopg drops what is prepared after a rollback or a change of tables
_BEAT = """INSERT INTO kernel_worker (worker, address, certificate, told, began_at, heard_at)
    VALUES (%s, %s, %s, %s, clock_timestamp(), clock_timestamp())
    ON CONFLICT (worker) DO UPDATE SET address = excluded.address, certificate = excluded.certificate,
        told = excluded.told, heard_at = excluded.heard_at"""
_LOOK = f"""SELECT l.term, l.holder, l.secret, w.address, w.certificate, w.told,
        extract(epoch FROM clock_timestamp() - w.heard_at)::float8,
        (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = {_LEASE_KEY}
            AND objid = {_OURS}::oid
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            LIMIT 1) = l.backend
    FROM kernel_lease l LEFT JOIN kernel_worker w ON w.worker = l.holder"""
_END = """SELECT pg_terminate_backend(a.pid) FROM kernel_lease l
    JOIN pg_stat_activity a ON a.pid = l.backend AND a.backend_start = l.backend_start
    JOIN kernel_worker w ON w.worker = l.holder
    WHERE l.term = %s AND w.heard_at < clock_timestamp() - make_interval(secs => %s)"""
_WORKERS = """SELECT worker, told, extract(epoch FROM clock_timestamp() - heard_at)::float8,
    extract(epoch FROM clock_timestamp() - began_at)::float8 FROM kernel_worker ORDER BY began_at, worker"""
_LEAVE = "DELETE FROM kernel_worker WHERE worker = %s"
_SWEEP = "DELETE FROM kernel_worker WHERE heard_at < clock_timestamp() - interval '10 minutes'"


class Lease(NamedTuple):
    """Who decides. `silent_s`: since the holder beat, None when it never does; `held`: its session lives.

    `address` and `certificate` are where the holder takes commands from other workers, `secret` what they
    show there, `told` what it says of itself.
    """

    term: int
    holder: str
    secret: str
    address: str
    certificate: str
    told: str
    silent_s: float | None
    held: bool


class HeardWorker(NamedTuple):
    """A worker on this database: what it says of itself, and how long ago it was heard and began."""

    worker: str
    told: str
    silent_s: float
    age_s: float


Driver = psycopg.Connection[Any]


def make_tables(driver: Driver) -> None:
    """Make the tables of the lease where they are missing. Any number of processes may do so at once."""
    with driver.transaction():
        driver.execute(_MAKING)
        for text in _TABLES:
            driver.execute(text)


def take(driver: Driver, holder: str) -> int | None:
    """Take the lease for this session and return its term; None while another session has it (L1)."""
    held = driver.execute(_TRY).fetchone()
    if not held or not held[0]:
        return None
    make_tables(driver)
    raised = driver.execute(_RAISE, (holder,)).fetchone()
    assert raised is not None, "the lease has its one row from the start"
    prepare_fence(driver, int(raised[0]))
    return int(raised[0])


def prepare_fence(driver: Driver, term: int) -> None:
    """Prepare what each transaction of a term begins with (L2)."""
    driver.execute(_FENCE.format(term=term).encode(), prepare=False)


def beat(driver: Driver, worker: str, address: str, certificate: str, told: str) -> None:
    """Say that a worker lives, by the database's clock."""
    driver.execute(_BEAT, (worker, address, certificate, told))


def look(driver: Driver) -> Lease:
    """Return who decides now."""
    row = driver.execute(_LOOK).fetchone()
    assert row is not None, "the lease has its one row from the start"
    return Lease(row[0], row[1], row[2], row[3] or "", row[4] or "", row[5] or "", row[6], bool(row[7]))


def end_silent(driver: Driver, term: int, lease_s: float) -> bool:
    """End the session of this term's holder if it is silent for so long (L3); tell whether it was ended."""
    return bool(driver.execute(_END, (term, lease_s)).fetchall())


def leave(driver: Driver, worker: str) -> None:
    """Say that a worker ended as it was asked to."""
    driver.execute(_LEAVE, (worker,))


def workers(driver: Driver) -> list[HeardWorker]:
    """List the workers that were heard within ten minutes, the oldest first."""
    driver.execute(_SWEEP)
    return heard(driver)


def heard(driver: Driver) -> list[HeardWorker]:
    """List the workers that were heard and did not leave, the oldest first; nothing is swept."""
    return [HeardWorker(*row) for row in driver.execute(_WORKERS).fetchall()]
