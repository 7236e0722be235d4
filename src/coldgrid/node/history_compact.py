"""History compact: bring the files of each site's day together, and later take away what was replaced.

The order makes it safe to be interrupted anywhere and to run while others read: the files are proven, the one
file is written whole under a name of its own, it is proven too, and only after `grace` what it replaces goes.
Run again it goes on where it stopped. Readers by `HistoryStore.names` count each reading once throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any

import msgspec

from coldgrid.adapters.history_store import HistoryStore
from coldgrid.kernel.reading import Reader
from coldgrid.telemetry.history_compact import (
    CannotCompact,
    compact_name,
    counted,
    merged_readings,
    merged_sensors,
    replacing,
)
from coldgrid.telemetry.history_files import arrow, claims_of, write_readings, write_sensor_table
from coldgrid.telemetry.history_proof import NoHistoryFile, Verdict, verify_file

# A query that began with the old list of files is over by then.
GRACE = timedelta(hours=1)


class Compacted(msgspec.Struct, frozen=True):
    """What a run did: site days brought together, files of both kinds removed and waiting for their time.

    `problems`: days that stay as they are, with why.
    """

    days: int
    removed: int
    waiting: int
    problems: list[str]


def compact(store: HistoryStore, db: Reader, now: datetime, grace: timedelta = GRACE) -> Compacted:
    """Compact a history, held against the log of `db`.

    Raises:
        OSError: the store cannot be reached, or is full; what was done so far stays.
    """
    days = removed = waiting = 0
    problems: list[str] = []
    for folder, lying in groupby(store.lying("readings"), key=lambda name: name.rpartition("/")[0]):
        there = list(lying)
        try:
            days += _bring_together(store, db, counted(there))
            gone, left = _clear(store, db, folder, now - grace)
        except (CannotCompact, NoHistoryFile) as error:
            problems.append(f"{folder}: {error}")
            continue
        removed, waiting = removed + gone, waiting + left
    return Compacted(days, removed, waiting, problems)


def _bring_together(store: HistoryStore, db: Reader, names: Sequence[str]) -> bool:
    """Write the one file for those that count; False where there is nothing to bring together."""
    name = compact_name(names)
    if name is None:
        return False
    for one in names:
        _prove(store, db, one)
    opened = merged_readings([_table(store, one) for one in names])
    sensors = merged_sensors([_table(store, _sensors(one)) for one in names])
    # The sensors first: where the readings are, both are.
    store.put(_sensors(name), partial(write_sensor_table, sensors, opened.claims))
    store.put(name, partial(write_readings, opened))
    _prove(store, db, name)
    return True


def _clear(store: HistoryStore, db: Reader, folder: str, before: datetime) -> tuple[int, int]:
    """Remove what was replaced before a time; return how many files went, and how many wait."""
    names = store.lying(folder)
    sensors = set(store.lying(_sensors(folder)))
    proven: set[str] = set()
    gone = left = 0
    for name in names:
        wider = replacing(name, names)
        if wider is None:
            continue
        # The sensors first: a readings file that is left after an interruption is found again.
        both = [one for one in (_sensors(name), name) if one == name or one in sensors]
        if store.written_at(wider) > before:
            left += len(both)
            continue
        if wider not in proven:
            _prove(store, db, wider)
            proven.add(wider)
        if not _blocks(store, name) <= _blocks(store, wider):
            raise CannotCompact(f"{name} holds what {wider} does not")
        for one in both:
            store.remove(one)
        gone += len(both)
    return gone, left


def _prove(store: HistoryStore, db: Reader, name: str) -> None:
    with store.open(name) as file:
        verdict: Verdict = verify_file(db, file)
    if not verdict.ok:
        raise CannotCompact(f"{name} is not proven: {verdict.problems[0]}")


def _blocks(store: HistoryStore, name: str) -> set[Any]:
    _, pq = arrow()
    with store.open(name) as file:
        claims = claims_of(pq.read_schema(file).metadata)
    return set(claims.blocks) if claims is not None else set()


def _table(store: HistoryStore, name: str) -> Any:
    _, pq = arrow()
    with store.open(name) as file:
        return pq.ParquetFile(file).read().unify_dictionaries()


def _sensors(name: str) -> str:
    return name.replace("readings/", "sensors/", 1)
