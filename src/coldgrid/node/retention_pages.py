"""The page of retention: how long each class of data is kept, what goes next, what went and what proves it.

It changes nothing: the times are settings of the host, and the log cannot be shortened.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromQuery

from coldgrid.access.reads import KEPT as READS_KEPT
from coldgrid.evidence import tiles
from coldgrid.evidence.tiles import LogId
from coldgrid.kernel import retention
from coldgrid.kernel.ownership import NETWORK_ORIGIN
from coldgrid.kernel.reading import Reader
from coldgrid.kernel.retention import Dropped, Went
from coldgrid.node.retention import LEAST_DAYS, LOOKBACK, Would, look, setting_of, spared_of
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import Db, visitor_of

Req = Request[Any, Any, Any]
VIEW = {"action": "kernel.see_retention"}
LOOKED_AT_MAX = 2_000
FACTS_PER_PAGE = 30
SPARED_SHOWN_MAX = 50
END = 2**62  # behind every position
DAYS_A_YEAR = 365


class Class(msgspec.Struct, frozen=True):
    """A class of data. `least_days`: what its setting names at least; `more`: more may go than is counted."""

    would: Would
    setting: str
    least_days: int
    more: bool


class Proven(msgspec.Struct, frozen=True):
    """What went, where its entry is shown, and the size of the signed checkpoint that covers it."""

    entry_id: str
    recorded_at: datetime
    dropped: Dropped
    href: str
    signed: int | None


@get("/retention", opt=VIEW, include_in_schema=False, sync_to_thread=True)
def retention_page(request: Req, db: Db, before: FromQuery[int | None] = None) -> Response[str]:
    """Show each class of data with its time, what is spared, and what went, the newest first."""
    app = request.app.state
    unsent = app.get("unsent")
    rests = spared_of(db)
    would = look(db, app.settings, app.now(), unsent() if unsent else "", LOOKED_AT_MAX, rests)
    facts, older = _facts(request, db, END if before is None else before)
    allowed = visitor_of(request).principal.sites
    spared = sorted(
        (since, site_id) for site_id, since in rests.since.items() if allowed is None or site_id in allowed
    )
    return page(
        request,
        "node/retention.html",
        db,
        title="Retention",
        nav="/health",
        classes=[
            Class(one, setting_of(one.kind), LEAST_DAYS[one.kind], one.things >= LOOKED_AT_MAX)
            for one in would
        ],
        spared=spared[:SPARED_SHOWN_MAX] if any(one.days for one in would) else [],
        spared_count=len(spared),
        lookback_days=LOOKBACK.days,
        facts_of=facts,
        older=older,
        newest="/retention" if before is not None else "",
        session_h=app.settings.session_max_h,
        reads_years=READS_KEPT.days // DAYS_A_YEAR,
    )


def _facts(request: Req, db: Reader, before: int) -> tuple[list[Proven], str]:
    """Return a page of what went at hosts that a visitor may see, and the address of the next."""
    sites = visitor_of(request).principal.sites
    origins = None if sites is None else {*sites, NETWORK_ORIGIN}
    found = retention.went_before(db, before, FACTS_PER_PAGE + 1, origins)
    shown = found[:FACTS_PER_PAGE]
    older = f"/retention?before={shown[-1].position}" if len(found) > len(shown) else ""
    return [_proven(db, one) for one in shown], older


def _proven(db: Reader, one: Went) -> Proven:
    origin, epoch, seq = one.entry_id.rsplit("/", 2)
    covering = tiles.first_covering(db, LogId(origin, int(epoch)), int(seq))
    return Proven(
        one.entry_id,
        one.recorded_at,
        one.dropped,
        f"/evidence/logs/{origin}/{epoch}?seq={seq}",
        None if covering is None else covering.size,
    )


handlers = [retention_page]
