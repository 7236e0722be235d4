"""The search: a whole name leads straight to its page, a part of one to what it may mean, kind by kind."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar import Request, Response

from coldgrid.kernel.reading import Reader
from coldgrid.network.sites import site_labels
from coldgrid.node.site_pages import overview_of, place_of
from coldgrid.stock.finding import find
from coldgrid.stock.scan_pages import SCAN
from coldgrid.webkit.commands import see_other
from coldgrid.webkit.hits import LETTERS_MIN, OF_A_KIND, Hit, hits
from coldgrid.webkit.shell import page
from coldgrid.webkit.visitors import visitor_of

Req = Request[Any, Any, Any]


def answer(request: Req, db: Reader, text: str, known: str = "") -> Response[Any]:
    """Go to what is called so, or to the only thing that may be meant; else show all that may be.

    `known`: the address of something of this whole name that only the host itself finds.
    """
    wanted = text.strip()
    whole = place_of(overview_of(request).picture(), db, wanted) or known
    if whole:
        return see_other(whole)
    sites = visitor_of(request).principal.sites
    found = [*_sites(db, sites, wanted), *hits(db, sites, wanted)]
    if len(found) == 1:
        return see_other(found[0].href)
    if not found and find(db, wanted).why:  # a label that leads nowhere: the page for scans says why
        return see_other(f"{SCAN}?q={quote(wanted)}")
    response = page(
        request,
        "node/search.html",
        db,
        title="Search",
        nav="",
        text=wanted[:80],
        found=found,
        letters_min=LETTERS_MIN,
    )
    if not found:
        response.status_code = 404
    return response


def _sites(db: Reader, sites: Any, text: str) -> list[Hit]:
    """Sites by any part of what they are called: their labels are few and are read at once."""
    sought = text.lower()
    if len(sought) < LETTERS_MIN:
        return []
    found = [
        Hit("Site", one.site_id, f"{one.name} · {one.city}, {one.region}", f"/sites/{one.site_id}")
        for one in site_labels(db)
        if (sites is None or one.site_id in sites)
        and sought in f"{one.site_id} {one.name} {one.city}".lower()
    ]
    return found[:OF_A_KIND]
