"""Relocation: an origin moves house. Its past, its waiting work and its readings go to another database.

Invariants
    R1  The old host closed its epoch before anything was carried out; the new host opens the next one.
    R2  The past arrives verbatim: same entries, same leaves. Projections are made from it, not copied.
    R3  Work that waits (timers, effects) and readings go along; what belongs to others stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from coldgrid.kernel import log
from coldgrid.kernel.command_log import Answer
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.events import Entry
from coldgrid.kernel.origins import CloseOrigin, take_in
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.statements import Statement
from coldgrid.kernel.tables import metadata
from coldgrid.kernel.tx import Tx

Rows = dict[str, list[tuple[Any, ...]]]
CHUNK = 1000
KEYS_MAX = 500
EVERY_SITE = "*"


class Luggage(msgspec.Struct, frozen=True):
    """What moves: others' entries meant for the origin, its own, and its service rows by table."""

    origin: str
    feed: list[Entry]
    entries: list[Entry]
    rows: Rows


def carry_out(decider: Decider, origin: str, reason: str) -> Luggage:
    """Close an origin here and return all that must go with it (R1, R3)."""
    decider.do(CloseOrigin(origin=origin, reason=reason))
    reads = Reads(decider.connection)
    # From the network, and from other sites what concerns this one: goods on their way to it.
    feed = [entry for entry in log.read_all(reads) if entry.origin != origin and _meant_for(entry, origin)]
    rows = {}
    for table in _carried_tables():
        column = table.c[table.info["carried_by"]]
        mine = Statement(sa.select(table).where(column == sa.bindparam("whose")))
        rows[table.name] = decider.connection.query(mine, (origin,))
    for table in _carried_tables("carried_with"):
        rows[table.name] = _rows_with(decider, table, rows)
    return Luggage(origin, feed, _all_of(reads, origin), rows)


def carry_in(decider: Decider, luggage: Luggage) -> Answer:
    """Take an origin in, on an empty or another network's database, and open its next epoch (R2)."""
    for entries, gapless in ((luggage.feed, False), (luggage.entries, True)):
        for chunk in _chunks(entries):
            work = partial(_take_in, entries=chunk, gapless=gapless)
            decider.take(luggage.origin, work, "relocation")
    decider.take(luggage.origin, partial(_put_rows, luggage=luggage), "relocation")
    answer = decider.reopen(luggage.origin)
    decider.reload()
    return answer


def _take_in(tx: Tx, entries: Sequence[Entry], *, gapless: bool) -> None:
    take_in(tx, entries, gapless=gapless)


def _put_rows(tx: Tx, luggage: Luggage) -> None:
    for table in [*_carried_tables(), *_carried_tables("carried_with")]:
        insert = Statement(table.insert())
        for row in luggage.rows.get(table.name, ()):
            tx.write_row(insert, tuple(row))


def _rows_with(
    decider: Decider, table: sa.Table, rows: dict[str, list[tuple[Any, ...]]]
) -> list[tuple[Any, ...]]:
    """The rows of a table that names no origin itself: those that carried rows of another table refer to."""
    other, column = table.info["carried_with"]
    place = [each.name for each in metadata.tables[other].columns].index(column)
    keys = sorted({row[place] for row in rows[other]})
    named = Statement(sa.select(table).where(table.c[column].in_(sa.bindparam("keys", expanding=True))))
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(keys), KEYS_MAX):
        found += decider.connection.query(named, (keys[start : start + KEYS_MAX],))
    return found


def _carried_tables(how: str = "carried_by") -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if how in table.info]


def _meant_for(entry: Entry, origin: str) -> bool:
    audience = entry.audience.split(",")
    return EVERY_SITE in audience or origin in audience


def _all_of(db: Reader, origin: str) -> list[Entry]:
    found: list[Entry] = []
    after = -1
    while chunk := log.follow_origin(db, origin, after, CHUNK):
        found += chunk
        after = chunk[-1].position
    return found


def _chunks(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    return [entries[start : start + CHUNK] for start in range(0, len(entries), CHUNK)]
