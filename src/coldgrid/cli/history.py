"""`coldgrid history`: write the archive of readings now, query it, verify its files, report a day."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from coldgrid.adapters.history_sql import HistorySql, report
from coldgrid.adapters.history_store import HistoryStore
from coldgrid.cli.output import Output, words
from coldgrid.kernel.authorize import AllowAll
from coldgrid.kernel.database import open_database
from coldgrid.kernel.decider import Decider
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader, Reads
from coldgrid.kernel.settings import Settings, load_settings
from coldgrid.node.history import ForeignFile, HistoryDuty, Means, open_store
from coldgrid.node.history_compact import compact
from coldgrid.node.host import LiveHost
from coldgrid.telemetry.history_proof import NoHistoryFile, Verdict, verify_file
from coldgrid.tower.rooms import load_rooms

Environment = Mapping[str, str]


def export_now(environment: Environment, database: str | None) -> None:
    """Write what is ready, and say what waits. The server, which does this by itself, must not be running."""
    settings, store = _opened(environment, database=database)
    load_rooms()
    decider = Decider(open_database(settings.database), LiveHost(AllowAll()))

    @contextmanager
    def reader() -> Iterator[Reader]:
        yield Reads(decider.connection)

    means = Means(reader, lambda work: work(decider), decider.host.now, settings.network, NETWORK_ORIGIN)
    try:
        told = _or_end(HistoryDuty(store, means).round)
    finally:
        decider.close()
    words().print(f"[ok]●[/] {store.address.name}: {told}", soft_wrap=True)


def query(environment: Environment, text: str, days: tuple[str, str], out: Output) -> None:
    """Run a SELECT over the days between two, both included ("": as far as there are any); print its rows."""
    _, store = _opened(environment)
    first, last = (_day(one) if one else None for one in days)
    sql = _or_end(lambda: HistorySql(store, first, last))
    names, rows = _or_end(lambda: sql.select(text))
    if out.json:
        for row in rows:
            sys.stdout.write(json.dumps(dict(zip(names, map(_plain, row), strict=True))) + "\n")
        return
    out.table(names, [[_plain(cell) for cell in row] for row in rows])


def compact_now(environment: Environment, after_min: int, database: str | None, out: Output) -> bool:
    """Bring the files of each site's day together; return whether nothing stood in the way."""
    settings, store = _opened(environment, database=database)
    if after_min < 0:
        _end("--after-min is a number of minutes from 0 on")
    with _log(settings) as db:
        done = _or_end(lambda: compact(store, db, datetime.now(UTC), timedelta(minutes=after_min)))
    if out.json:
        out.report(done)
        return not done.problems
    told = f"{done.days:,} site days brought together, {done.removed:,} files removed"
    words().print(f"[ok]●[/] {store.address.name}: {told}, {done.waiting:,} wait to be", soft_wrap=True)
    for problem in done.problems:
        words().print(f"[crit]◆[/] {problem}", soft_wrap=True)
    return not done.problems


@contextmanager
def _log(settings: Settings) -> Iterator[Reader]:
    """Open the log that proves files, for reading."""
    load_rooms()
    if "://" not in settings.database and not Path(settings.database).exists():
        _end(f"There is no log at {settings.database}: name one with --database")
    opened = open_database(settings.database)
    try:
        with opened.reader() as connection:
            yield Reads(connection)
    finally:
        opened.close()


def verify(environment: Environment, file: Path, database: str | None, out: Output) -> bool:
    """Hold a file against the log; return whether it is proven."""
    settings = load_settings(environment, database=database)
    with _log(settings) as db:
        verdict: Verdict = _or_end(lambda: verify_file(db, str(file)))
    if out.json:
        out.report(verdict)
        return verdict.ok
    what = f"{verdict.site_id}, {verdict.date}, file {verdict.file_no}: {verdict.readings:,} readings"
    out.table(["", ""], [(what, f"{verdict.proven} of {verdict.blocks} blocks proven by the log")])
    for problem in verdict.problems:
        words().print(f"[crit]◆[/] {problem}", soft_wrap=True)
    return verdict.ok


def report_day(environment: Environment, day: str, out: Output) -> None:
    """Print the fleet's day: per sensor what it measured, its minutes outside its limits, its gaps."""
    _, store = _opened(environment)
    asked = _day(day)
    found = _or_end(lambda: report(store, asked))
    if out.json:
        out.report(found)
        return
    if not found.rows:
        silent = f" It should have come from {', '.join(found.missing_sites)}." if found.missing_sites else ""
        _end(
            f"The history has nothing of {found.date}, so nobody knows how that day was.{silent} "
            "A day is written once it is sealed: `coldgrid history export` writes what is ready."
        )
    names = list(type(found.rows[0]).__struct_fields__)
    out.table(names, [[_plain(getattr(row, name)) for name in names] for row in found.rows])
    told = f"{found.date}: {found.sensors:,} sensors, {found.readings:,} readings, "
    words().print(f"{told}{found.outside:,} outside their limits, {found.unknown:,} unknown", soft_wrap=True)
    if found.missing_sites:
        words().print(f"[warn]▲[/] nothing of this day from {', '.join(found.missing_sites)}", soft_wrap=True)


def _opened(environment: Environment, **overrides: Any) -> tuple[Settings, HistoryStore]:
    settings = load_settings(environment, **overrides)
    store = _or_end(lambda: open_store(settings))
    if store is None:
        _end("There is no history: set COLDGRID_HISTORY to a folder, or to s3://bucket/prefix")
    return settings, store


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        _end(f"{text!r} is no day: write it as 2026-03-01")


def _or_end(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (ForeignFile, NoHistoryFile, OSError, ValueError) as error:
        _end(str(error))


def _end(why: str) -> NoReturn:
    words().print(f"[crit]{why}[/]", soft_wrap=True, markup=True)
    sys.exit(1)


def _plain(cell: Any) -> Any:
    """Return a cell as people and JSON write it."""
    if isinstance(cell, float):
        return round(cell, 6)
    if isinstance(cell, datetime | date):
        return cell.isoformat()
    return cell if cell is None or isinstance(cell, str | int | bool) else msgspec.json.encode(cell).decode()
