"""The fleet's day out of the history: a page for quality, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromQuery

from coldgrid.adapters.history_sql import Report, ReportRow, report
from coldgrid.adapters.history_store import HistoryStore
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.rejections import Invalid, NotFound, Problem
from coldgrid.kernel.settings import Settings
from coldgrid.node.history import open_store
from coldgrid.telemetry import history
from coldgrid.telemetry.history_files import date_of, day_of
from coldgrid.telemetry.losses import losses_between
from coldgrid.webkit.choices import word_or_all
from coldgrid.webkit.shell import NavItem, page, register_nav
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "quality.view", "reads": "quality"}
READ = {"action": "quality.read", "reads": "quality"}
ROWS_PER_PAGE = 50
REPORTS_KEPT = 8
VERDICTS = {
    "assess": ("crit", "To assess"),
    "unknown": ("off", "Unknown"),
    "within_limits": ("ok", "Within limits"),
    None: ("info", "No limits"),
}
ORDER = {"assess": 0, "unknown": 1, "within_limits": 2, None: 3}


class NoHistory(NotFound):
    """There is no history of readings here."""

    todo = "Set COLDGRID_HISTORY to a folder, or to s3://bucket/prefix, and restart."


def _store(settings: Settings) -> HistoryStore:
    store = _opened(settings.history, settings.history_key)
    if store is None:
        raise NoHistory
    return store


@lru_cache(maxsize=2)
def _opened(address: str, key: str) -> HistoryStore | None:
    return open_store(Settings(history=address, history_key=key))


@lru_cache(maxsize=REPORTS_KEPT)
def _report(store: HistoryStore, day: date, files: tuple[str, ...]) -> Report:
    """Return a day's report; the same files give the same one, for files never change."""
    return report(store, day)


def _report_of(request: Req, db: Reader, day: str) -> tuple[Report, list[int]]:
    """Return a day's report as far as a visitor may see it, and the days that there are.

    Raises:
        NoHistory: none is set.
        Invalid: the day is no date.
    """
    store = _store(request.app.state.settings)
    days = history.days_written(db, store.address.name)
    try:
        asked = date.fromisoformat(day) if day else date_of(days[-1]) if days else date(1970, 1, 1)
    except ValueError:
        raise Invalid(
            [Problem(field="day", message=f"{day[:40]!r} is no day", fix="write it as 2026-03-01")]
        ) from None
    found = _report(store, asked, tuple(store.names(f"readings/date={asked.isoformat()}")))
    sites = visitor_of(request).principal.sites
    if sites is None:
        return found, days
    rows = [row for row in found.rows if row.site in sites]
    return _counted(found, rows, [site for site in found.missing_sites if site in sites]), days


def _counted(found: Report, rows: list[ReportRow], missing: list[str]) -> Report:
    return msgspec.structs.replace(
        found,
        sensors=len(rows),
        readings=sum(row.readings for row in rows),
        outside=sum(row.verdict == "assess" for row in rows),
        unknown=sum(row.verdict == "unknown" for row in rows),
        missing_sites=missing,
        rows=rows,
    )


def _neighbours(days: Sequence[int], day: int) -> tuple[str, str]:
    """Return the addresses of the day before and the day after, of those that there are."""
    before = [one for one in days if one < day]
    after = [one for one in days if one > day]
    older = f"/history?day={date_of(before[-1])}" if before else ""
    return older, f"/history?day={date_of(after[0])}" if after else ""


@get("/history", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def day_page(
    request: Req, db: Db, day: FromQuery[str] = "", show: FromQuery[str] = "", first: FromQuery[int] = 0
) -> Response[str]:
    """Show a day of every sensor: what was outside its limits first, then what nobody knows."""
    found, days = _report_of(request, db, day)
    show = word_or_all(request, show, {one for one in VERDICTS if one})
    rows = sorted(found.rows, key=lambda row: (ORDER[row.verdict], -row.outside_min, -row.gap_min))
    chosen = [row for row in rows if show in ("", row.verdict)]
    begin = min(max(0, first), max(0, len(chosen) - 1)) // ROWS_PER_PAGE * ROWS_PER_PAGE
    asked = date.fromisoformat(found.date)
    older, newer = _neighbours(days, day_of(asked))
    allowed = visitor_of(request).principal.sites
    began = datetime.combine(asked, time(), UTC)
    lost = losses_between(db, began, began + timedelta(days=1))
    return page(
        request,
        "node/history.html",
        db,
        title="Fleet's day",
        nav="/history",
        report=found,
        lost=[one for one in lost if allowed is None or one.site_id in allowed],
        asked=asked,
        rows=chosen[begin : begin + ROWS_PER_PAGE],
        first=begin,
        count=len(chosen),
        per_page=ROWS_PER_PAGE,
        show=show,
        verdicts=VERDICTS,
        older=older,
        newer=newer,
    )


@get("/api/v1/history/report", opt=READ, tags=["telemetry"], sync_to_thread=True)
def day_api(request: Req, db: Db, day: FromQuery[str] = "") -> Report:
    """Return a day of every sensor: extremes, mean, minutes outside limits, gaps; no day: the newest."""
    return _report_of(request, db, day)[0]


register_nav(
    NavItem(
        group="Assure",
        label="Fleet's day",
        href="/history",
        icon="thermo",
        order=40,
        shown=history.any_written,
    )
)
handlers = [day_page, day_api]
